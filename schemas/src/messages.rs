//! The messages of the sync protocol (docs/protocol.md, section 1), one Rust type per Avro record.
//!
//! An enum of records is a union in Avro, and its variants are called as the records are (serde_avro_fast writes the short name
//! and reads the full one). A field that was added later needs a default on both sides, here and in the `.avsc`.
//!
//! Times are milliseconds since the epoch ([`Millis`], Avro `timestamp-millis`), by the clock that the field's comment names.

use crate::{CustomerFields, CustomerId, ExternalId, Field, System, Value, Values, WriteId};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Milliseconds since the Unix epoch.
pub type Millis = i64;

/// One changed field of a notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub field: Field,
    /// What it was before; `None` where the system did not say.
    pub previous: Option<Previous>,
    pub new: Value,
}

/// A known previous value (which may be "no value").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    pub value: Value,
}

/// "Something changed on this record": evidence of who, when and what; never state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The system's own id of the event.
    pub event_id: String,
    /// The write of ours that caused it, as the system echoed it; unparsed, since anybody can put anything there.
    pub write_id: Option<String>,
    /// By the system's clock.
    pub time: Millis,
    pub changes: Vec<Change>,
}

impl Notice {
    /// The write of ours behind this notice: it must parse, and name this system.
    pub fn ours(&self, system: &System) -> Option<WriteId> {
        self.write_id.as_deref()?.parse().ok().filter(|id: &WriteId| id.system == *system)
    }
}

/// `requests.<system>`: what the conversation runner is asked to do. Key: external id; of a create: customer id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    #[serde(alias = "concord.Read")]
    Read(Read),
    #[serde(alias = "concord.Write")]
    Write(Write),
    #[serde(alias = "concord.Delete")]
    Delete(Delete),
    #[serde(alias = "concord.Create")]
    Create(Create),
}

/// Look at the record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    pub notices: Vec<Notice>,
    /// Part of a backfill: the cursor of the list page that this record was seen on (may be answered by one list call).
    pub page: Option<String>,
}

/// Set these fields, if the record still shows what is expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    pub id: WriteId,
    pub customer: CustomerId,
    pub incarnation: i64,
    #[serde(with = "field_values")]
    pub set: Values,
    /// What the record last showed of these fields.
    #[serde(with = "field_values")]
    pub expected: Values,
    /// The record's mark when it was last seen.
    pub mark: Option<String>,
    /// `order` of the result that this write was decided upon; 0: look before writing, an earlier write may still land.
    pub after: i64,
    /// The system's last-modified then, if it has one.
    pub stamp: Option<Millis>,
    pub settled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delete {
    pub id: WriteId,
    pub customer: CustomerId,
    pub incarnation: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    pub id: WriteId,
    /// The idempotency key: `id` without its body number.
    pub key: String,
    pub customer: CustomerId,
    #[serde(with = "field_values")]
    pub set: Values,
}

/// `customers.<system>`: a snapshot of one record and what it answers. Key: external id; of an answer that made no
/// record: customer id. Who publishes to a system of kind `topic` gives `fields` only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceCustomer {
    /// The place in the record's conversation; 0: not in the order; `None`: published from outside, not by a connector.
    pub order: Option<i64>,
    /// Numbered by the product; absent elsewhere (resolve counts).
    pub incarnation: Option<i64>,
    /// The system's own clock when it showed this; 0: not known.
    pub look: Millis,
    /// `None`: deleted (or, in an answer that made no record, none).
    pub fields: Option<CustomerFields>,
    /// The mark `concord_id`, as found (unparsed).
    pub concord_id: Option<String>,
    /// The mark `concord_write`, as found.
    pub mark: Option<String>,
    /// When the record was created, by its system's clock; 0: not known.
    pub created: Millis,
    /// The system's own last-modified, if it has one.
    pub stamp: Option<Millis>,
    pub settled: bool,
    pub notices: Vec<Notice>,
    pub answer: Option<Answer>,
}

