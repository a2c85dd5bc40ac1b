//! A Stripe customer as a record of ours, and back: the one place that knows which parameter is which field.
//!
//! `name`, `email` and `phone` are themselves, `address` is the whole address, each metadata key is an attribute, save the
//! two that carry our marks.

use super::{Customer, Event, Form, model::PostalAddress};
use schemas::{Address, Change, CustomerFields, CustomerId, ExternalId, Field, Millis, Notice, Previous, Value, Values, WriteId};
use serde_json::{Map, Value as Json};
use std::collections::{BTreeMap, BTreeSet};

/// Metadata key of the customer id; written by our creates only.
pub const CONCORD_ID: &str = "concord_id";
/// Metadata key of the last write of ours that landed.
pub const CONCORD_WRITE: &str = "concord_write";

/// Stripe's limits on metadata.
const METADATA_KEY: usize = 40;
const METADATA_VALUE: usize = 500;

/// What a Stripe customer says, in our words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub id: ExternalId,
    pub fields: CustomerFields,
    /// The mark `concord_id`, as found.
    pub concord_id: Option<String>,
    /// The mark `concord_write`, as found.
    pub mark: Option<String>,
    /// By Stripe's clock.
    pub created: Millis,
}

impl From<Customer> for Record {
    fn from(customer: Customer) -> Self {
        let Customer { id, created, name, email, phone, address, mut metadata, .. } = customer;
        let concord_id = metadata.remove(CONCORD_ID);
        let mark = metadata.remove(CONCORD_WRITE);
        metadata.retain(|_, value| !value.is_empty());
        let some = |text: Option<String>| text.filter(|t| !t.is_empty());
        let address = address.map(Address::from).filter(|a| !a.is_empty());
        let fields = CustomerFields { name: some(name), email: some(email), phone: some(phone), address, attributes: metadata };
        Record { id: ExternalId::new(id), fields, concord_id, mark, created: created.saturating_mul(1000) }
    }
}

impl From<PostalAddress> for Address {
    fn from(a: PostalAddress) -> Self {
        let text = Option::unwrap_or_default;
        Address {
            line1: text(a.line1),
            line2: text(a.line2),
            city: text(a.city),
            state: text(a.state),
            postal_code: text(a.postal_code),
            country: text(a.country),
        }
    }
}

/// The body of an update: exactly these fields, and the write's mark.
pub fn update_form(set: &Values, mark: &WriteId) -> Form {
    let mut form = fields_form(set, true);
    form.set_in("metadata", CONCORD_WRITE, mark.to_string());
    form
}

/// The body of a create: the fields that have a value, and both marks.
pub fn create_form(set: &Values, customer: CustomerId, mark: &WriteId) -> Form {
    let mut form = fields_form(set, false);
    form.set_in("metadata", CONCORD_ID, customer.to_string());
    form.set_in("metadata", CONCORD_WRITE, mark.to_string());
    form
}

fn fields_form(set: &Values, clear: bool) -> Form {
    let mut form = Form::default();
    for (field, value) in set {
        if value.is_empty() && !clear {
            continue;
        }
        // A value of the wrong shape clears, as it does in a snapshot.
        let text = value.as_text().unwrap_or("");
        match field {
            Field::Name => form.set("name", text),
            Field::Email => form.set("email", text),
            Field::Phone => form.set("phone", text),
            Field::Attribute(key) => form.set_in("metadata", key, text),
            Field::Address => match value {
                // All six lines: an update leaves the lines that it does not name as they were.
                Value::Address(a) => {
                    for (key, line) in ADDRESS_LINES.into_iter().zip(a.lines()) {
                        if clear || !line.is_empty() {
                            form.set_in("address", key, line);
                        }
                    }
                    &mut form
                }
                _ => form.clear("address"),
            },
        };
    }
    form
}

/// In the order of [`Address::lines`].
const ADDRESS_LINES: [&str; 6] = ["line1", "line2", "city", "state", "postal_code", "country"];

/// The first of these values that Stripe cannot hold, and why: found here because Stripe names only `metadata` for them,
/// or would read a bracket as nesting.
pub fn unfit(set: &Values) -> Option<(Field, String)> {
    set.iter().find_map(|(field, value)| {
        let Field::Attribute(key) = field else { return None };
        if value.is_empty() {
            // Clearing what cannot be there is no write.
            return None;
        }
        let why = if **key == *CONCORD_ID || **key == *CONCORD_WRITE {
            "this metadata key is Concord's own mark".into()
        } else if key.is_empty() || key.contains(['[', ']']) {
            "a Stripe metadata key has no brackets and is not empty".into()
        } else if key.chars().count() > METADATA_KEY {
            format!("a Stripe metadata key has at most {METADATA_KEY} characters")
        } else if value.as_text().is_none_or(|text| text.chars().count() > METADATA_VALUE) {
            format!("a Stripe metadata value has at most {METADATA_VALUE} characters")
        } else {
            return None;
        };
        Some((field.clone(), why))
    })
}

