//! Renderings: what a system makes of a value that we sent is no edit of anybody's.

use schemas::{Address, Rule, Value, holds};

/// Whether `shown` could be what a system made of `sent`: blanks dropped, cut off, re-cased, white space trimmed or run
/// together. An address is compared line by line, and every line must be.
pub fn derived(sent: &Value, shown: &Value) -> bool {
    match (sent, shown) {
        (Value::Address(sent), Value::Address(shown)) => lines_derived(sent, shown),
        (Value::Address(sent), Value::Empty) => lines_derived(sent, &Address::default()),
        _ => match (sent.as_text(), shown.as_text()) {
            (Some(sent), Some(shown)) => text_derived(sent, shown),
            _ => false,
        },
    }
}

fn lines_derived(sent: &Address, shown: &Address) -> bool {
    sent.lines().iter().zip(shown.lines()).all(|(sent, shown)| text_derived(sent, shown))
}

fn text_derived(sent: &str, shown: &str) -> bool {
    let (blank_sent, blank_shown) = (sent.trim().is_empty(), shown.trim().is_empty());
    match (blank_sent, blank_shown) {
        (true, _) => shown.is_empty(),
        (false, true) => false,
        (false, false) => plain(sent).starts_with(&plain(shown)),
    }
}

/// Trimmed, lower-cased, each run of white space made one space.
fn plain(text: &str) -> String {
    let text = if holds(Rule::RenderingsTrimmed) { text.trim() } else { text };
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_whitespace() {
            true if plain.ends_with(' ') => {}
            true => plain.push(' '),
            false => plain.extend(c.to_lowercase()),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_may_cut_re_case_and_trim_what_we_sent() {
        for (sent, shown, is) in [
            ("Ada Lovelace", "Ada Lovelace", true),
            ("Ada Lovelace", "ADA LOVELACE", true),
            ("Ada  Lovelace ", "Ada Lovelace", true),
            ("Ada Lovelace", "Ada Love", true),
            ("  ", "", true),
            ("", "", true),
            ("Ada", "", false),
            ("", "Ada", false),
            ("Ada", "Ada Lovelace", false),
            ("Ada", "Eve", false),
        ] {
            assert_eq!(derived(&sent.into(), &shown.into()), is, "{sent:?} shown as {shown:?}");
        }
    }

    #[test]
    fn an_address_is_derived_if_all_its_lines_are() {
        let sent = Address { line1: "1 Main Street".into(), line2: " ".into(), country: "us".into(), ..Default::default() };
        let shown = Address { line1: "1 Main".into(), country: "US".into(), ..Default::default() };
        assert!(derived(&sent.clone().into(), &shown.clone().into()));
        let other = Address { city: "Paris".into(), ..shown };
        assert!(!derived(&sent.clone().into(), &other.into()));
        assert!(!derived(&sent.into(), &Value::Empty));
    }
}
