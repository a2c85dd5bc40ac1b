//! What `unify` remembers of one customer: what is true, what each record last showed, and what it was asked to write.
//!
//! Stored as Avro (schemas/state/Customer.avsc), so that it evolves: a new field has a default there and here. What the rest of a
//! customer tells is not stored ([`packed`](super::packed)).

use schemas::{Attempt, CustomerId, ExternalId, Field, Millis, Notice, SortedMap, System, Value, Values, WriteId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{collections::BTreeSet, fmt};

/// How many of its last writes a replica remembers, and how many attempts a create.
pub const RING: usize = 16;
/// How many of its last notices a replica remembers of each field.
pub const NOTICES: usize = 8;
/// How many choices on top the flap guard remembers of each field.
pub const FLIPS: usize = 12;

/// One customer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(remote = "Self")]
pub struct Customer {
    #[serde(deserialize_with = "super::packed::id_bytes::deserialize")]
    pub id: CustomerId,
    /// Of the unified record last published.
    #[serde(default)]
    pub version: i64,
    /// What the unified record last published said, as a digest.
    #[serde(default)]
    pub published: i64,
    #[serde(default)]
    pub deleted: bool,
    /// The golden values; a field that nobody chose yet is absent, which reads as (empty, 0, none, 0).
    #[serde(default)]
    pub golden: SortedMap<Field, Golden>,
    /// Counts choices: a golden value's version is its place.
    #[serde(default)]
    pub choices: i64,
    /// Counts write ids.
    #[serde(default)]
    pub n: i64,
    /// The record that takes part for each system.
    #[serde(default)]
    pub replicas: SortedMap<System, Box<Replica>>,
    /// (17) Records that are linked and take no part.
    #[serde(default)]
    pub spares: Vec<Spare>,
    /// (18) The e-mail claimed at `identify`, normalised.
    #[serde(default)]
    pub claimed: Option<String>,
    /// (18) An elder customer owns the e-mail, or `identify` has not answered yet.
    #[serde(default)]
    pub contested: bool,
    /// (24) Where a delete is wanted.
    #[serde(default)]
    pub delete_wanted: BTreeSet<System>,
    /// (23) Fields that the flap guard holds.
    #[serde(default)]
    pub held: BTreeSet<Field>,
    #[serde(default)]
    pub flips: SortedMap<Field, Vec<Flip>>,
    #[serde(default)]
    pub creates: SortedMap<System, Creates>,
    /// Counts recorded conflicts, which makes their ids.
    #[serde(default)]
    pub conflicts: i64,
    /// When something that was put off is due, as the index of due customers knows it.
    #[serde(default)]
    pub due: Option<Millis>,
}

/// The value that the merge chose for a field, and where it comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Golden {
    pub value: Value,
    /// By the clock of its system.
    pub time: Millis,
    pub system: System,
    /// The count of choices when it was chosen.
    pub version: i64,
    pub external_id: ExternalId,
    #[serde(default)]
    pub event_id: Option<String>,
    pub chosen_by: ChosenBy,
}

/// What made a value golden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChosenBy {
    /// The first value at all.
    #[serde(rename = "first")]
    First,
    /// An edit on top of the golden value before.
    #[serde(rename = "edit")]
    Edit,
    #[serde(rename = "last_writer_wins")]
    LastWriterWins,
    #[serde(rename = "system_of_record")]
    SystemOfRecord,
}

/// A record of a system that takes part for a customer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Replica {
    pub external_id: ExternalId,
    pub incarnation: i64,
    #[serde(default)]
    pub deleted: bool,
    /// What the record last showed, in its conversation's order; an absent field showed no value.
    #[serde(default)]
    pub base: Values,
    /// The golden version that base shows; absent reads as 0.
    #[serde(default)]
    pub shows: SortedMap<Field, i64>,
    /// Only as stored: fields whose base is golden, at golden's version. They stand neither in `base` nor in `shows`.
    #[serde(default)]
    pub(super) as_golden: Vec<Field>,
    /// The one request whose outcome is not known.
    #[serde(default)]
    pub in_flight: Option<InFlight>,
    /// The last writes, a create's attempts among them, eldest first.
    #[serde(default)]
    pub ring: Vec<Write>,
    /// What the system made of a value that we sent.
    #[serde(default)]
    pub rendered: SortedMap<Field, Rendering>,
    #[serde(default)]
    pub refused: SortedMap<Field, Refusal>,
    #[serde(default)]
    pub notices: SortedMap<Field, Vec<Noticed>>,
    #[serde(default)]
    pub order: i64,
    #[serde(default)]
    pub look: Millis,
    /// The mark that it bears, where that is no call of ours about this customer in this system.
    #[serde(rename = "mark", default)]
    pub(super) foreign_mark: Option<String>,
    /// The mark, where it is.
    #[serde(default)]
    pub(super) our_mark: Option<Call>,
    #[serde(default)]
    pub stamp: Option<Millis>,
    #[serde(default)]
    pub settled: bool,
    /// After a refused delete.
    #[serde(default)]
    pub delete_pause: Option<Pause>,
}

