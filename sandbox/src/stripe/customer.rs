//! One customer: what parameters do to it, what it looks like, and what changed.

use super::{params::Param, refusal::Refusal};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Customer {
    pub id: String,
    /// Seconds.
    pub created: i64,
    pub name: Option<String>,
    pub email: Option<String>,
    pub phone: Option<String>,
    pub description: Option<String>,
    pub address: Option<Address>,
    pub shipping: Option<Shipping>,
    pub metadata: BTreeMap<String, String>,
    pub balance: i64,
    pub preferred_locales: Vec<String>,
    pub tax_exempt: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Address {
    pub line1: Option<String>,
    pub line2: Option<String>,
    pub city: Option<String>,
    pub state: Option<String>,
    pub postal_code: Option<String>,
    pub country: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shipping {
    pub name: String,
    pub phone: Option<String>,
    pub address: Address,
}

/// The parameters that this stand-in takes; Stripe has more, which concern payments.
const PARAMETERS: [&str; 10] =
    ["name", "email", "phone", "description", "address", "shipping", "metadata", "balance", "preferred_locales", "tax_exempt"];
const ADDRESS: [&str; 6] = ["line1", "line2", "city", "state", "postal_code", "country"];

/// Refuses parameters that Stripe does not know, before anything runs.
pub(crate) fn check_names(params: &Param) -> Result<(), Refusal> {
    for (name, value) in params.entries() {
        if !PARAMETERS.contains(&name.as_str()) {
            return Err(Refusal::unknown(name));
        }
        let known: &[&str] = match name.as_str() {
            "address" => &ADDRESS,
            "shipping" => &["name", "phone", "address"],
            _ => continue,
        };
        for (inner, value) in value.entries() {
            if !known.contains(&inner.as_str()) {
                return Err(Refusal::unknown(&format!("{name}[{inner}]")));
            }
            if let Some((line, _)) = value.entries().iter().find(|(line, _)| !ADDRESS.contains(&line.as_str())) {
                return Err(Refusal::unknown(&format!("{name}[{inner}][{line}]")));
            }
        }
    }
    Ok(())
}

impl Customer {
    /// This customer with the parameters set; an empty one clears.
    pub(crate) fn with(&self, params: &Param) -> Result<Customer, Refusal> {
        let mut next = self.clone();
        for (name, value) in params.entries() {
            match name.as_str() {
                "name" => next.name = text(name, value, 256)?,
                "email" => next.email = text(name, value, 512)?.map(email).transpose()?,
                "phone" => next.phone = text(name, value, 20)?,
                "description" => next.description = text(name, value, 5000)?,
                "address" => next.address = address(name, value, next.address.take())?,
                "shipping" => next.shipping = shipping(value, next.shipping.take())?,
                "metadata" => metadata(value, &mut next.metadata)?,
                "balance" => next.balance = integer(name, value)?,
                "preferred_locales" => next.preferred_locales = texts(name, value)?,
                "tax_exempt" => next.tax_exempt = tax_exempt(value)?,
                _ => return Err(Refusal::unknown(name)),
            }
        }
        Ok(next)
    }

    pub(crate) fn json(&self, livemode: bool) -> Value {
        json!({
            "id": self.id,
            "object": "customer",
            "address": self.address,
            "balance": self.balance,
            "created": self.created,
            "currency": null,
            "default_source": null,
            "delinquent": false,
            "description": self.description,
            "email": self.email,
            "invoice_prefix": self.id.chars().skip(4).take(8).collect::<String>().to_uppercase(),
            "invoice_settings": {"custom_fields": null, "default_payment_method": null, "footer": null, "rendering_options": null},
            "livemode": livemode,
            "metadata": self.metadata,
            "name": self.name,
            "next_invoice_sequence": 1,
            "phone": self.phone,
            "preferred_locales": self.preferred_locales,
            "shipping": self.shipping,
            "tax_exempt": self.tax_exempt.as_deref().unwrap_or("none"),
            "test_clock": null,
        })
    }

    pub(crate) fn tombstone(id: &str) -> Value {
        json!({"id": id, "object": "customer", "deleted": true})
    }
}

/// Stripe's `previous_attributes`: what changed, with the values before. Of an object only the changed keys (a key that
/// was not there: `null`); of an array the whole.
pub(crate) fn previous(before: &Value, after: &Value) -> Map<String, Value> {
    let (Value::Object(before), Value::Object(after)) = (before, after) else { return Map::new() };
    let mut changed = Map::new();
    for name in before.keys().chain(after.keys().filter(|name| !before.contains_key(*name))) {
        let (old, new) = (before.get(name), after.get(name));
        if old == new {
            continue;
        }
        let old = old.unwrap_or(&Value::Null);
        let value = match new {
            Some(new) if old.is_object() && new.is_object() => Value::Object(previous(old, new)),
            _ => old.clone(),
        };
        changed.insert(name.clone(), value);
    }
    changed
}

fn text(param: &str, value: &Param, most: usize) -> Result<Option<String>, Refusal> {
    match value {
        Param::Text(text) if text.is_empty() => Ok(None),
        Param::Text(text) if text.chars().count() > most => {
            let start: String = text.chars().take(20).collect();
            Err(Refusal::value(param, None, format!("Invalid string: {start}...; must be at most {most} characters")))
        }
        Param::Text(text) => Ok(Some(text.clone())),
        _ => Err(Refusal::shape(param, "Invalid string")),
    }
}

fn email(text: String) -> Result<String, Refusal> {
    let well = |(local, domain): (&str, &str)| {
        let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '@' | ',' | ';' | '<' | '>' | '(' | ')' | '"');
        let labels = domain.split('.').collect::<Vec<_>>();
        !local.is_empty()
            && !local.starts_with('.')
            && !local.ends_with('.')
            && !local.contains("..")
            && !local.contains(odd)
            && !domain.contains(odd)
            && labels.len() >= 2
            && labels.iter().all(|label| !label.is_empty())
    };
    if text.split_once('@').is_some_and(well) {
        Ok(text)
    } else {
        Err(Refusal::value("email", Some("email_invalid"), format!("Invalid email address: {text}")))
    }
}

/// Lines that are not named stay; the empty string clears the whole.
fn address(param: &str, value: &Param, before: Option<Address>) -> Result<Option<Address>, Refusal> {
    let entries = match value {
        Param::Text(text) if text.is_empty() => return Ok(None),
        Param::Map(entries) => entries,
        _ => return Err(Refusal::shape(param, "Invalid object")),
    };
    let mut address = before.unwrap_or_default();
    for (name, value) in entries {
        let full = format!("{param}[{name}]");
        let line = match name.as_str() {
            "line1" => &mut address.line1,
            "line2" => &mut address.line2,
            "city" => &mut address.city,
            "state" => &mut address.state,
            "postal_code" => &mut address.postal_code,
            "country" => &mut address.country,
            _ => return Err(Refusal::unknown(&full)),
        };
        *line = text(&full, value, 5000)?;
        if let ("country", Some(country)) = (name.as_str(), line)
            && !(country.len() == 2 && country.bytes().all(|c| c.is_ascii_alphabetic()))
        {
            let message = format!(
                "Country '{country}' is unknown. Try using a 2-character alphanumeric country code instead, such as 'US', 'EG', or 'GB'."
            );
            return Err(Refusal::value(&full, None, message));
        }
    }
    Ok(Some(address))
}

fn shipping(value: &Param, before: Option<Shipping>) -> Result<Option<Shipping>, Refusal> {
    if matches!(value, Param::Text(text) if text.is_empty()) {
        return Ok(None);
    }
    let before = before.unwrap_or_default();
    let missing = |param: &str| Refusal::value(param, Some("parameter_missing"), format!("Missing required param: {param}."));
    let name = value.get("name").map(|v| text("shipping[name]", v, 5000)).transpose()?.flatten();
    let name = name.or(Some(before.name).filter(|n| !n.is_empty())).ok_or_else(|| missing("shipping[name]"))?;
    let phone = value.get("phone").map_or(Ok(before.phone), |v| text("shipping[phone]", v, 20))?;
    let given = value.get("address").ok_or_else(|| missing("shipping[address]"))?;
    let address = address("shipping[address]", given, Some(before.address))?.unwrap_or_default();
    Ok(Some(Shipping { name, phone, address }))
}

/// Keys that are not named stay; an empty value removes its key, the empty string all of them.
fn metadata(value: &Param, metadata: &mut BTreeMap<String, String>) -> Result<(), Refusal> {
    // Stripe names only `metadata`, never the key.
    let wrong = |message: String| Refusal::value("metadata", None, message);
    let entries = match value {
        Param::Text(text) if text.is_empty() => {
            metadata.clear();
            return Ok(());
        }
        Param::Map(entries) => entries,
        _ => return Err(wrong("Invalid object: metadata must be a hash of strings".into())),
    };
    for (key, value) in entries {
        let Param::Text(value) = value else {
            return Err(wrong(format!("Metadata values must be strings. Invalid key: {key}")));
        };
        if value.is_empty() {
            metadata.remove(key);
            continue;
        }
        let (key_length, length) = (key.chars().count(), value.chars().count());
        if key_length > 40 {
            return Err(wrong(format!(
                "Metadata keys can have up to 40 characters, but you passed in a key that is {key_length} characters. Invalid key: {key}"
            )));
        }
        if length > 500 {
            return Err(wrong(format!(
                "Metadata values can have up to 500 characters, but you passed in a value that is {length} characters. Invalid value: {value}"
            )));
        }
        metadata.insert(key.clone(), value.clone());
    }
    if metadata.len() > 50 {
        return Err(wrong("Metadata can have up to 50 keys.".into()));
    }
    Ok(())
}

fn integer(param: &str, value: &Param) -> Result<i64, Refusal> {
    match value {
        Param::Text(text) => text
            .parse()
            .map_err(|_| Refusal { code: Some("parameter_invalid_integer"), ..Refusal::shape(param, &format!("Invalid integer: {text}")) }),
        _ => Err(Refusal::shape(param, "Invalid integer")),
    }
}

fn texts(param: &str, value: &Param) -> Result<Vec<String>, Refusal> {
    match value {
        Param::Text(text) if text.is_empty() => Ok(Vec::new()),
        Param::List(list) => list
            .iter()
            .map(|item| match item {
                Param::Text(text) => Ok(text.clone()),
                _ => Err(Refusal::shape(param, "Invalid array")),
            })
            .collect(),
        _ => Err(Refusal::shape(param, "Invalid array")),
    }
}

fn tax_exempt(value: &Param) -> Result<Option<String>, Refusal> {
    match value {
        Param::Text(text) if text.is_empty() => Ok(None),
        Param::Text(text) if ["none", "exempt", "reverse"].contains(&text.as_str()) => Ok(Some(text.clone())),
        _ => Err(Refusal::value("tax_exempt", None, "Invalid tax_exempt: must be one of none, exempt, or reverse".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previous_attributes_are_partial_for_objects_and_whole_for_the_rest() {
        let before = json!({"a": 1, "same": 2, "address": {"city": "Oslo", "line1": "1"}, "gone": {"x": 1}, "came": null, "metadata": {"k": "v"}, "l": [1, 2]});
        let after = json!({"a": 3, "same": 2, "address": {"city": "Bergen", "line1": "1"}, "gone": null, "came": {"y": 1}, "metadata": {"n": "w"}, "l": [1]});
        let expected =
            json!({"a": 1, "address": {"city": "Oslo"}, "gone": {"x": 1}, "came": null, "metadata": {"k": "v", "n": null}, "l": [1, 2]});
        assert_eq!(Value::Object(previous(&before, &after)), expected);
    }
}
