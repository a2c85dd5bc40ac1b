//! How a row's mapped columns and a customer's fields are turned into each other: pure.
//!
//! A row travels as an array of texts, one per [`Slot`] in the table's order. In a row's values `None` is SQL null. In
//! what is set or expected `None` is "not concerned", and `""` is "no value": null and `""` are the same everywhere.

use schemas::{Address, Change, CustomerFields, Field, Previous, Value, Values};
use serde_json::value::RawValue;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

/// What one column holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// One field as a text: name, email, phone, or an attribute that has a column of its own.
    Text(Field),
    AddressLine(AddressLine),
    /// The whole address as a json object.
    AddressJson,
    /// Every attribute without a column of its own, as a json object.
    AttributesJson,
}

/// One line of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressLine {
    Line1,
    Line2,
    City,
    State,
    PostalCode,
    Country,
}

impl AddressLine {
    pub const ALL: [AddressLine; 6] =
        [AddressLine::Line1, AddressLine::Line2, AddressLine::City, AddressLine::State, AddressLine::PostalCode, AddressLine::Country];

    pub fn name(self) -> &'static str {
        match self {
            AddressLine::Line1 => "line1",
            AddressLine::Line2 => "line2",
            AddressLine::City => "city",
            AddressLine::State => "state",
            AddressLine::PostalCode => "postal_code",
            AddressLine::Country => "country",
        }
    }

    fn of(self, address: &mut Address) -> &mut String {
        match self {
            AddressLine::Line1 => &mut address.line1,
            AddressLine::Line2 => &mut address.line2,
            AddressLine::City => &mut address.city,
            AddressLine::State => &mut address.state,
            AddressLine::PostalCode => &mut address.postal_code,
            AddressLine::Country => &mut address.country,
        }
    }
}

impl Slot {
    /// The field that a refused column is reported as; attributes in one json column name none.
    pub fn field(&self) -> Option<Field> {
        match self {
            Slot::Text(field) => Some(field.clone()),
            Slot::AddressLine(_) | Slot::AddressJson => Some(Field::Address),
            Slot::AttributesJson => None,
        }
    }

    pub fn is_json(&self) -> bool {
        matches!(self, Slot::AddressJson | Slot::AttributesJson)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::Text(field) => write!(f, "{field}"),
            Slot::AddressLine(line) => write!(f, "address.{}", line.name()),
            Slot::AddressJson => f.write_str("address"),
            Slot::AttributesJson => f.write_str("attributes"),
        }
    }
}

impl FromStr for Slot {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "address" => Ok(Slot::AddressJson),
            "attributes" => Ok(Slot::AttributesJson),
            _ => match text.strip_prefix("address.") {
                Some(line) => AddressLine::ALL
                    .into_iter()
                    .find(|l| l.name() == line)
                    .map(Slot::AddressLine)
                    .ok_or_else(|| format!("no such line of an address: {text:?}")),
                None => text.parse().map(Slot::Text).map_err(|e: schemas::FieldError| e.to_string()),
            },
        }
    }
}

/// The slots of a row's array, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub slots: Vec<Slot>,
}

impl Shape {
    /// The snapshot that a row shows.
    pub fn snapshot(&self, row: &[Option<String>]) -> CustomerFields {
        let mut fields = CustomerFields::default();
        let mut address = Address::default();
        // Single columns win over the json column, whichever comes first.
        for (slot, value) in self.slots.iter().zip(row) {
            let value = value.as_deref().unwrap_or_default();
            match slot {
                Slot::AddressJson => address = parse_address(value),
                Slot::AttributesJson => fields.attributes = parse_attributes(value),
                Slot::Text(_) | Slot::AddressLine(_) => {}
            }
        }
        for (slot, value) in self.slots.iter().zip(row) {
            let value = value.as_deref().unwrap_or_default();
            match slot {
                Slot::Text(field) => fields.set(field, value.into()),
                Slot::AddressLine(line) => *line.of(&mut address) = value.to_string(),
                Slot::AddressJson | Slot::AttributesJson => {}
            }
        }
        fields.set(&Field::Address, address.into());
        fields
    }

    /// What an update changed: `previous` has, per slot, what was there before, or `None` where nothing changed.
    pub fn changes(&self, previous: &[Option<String>], row: &[Option<String>]) -> Vec<Change> {
        let before: Vec<Option<String>> = previous.iter().zip(row).map(|(p, now)| p.clone().or_else(|| now.clone())).collect();
        differences(&self.snapshot(&before), &self.snapshot(row))
    }

    /// Some fields' values as an array: what a write sets or expects. Fields without a column are left out.
    pub fn encode(&self, values: &Values) -> Vec<Option<String>> {
        let own: BTreeSet<&Field> = self.slots.iter().filter_map(|s| if let Slot::Text(f) = s { Some(f) } else { None }).collect();
        self.slots
            .iter()
            .map(|slot| match slot {
                Slot::Text(field) => values.get(field).map(|v| v.as_text().unwrap_or_default().to_string()),
                Slot::AddressLine(line) => {
                    let mut address = as_address(values.get(&Field::Address)?);
                    Some(std::mem::take(line.of(&mut address)))
                }
                Slot::AddressJson => values.get(&Field::Address).map(|v| json_address(&as_address(v))),
                Slot::AttributesJson => {
                    let some: BTreeMap<&str, Option<&str>> = values
                        .iter()
                        .filter_map(|(field, value)| match field {
                            Field::Attribute(key) if !own.contains(field) => Some((&**key, value.as_text().filter(|t| !t.is_empty()))),
                            _ => None,
                        })
                        .collect();
                    (!some.is_empty()).then(|| serde_json::json!(some).to_string())
                }
            })
            .collect()
    }
}