/// A request whose outcome is not known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InFlight {
    pub id: Call,
    /// A delete; else a write.
    pub delete: bool,
}

/// What we asked a record to show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Write {
    pub id: Call,
    /// Empty values, too: what is cleared, and at a create what is known to have none. Once it landed, only the fields count.
    pub set: Values,
    #[serde(default)]
    pub expected: Values,
    /// Golden's versions of what is set, as sent.
    pub versions: SortedMap<Field, i64>,
    /// The look that it was decided upon.
    #[serde(default)]
    pub look: Millis,
    #[serde(default)]
    pub landed: bool,
    /// Fields whose covered edit was told of.
    #[serde(default)]
    pub told: BTreeSet<Field>,
}

/// A write id within its customer and system: `7`, `create2` or `create2.1`. State holds many, and these are short.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Call(pub Attempt);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rendering {
    pub sent: Value,
    pub shown: Value,
}

/// A value that a system refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    pub value: Value,
    #[serde(default)]
    pub reason: String,
    /// (22) Somebody else has it: asked again after a pause.
    #[serde(default)]
    pub pause: Option<Pause>,
}

/// A pause that doubles: 1 s … 10 min.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    pub times: i32,
    /// By the processor's wall clock.
    pub due: Millis,
}

/// One field's part of a notice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Noticed {
    pub event_id: String,
    /// It tells of a write of ours.
    pub ours: bool,
    pub time: Millis,
    pub new: Value,
}

/// (17) A record that is linked, so that it never becomes a customer of its own, and takes no part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spare {
    pub system: System,
    pub external_id: ExternalId,
    pub incarnation: i64,
    #[serde(default)]
    pub deleted: bool,
}

/// (23) One choice on top.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flip {
    pub value: Value,
    pub system: System,
    /// By the processor's wall clock.
    pub at: Millis,
}

/// (20) What was tried to make a record in a system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Creates {
    /// How many were refused.
    #[serde(default)]
    pub number: i64,
    /// The next body's number under this create number.
    #[serde(default)]
    pub bodies: i64,
    /// The attempts, eldest first. They stay after a landing: a twin may land later.
    #[serde(default)]
    pub attempts: Vec<Write>,
    /// The one whose outcome is not known.
    #[serde(default)]
    pub out: Option<Call>,
    /// Values that were refused, left out while golden is still the same.
    #[serde(default)]
    pub refused: SortedMap<Field, Refusal>,
    /// A body that was refused as a whole: nothing is tried until golden makes another.
    #[serde(default)]
    pub refused_body: Option<Values>,
    /// After `held`.
    #[serde(default)]
    pub held: Option<Pause>,
}

/// What a field reads as that nobody chose yet.
static NO_VALUE: Value = Value::Empty;

/// The field's value among some; no value where it is absent.
pub fn value_of<'a>(values: &'a Values, field: &Field) -> &'a Value {
    values.get(field).unwrap_or(&NO_VALUE)
}

impl Customer {
    /// A customer that nothing is known of yet. Its writes are numbered from `first_number` on.
    pub fn new(id: CustomerId, first_number: i64) -> Self {
        Customer {
            id,
            version: 0,
            published: 0,
            deleted: false,
            golden: SortedMap::new(),
            choices: 0,
            n: first_number,
            replicas: SortedMap::new(),
            spares: Vec::new(),
            claimed: None,
            contested: false,
            delete_wanted: BTreeSet::new(),
            held: BTreeSet::new(),
            flips: SortedMap::new(),
            creates: SortedMap::new(),
            conflicts: 0,
            due: None,
        }
    }

    /// Nothing was accepted yet: there is no such customer.
    pub fn is_new(&self) -> bool {
        !self.deleted && self.replicas.is_empty() && self.spares.is_empty()
    }

    /// Golden's value.
    pub fn golden_value(&self, field: &Field) -> &Value {
        self.golden.get(field).map_or(&NO_VALUE, |g| &g.value)
    }

    /// Golden's version: 0 until somebody chooses.
    pub fn golden_version(&self, field: &Field) -> i64 {
        self.golden.get(field).map_or(0, |g| g.version)
    }

    /// The golden e-mail, normalised.
    pub fn golden_email(&self) -> Option<String> {
        schemas::normalise_email(self.golden_value(&Field::Email).as_text()?)
    }

    /// The live records that take part.
    pub fn live_replicas(&self) -> impl Iterator<Item = (&System, &Replica)> {
        self.replicas.iter().map(|(system, r)| (system, &**r)).filter(|(_, r)| !r.deleted)
    }
}

