//! (9–12) resolve: which customer is this record?

use super::{Effect, Effects, Error, Kind, SystemConfig};
use schemas::{
    Action, By, CustomerId, CustomerLink, ExternalId, Gone, IdentifyBody, Outcome, Question, Read, RecordResult, Rule, SourceCustomer,
    UnifyBody, holds, normalise_email,
};
use serde::{Deserialize, Serialize};

/// What is known of one external id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Of the last result; 0: none yet.
    pub order: i64,
    /// One more each time the external id comes back after its delete.
    pub incarnation: i64,
    /// The last result said so.
    pub deleted: bool,
    pub link: Option<CustomerId>,
    /// The question was asked: its answer is a link.
    pub asked: bool,
    /// Results that came since, in order.
    pub waiting: Vec<SourceCustomer>,
}

/// Where a result came from.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    pub system: &'a SystemConfig,
    /// The record's key.
    pub key: &'a ExternalId,
    pub offset: i64,
    /// Of the topic's record: when a program published it.
    pub timestamp: i64,
}

/// What needs no state: answers that made no record, and notices.
pub fn pass_by(at: At<'_>, result: Box<SourceCustomer>) -> Result<Effects, Box<SourceCustomer>> {
    let made_no_record = |a: &schemas::Answer| a.write_id.is_create() && matches!(a.outcome, Outcome::Held | Outcome::Refused);
    match (&result.answer, at.system.kind) {
        (_, Kind::Topic) => Err(result),
        (Some(answer), _) if made_no_record(answer) => {
            let customer = answer.write_id.customer;
            let body = RecordResult { system: at.system.name.clone(), external_id: None, incarnation: 0, result: *result };
            Ok(vec![Effect::Unify { customer, body: UnifyBody::Result(body) }])
        }
        // Published by somebody else into a connector's topic: a reason to look.
        (_, Kind::Connector) if result.order.is_none() => {
            let action = Action::Read(Read { notices: result.notices, page: None });
            let (system, key) = (at.system.name.clone(), at.key.as_str().into());
            Ok(vec![Effect::Request { system, key, action }])
        }
        _ => Err(result),
    }
}

impl Record {
    /// A result of this record.
    pub fn on_result(&mut self, at: At<'_>, result: SourceCustomer) -> Effects {
        let mut effects = Vec::new();
        let result = if at.system.kind == Kind::Topic { published(at, result) } else { result };
        let order = result.order.unwrap_or(0);
        if let Some(incarnation) = result.incarnation.filter(|_| holds(Rule::Incarnations)) {
            if incarnation < self.incarnation {
                return effects;
            }
            if incarnation > self.incarnation {
                self.forget(at, incarnation, &mut effects);
            }
        }
        if order == 0 {
            return self.on_create_answer(at, result, effects);
        }
        if order <= self.order && holds(Rule::Order) {
            return effects;
        }
        if self.deleted && result.fields.is_some() && result.incarnation.is_none() && holds(Rule::Incarnations) {
            self.forget(at, self.incarnation + 1, &mut effects);
        }
        self.order = order;
        self.deleted = result.fields.is_none();
        self.forward_or_ask(at, result, &mut effects);
        effects
    }

    /// The answer to a create of ours is not in the order: it links, where nothing was asked yet.
    fn on_create_answer(&mut self, at: At<'_>, result: SourceCustomer, mut effects: Effects) -> Effects {
        let known = self.asked || self.link.is_some();
        if known && holds(Rule::CreateAnswersOutsideTheOrder) {
            return effects;
        }
        let result = if self.deleted {
            let concord_id = carried(&result).map(|id| id.to_string());
            let (order, look) = (Some(self.order), result.look);
            SourceCustomer { order, look, concord_id, incarnation: result.incarnation, ..SourceCustomer::default() }
        } else {
            result
        };
        self.forward_or_ask(at, result, &mut effects);
        effects
    }

    fn forward_or_ask(&mut self, at: At<'_>, result: SourceCustomer, effects: &mut Effects) {
        if let Some(customer) = self.link {
            effects.push(self.forward(at, customer, result));
        } else if self.asked {
            self.waiting.push(result);
        } else if result.fields.is_some() || carried(&result).is_some() {
            self.asked = true;
            effects.push(self.ask(at, result));
        }
    }

