//! What is there, what differs, and what will be done: one step for each thing.

use serde_json::{Value as Json, json};

/// One thing that a deployment needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// `topic`, `schema`, `postgres` or `ksqldb`.
    pub part: &'static str,
    pub name: String,
    pub state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// As it must be.
    Same,
    /// Not there.
    Create(String),
    /// There, and not as it must be.
    Change(String),
    /// Not done without being asked for, or not at all.
    Refused(String),
}

impl Step {
    pub fn new(part: &'static str, name: impl Into<String>, state: State) -> Step {
        Step { part, name: name.into(), state }
    }

    pub fn is_change(&self) -> bool {
        matches!(self.state, State::Create(_) | State::Change(_))
    }

    pub fn is_refused(&self) -> bool {
        matches!(self.state, State::Refused(_))
    }

    fn words(&self) -> (&'static str, &str) {
        match &self.state {
            State::Same => ("same", ""),
            State::Create(what) => ("create", what),
            State::Change(what) => ("change", what),
            State::Refused(why) => ("refused", why),
        }
    }
}

/// For people: what is as it must be is only counted.
pub fn text(steps: &[Step], dry_run: bool) -> String {
    let mut out = String::new();
    for step in steps.iter().filter(|step| step.state != State::Same) {
        let (state, says) = step.words();
        let says = if says.is_empty() { String::new() } else { format!(": {says}") };
        let state = if state == "refused" { "REFUSED" } else { state };
        out.push_str(&format!("{state:<8}{:<9} {}{says}\n", step.part, step.name));
    }
    let count = |which: fn(&Step) -> bool| steps.iter().filter(|step| which(step)).count();
    let (same, changes, refused) = (count(|step| step.state == State::Same), count(Step::is_change), count(Step::is_refused));
    let done = match (changes, refused, dry_run) {
        (0, 0, _) => "nothing to do".to_owned(),
        (_, 0, true) => format!("{changes} to do"),
        (_, 0, false) => format!("{changes} done"),
        (_, _, true) => format!("{changes} to do, {refused} refused"),
        (_, _, false) => format!("{refused} refused, so nothing was done"),
    };
    out.push_str(&format!("{same} as they must be, {done}\n"));
    out
}

/// For scripts.
pub fn json(steps: &[Step], dry_run: bool) -> Json {
    let one = |step: &Step| {
        let (state, says) = step.words();
        json!({"part": step.part, "name": step.name, "state": state, "says": says})
    };
    let refused = steps.iter().filter(|step| step.is_refused()).count();
    let changes = steps.iter().filter(|step| step.is_change()).count();
    let done = if dry_run || refused > 0 { 0 } else { changes };
    json!({"dry_run": dry_run, "changes": changes, "refused": refused, "done": done, "steps": steps.iter().map(one).collect::<Vec<_>>()})
}
