//! Where each part of a plan stands in its text.

use chancery_core::rollout::Place;
use toml::de::{DeTable, DeValue};

use super::{Wrong, line_of};

/// The lines of a plan's parts.
#[derive(Debug)]
pub(super) struct Lines {
    fields: Vec<(String, usize)>,
    stages: Vec<Part>,
}

/// A stage, or a trigger: its first line, and those of its fields.
#[derive(Debug)]
struct Part {
    line: usize,
    fields: Vec<(String, usize)>,
    triggers: Vec<Part>,
}

impl Lines {
    pub(super) fn of(text: &str) -> Result<Self, Wrong> {
        let table = DeTable::parse(text)
            .map_err(|error| Wrong { line: 1, what: error.message().to_owned() })?;
        let table = table.get_ref();
        let mut fields = fields(text, table);
        let bounds = table.get("bounds").and_then(|bounds| bounds.get_ref().as_table());
        fields.extend(bounds.into_iter().flat_map(|bounds| self::fields(text, bounds)));
        Ok(Self { fields, stages: parts(text, table.get("stage").map(toml::Spanned::get_ref)) })
    }

    /// The line of a place; of the part around it, if it is not written.
    pub(super) fn at(&self, place: Place) -> usize {
        let stage = place.stage.and_then(|at| self.stages.get(at));
        let trigger = place.trigger.and_then(|at| stage?.triggers.get(at));
        let part = trigger.or(stage);
        let fields = part.map_or(&self.fields, |part| &part.fields);
        let written = fields.iter().find(|(name, _)| name == place.field).map(|(_, line)| *line);
        written.or_else(|| part.map(|part| part.line)).unwrap_or(1)
    }
}

fn fields(text: &str, table: &DeTable<'_>) -> Vec<(String, usize)> {
    let line = |(name, _): (&toml::Spanned<_>, _)| {
        let of: &std::borrow::Cow<'_, str> = name.get_ref();
        (of.to_string(), line_of(text, name.span().start))
    };
    table.iter().map(line).collect()
}

fn parts(text: &str, value: Option<&DeValue<'_>>) -> Vec<Part> {
    let array = value.and_then(DeValue::as_array);
    let tables = array.into_iter().flat_map(|array| array.iter());
    let part = |table: &toml::Spanned<DeValue<'_>>| {
        let fields_of = table.get_ref().as_table();
        let fields = fields_of.map(|table| fields(text, table)).unwrap_or_default();
        // The header stands before the first field.
        let line = line_of(text, table.span().start);
        let triggers = fields_of.and_then(|table| table.get("trigger"));
        Part { line, fields, triggers: parts(text, triggers.map(toml::Spanned::get_ref)) }
    };
    tables.map(part).collect()
}
