//! What goes, what stays, and what is made anew: for people and for scripts.

use super::fate::Fate;
use serde_json::{Value as Json, json};

/// One thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// `topic`, `store`, `group`, `folder` or `postgres`.
    part: &'static str,
    name: String,
    fate: Fate,
    /// How many there are of what it holds.
    count: Option<u64>,
}

impl Line {
    pub fn new(part: &'static str, name: impl Into<String>, fate: Fate) -> Line {
        Line { part, name: name.into(), fate, count: None }
    }

    pub fn is_change(&self) -> bool {
        !matches!(self.fate, Fate::Stays(_))
    }

    pub fn with_count(self, count: u64) -> Line {
        Line { count: Some(count), ..self }
    }
}

/// What goes first: that is what a person wants to know.
fn sorted(lines: &[Line]) -> Vec<&Line> {
    let mut sorted: Vec<&Line> = lines.iter().collect();
    sorted.sort_by_key(|line| match line.fate {
        Fate::Goes => 0,
        Fate::Anew(_) => 1,
        Fate::Stays(_) => 2,
    });
    sorted
}

pub fn text(lines: &[Line]) -> String {
    let mut out = String::new();
    for Line { part, name, fate, count } in sorted(lines) {
        let count = count.map(|count| format!(" ({count})")).unwrap_or_default();
        let why = fate.why();
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        out.push_str(&format!("{:<6}{part:<9} {name}{count}{why}\n", fate.word()));
    }
    out
}

pub fn json(lines: &[Line], done: bool, backup: Option<&str>) -> Json {
    let one = |line: &&Line| {
        let Line { part, name, fate, count } = line;
        json!({"part": part, "name": name, "fate": fate.word(), "count": count, "says": fate.why()})
    };
    json!({"done": done, "backup": backup, "things": sorted(lines).iter().map(one).collect::<Vec<_>>()})
}
