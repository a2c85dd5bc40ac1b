//! What really happened: every record of every system, every change of every field with who made it, every look.
//!
//! The systems act on it, the oracle judges by it. A sequence number orders everything across systems.

use schemas::{CustomerFields, ExternalId, SourceCustomer, Value, WriteId};
use std::{collections::BTreeMap, fmt};

use crate::values;

/// The number of a record: its place in [`History::records`].
pub type RecordNo = usize;

/// Who made a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    Person,
    /// A rule inside the system that rewrites what was written.
    Automation,
    /// Came back with what it had.
    Revival,
    Ours(WriteId),
}

impl Who {
    pub fn ours(&self) -> bool {
        matches!(self, Who::Ours(_))
    }
}

/// A record from its birth to its delete. The same external id made again is another record.
#[derive(Clone, Debug)]
pub struct Record {
    pub system: usize,
    pub id: ExternalId,
    /// How many records with this id there were before.
    pub incarnation: i64,
    /// Whose record: for actions to find it, nothing else.
    pub person: usize,
    pub values: [Value; 5],
    pub born_at: i64,
    pub born_seq: u64,
    pub born_by: Who,
    pub born_values: [Value; 5],
    pub died: Option<Death>,
    pub concord_id: Option<String>,
    pub mark: Option<String>,
    /// By the system's clock, as fine as it is.
    pub created: i64,
    pub modified: i64,
    pub modified_by_us: bool,
}

#[derive(Clone, Debug)]
pub struct Death {
    pub at: i64,
    pub seq: u64,
    pub by: Who,
}

impl Record {
    pub fn live(&self) -> bool {
        self.died.is_none()
    }

    /// The mapped fields, as a snapshot shows them.
    pub fn fields(&self, mapped: &[bool; 5]) -> CustomerFields {
        let mut fields = CustomerFields::default();
        for (index, value) in self.values.iter().enumerate() {
            if mapped[index] && !value.is_empty() {
                fields.set(&values::field(index), value.clone());
            }
        }
        fields
    }

    pub fn email(&self) -> Option<String> {
        schemas::normalise_email(self.values[1].as_text()?)
    }
}

/// One field changed.
#[derive(Clone, Debug)]
pub struct Change {
    pub record: RecordNo,
    pub field: usize,
    pub before: Value,
    pub after: Value,
    pub who: Who,
    pub at: i64,
    pub seq: u64,
    /// For a write of ours: it found something else than it expected.
    pub covered: bool,
}

/// A snapshot that was published and not dropped as old.
#[derive(Clone, Debug)]
pub struct Look {
    pub record: RecordNo,
    /// Everything before this is in it.
    pub seq: u64,
    pub at: i64,
}

/// A write of ours reached a record.
#[derive(Clone, Debug)]
pub struct Landing {
    pub record: RecordNo,
    pub write: WriteId,
    pub seq: u64,
}

#[derive(Default)]
pub struct History {
    pub records: Vec<Record>,
    pub changes: Vec<Change>,
    pub looks: Vec<Look>,
    /// Writes of ours that reached a record, whether or not they changed anything.
    pub landings: Vec<Landing>,
    /// The last record of each external id.
    pub by_id: BTreeMap<(usize, ExternalId), RecordNo>,
    pub seq: u64,
    /// The highest order published of each external id.
    orders: BTreeMap<(usize, ExternalId), i64>,
}

impl History {
    fn tick(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    #[allow(clippy::too_many_arguments)]
    pub fn create(&mut self, system: usize, id: ExternalId, person: usize, values: [Value; 5], who: Who, at: i64, local: i64) -> RecordNo {
        let seq = self.tick();
        let number = self.records.len();
        let incarnation = self.by_id.get(&(system, id.clone())).map_or(0, |before| self.records[*before].incarnation + 1);
        self.by_id.insert((system, id.clone()), number);
        for (field, value) in values.iter().enumerate() {
            if !value.is_empty() {
                self.changes.push(Change {
                    record: number,
                    field,
                    before: Value::Empty,
                    after: value.clone(),
                    who: who.clone(),
                    at,
                    seq,
                    covered: false,
                });
            }
        }
        let ours = who.ours();
        self.records.push(Record {
            system,
            id,
            incarnation,
            person,
            born_values: values.clone(),
            values,
            born_at: at,
            born_seq: seq,
            born_by: who,
            died: None,
            concord_id: None,
            mark: None,
            created: local,
            modified: local,
            modified_by_us: ours,
        });
        number
    }

    /// Changes fields; gives what really changed: (field, before).
    pub fn set(
        &mut self,
        record: RecordNo,
        set: &[(usize, Value)],
        who: &Who,
        at: i64,
        expected: Option<&[(usize, Value)]>,
    ) -> Vec<(usize, Value)> {
        let seq = self.tick();
        if let Who::Ours(write) = who {
            self.landings.push(Landing { record, write: write.clone(), seq });
        }
        let mut changed = Vec::new();
        for (field, value) in set {
            let slot = &mut self.records[record].values[*field];
            if slot != value {
                let before = std::mem::replace(slot, value.clone());
                let covered = expected.is_some_and(|e| e.iter().any(|(f, v)| f == field && *v != before));
                self.changes.push(Change {
                    record,
                    field: *field,
                    before: before.clone(),
                    after: value.clone(),
                    who: who.clone(),
                    at,
                    seq,
                    covered,
                });
                changed.push((*field, before));
            }
        }
        changed
    }

    pub fn delete(&mut self, record: RecordNo, who: &Who, at: i64) {
        let seq = self.tick();
        self.records[record].died = Some(Death { at, seq, by: who.clone() });
    }

    /// The last record with this id.
    pub fn find(&self, system: usize, id: &ExternalId) -> Option<RecordNo> {
        self.by_id.get(&(system, id.clone())).copied()
    }

    pub fn live(&self, system: usize) -> impl Iterator<Item = (RecordNo, &Record)> {
        self.records.iter().enumerate().filter(move |(_, r)| r.system == system && r.live())
    }

    /// A snapshot of a record taken at `seq` is published: a look, unless something newer was published before.
    pub fn published(&mut self, system: usize, id: &ExternalId, seq: u64, at: i64, result: &SourceCustomer) {
        let Some(order) = result.order else { return };
        let last = self.orders.entry((system, id.clone())).or_insert(0);
        if order <= *last {
            return;
        }
        *last = order;
        // A look at a record that is deleted in the meantime was one at the record that was there at `seq`.
        let record = self.records.iter().rposition(|r| r.system == system && r.id == *id && r.born_seq <= seq);
        if let Some(record) = record {
            self.looks.push(Look { record, seq, at });
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Person => f.write_str("a person"),
            Who::Automation => f.write_str("an automation"),
            Who::Revival => f.write_str("a revival"),
            Who::Ours(write) => {
                let text = write.to_string();
                write!(f, "us ({})", &text[text.len().min(32)..])
            }
        }
    }
}
