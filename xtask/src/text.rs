//! Reading text without a parser: words, code spans and tables in Markdown.

/// Where `word` stands as a whole word in `text`, by byte.
pub(crate) fn word_positions<'a>(
    text: &'a str,
    word: &'a str,
) -> impl Iterator<Item = usize> + use<'a> {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = text.get(..at).and_then(|head| head.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|tail| tail.chars().next());
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

/// Whether `word` stands as a whole word in `text`.
pub(crate) fn has_word(text: &str, word: &str) -> bool {
    word_positions(text, word).next().is_some()
}

/// Whether `text` could name an item: letters, digits and underscores, no digit first.
pub(crate) fn is_identifier(text: &str) -> bool {
    text.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// What stands between backticks in one line.
pub(crate) fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The cells of one table row, or `None` if the line is no row.
pub(crate) fn cells(line: &str) -> Option<Vec<&str>> {
    let row = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(row.split('|').map(str::trim).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_ends_where_an_identifier_ends() {
        assert!(has_word("fn step(self)", "step"));
        assert!(has_word("Self::step", "step"));
        assert!(!has_word("fn step_back()", "step"));
        assert!(!has_word("footstep", "step"));
    }

    #[test]
    fn an_identifier_has_no_dash_and_no_digit_first() {
        assert!(is_identifier("max_uses"));
        assert!(!is_identifier("max-uses"));
        assert!(!is_identifier("9lives"));
        assert!(!is_identifier(""));
    }

    #[test]
    fn spans_are_what_backticks_enclose() {
        let spans: Vec<&str> = code_spans("`a::b` and `c`, not d").collect();
        assert_eq!(spans, ["a::b", "c"]);
    }

    #[test]
    fn a_row_has_a_bar_at_both_ends() {
        assert_eq!(cells("| 1 | No export | `x` |"), Some(vec!["1", "No export", "`x`"]));
        assert_eq!(cells("a | b"), None);
    }
}