/// The fields that differ between two snapshots, in order of field.
pub fn differences(before: &CustomerFields, now: &CustomerFields) -> Vec<Change> {
    let (old, new) = (before.values(), now.values());
    let fields: BTreeSet<&Field> = old.keys().chain(new.keys()).collect();
    fields
        .into_iter()
        .filter_map(|field| {
            let (was, is) = (old.get(field).cloned().unwrap_or_default(), new.get(field).cloned().unwrap_or_default());
            (was != is).then(|| Change { field: field.clone(), previous: Some(Previous { value: was }), new: is })
        })
        .collect()
}

fn as_address(value: &Value) -> Address {
    match value {
        Value::Address(address) => (**address).clone(),
        Value::Empty | Value::Text(_) => Address::default(),
    }
}

/// `""` for no address, else its lines that are not empty.
fn json_address(address: &Address) -> String {
    if address.is_empty() {
        return String::new();
    }
    let lines: BTreeMap<&str, &str> =
        AddressLine::ALL.iter().map(|l| l.name()).zip(address.lines()).filter(|(_, line)| !line.is_empty()).collect();
    serde_json::json!(lines).to_string()
}

fn parse_address(json: &str) -> Address {
    let lines = parse_attributes(json);
    let mut address = Address::default();
    for line in AddressLine::ALL {
        *line.of(&mut address) = lines.get(line.name()).cloned().unwrap_or_default();
    }
    address
}

/// A json object's values as texts, as Postgres' `->>` gives them; what is null or no object has none.
fn parse_attributes(json: &str) -> BTreeMap<String, String> {
    // Numbers and what is nested keep the very text that Postgres printed: SQL compares with that.
    let Ok(raw) = serde_json::from_str::<BTreeMap<String, &RawValue>>(json) else { return BTreeMap::new() };
    raw.into_iter()
        .filter_map(|(key, value)| {
            let text = match value.get() {
                "null" => return None,
                text if text.starts_with('"') => serde_json::from_str(text).ok()?,
                text => text.to_string(),
            };
            (!text.is_empty()).then_some((key, text))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(slots: &[&str]) -> Shape {
        Shape { slots: slots.iter().map(|s| s.parse().unwrap()).collect() }
    }

    fn row(values: &[Option<&str>]) -> Vec<Option<String>> {
        values.iter().map(|v| v.map(String::from)).collect()
    }

    #[test]
    fn a_row_shows_its_fields_and_null_is_empty() {
        let shape = shape(&["name", "email", "address.line1", "address.city", "attributes.plan", "attributes"]);
        let json = r#"{"plan": "ignored", "seats": 3.10, "beta": true, "tags": ["a", "b"], "no": null, "empty": "", "q": "\"x\""}"#;
        let fields = shape.snapshot(&row(&[Some("Ada"), None, Some(""), Some("Paris"), Some("pro"), Some(json)]));
        assert_eq!(fields.name.as_deref(), Some("Ada"));
        assert_eq!(fields.email, None);
        assert_eq!(fields.address, Some(Address { city: "Paris".into(), ..Address::default() }));
        let attributes: Vec<(&str, &str)> = fields.attributes.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(attributes, [("beta", "true"), ("plan", "pro"), ("q", "\"x\""), ("seats", "3.10"), ("tags", r#"["a", "b"]"#)]);
    }

    #[test]
    fn an_update_changed_what_its_previous_values_say() {
        let shape = shape(&["name", "phone", "attributes"]);
        let changes = shape.changes(
            &row(&[Some("Ada"), Some(""), Some(r#"{"a": "1", "b": "2"}"#)]),
            &row(&[Some("Ada L."), Some("1"), Some(r#"{"a": "1", "c": "3"}"#)]),
        );
        let said: Vec<String> = changes
            .iter()
            .map(|c| format!("{} {:?} {:?}", c.field, c.previous.as_ref().unwrap().value.as_text(), c.new.as_text()))
            .collect();
        assert_eq!(
            said,
            [
                r#"name Some("Ada") Some("Ada L.")"#,
                r#"phone Some("") Some("1")"#,
                r#"attributes.b Some("2") Some("")"#,
                r#"attributes.c Some("") Some("3")"#
            ]
        );
    }

    #[test]
    fn what_is_set_goes_to_its_own_column_and_the_rest_is_not_concerned() {
        let shape = shape(&["name", "email", "address", "attributes.plan", "attributes"]);
        let values: Values = [
            (Field::Name, Value::Empty),
            (Field::Address, Address { city: "Paris".into(), ..Address::default() }.into()),
            (Field::attribute("plan"), "pro".into()),
            (Field::attribute("seats"), "3".into()),
            (Field::attribute("beta"), Value::Empty),
        ]
        .into();
        assert_eq!(
            shape.encode(&values),
            row(&[Some(""), None, Some(r#"{"city":"Paris"}"#), Some("pro"), Some(r#"{"beta":null,"seats":"3"}"#)])
        );
        assert_eq!(shape.encode(&Values::from([(Field::Address, Value::Empty)]))[2].as_deref(), Some(""));
    }

    #[test]
    fn slots_have_one_text_each() {
        for text in ["name", "email", "phone", "address", "address.postal_code", "attributes", "attributes.a.b"] {
            assert_eq!(text.parse::<Slot>().unwrap().to_string(), text);
        }
        for wrong in ["", "address.", "address.street", "attributes.", "nme"] {
            assert!(wrong.parse::<Slot>().is_err(), "{wrong}");
        }
    }
}