/// What became of one of our calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub write_id: WriteId,
    pub outcome: Outcome,
    /// `refused`: the field that the system named.
    pub refused_field: Option<Field>,
    /// `refused`, `held`: why, in the system's words.
    pub reason: Option<String>,
    /// `refused` because somebody else has this (unique) value: worth another try later.
    pub taken: bool,
    /// The record exactly as our write left it, where the system's answer says so.
    pub left: Option<CustomerFields>,
    /// `done` creates: `fields` is what was sent, since nobody looked ("an answer without a look").
    pub unseen: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    #[serde(rename = "done")]
    Done,
    /// Not written: the record no longer shows what was expected.
    #[serde(rename = "moved_on")]
    MovedOn,
    /// A permanent error.
    #[serde(rename = "refused")]
    Refused,
    /// The record is deleted.
    #[serde(rename = "gone")]
    Gone,
    /// Creates only: not now.
    #[serde(rename = "held")]
    Held,
}

/// `links.<system>`: which customer a record is. Key: external id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerLink {
    pub incarnation: i64,
    pub customer: CustomerId,
}

/// `customers.identify`. Key: normalised e-mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentifyMessage {
    pub body: IdentifyBody,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "goes straight into bytes or a decision, never into a collection")]
pub enum IdentifyBody {
    #[serde(rename = "Question", alias = "concord.Question")]
    Ask(Question),
    #[serde(alias = "concord.Claim")]
    Claim(Claim),
    #[serde(alias = "concord.Release")]
    Release(Release),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub customer: CustomerId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub customer: CustomerId,
}

/// "Whose record is this?"
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    pub system: System,
    pub external_id: ExternalId,
    pub incarnation: i64,
    pub by: By,
    pub email: Option<String>,
    pub minted: CustomerId,
    /// The record carries a `concord_id`: a create of ours made it.
    pub ours: bool,
    pub duplicate_of: Option<CustomerId>,
    pub bounces: i32,
    pub first: SourceCustomer,
}

/// How a question found its customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum By {
    #[serde(rename = "carried")]
    Carried,
    #[serde(rename = "email")]
    Email,
    #[serde(rename = "minted")]
    Minted,
}

/// `customers.unify`. Key: customer id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnifyMessage {
    pub body: UnifyBody,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnifyBody {
    #[serde(rename = "RecordResult", alias = "concord.RecordResult")]
    Result(RecordResult),
    #[serde(alias = "concord.Question")]
    Question(Question),
    #[serde(alias = "concord.Status")]
    Status(Status),
    #[serde(alias = "concord.Walk")]
    Walk(Walk),
    /// A link that came for an incarnation that is over (rule 12).
    #[serde(alias = "concord.Gone")]
    Gone(Gone),
}

/// A result of a linked record, or an answer that made no record (`external_id` none).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordResult {
    pub system: System,
    pub external_id: Option<ExternalId>,
    pub incarnation: i64,
    pub result: SourceCustomer,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    pub system: System,
    pub external_id: ExternalId,
    pub incarnation: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub email: String,
    pub first: bool,
}

/// To every partition of `customers.unify`: compute every customer's writes to this system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    pub system: System,
    /// `import`, or a configuration's hash. A partition ignores a reason that it has had.
    pub reason: String,
}

/// `customers.unified`: one customer, everywhere. Key: customer id. A deleted one stays, without values.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UnifiedCustomer {
    pub customer_id: CustomerId,
    /// Counts what was published for this customer, from 1.
    pub version: i64,
    pub deleted: bool,
    /// Wall clock of the processor.
    pub updated_at: Millis,
    /// An elder customer owns this one's e-mail: it is created nowhere.
    pub contested: bool,
    pub fields: Vec<GoldenField>,
    pub records: Vec<LinkedRecord>,
}

