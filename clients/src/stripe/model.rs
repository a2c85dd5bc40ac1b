//! What Stripe answers: only what is used, so that what Stripe adds breaks nothing.

use schemas::Millis;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, value::RawValue};
use std::collections::BTreeMap;

/// A customer as Stripe shows it. Times are in seconds, as Stripe's are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    pub id: String,
    #[serde(default)]
    pub created: i64,
    #[serde(default)]
    pub livemode: bool,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub email: Option<String>,
    #[serde(default)]
    pub phone: Option<String>,
    #[serde(default)]
    pub address: Option<PostalAddress>,
    #[serde(default, deserialize_with = "null_as_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// Stripe's address: each line absent, `null` or `""` where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PostalAddress {
    pub line1: Option<String>,
    pub line2: Option<String>,
    pub city: Option<String>,
    pub state: Option<String>,
    pub postal_code: Option<String>,
    pub country: Option<String>,
}

/// What is left of a deleted customer: `{"id", "object": "customer", "deleted": true}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    pub id: String,
}

/// A retrieved customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Live(Box<Customer>),
    Deleted(Tombstone),
}

impl<'de> Deserialize<'de> for Found {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Either {
            #[serde(default)]
            deleted: bool,
            object: String,
            #[serde(flatten)]
            customer: Customer,
        }
        let either = Either::deserialize(d)?;
        if either.object != "customer" {
            return Err(serde::de::Error::custom(format_args!("a {:?} where a customer was asked for", either.object)));
        }
        Ok(if either.deleted { Found::Deleted(Tombstone { id: either.customer.id }) } else { Found::Live(Box::new(either.customer)) })
    }
}

/// One page of a list, newest first.
#[derive(Clone, Debug, Deserialize)]
pub struct Page<T> {
    pub data: Vec<T>,
    pub has_more: bool,
}

/// Something that happened in the account; also the body of a webhook.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// Seconds.
    pub created: i64,
    #[serde(default)]
    pub livemode: bool,
    #[serde(default)]
    pub api_version: Option<String>,
    #[serde(default, deserialize_with = "origin")]
    pub request: Origin,
    pub data: EventData,
}

/// Which call caused an event; nothing known for what people do in Stripe's own pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Origin {
    pub id: Option<String>,
    pub idempotency_key: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct EventData {
    /// The object as the event left it (of a delete: as it was).
    pub object: Box<RawValue>,
    /// What changed, with the values before; nested objects only with the keys that changed.
    #[serde(default)]
    pub previous_attributes: Option<Map<String, Value>>,
}

impl Event {
    /// Whether it tells of a customer itself (not of a customer's card, subscription or balance).
    pub fn is_of_customer(&self) -> bool {
        matches!(self.kind.as_str(), "customer.created" | "customer.updated" | "customer.deleted")
    }

    /// The customer in it, if it is one.
    pub fn customer(&self) -> Option<Customer> {
        if self.is_of_customer() { serde_json::from_str(self.data.object.get()).ok() } else { None }
    }

    /// When it happened, by Stripe's clock (which shows whole seconds).
    pub fn time(&self) -> Millis {
        self.created.saturating_mul(1000)
    }
}

fn null_as_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// `{id, idempotency_key}`, `null`, or (API versions before 2017-05-25) the request's id alone.
fn origin<'de, D: Deserializer<'de>>(d: D) -> Result<Origin, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Whole(Origin),
        Id(String),
    }
    Ok(match Option::<Form>::deserialize(d)? {
        None => Origin::default(),
        Some(Form::Whole(origin)) => origin,
        Some(Form::Id(id)) => Origin { id: Some(id), idempotency_key: None },
    })
}
