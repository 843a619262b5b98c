//! How results are printed: aligned text for people, one JSON document for programs.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde_json::Value;

/// The form of what is printed on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned text.
    Table,
    /// One JSON document.
    Json,
    /// Of a public half alone: a JSON Web Key.
    #[value(skip)]
    Jwk,
    /// Of a public half alone: PEM.
    #[value(skip)]
    Pem,
    /// Of a public half alone: a line of OpenSSH.
    #[value(skip)]
    Ssh,
}

/// A result for people.
#[derive(Debug)]
pub(crate) enum View {
    /// Names and values, one a line.
    Fields(Vec<(&'static str, String)>),
    /// Columns with a head.
    Rows {
        /// The head.
        head: Vec<&'static str>,
        /// The rows, each as long as the head.
        rows: Vec<Vec<String>>,
    },
}

/// Prints a result.
pub(crate) fn show(format: Format, view: &View, json: &Value) -> Result<()> {
    let text = match format {
        Format::Json => format!("{json:#}\n"),
        Format::Jwk | Format::Pem | Format::Ssh | Format::Table => view.to_text(),
    };
    print(text.as_bytes())
}

/// Writes bytes to standard output. A reader that has gone away is no failure.
pub(crate) fn print(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Says something besides the result, as a line on standard error. That nobody is there to read it stops nothing.
pub(crate) fn remark(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

impl View {
    /// As text.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Fields(fields) => {
                let rows: Vec<_> = fields
                    .iter()
                    .map(|(name, value)| vec![(*name).to_owned(), value.clone()])
                    .collect();
                aligned(&rows)
            }
            Self::Rows { head, rows } => {
                let head = head.iter().map(|name| name.to_uppercase()).collect();
                let all: Vec<_> = std::iter::once(head).chain(rows.iter().cloned()).collect();
                aligned(&all)
            }
        }
    }
}

/// Pads every column but the last to its widest cell.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let cell = |text: &str| text.to_owned();
        let view = View::Rows {
            head: vec!["name", "state"],
            rows: vec![vec![cell("a"), cell("active")], vec![cell("invoices"), cell("suspended")]],
        };
        assert_eq!(view.to_text(), "NAME      STATE\na         active\ninvoices  suspended\n");
    }

    #[test]
    fn fields_have_no_head() {
        let view =
            View::Fields(vec![("key", "invoices".into()), ("purpose", "sign.bound:x".into())]);
        assert_eq!(view.to_text(), "key      invoices\npurpose  sign.bound:x\n");
    }
}
