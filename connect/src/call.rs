//! One call to a system, and what the system answered. An adapter performs calls and classifies answers; it never decides.

use schemas::{CustomerFields, CustomerId, ExternalId, Field, Millis, SourceCustomer, Values, WriteId};

/// What an adapter is asked to do, once. Repeating it is the conversation's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Show the record: [`Reply::Done`], with `fields: None` if it is deleted or was never there.
    Get { id: ExternalId },
    /// Set some fields and the mark `concord_write`: [`Reply::Done`], [`Reply::Replayed`], [`Reply::Missing`], …
    Update(Update),
    /// Make a record with both marks.
    Create(Create),
    /// Delete the record: [`Reply::Accepted`] or [`Reply::Missing`]; a look follows.
    Delete(Delete),
    /// Find the records whose mark `concord_id` is this customer: [`Reply::Found`].
    ///
    /// `since`: only records created at or after this (the system's clock, roughly) need to be found, where the system has no
    /// index of marks (Stripe: a list by `created`). Deleted ones are found, too, where the system still shows them.
    FindOurs { customer: CustomerId, since: Millis },
    /// Find the live records with this e-mail, compared as [`schemas::normalise_email`] does: [`Reply::Found`], marks included.
    /// `email` is as the create would write it: where the system compares exactly, look for it and for its normal form.
    FindByEmail { email: String },
    /// Show a page of the list: [`Reply::Found`]. `page` is what the connector's backfill put into [`schemas::Read::page`].
    List { page: String },
}

/// Set these fields of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    pub id: ExternalId,
    /// Idempotency key, where the system has such: the write id, or `<write id>.k<n>` after a stored failure.
    pub key: String,
    /// What the mark `concord_write` becomes.
    pub write: WriteId,
    pub set: Values,
    /// Compare and set: only if the record was not modified after this, by its own stamp ([`Style::Stamped`](crate::Style)).
    pub unmodified_since: Option<Millis>,
}

/// Make a record: `concord_id` = `id.customer`, `concord_write` = `id`. Never an upsert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// Idempotency key, where the system has such.
    pub key: String,
    pub id: WriteId,
    pub set: Values,
}

/// Delete a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    pub id: ExternalId,
    /// Idempotency key, where the system takes one for deletes.
    pub key: String,
    pub write: WriteId,
}

impl Call {
    /// Its name in logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Call::Get { .. } => "get",
            Call::Update(_) => "update",
            Call::Create(_) => "create",
            Call::Delete(_) => "delete",
            Call::FindOurs { .. } => "find_ours",
            Call::FindByEmail { .. } => "find_by_email",
            Call::List { .. } => "list",
        }
    }

    /// What it is about: a record, a customer, an e-mail or a page.
    pub(crate) fn subject(&self) -> String {
        match self {
            Call::Get { id } => id.to_string(),
            Call::Update(update) => update.id.to_string(),
            Call::Create(create) => create.id.customer.to_string(),
            Call::Delete(delete) => delete.id.to_string(),
            Call::FindOurs { customer, .. } => customer.to_string(),
            Call::FindByEmail { email } => email.clone(),
            Call::List { page } => page.clone(),
        }
    }

    /// Whether it changes something in the system.
    pub fn changes(&self) -> bool {
        matches!(self, Call::Update(_) | Call::Create(_) | Call::Delete(_))
    }
}

/// What came of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It worked, and the system shows the record as it is after it.
    Done {
        seen: Seen,
        /// `seen` is exactly as this call left it (Stripe's POST answer; Salesforce's read-back if last-modified-by is us).
        exact: bool,
    },
    /// The system's stored answer to an earlier call with this key (`Idempotent-Replayed`): how the record was then.
    Replayed { seen: Seen },
    /// It worked, and the answer shows no record (a delete).
    Accepted,
    /// A create worked, and the answer tells no more than the new record's id.
    Made { id: ExternalId },
    /// The records that a find or a list found.
    Found(Vec<Seen>),
    /// The record is deleted, or was never there.
    Missing,
    /// A permanent error: the same call will never work.
    Refused(Refusal),
    /// The record was modified since (412): nothing was done.
    Changed,
    /// A create: a record with our unique mark is there already (the system's duplicate error on that field).
    AlreadyOurs,
    /// A failure (5xx) that the system stored under the key and will replay: what it did is not known, and repeating is no use.
    Stored { status: u16 },
    /// The system knows this key, with other parameters.
    KeyReused,
    /// Nobody knows whether it happened: a time-out, a reset, a 5xx that is not stored, a conflict of keys under way.
    Unknown { reason: String, retry_after: Option<Millis> },
    /// Not done: too many requests. Also locks that ran out, and any other "not now" that certainly changed nothing.
    Busy { reason: String, retry_after: Option<Millis> },
    /// Not done: the credentials are not accepted.
    Unauthorized { reason: String },
}

/// Why a call is refused for good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The field that the system named, if it did.
    pub field: Option<Field>,
    /// In the system's words, shortened; no secrets.
    pub reason: String,
    /// Somebody else has this (unique) value: worth another try later.
    pub taken: bool,
}

/// One record as its system showed it at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub id: ExternalId,
    /// The system's own clock when it showed this (HTTP `Date`); 0: not known.
    pub look: Millis,
    /// All mapped fields; `None`: deleted.
    pub fields: Option<CustomerFields>,
    /// The mark `concord_id`, as found.
    pub concord_id: Option<String>,
    /// The mark `concord_write`, as found.
    pub mark: Option<String>,
    /// When the record was created, by the system's clock; 0: not known.
    pub created: Millis,
    /// The system's own last-modified, if it has one.
    pub stamp: Option<Millis>,
}

impl Seen {
    /// A record that is deleted, or was never there.
    pub fn deleted(id: ExternalId, look: Millis) -> Self {
        Seen { id, look, fields: None, concord_id: None, mark: None, created: 0, stamp: None }
    }

    pub fn is_deleted(&self) -> bool {
        self.fields.is_none()
    }

    /// Whether it shows these values.
    pub fn shows(&self, expected: &Values) -> bool {
        self.fields.as_ref().is_some_and(|fields| expected.iter().all(|(field, value)| fields.get(field) == *value))
    }

    /// Whether the stamp's second was certainly over when this was shown: two seconds, since the clock that was shown
    /// (HTTP `Date`) may be read up to a second after the record.
    pub fn settled(&self) -> bool {
        !schemas::rules::holds(schemas::rules::Rule::StampSecond) || self.stamp.is_some_and(|stamp| self.look >= over_at(stamp))
    }

    /// How long until [`settled`](Self::settled), by the system's clock; 0 when it is or will never be.
    pub(crate) fn unsettled_for(&self) -> Millis {
        self.stamp.map_or(0, |stamp| (over_at(stamp) - self.look).max(0))
    }

    /// The result that carries this snapshot.
    pub(crate) fn result(self, order: i64) -> SourceCustomer {
        let settled = self.settled();
        SourceCustomer {
            order: Some(order),
            look: self.look,
            fields: self.fields,
            concord_id: self.concord_id,
            mark: self.mark,
            created: self.created,
            stamp: self.stamp,
            settled,
            ..SourceCustomer::default()
        }
    }
}

/// When a stamp's second is over for certain.
fn over_at(stamp: Millis) -> Millis {
    stamp.div_euclid(1000) * 1000 + 2000
}
