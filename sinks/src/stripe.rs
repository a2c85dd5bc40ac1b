//! Stripe as a sink: each call of a conversation as one or a few requests, and Stripe's answers in the conversation's words.

use async_trait::async_trait;
use clients::stripe::{
    Class, Client, Customer, Error, ListQuery, Reply as Answer,
    record::{self, Record},
};
use connect::{Create, Delete, Refusal, Reply, Seen, Sink, Update};
use schemas::{CustomerId, Millis, Values, normalise_email};

/// Customers on a page of a list: Stripe's most.
const PAGE: u8 = 100;
/// Characters of Stripe's explanation that a conflict shows.
const REASON: usize = 300;

/// Writes to one Stripe account.
#[derive(Clone, Debug)]
pub struct Stripe {
    client: Client,
}

impl Stripe {
    pub fn new(client: Client) -> Self {
        Stripe { client }
    }

    /// Every customer of a list, page by page, that fits.
    async fn find(&self, mut query: ListQuery, fits: impl Fn(&Seen) -> bool) -> Result<Vec<Seen>, Error> {
        query.limit = Some(PAGE);
        let mut found = Vec::new();
        loop {
            let answer = self.client.list(&query).await?;
            query.starting_after = answer.value.data.last().map(|customer| customer.id.clone());
            found.extend(answer.value.data.into_iter().map(|customer| seen(customer, answer.look)).filter(&fits));
            if !answer.value.has_more || query.starting_after.is_none() {
                return Ok(found);
            }
        }
    }
}

#[async_trait]
impl Sink for Stripe {
    async fn update(&self, update: &Update) -> Reply {
        if let Some((field, reason)) = record::unfit(&update.set) {
            return Reply::Refused(Refusal { field: Some(field), reason, taken: false });
        }
        let form = record::update_form(&update.set, &update.write);
        written(self.client.update(update.id.as_str(), &form, &update.key).await, &update.set)
    }

    async fn create(&self, create: &Create) -> Reply {
        if let Some((field, reason)) = record::unfit(&create.set) {
            return Reply::Refused(Refusal { field: Some(field), reason, taken: false });
        }
        let form = record::create_form(&create.set, create.id.customer, &create.id);
        written(self.client.create(&form, &create.key).await, &create.set)
    }

    async fn delete(&self, delete: &Delete) -> Reply {
        // Stripe takes no key for a delete: the second one finds nothing, which is as good.
        match self.client.delete(delete.id.as_str()).await {
            Ok(_) => Reply::Accepted,
            Err(error) => failed(error, &Values::new()),
        }
    }

    async fn find_ours(&self, customer: CustomerId, since: Millis) -> Reply {
        let customer = customer.to_string();
        let query = ListQuery { created_gte: Some(since.div_euclid(1000)), ..ListQuery::default() };
        found(self.find(query, |seen| seen.concord_id.as_deref() == Some(&*customer)).await)
    }

    async fn find_by_email(&self, email: &str) -> Reply {
        let Some(norm) = normalise_email(email) else { return Reply::Found(Vec::new()) };
        // Stripe compares exactly: as it would be written, and in its normal form.
        let mut spellings = vec![email.to_owned(), norm.clone()];
        if email == norm {
            spellings.pop();
        }
        let mut all = Vec::new();
        for email in spellings {
            let query = ListQuery { email: Some(email), ..ListQuery::default() };
            let same = |seen: &Seen| shown_email(seen).is_some_and(|shown| shown == norm);
            match self.find(query, same).await {
                Ok(some) => all.extend(some),
                Err(error) => return failed(error, &Values::new()),
            }
        }
        Reply::Found(all)
    }
}

fn shown_email(seen: &Seen) -> Option<String> {
    normalise_email(seen.fields.as_ref()?.email.as_deref()?)
}

/// A customer as Stripe showed it at `look`.
fn seen(customer: Customer, look: Millis) -> Seen {
    let Record { id, fields, concord_id, mark, created } = customer.into();
    Seen { id, look, fields: Some(fields), concord_id, mark, created, stamp: None }
}

fn found(result: Result<Vec<Seen>, Error>) -> Reply {
    result.map_or_else(|error| failed(error, &Values::new()), Reply::Found)
}

/// A POST's answer is the customer exactly as the POST left it: of a replayed one, as it left it then.
fn written(result: Result<Answer<Customer>, Error>, set: &Values) -> Reply {
    match result {
        Ok(answer) => {
            let replayed = answer.replayed;
            let seen = seen(answer.value, answer.look);
            if replayed { Reply::Replayed { seen } } else { Reply::Done { seen, exact: true } }
        }
        Err(error) => failed(error, set),
    }
}

fn failed(error: Error, set: &Values) -> Reply {
    let reason = error.to_string();
    let retry_after = error.retry_after.map(|pause| Millis::try_from(pause.as_millis()).unwrap_or(Millis::MAX));
    match error.class {
        Class::Refused => Reply::Refused(Refusal {
            field: error.param.as_deref().and_then(|param| record::field_of_param(param, set)),
            reason: error.message.chars().take(REASON).collect(),
            taken: false,
        }),
        Class::Missing => Reply::Missing,
        Class::KeyReused => Reply::KeyReused,
        Class::Credentials => Reply::Unauthorized { reason },
        Class::Stored => Reply::Stored { status: error.status.unwrap_or(500) },
        Class::Limited | Class::Unreachable => Reply::Busy { reason, retry_after },
        // A lock that ran out did nothing; a key in use may be our own call, still running.
        Class::Busy if error.code.as_deref() == Some("lock_timeout") => Reply::Busy { reason, retry_after },
        Class::Busy | Class::Unavailable | Class::Lost | Class::Foreign => Reply::Unknown { reason, retry_after },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::Field;

    fn error(class: Class, code: Option<&str>, param: Option<&str>) -> Error {
        Error {
            class,
            operation: "update",
            status: Some(400),
            code: code.map(Into::into),
            param: param.map(Into::into),
            message: "no".into(),
            request_id: None,
            retry_after: Some(std::time::Duration::from_secs(2)),
            look: None,
            replayed: false,
        }
    }

    #[test]
    fn each_class_is_one_reply() {
        let set = Values::from([(Field::attribute("plan"), "x".into())]);
        let reply = |class, code, param| failed(error(class, code, param), &set);
        assert_eq!(
            reply(Class::Refused, Some("email_invalid"), Some("email")),
            Reply::Refused(Refusal { field: Some(Field::Email), reason: "no".into(), taken: false })
        );
        assert!(matches!(reply(Class::Refused, None, Some("metadata")), Reply::Refused(Refusal { field: Some(Field::Attribute(_)), .. })));
        assert_eq!(reply(Class::Missing, None, None), Reply::Missing);
        assert_eq!(reply(Class::KeyReused, None, None), Reply::KeyReused);
        assert_eq!(reply(Class::Stored, None, None), Reply::Stored { status: 400 });
        assert!(matches!(reply(Class::Credentials, None, None), Reply::Unauthorized { .. }));
        assert!(matches!(reply(Class::Limited, None, None), Reply::Busy { retry_after: Some(2000), .. }));
        assert!(matches!(reply(Class::Unreachable, None, None), Reply::Busy { .. }));
        assert!(matches!(reply(Class::Busy, Some("lock_timeout"), None), Reply::Busy { .. }));
        for class in [Class::Busy, Class::Unavailable, Class::Lost, Class::Foreign] {
            assert!(matches!(reply(class, None, None), Reply::Unknown { .. }), "{class:?}");
        }
    }
}
