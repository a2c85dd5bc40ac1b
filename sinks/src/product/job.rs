//! One request as the batch's table holds it.

use clients::postgres::{Shape, Table};
use schemas::{Action, Create, ExternalId, Field, Values, WriteId};
use std::fmt::Write as _;
use uuid::Uuid;

/// A request of `requests.<product>`.
#[derive(Debug, Clone)]
pub struct Job {
    /// The topic's key: the external id; of a create the customer id.
    pub key: String,
    pub action: Action,
}

impl Job {
    pub fn id(&self) -> ExternalId {
        ExternalId::new(&self.key)
    }

    /// `None`: a read.
    pub fn write_id(&self) -> Option<&WriteId> {
        match &self.action {
            Action::Read(_) => None,
            Action::Write(write) => Some(&write.id),
            Action::Delete(delete) => Some(&delete.id),
            Action::Create(create) => Some(&create.id),
        }
    }

    /// What it sets.
    pub fn set(&self) -> Option<&Values> {
        match &self.action {
            Action::Write(write) => Some(&write.set),
            Action::Create(create) => Some(&create.set),
            Action::Read(_) | Action::Delete(_) => None,
        }
    }

    /// What it sets and expects, slot by slot.
    pub fn slots(&self, shape: &Shape) -> Slots {
        match &self.action {
            Action::Write(write) => Slots { set: shape.encode(&write.set), expected: shape.encode(&write.expected) },
            Action::Create(create) => Slots { set: with_values(shape, create), expected: Vec::new() },
            Action::Read(_) | Action::Delete(_) => Slots::default(),
        }
    }

    /// The field of a refusal: the first that the database named and that we set.
    pub fn refused_field(&self, named: &[Field]) -> Option<Field> {
        let set = self.set()?;
        named.iter().find(|field| set.contains_key(field)).cloned()
    }
}

/// The key of a row that we make where the table makes none itself: the same each time.
pub fn own_key(create: &Create) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, create.key.as_bytes())
}

/// A request's values as the table's columns hold them; none for a slot that is not concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slots {
    pub set: Vec<Option<String>>,
    pub expected: Vec<Option<String>>,
}

/// The slots that have a value, a bit for each.
pub fn mask(values: &[Option<String>]) -> u64 {
    values.iter().enumerate().filter(|(_, value)| value.is_some()).fold(0, |mask, (n, _)| mask | 1 << n)
}

/// The slots of a mask, in order.
pub fn bits(mask: u64) -> impl Iterator<Item = usize> {
    (0..64).filter(move |n| mask & 1 << n != 0)
}

/// The fence's id of a write id (or of a create's key), in the fence of one log.
pub fn fence_id(log: Uuid, write_id: &str) -> Uuid {
    Uuid::new_v5(&log, write_id.as_bytes())
}

/// Some of the batch's rows as COPY text. `slots`: of every request of the batch.
pub fn copy_text(jobs: &[&Job], rows: &[usize], slots: &[Slots], table: &Table, log: Uuid) -> String {
    let mut text = String::with_capacity(rows.len() * 160);
    for &n in rows {
        let (job, slots) = (jobs[n], &slots[n]);
        let write_id = job.write_id().map(WriteId::to_string);
        // Writing to a String cannot fail.
        let _ = write!(text, "{n}");
        field(&mut text, write_id.as_deref().map(|id| fence_id(log, id).to_string()).as_deref());
        field(&mut text, write_id.as_deref());
        let is_create = matches!(job.action, Action::Create(_));
        field(&mut text, (!is_create).then_some(job.key.as_str()));
        field(&mut text, (!is_create && table.key.kind.accepts(&job.key)).then_some(job.key.as_str()));
        let incarnation = if let Action::Write(write) = &job.action { Some(write.incarnation.to_string()) } else { None };
        field(&mut text, incarnation.as_deref());
        for slot in 0..table.columns.len() {
            let value = |of: &'_ [Option<String>]| of.get(slot).cloned().flatten();
            field(&mut text, value(&slots.set).as_deref());
            field(&mut text, value(&slots.expected).as_deref());
        }
        text.push('\n');
    }
    text
}

/// What a new row is given: its values, no empty ones, so that the table's own defaults stay.
fn with_values(shape: &Shape, create: &Create) -> Vec<Option<String>> {
    let values: Values = create.set.iter().filter(|(_, v)| !v.is_empty()).map(|(f, v)| (f.clone(), v.clone())).collect();
    shape.encode(&values).into_iter().map(|v| v.filter(|v| !v.is_empty())).collect()
}

/// A tab, and the value as COPY's text format has it.
fn field(text: &mut String, value: Option<&str>) {
    text.push('\t');
    let Some(value) = value else {
        text.push_str("\\N");
        return;
    };
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_text_keeps_every_character() {
        let mut text = String::new();
        for value in [None, Some(""), Some("a\tb\\N\r\nc"), Some("\\.")] {
            field(&mut text, value);
        }
        assert_eq!(text, "\t\\N\t\ta\\tb\\\\N\\r\\nc\t\\\\.");
    }
}
