//! A schema as a list of its fields, each with its whole path: what people compare.

use schemas::Schema;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// A field, however deep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// For people: `null | string`, `enum Kind (a, b)`.
    pub kind: String,
    /// As it is written; none: it must be given.
    pub default: Option<String>,
}

/// All fields by path, e.g. `fields.address.line1` or `notices.[].time`; the schema itself is at the empty path.
pub fn of(schema: &Schema) -> BTreeMap<String, Field> {
    // It was parsed before.
    let json: Json = serde_json::from_str(schema.text()).unwrap_or_default();
    let mut fields = BTreeMap::new();
    fields.insert(String::new(), Field { kind: kind(&json), default: None });
    inside(&json, "", &mut fields);
    fields
}

fn inside(schema: &Json, path: &str, fields: &mut BTreeMap<String, Field>) {
    let under = |step: &str| if path.is_empty() { step.to_owned() } else { format!("{path}.{step}") };
    match schema {
        Json::Array(branches) => branches.iter().for_each(|branch| inside(branch, path, fields)),
        Json::Object(object) => match object.get("type") {
            Some(Json::String(word)) if word == "array" => inside(&schema["items"], &under("[]"), fields),
            Some(Json::String(word)) if word == "map" => inside(&schema["values"], &under("{}"), fields),
            Some(Json::String(word)) if word == "record" => {
                for field in schema["fields"].as_array().into_iter().flatten() {
                    let path = under(field["name"].as_str().unwrap_or_default());
                    let default = field.get("default").map(ToString::to_string);
                    fields.insert(path.clone(), Field { kind: kind(&field["type"]), default });
                    inside(&field["type"], &path, fields);
                }
            }
            Some(inner @ (Json::Object(_) | Json::Array(_))) => inside(inner, path, fields),
            _ => {}
        },
        _ => {}
    }
}

/// A type in a few words.
fn kind(schema: &Json) -> String {
    match schema {
        Json::String(name) => name.clone(),
        Json::Array(branches) => branches.iter().map(kind).collect::<Vec<_>>().join(" | "),
        object => {
            let name = || object["name"].as_str().unwrap_or_default();
            let text = match object["type"].as_str() {
                Some("array") => format!("array of {}", kind(&object["items"])),
                Some("map") => format!("map of {}", kind(&object["values"])),
                Some("record") => format!("record {}", name()),
                Some("enum") => {
                    let symbols = object["symbols"].as_array().into_iter().flatten().filter_map(Json::as_str);
                    let default = object["default"].as_str().map(|default| format!(", default {default}")).unwrap_or_default();
                    format!("enum {} ({}{default})", name(), symbols.collect::<Vec<_>>().join(", "))
                }
                Some("fixed") => format!("fixed {} ({})", name(), object["size"]),
                Some(word) => word.to_owned(),
                None => kind(&object["type"]),
            };
            match object["logicalType"].as_str() {
                Some("decimal") => format!("{text} (decimal {}, {})", object["precision"], object["scale"].as_u64().unwrap_or(0)),
                Some(logical) => format!("{text} ({logical})"),
                None => text,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use schemas::Schema;

    #[test]
    fn fields_are_named_by_their_whole_path() {
        let schema = r#"{"type":"record","name":"R","fields":[
            {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"},"default":0},
            {"name":"parts","type":{"type":"array","items":{"type":"record","name":"P","fields":[{"name":"x","type":["null","R"],"default":null}]}}},
            {"name":"kind","type":["null",{"type":"enum","name":"E","symbols":["a","b"],"default":"a"}]}]}"#;
        let fields = super::of(&Schema::parse(schema).unwrap());
        let shown: Vec<String> = fields.iter().map(|(path, field)| format!("{path}: {} = {:?}", field.kind, field.default)).collect();
        assert_eq!(
            shown,
            [
                ": record R = None",
                "at: long (timestamp-millis) = Some(\"0\")",
                "kind: null | enum E (a, b, default a) = None",
                "parts: array of record P = None",
                "parts.[].x: null | R = Some(\"null\")",
            ]
        );
    }
}
