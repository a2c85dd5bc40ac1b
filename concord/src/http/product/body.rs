//! The body of a POST, PUT or PATCH: what it sets, or everything that is wrong with it.

use super::Errors;
use clients::postgres::{Slot, Table};
use schemas::{Address, Field, Value, Values};
use serde_json::{Map, Value as Json};

/// Whether a body is the whole customer (PUT: what it omits is cleared) or part of it (PATCH).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    Yes,
    No,
}

/// What a body says.
#[derive(Debug, Default, PartialEq)]
pub struct Body {
    pub id: Option<String>,
    pub set: Values,
    /// `"attributes": null`: all of them go.
    pub clears_attributes: bool,
}

const NO_COLUMN: &str = "The product's table has no column for this.";
const LINES: [&str; 6] = ["line1", "line2", "city", "state", "postal_code", "country"];

impl Body {
    pub fn parse(bytes: &[u8], table: &Table) -> Result<Body, Errors> {
        let maps = |field: &Field| {
            table.columns.iter().any(|column| match (&column.slot, field) {
                (Slot::AttributesJson, Field::Attribute(_)) => true,
                (slot, field) => slot.field().as_ref() == Some(field),
            })
        };
        let line = |name: &str| {
            let has = |slot: &Slot| matches!(slot, Slot::AddressLine(line) if line.name() == name) || *slot == Slot::AddressJson;
            table.columns.iter().any(|column| has(&column.slot))
        };
        Body::parse_for(bytes, maps, line)
    }

    /// `maps`: whether a field has a column; `line`: whether a line of the address has.
    fn parse_for(bytes: &[u8], maps: impl Fn(&Field) -> bool, line: impl Fn(&str) -> bool) -> Result<Body, Errors> {
        let one = |message: String| Errors::from([("detail".to_string(), vec![message])]);
        let json: Json = serde_json::from_slice(bytes).map_err(|e| one(format!("Not JSON: {e}.")))?;
        let Json::Object(object) = json else { return Err(one("Not a JSON object.".into())) };
        let mut parsing = Parsing { body: Body::default(), errors: Errors::new() };
        for (name, value) in object {
            parsing.member(&name, value);
        }
        let Parsing { body, mut errors } = parsing;
        for field in body.set.keys().filter(|field| !maps(field)) {
            errors.entry(field.to_string()).or_default().push(NO_COLUMN.into());
        }
        if let Some(Value::Address(address)) = body.set.get(&Field::Address).filter(|_| maps(&Field::Address)) {
            let texts = [&address.line1, &address.line2, &address.city, &address.state, &address.postal_code, &address.country];
            let lost = LINES.iter().zip(texts).filter(|(name, text)| !text.is_empty() && !line(name));
            let wrong: Vec<String> = lost.map(|(name, _)| format!("{name}: {NO_COLUMN}")).collect();
            if !wrong.is_empty() {
                errors.entry("address".to_string()).or_default().extend(wrong);
            }
        }
        if errors.is_empty() { Ok(body) } else { Err(errors) }
    }
}

struct Parsing {
    body: Body,
    errors: Errors,
}

impl Parsing {
    fn wrong(&mut self, field: &str, message: &str) {
        self.errors.entry(field.to_string()).or_default().push(message.into());
    }

    fn member(&mut self, name: &str, value: Json) {
        match (name, value) {
            ("id", Json::String(id)) if !id.is_empty() && !id.contains('\0') && id.len() <= 255 => self.body.id = Some(id),
            ("id", _) => self.wrong("id", "A text of 1 to 255 characters."),
            ("name", value) => self.text("name", Field::Name, value),
            ("email", value) => {
                let plausible = value.as_str().is_none_or(|email| email.is_empty() || is_email(email));
                if plausible { self.text("email", Field::Email, value) } else { self.wrong("email", "Enter a valid email address.") }
            }
            ("phone", value) => self.text("phone", Field::Phone, value),
            ("address", Json::Null) => {
                self.body.set.insert(Field::Address, Value::Empty);
            }
            ("address", Json::Object(lines)) => self.address(lines),
            ("address", _) => self.wrong("address", "An object of line1, line2, city, state, postal_code and country, or null."),
            ("attributes", Json::Null) => self.body.clears_attributes = true,
            ("attributes", Json::Object(all)) => {
                for (key, value) in all {
                    if key.is_empty() || key.contains('\0') {
                        self.wrong("attributes", "A key is a text that is not empty.");
                    } else {
                        self.text(&format!("attributes.{key}"), Field::attribute(&key), value);
                    }
                }
            }
            ("attributes", _) => self.wrong("attributes", "An object of texts, or null."),
            // What a GET gave may be sent back.
            ("created_at" | "updated_at", _) => {}
            (other, _) => self.wrong(other, "Unknown field."),
        }
    }

