//! What every connector must pass: its [`Source`] and [`Sink`] against the real system, or a faithful stand-in.
//!
//! ```no_run
//! # async fn test(source: impl connect::Source, sink: impl connect::Sink) {
//! use connect::{Style, conformance::Subject};
//! let subject = Subject::new(&source, &sink, schemas::System::new("stripe").unwrap(), Style::Idempotent, "run-7");
//! subject.assert_conforms().await;
//! # }
//! ```
//!
//! Every check makes records of its own, so the system need not be empty, and checks never disturb each other.

use crate::{
    call::{Call, Create, Delete, Reply, Seen, Update},
    contract::{Sink, Source, perform},
    conversation::Style,
};
use schemas::{Address, CustomerId, ExternalId, Field, System, Value, Values, WriteId, normalise_email};

/// The connector under test, and what it needs to know of its system.
pub struct Subject<'a> {
    source: &'a dyn Source,
    sink: &'a dyn Sink,
    system: System,
    style: Style,
    run: String,
    /// Fields that the system maps, each with two different values that it shows as they were sent.
    pub fields: Vec<(Field, Value, Value)>,
    /// A value that the system refuses, naming the field.
    pub refused: Option<(Field, Value)>,
    /// A page of its list that must show a record just made (e.g. the first one, newest first).
    pub page: Option<String>,
}

/// What is wrong with it: the check's name, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub check: &'static str,
    pub found: String,
}

type Checked = Result<(), String>;

/// A record made for one check.
struct Made {
    id: ExternalId,
    write: WriteId,
    create: Create,
}

macro_rules! ensure {
    ($condition:expr, $($found:tt)+) => {
        if !$condition {
            return Err(format!($($found)+));
        }
    };
}

impl<'a> Subject<'a> {
    /// `run` must be another for each run against the same account (e.g. the time): ids and e-mails are made from it.
    pub fn new(source: &'a dyn Source, sink: &'a dyn Sink, system: System, style: Style, run: &str) -> Self {
        let address =
            |line1: &str| Value::from(Address { line1: line1.into(), city: "London".into(), country: "GB".into(), ..Address::default() });
        let fields = vec![
            (Field::Name, "Ada Lovelace".into(), "Ada King".into()),
            (Field::Phone, "+44 20 7946 0000".into(), "+44 20 7946 0001".into()),
            (Field::Address, address("12 St James's Square"), address("1 Ockham Park")),
            (Field::attribute("plan"), "basic".into(), "plus".into()),
        ];
        Subject { source, sink, system, style, run: run.to_owned(), fields, refused: None, page: None }
    }

    /// Runs every check, and panics with all that failed.
    pub async fn assert_conforms(&self) {
        let failures = self.failures().await;
        let list: Vec<String> = failures.iter().map(|failure| format!("- {}: {}", failure.check, failure.found)).collect();
        assert!(failures.is_empty(), "the connector of {} does not conform:\n{}", self.system, list.join("\n"));
    }

    /// Runs every check.
    pub async fn failures(&self) -> Vec<Failure> {
        let checks = [
            ("a record reads back as it was made, with both marks", self.reads_back().await),
            ("a create under one key makes one record", self.creates_once().await),
            ("an update sets its fields and its mark, and nothing else", self.updates().await),
            ("an update under one key is made once", self.updates_once().await),
            ("no value clears a field", self.clears().await),
            ("compare and set: nothing is written upon another stamp", self.compares().await),
            ("a refused value names its field and changes nothing", self.refuses().await),
            ("a delete is done, and done again", self.deletes().await),
            ("an unknown record is deleted", self.unknown().await),
            ("live records are found by e-mail, however it is spelt", self.finds_by_email().await),
            ("our own record is found", self.finds_ours().await),
            ("a page shows records as a read does", self.lists().await),
        ];
        checks.into_iter().filter_map(|(check, result)| result.err().map(|found| Failure { check, found })).collect()
    }

    async fn reads_back(&self) -> Checked {
        let made = self.make("read").await?;
        let seen = self.look(&made.id).await?;
        self.shows(&seen, &made.create.set)?;
        ensure!(seen.concord_id == Some(made.create.id.customer.to_string()), "concord_id is {:?}", seen.concord_id);
        ensure!(seen.mark == Some(made.create.id.to_string()), "concord_write is {:?}", seen.mark);
        ensure!(seen.look > 0, "the look has no time");
        ensure!(seen.stamp.is_some() || self.style == Style::Idempotent, "it has no stamp");
        let marks = seen.fields.iter().flat_map(|fields| fields.attributes.keys()).any(|key| key.starts_with("concord_"));
        ensure!(!marks, "a mark is shown as an attribute");
        Ok(())
    }