impl Replica {
    /// A record at its first contact, which showed nothing yet.
    pub fn new(external_id: ExternalId, incarnation: i64) -> Self {
        Replica {
            external_id,
            incarnation,
            deleted: false,
            base: Values::new(),
            shows: SortedMap::new(),
            as_golden: Vec::new(),
            in_flight: None,
            ring: Vec::new(),
            rendered: SortedMap::new(),
            refused: SortedMap::new(),
            notices: SortedMap::new(),
            order: 0,
            look: 0,
            foreign_mark: None,
            our_mark: None,
            stamp: None,
            settled: false,
            delete_pause: None,
        }
    }

    pub fn is(&self, external_id: &ExternalId, incarnation: i64) -> bool {
        self.external_id == *external_id && self.incarnation == incarnation
    }

    pub fn base(&self, field: &Field) -> &Value {
        value_of(&self.base, field)
    }

    /// The golden version that base shows.
    pub fn shows(&self, field: &Field) -> i64 {
        self.shows.get(field).copied().unwrap_or(0)
    }

    /// Base shows this from now on; gives what it showed before.
    pub fn now_shows(&mut self, field: &Field, value: Value) -> Value {
        let before = if value.is_empty() { self.base.remove(field) } else { self.base.insert(field.clone(), value) };
        before.unwrap_or_default()
    }

    /// The record of this customer in this system bears this mark from now on.
    pub fn bears(&mut self, customer: CustomerId, system: &System, mark: Option<String>) {
        let id: Option<WriteId> = mark.as_deref().and_then(|mark| mark.parse().ok());
        let ours = id.filter(|id| id.customer == customer && id.system == *system);
        self.our_mark = ours.map(|id| Call(id.attempt));
        self.foreign_mark = mark.filter(|_| self.our_mark.is_none());
    }

    /// The mark that it bears.
    pub fn mark(&self, customer: CustomerId, system: &System) -> Option<String> {
        let ours = self.our_mark.map(|Call(attempt)| WriteId { customer, system: system.clone(), attempt }.to_string());
        ours.or_else(|| self.foreign_mark.clone())
    }

    /// Base is the system's own rendering of this value, which we sent.
    pub fn renders(&self, field: &Field, value: &Value) -> bool {
        self.rendered.get(field).is_some_and(|r| r.sent == *value && r.shown == *self.base(field))
    }

    /// Remembers a write, and forgets the eldest.
    pub fn remember(&mut self, write: Write) {
        self.ring.push(write);
        forget_eldest(&mut self.ring, RING);
    }
}

impl Write {
    /// It has landed: what it set is known from now on, and only which fields they were is kept.
    pub fn landed(&mut self) -> Write {
        let sent = self.clone();
        self.landed = true;
        self.set.values_mut().for_each(|value| *value = Value::Empty);
        self.versions.clear();
        sent
    }
}

impl Customer {
    /// The call of ours that this id names, if it is one about this customer in this system.
    pub fn call(&self, system: &System, id: &WriteId) -> Option<Call> {
        (id.customer == self.id && id.system == *system).then_some(Call(id.attempt))
    }

    pub fn write_id(&self, system: &System, call: Call) -> WriteId {
        WriteId { customer: self.id, system: system.clone(), attempt: call.0 }
    }
}

impl Call {
    pub fn is_create(self) -> bool {
        matches!(self.0, Attempt::Create { .. })
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Attempt::Write(n) => write!(f, "{n}"),
            Attempt::Create { number, body: 0 } => write!(f, "create{number}"),
            Attempt::Create { number, body } => write!(f, "create{number}.{body}"),
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Call {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Call {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Call;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a write id's last part")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Call, E> {
                let number = |text: &str| text.parse().map_err(E::custom);
                let Some(create) = text.strip_prefix("create") else { return Ok(Call(Attempt::Write(number(text)?))) };
                let (create, body) = create.split_once('.').unwrap_or((create, "0"));
                Ok(Call(Attempt::Create { number: number(create)?, body: number(body)? }))
            }
        }
        d.deserialize_str(Text)
    }
}

impl Pause {
    /// The next pause after this one: 1 s, 2 s, 4 s … 10 min.
    pub fn next(before: Option<Pause>, now: Millis) -> Pause {
        let times = before.map_or(0, |p| p.times).saturating_add(1);
        let pause = 1_000i64 << (times - 1).min(10);
        Pause { times, due: now + pause.min(600_000) }
    }
}

impl Noticed {
    pub fn new(notice: &Notice, ours: bool, new: Value) -> Self {
        Noticed { event_id: notice.event_id.clone(), ours, time: notice.time, new }
    }
}

/// Keeps the last `keep`.
pub fn forget_eldest<T>(list: &mut Vec<T>, keep: usize) {
    if list.len() > keep {
        list.drain(..list.len() - keep);
    }
}