/// A field's golden value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GoldenField {
    pub field: Field,
    pub value: Value,
    pub system: System,
    pub external_id: ExternalId,
    pub event_id: Option<String>,
    /// When it was edited, by that system's clock.
    pub edited_at: Millis,
    /// What chose it: `first`, `edit` (on top of the value before) or a conflict's rule.
    pub rule: Cow<'static, str>,
}

/// A record linked to a customer, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LinkedRecord {
    pub system: System,
    pub external_id: ExternalId,
    pub deleted: bool,
    /// Linked, but another record of the same system takes part in its stead.
    pub spare: bool,
    /// It shows golden, or its own rendering of it, and nothing is under way.
    pub in_step: bool,
    /// What it last showed.
    #[serde(with = "field_values")]
    pub shows: Values,
    /// The write or delete under way.
    pub in_flight: Option<WriteId>,
    pub refused: Vec<RefusedValue>,
    /// Fields that the flap guard holds.
    pub held: Vec<Field>,
}

/// A value that a system refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RefusedValue {
    pub field: Field,
    pub value: Value,
    pub reason: String,
}

/// `customers.conflicts`: something that a person may want to look at. Key: customer id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerConflict {
    /// Made from state, so that a replay makes the same one: `<customer id>:<n>`.
    pub id: String,
    pub kind: ConflictKind,
    pub customer_id: CustomerId,
    pub system: System,
    pub external_id: Option<ExternalId>,
    pub field: Option<Field>,
    /// Wall clock of the processor.
    pub at: Millis,
    /// The rule that picked the winner.
    pub rule: Option<String>,
    pub winner: Option<Contender>,
    pub loser: Option<Contender>,
    pub detail: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConflictKind {
    /// Two values of one field, neither made on top of the other.
    #[serde(rename = "edits")]
    Edits,
    /// Our write covered an edit that nobody had seen.
    #[serde(rename = "covered")]
    Covered,
    #[serde(rename = "duplicate_candidate")]
    DuplicateCandidate,
    #[serde(rename = "spare")]
    Spare,
    #[serde(rename = "refused")]
    Refused,
    #[serde(rename = "delete_refused")]
    DeleteRefused,
    /// A field that automations set back and forth.
    #[serde(rename = "flapping")]
    Flapping,
}

impl ConflictKind {
    /// Every kind there is.
    pub const ALL: [ConflictKind; 7] = {
        use ConflictKind::*;
        [Edits, Covered, DuplicateCandidate, Spare, Refused, DeleteRefused, Flapping]
    };

    /// As it stands in records: `duplicate_candidate`.
    pub fn name(self) -> &'static str {
        match self {
            ConflictKind::Edits => "edits",
            ConflictKind::Covered => "covered",
            ConflictKind::DuplicateCandidate => "duplicate_candidate",
            ConflictKind::Spare => "spare",
            ConflictKind::Refused => "refused",
            ConflictKind::DeleteRefused => "delete_refused",
            ConflictKind::Flapping => "flapping",
        }
    }
}

/// One side of a conflict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contender {
    pub value: Value,
    pub system: System,
    pub edited_at: Millis,
    pub event_id: Option<String>,
}

/// [`Values`] on the wire: an array of records `FieldValue {field, value}`, in order of field.
pub mod field_values {
    use super::{Field, Value, Values};
    use serde::{
        Deserialize, Deserializer, Serialize, Serializer,
        de::{SeqAccess, Visitor},
    };
    use std::fmt;

    #[derive(Serialize)]
    struct Borrowed<'a> {
        field: &'a Field,
        value: &'a Value,
    }

    #[derive(Deserialize)]
    struct Owned {
        field: Field,
        value: Value,
    }

    pub fn serialize<S: Serializer>(values: &Values, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(values.iter().map(|(field, value)| Borrowed { field, value }))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Values, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Values;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("fields with their values")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Values, A::Error> {
                let mut values = Values::new();
                while let Some(Owned { field, value }) = list.next_element()? {
                    values.insert(field, value);
                }
                Ok(values)
            }
        }
        d.deserialize_seq(List)
    }
}
