//! Plots of times over sizes, in characters and as SVG. The horizontal axis is logarithmic, so that what grows with the
//! logarithm of the size is a straight line.

use std::fmt::Write as _;

/// The rows and columns of a plot in characters.
const GRID: (usize, usize) = (12, 60);

/// The plot in SVG, in pixels: its width and height, and the room for labels left, right, above and below.
const SIZE: (f64, f64) = (720.0, 400.0);
const ROOM: Room = Room { left: 60.0, right: 20.0, above: 20.0, below: 50.0 };

/// The colours of the series, in their order; told apart by who sees no colours too.
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#999999"];

/// How many marks the vertical axis has above 0.
const TICKS: u32 = 4;

struct Room {
    left: f64,
    right: f64,
    above: f64,
    below: f64,
}

/// Times in milliseconds over sizes.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: &'static str,
    /// What its points are in characters.
    pub(super) mark: char,
    pub(super) points: Vec<(f64, f64)>,
}

/// From values to the unit square.
struct Scale {
    least: f64,
    most: f64,
    top: f64,
}

impl Scale {
    fn of(series: &[Series]) -> Self {
        let points = || series.iter().flat_map(|series| &series.points);
        let least = points().map(|point| point.0.ln()).fold(f64::INFINITY, f64::min);
        let most = points().map(|point| point.0.ln()).fold(f64::NEG_INFINITY, f64::max);
        let top = points().map(|point| point.1).fold(1.0, f64::max);
        Self { least, most, top }
    }

    fn x(&self, size: f64) -> f64 {
        let width = self.most - self.least;
        if width > 0.0 { (size.ln() - self.least) / width } else { 0.5 }
    }

    fn y(&self, time: f64) -> f64 {
        time / self.top
    }
}

/// A plot in characters.
pub(super) fn text(series: &[Series]) -> String {
    let (scale, (rows, columns)) = (Scale::of(series), GRID);
    let mut grid = vec![vec![' '; columns + 1]; rows + 1];
    for Series { mark, points, .. } in series {
        for &(size, time) in points {
            let (row, column) = (cell(1.0 - scale.y(time), rows), cell(scale.x(size), columns));
            if let Some(place) = grid.get_mut(row).and_then(|row| row.get_mut(column)) {
                *place = *mark;
            }
        }
    }
    let mut out = String::new();
    for (number, row) in grid.iter().enumerate() {
        let label = if number == 0 { format!("{:.0} ms", scale.top) } else { String::new() };
        let row: String = row.iter().collect();
        let _ = writeln!(out, "{label:>8} |{}", row.trim_end());
    }
    let sizes = sizes(series);
    let (first, last) =
        (sizes.first().copied().unwrap_or_default(), sizes.last().copied().unwrap_or_default());
    let _ = writeln!(out, "{:>8} +{}", "0", "-".repeat(columns));
    let _ = writeln!(out, "{:>9} {first:<30.0}{:>30.0} records (logarithmic)", "", last);
    for Series { name, mark, .. } in series {
        let _ = writeln!(out, "{mark:>10} {name}");
    }
    out
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "cells of a small grid"
)]
fn cell(part: f64, cells: usize) -> usize {
    (part.clamp(0.0, 1.0) * cells as f64).round() as usize
}

/// A plot as SVG.
pub(super) fn svg(series: &[Series]) -> String {
    let (scale, (width, height)) = (Scale::of(series), SIZE);
    let x = |size: f64| ROOM.left + scale.x(size) * (width - ROOM.left - ROOM.right);
    let y = |time: f64| height - ROOM.below - scale.y(time) * (height - ROOM.above - ROOM.below);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    let (left, right, bottom) = (ROOM.left, width - ROOM.right, height - ROOM.below);
    for tick in 0..=TICKS {
        let time = scale.top * f64::from(tick) / f64::from(TICKS);
        let at = y(time);
        let _ = writeln!(
            out,
            "<line x1=\"{left}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" stroke=\"#cccccc\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{time:.0} ms</text>",
            left - 6.0,
            at + 4.0
        );
    }
    for size in sizes(series) {
        let at = x(size);
        let _ = writeln!(
            out,
            "<line x1=\"{at:.1}\" y1=\"{bottom}\" x2=\"{at:.1}\" y2=\"{:.1}\" stroke=\"black\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{size:.0}</text>",
            bottom + 5.0,
            bottom + 20.0
        );
    }
    let _ = writeln!(
        out,
        "<path d=\"M{left} {} V{bottom} H{right}\" fill=\"none\" stroke=\"black\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">records in the log (logarithmic)</text>",
        ROOM.above,
        f64::midpoint(left, right),
        height - 10.0
    );
    for ((number, series), colour) in (0_u32..).zip(series).zip(COLOURS) {
        let points: Vec<String> = series
            .points
            .iter()
            .map(|&(size, time)| format!("{:.1},{:.1}", x(size), y(time)))
            .collect();
        let row = ROOM.above + 16.0 * f64::from(number) + 12.0;
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{:.1}\" y=\"{row:.1}\" fill=\"{colour}\">{}</text>",
            points.join(" "),
            left + 10.0,
            series.name
        );
        for &(size, time) in &series.points {
            let _ = writeln!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                x(size),
                y(time)
            );
        }
    }
    out + "</svg>\n"
}

/// The sizes there are points at, in ascending order.
fn sizes(series: &[Series]) -> Vec<f64> {
    let mut sizes: Vec<f64> =
        series.iter().flat_map(|series| &series.points).map(|point| point.0).collect();
    sizes.sort_unstable_by(f64::total_cmp);
    sizes.dedup();
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series() -> [Series; 2] {
        let of = |name, mark, times: [f64; 3]| {
            let points = [100.0, 400.0, 1_600.0].into_iter().zip(times).collect();
            Series { name, mark, points }
        };
        [of("one", 'o', [10.0, 20.0, 30.0]), of("two", 't', [40.0, 40.0, 40.0])]
    }

    #[test]
    fn what_grows_with_the_logarithm_is_a_straight_line() {
        let (series, rows) = (series(), text(&series()));
        let scale = Scale::of(&series);
        assert!((scale.x(400.0) - 0.5).abs() < 1e-9 && (scale.y(20.0) - 0.5).abs() < 1e-9);
        let lines: Vec<&str> = rows.lines().collect();
        assert_eq!(lines[0].matches('t').count(), 3, "{rows}");
        let columns: Vec<usize> =
            lines[..=GRID.0].iter().filter_map(|line| line.find('o')).collect();
        assert_eq!(columns.len(), 3);
        assert_eq!(columns[0] - columns[1], columns[1] - columns[2], "{rows}");
    }

    #[test]
    fn every_series_has_its_line_its_points_and_its_name() {
        let drawn = svg(&series());
        assert_eq!(drawn.matches("<polyline").count(), 2);
        assert_eq!(drawn.matches("<circle").count(), 6);
        assert!(drawn.contains(">one</text>") && drawn.contains(">1600</text>"));
        assert!(drawn.ends_with("</svg>\n"));
    }
}