    fn forward(&self, at: At<'_>, customer: CustomerId, result: SourceCustomer) -> Effect {
        let (system, external_id) = (at.system.name.clone(), Some(at.key.clone()));
        let body = RecordResult { system, external_id, incarnation: self.incarnation, result };
        Effect::Unify { customer, body: UnifyBody::Result(body) }
    }

    /// By the customer id that it carries, by e-mail, else it is a new one.
    fn ask(&self, at: At<'_>, first: SourceCustomer) -> Effect {
        let email = first.fields.as_ref().filter(|_| at.system.mapping.email);
        let email = email.and_then(|f| f.email.as_deref()).and_then(normalise_email);
        let minted = CustomerId::minted(&at.system.name, at.key, self.incarnation);
        let carried = carried(&first);
        let by = match (&carried, &email) {
            (Some(_), _) => By::Carried,
            (None, Some(_)) => By::Email,
            (None, None) => By::Minted,
        };
        let question = Question {
            system: at.system.name.clone(),
            external_id: at.key.clone(),
            incarnation: self.incarnation,
            by,
            email: email.clone(),
            minted,
            ours: carried.is_some(),
            duplicate_of: None,
            bounces: 0,
            first,
        };
        match (carried, email) {
            (Some(customer), _) => Effect::Unify { customer, body: UnifyBody::Question(question) },
            (None, Some(email)) => Effect::Identify { email, body: IdentifyBody::Ask(question) },
            (None, None) => Effect::Unify { customer: minted, body: UnifyBody::Question(question) },
        }
    }

    /// The external id came back: everything of the old record is over, and its customer is told.
    fn forget(&mut self, at: At<'_>, incarnation: i64, effects: &mut Effects) {
        if let Some(customer) = self.link.filter(|_| !self.deleted) {
            effects.push(gone(at.system, at.key, self.incarnation, customer));
        }
        *self = Record { order: self.order, incarnation, ..Record::default() };
    }

    /// (12) A link of this record. A second, different one is an invariant's breach.
    pub fn on_link(&mut self, at: At<'_>, link: CustomerLink) -> Result<Effects, Error> {
        let CustomerLink { incarnation, customer } = link;
        if incarnation != self.incarnation {
            return Ok(vec![gone(at.system, at.key, incarnation, customer)]);
        }
        match self.link {
            Some(linked) if linked == customer => Ok(Vec::new()),
            Some(linked) => {
                let (system, external_id) = (at.system.name.clone(), at.key.clone());
                Err(Error::SecondLink { system, external_id, linked, second: customer })
            }
            None => {
                self.link = Some(customer);
                self.asked = true;
                let waiting = std::mem::take(&mut self.waiting);
                Ok(waiting.into_iter().map(|result| self.forward(at, customer, result)).collect())
            }
        }
    }
}

fn gone(system: &SystemConfig, key: &ExternalId, incarnation: i64, customer: CustomerId) -> Effect {
    let body = Gone { system: system.name.clone(), external_id: key.clone(), incarnation };
    Effect::Unify { customer, body: UnifyBody::Gone(body) }
}

/// The customer whose create made this record: by the mark, or by the answer to that create.
fn carried(result: &SourceCustomer) -> Option<CustomerId> {
    let mark = result.concord_id.as_deref().and_then(|id| id.parse().ok());
    let created = result.answer.as_ref().filter(|a| a.write_id.is_create() && a.outcome == Outcome::Done);
    mark.or(created.map(|a| a.write_id.customer))
}

/// A snapshot that a program published: the topic orders it, and nothing in it is ours.
fn published(at: At<'_>, result: SourceCustomer) -> SourceCustomer {
    SourceCustomer {
        order: Some(at.offset + 1),
        look: if result.look > 0 { result.look } else { at.timestamp },
        fields: result.fields,
        created: result.created,
        notices: result.notices,
        ..SourceCustomer::default()
    }
}