    async fn creates_once(&self) -> Checked {
        let made = self.make("once").await?;
        let again = self.call(Call::Create(made.create.clone())).await;
        match (self.style, again) {
            (Style::Idempotent, Reply::Replayed { seen }) => ensure!(seen.id == made.id, "another record: {}", seen.id),
            (Style::Stamped, Reply::AlreadyOurs) => {}
            (_, other) => return Err(format!("the second create: {other:?}")),
        }
        if self.style == Style::Idempotent {
            let mut other = made.create.clone();
            other.set.insert(Field::Name, "Somebody else".into());
            let reply = self.call(Call::Create(other)).await;
            ensure!(reply == Reply::KeyReused, "the same key with another body: {reply:?}");
        }
        let found = self.found(Call::FindByEmail { email: email_of(&made.create.set) }).await?;
        ensure!(found.len() == 1, "{} records", found.len());
        self.shows(&self.look(&made.id).await?, &made.create.set)
    }

    async fn updates(&self) -> Checked {
        let made = self.make("update").await?;
        let Some((field, _, value)) = self.fields.first() else { return Ok(()) };
        let set = Values::from([(field.clone(), value.clone())]);
        let reply = self.update(&made, set.clone()).await?;
        let (Reply::Done { seen, .. } | Reply::Replayed { seen }) = &reply else { return Err(format!("the update: {reply:?}")) };
        let mut expected = made.create.set.clone();
        expected.extend(set);
        for seen in [seen, &self.look(&made.id).await?] {
            self.shows(seen, &expected)?;
            ensure!(seen.mark == Some(made.write.to_string()), "concord_write is {:?}", seen.mark);
            ensure!(seen.concord_id == Some(made.create.id.customer.to_string()), "concord_id is {:?}", seen.concord_id);
        }
        Ok(())
    }

    async fn updates_once(&self) -> Checked {
        let made = self.make("update-once").await?;
        let all: Values = self.fields.iter().map(|(field, _, value)| (field.clone(), value.clone())).collect();
        let first = self.update_call(&made, all.clone()).await?;
        let done = self.call(first.clone()).await;
        ensure!(matches!(done, Reply::Done { .. }), "the first update: {done:?}");
        let again = self.call(first).await;
        match (self.style, &again) {
            (Style::Idempotent, Reply::Replayed { .. }) | (Style::Stamped, Reply::Changed | Reply::Done { .. }) => {}
            _ => return Err(format!("the second update: {again:?}")),
        }
        self.shows(&self.look(&made.id).await?, &all)
    }

    async fn clears(&self) -> Checked {
        let made = self.make("clear").await?;
        let nothing: Values = self.fields.iter().map(|(field, ..)| (field.clone(), Value::Empty)).collect();
        let clearable = nothing.into_iter().filter(|(field, _)| *field != Field::Name).collect::<Values>();
        let reply = self.update(&made, clearable.clone()).await?;
        ensure!(matches!(reply, Reply::Done { .. }), "the update: {reply:?}");
        let seen = self.look(&made.id).await?;
        ensure!(seen.shows(&clearable), "it shows {:?}", seen.fields);
        Ok(())
    }

    async fn compares(&self) -> Checked {
        if self.style != Style::Stamped {
            return Ok(());
        }
        let made = self.make("compare").await?;
        let stamp = self.look(&made.id).await?.stamp.unwrap_or(0);
        let Call::Update(update) = self.update_call(&made, Values::from([(Field::Name, "Changed".into())])).await? else {
            return Ok(());
        };
        let older = Update { unmodified_since: Some(stamp - 60_000), ..update };
        let reply = self.call(Call::Update(older)).await;
        ensure!(reply == Reply::Changed, "an update upon an older stamp: {reply:?}");
        self.shows(&self.look(&made.id).await?, &made.create.set)
    }

    async fn refuses(&self) -> Checked {
        let Some((field, value)) = &self.refused else { return Ok(()) };
        let made = self.make("refuse").await?;
        let reply = self.update(&made, Values::from([(field.clone(), value.clone())])).await?;
        let Reply::Refused(refusal) = &reply else { return Err(format!("the update: {reply:?}")) };
        ensure!(refusal.field.as_ref() == Some(field), "it names {:?}", refusal.field);
        ensure!(!refusal.reason.is_empty(), "it gives no reason");
        let seen = self.look(&made.id).await?;
        self.shows(&seen, &made.create.set)?;
        ensure!(seen.mark == Some(made.create.id.to_string()), "concord_write is {:?}", seen.mark);
        Ok(())
    }

    async fn deletes(&self) -> Checked {
        let made = self.make("delete").await?;
        let delete = Call::Delete(Delete { id: made.id.clone(), key: made.write.to_string(), write: made.write.clone() });
        for n in 1..=2 {
            let reply = self.call(delete.clone()).await;
            ensure!(matches!(reply, Reply::Accepted | Reply::Missing | Reply::Done { .. }), "delete {n}: {reply:?}");
            ensure!(self.look(&made.id).await?.is_deleted(), "after delete {n} it is there");
        }
        let reply = self.update(&made, Values::from([(Field::Name, "Late".into())])).await?;
        ensure!(reply == Reply::Missing, "an update after it: {reply:?}");
        let found = self.found(Call::FindByEmail { email: email_of(&made.create.set) }).await?;
        ensure!(found.is_empty(), "its e-mail is found");
        Ok(())
    }