/// The field that a refusal's `param` names: `address[country]`, `metadata[plan]`, `email`. `metadata` alone is about
/// one of the attributes that were set: the last one, so that a refused write gets on by leaving one out at a time.
pub fn field_of_param(param: &str, set: &Values) -> Option<Field> {
    let (name, rest) = param.split_once('[').map_or((param, None), |(name, rest)| (name, Some(rest)));
    match (name, rest) {
        ("name", None) => Some(Field::Name),
        ("email", None) => Some(Field::Email),
        ("phone", None) => Some(Field::Phone),
        ("address", _) => Some(Field::Address),
        ("metadata", Some(rest)) => rest.strip_suffix(']').filter(|key| !key.is_empty()).map(Field::attribute),
        ("metadata", None) => set.keys().rev().find(|f| matches!(f, Field::Attribute(_))).cloned(),
        _ => None,
    }
}

/// What an event tells of a customer: which one, and the notice. `None` for events of anything else.
pub fn notice(event: &Event) -> Option<(ExternalId, Notice)> {
    let customer = event.customer()?;
    let changes = match event.kind.as_str() {
        "customer.updated" => changes(&customer, event.data.previous_attributes.as_ref()),
        "customer.created" => created(&customer),
        _ => Vec::new(),
    };
    let id = ExternalId::new(&customer.id);
    let write_id = event.request.idempotency_key.as_deref().map(write_of_key);
    Some((id, Notice { event_id: event.id.clone(), write_id, time: event.time(), changes }))
}

/// The write behind an idempotency key: a write that is made again after a stored error has a key of its own,
/// `<write id>.k<n>`. Anything else is left as it is.
fn write_of_key(key: &str) -> String {
    let again =
        key.rsplit_once(".k").filter(|(id, n)| !n.is_empty() && n.bytes().all(|c| c.is_ascii_digit()) && id.parse::<WriteId>().is_ok());
    again.map_or(key, |(id, _)| id).to_owned()
}

fn created(customer: &Customer) -> Vec<Change> {
    let now = Record::from(customer.clone()).fields;
    let nothing = || Some(Previous { value: Value::Empty });
    now.values().into_iter().map(|(field, new)| Change { field, previous: nothing(), new }).collect()
}

/// The changed fields, each whole, before and after: Stripe's partial `previous_attributes` laid over the object.
fn changes(customer: &Customer, previous: Option<&Map<String, Json>>) -> Vec<Change> {
    let Some(previous) = previous else { return Vec::new() };
    let now = Record::from(customer.clone()).fields;
    let mut before = customer.clone();
    let mut touched = BTreeSet::new();
    for (name, old) in previous {
        match name.as_str() {
            "name" => {
                before.name = text(old);
                touched.insert(Field::Name);
            }
            "email" => {
                before.email = text(old);
                touched.insert(Field::Email);
            }
            "phone" => {
                before.phone = text(old);
                touched.insert(Field::Phone);
            }
            "address" => {
                before.address = old.as_object().map(|lines| lay_over(customer.address.clone().unwrap_or_default(), lines));
                touched.insert(Field::Address);
            }
            "metadata" => {
                let keys = metadata_before(&mut before.metadata, old);
                touched.extend(keys.into_iter().filter(|k| k != CONCORD_ID && k != CONCORD_WRITE).map(Field::attribute));
            }
            _ => {}
        }
    }
    let was = Record::from(before).fields;
    touched
        .into_iter()
        .map(|field| {
            let (old, new) = (was.get(&field), now.get(&field));
            Change { field, previous: Some(Previous { value: old }), new }
        })
        .collect()
}

fn text(value: &Json) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn lay_over(mut address: PostalAddress, lines: &Map<String, Json>) -> PostalAddress {
    for (name, old) in lines {
        let line = match name.as_str() {
            "line1" => &mut address.line1,
            "line2" => &mut address.line2,
            "city" => &mut address.city,
            "state" => &mut address.state,
            "postal_code" => &mut address.postal_code,
            "country" => &mut address.country,
            _ => continue,
        };
        *line = text(old);
    }
    address
}

/// Sets metadata back to what it was, and gives the keys that changed: a key that was not there before is `null`.
fn metadata_before(metadata: &mut BTreeMap<String, String>, old: &Json) -> Vec<String> {
    let Some(old) = old.as_object() else {
        return std::mem::take(metadata).into_keys().collect();
    };
    for (key, value) in old {
        match text(value) {
            Some(value) => metadata.insert(key.clone(), value),
            None => metadata.remove(key),
        };
    }
    old.keys().cloned().collect()
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