    fn text(&mut self, name: &str, field: Field, value: Json) {
        match value {
            Json::Null => {
                self.body.set.insert(field, Value::Empty);
            }
            Json::String(text) if text.contains('\0') => self.wrong(name, "Null characters are not allowed."),
            Json::String(text) => {
                self.body.set.insert(field, text.into());
            }
            _ => self.wrong(name, "A text, or null."),
        }
    }

    fn address(&mut self, lines: Map<String, Json>) {
        let mut address = Address::default();
        for (name, value) in lines {
            let text = match value {
                Json::Null => String::new(),
                Json::String(text) if !text.contains('\0') => text,
                _ => {
                    self.wrong("address", &format!("{name}: a text, or null."));
                    continue;
                }
            };
            let line = match LINES.iter().position(|known| *known == name) {
                Some(0) => &mut address.line1,
                Some(1) => &mut address.line2,
                Some(2) => &mut address.city,
                Some(3) => &mut address.state,
                Some(4) => &mut address.postal_code,
                Some(_) => &mut address.country,
                None => {
                    self.wrong("address", &format!("{name}: no line of an address."));
                    continue;
                }
            };
            *line = text;
        }
        self.body.set.insert(Field::Address, address.into());
    }
}

/// Something before and after one `@`, and no space: enough to catch a slip; whether it receives mail, only mail can say.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    !local.is_empty()
        && !domain.is_empty()
        && !domain.starts_with('.')
        && !domain.ends_with('.')
        && !text.contains(char::is_whitespace)
        && !local.contains('@')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Body, Errors> {
        Body::parse_for(text.as_bytes(), |field| *field != Field::Phone, |line| line != "country")
    }

    #[test]
    fn null_clears_and_what_is_absent_is_not_touched() {
        let body = parse(r#"{"name": null, "email": "a@b.example", "attributes": {"plan": "pro", "seats": null}}"#).unwrap();
        let expected = Values::from([
            (Field::Name, Value::Empty),
            (Field::Email, "a@b.example".into()),
            (Field::attribute("plan"), "pro".into()),
            (Field::attribute("seats"), Value::Empty),
        ]);
        assert_eq!(body, Body { id: None, set: expected, clears_attributes: false });
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let errors = parse(r#"{"nme": "x", "name": 3, "email": "nobody", "phone": "1", "address": {"street": "x", "city": 1}, "id": ""}"#)
            .unwrap_err();
        assert_eq!(errors.keys().collect::<Vec<_>>(), ["address", "email", "id", "name", "nme", "phone"]);
        assert_eq!(errors["address"].len(), 2);
        for not_a_customer in ["", "[]", "{", "\"x\""] {
            assert_eq!(parse(not_a_customer).unwrap_err().keys().collect::<Vec<_>>(), ["detail"]);
        }
    }

    #[test]
    fn a_line_of_the_address_that_could_not_be_stored_is_refused() {
        let errors = parse(r#"{"address": {"line1": "Main", "country": "GB"}}"#).unwrap_err();
        assert_eq!(errors, Errors::from([("address".to_string(), vec![format!("country: {NO_COLUMN}")])]));
        for stored in [r#"{"address": {"line1": "Main", "country": ""}}"#, r#"{"address": {"line1": "Main"}}"#] {
            parse(stored).unwrap();
        }
    }

    #[test]
    fn an_email_has_two_sides() {
        for good in ["a@b", "a.b+c@example.com"] {
            assert!(is_email(good), "{good}");
        }
        for bad in ["", "a", "@b", "a@", "a b@c", "a@b@c", "a@.b"] {
            assert!(!is_email(bad), "{bad}");
        }
    }
}