    async fn unknown(&self) -> Checked {
        let made = self.make("unknown").await?;
        let mut text = made.id.to_string();
        let last = text.pop().unwrap_or('0');
        text.push(if last == '0' { '1' } else { '0' });
        let seen = self.look(&ExternalId::new(format!("{text}0"))).await?;
        ensure!(seen.is_deleted(), "it shows {:?}", seen.fields);
        Ok(())
    }

    async fn finds_by_email(&self) -> Checked {
        let made = self.make("find").await?;
        self.make("find-not").await?;
        let email = email_of(&made.create.set);
        let found = self.found(Call::FindByEmail { email: email.clone() }).await?;
        ensure!(found.iter().map(|seen| &seen.id).eq([&made.id]), "{} records for {email}", found.len());
        ensure!(found[0].concord_id == Some(made.create.id.customer.to_string()), "without its mark");
        // As somebody else would type it: where the system compares exactly, at least the normal form is found.
        let upper = normalise_email(&email).unwrap_or_default().to_uppercase();
        let found = self.found(Call::FindByEmail { email: upper.clone() }).await?;
        ensure!(found.iter().any(|seen| seen.id == made.id), "nothing for {upper}");
        Ok(())
    }

    async fn finds_ours(&self) -> Checked {
        let made = self.make("ours").await?;
        let created = self.look(&made.id).await?.created;
        let since = (created - 60_000).max(0);
        let found = self.found(Call::FindOurs { customer: made.create.id.customer, since }).await?;
        ensure!(found.iter().map(|seen| &seen.id).eq([&made.id]), "{} records", found.len());
        Ok(())
    }

    async fn lists(&self) -> Checked {
        let Some(page) = &self.page else { return Ok(()) };
        let made = self.make("list").await?;
        let found = self.found(Call::List { page: page.clone() }).await?;
        let Some(listed) = found.into_iter().find(|seen| seen.id == made.id) else { return Err("the record is not on the page".into()) };
        let read = self.look(&made.id).await?;
        ensure!(Seen { look: 0, ..listed.clone() } == Seen { look: 0, ..read.clone() }, "the page shows {listed:?}, a read {read:?}");
        Ok(())
    }

    /// Makes a record with the first value of every field.
    async fn make(&self, check: &str) -> Result<Made, String> {
        let name = format!("{}-{check}", self.run);
        let customer = CustomerId::minted(&self.system, &ExternalId::new(&name), 0);
        let mut set: Values = self.fields.iter().map(|(field, value, _)| (field.clone(), value.clone())).collect();
        set.insert(Field::Email, Value::from(format!("{name}@example.com").to_lowercase()));
        let id = WriteId::create(customer, &self.system, 0, 0);
        let create = Create { key: id.key(), id, set };
        let id = match self.call(Call::Create(create.clone())).await {
            Reply::Done { seen, .. } => {
                self.shows(&seen, &create.set).map_err(|found| format!("the create's answer: {found}"))?;
                seen.id
            }
            Reply::Made { id } => id,
            other => return Err(format!("the create: {other:?}")),
        };
        Ok(Made { id, write: WriteId::write(customer, &self.system, 1), create })
    }

    async fn update(&self, made: &Made, set: Values) -> Result<Reply, String> {
        let call = self.update_call(made, set).await?;
        Ok(self.call(call).await)
    }

    async fn update_call(&self, made: &Made, set: Values) -> Result<Call, String> {
        let unmodified_since = match self.style {
            Style::Idempotent => None,
            Style::Stamped => self.look(&made.id).await?.stamp,
        };
        let (id, key, write) = (made.id.clone(), made.write.to_string(), made.write.clone());
        Ok(Call::Update(Update { id, key, write, set, unmodified_since }))
    }

    async fn look(&self, id: &ExternalId) -> Result<Seen, String> {
        match self.call(Call::Get { id: id.clone() }).await {
            Reply::Done { seen, .. } if seen.id == *id => Ok(seen),
            Reply::Missing => Ok(Seen::deleted(id.clone(), 0)),
            other => Err(format!("a read: {other:?}")),
        }
    }

    async fn found(&self, call: Call) -> Result<Vec<Seen>, String> {
        let name = call.name();
        match self.call(call).await {
            Reply::Found(found) => Ok(found),
            other => Err(format!("{name}: {other:?}")),
        }
    }

    fn shows(&self, seen: &Seen, expected: &Values) -> Checked {
        ensure!(seen.shows(expected), "it shows {:?}, not {expected:?}", seen.fields);
        Ok(())
    }

    /// Performs a call; what certainly was not done is tried again a few times.
    async fn call(&self, call: Call) -> Reply {
        for _ in 0..20 {
            match perform(self.source, Some(self.sink), &call).await {
                Reply::Busy { retry_after, .. } => {
                    let pause = retry_after.unwrap_or(100).clamp(1, 2_000);
                    tokio::time::sleep(std::time::Duration::from_millis(u64::try_from(pause).unwrap_or(100))).await;
                }
                reply => return reply,
            }
        }
        Reply::Busy { reason: "too many requests, again and again".into(), retry_after: None }
    }
}

fn email_of(set: &Values) -> String {
    set.get(&Field::Email).and_then(|email| email.as_text()).unwrap_or_default().to_owned()
}
