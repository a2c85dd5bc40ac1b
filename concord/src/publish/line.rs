//! A line as a record.

use super::args::{Args, timestamp};
use crate::topics::Published;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

/// How a line becomes a record.
pub struct Form {
    key: Field,
    value_field: Option<String>,
    headers: BTreeMap<String, String>,
    headers_field: Option<String>,
    timestamp: Option<i64>,
    timestamp_field: Option<String>,
    partition: Option<i32>,
}

enum Field {
    Is(String),
    In(String),
}

impl Form {
    pub fn new(args: &Args) -> anyhow::Result<Form> {
        let key = match (&args.key, &args.key_field) {
            (Some(key), _) => Field::Is(key.clone()),
            (None, Some(name)) => Field::In(name.clone()),
            (None, None) => anyhow::bail!("say what the key is: --key KEY, or --key-field NAME for a field of each line"),
        };
        Ok(Form {
            key,
            value_field: args.value_field.clone(),
            headers: args.headers.iter().cloned().collect(),
            headers_field: args.headers_field.clone(),
            timestamp: args.timestamp,
            timestamp_field: args.timestamp_field.clone(),
            partition: args.partition,
        })
    }

    /// About what a record has beside its line.
    pub fn more(&self) -> usize {
        self.headers.iter().map(|(name, value)| name.len() + value.len() + 8).sum::<usize>() + 64
    }

    /// The record, or why the line is none.
    pub fn read(&self, line: &str) -> Result<Published, String> {
        let mut line: Json = serde_json::from_str(line).map_err(|error| format!("not JSON: {error}"))?;
        let key = match &self.key {
            Field::Is(key) => key.clone(),
            Field::In(name) => match take(&mut line, name)? {
                Some(Json::String(key)) => key,
                Some(Json::Number(key)) => key.to_string(),
                Some(_) => return Err(format!("{name} is no text or number, so it is no key")),
                None => return Err(format!("there is no field {name} to take the key from")),
            },
        };
        let mut headers = self.headers.clone();
        if let Some(name) = &self.headers_field {
            headers.extend(texts(name, take(&mut line, name)?)?);
        }
        let timestamp = match &self.timestamp_field {
            None => self.timestamp,
            Some(name) => Some(match take(&mut line, name)? {
                Some(Json::Number(number)) => number.as_i64().ok_or_else(|| format!("{name}: no whole number of milliseconds"))?,
                Some(Json::String(text)) => timestamp(&text).map_err(|error| format!("{name}: {error}"))?,
                Some(_) => return Err(format!("{name} is no number and no text, so it is no time")),
                None => return Err(format!("there is no field {name} to take the timestamp from")),
            }),
        };
        let value = match &self.value_field {
            Some(name) => line.get_mut(name).map(Json::take).ok_or_else(|| format!("there is no field {name} to take the value from"))?,
            None => line,
        };
        Ok(Published { key, value, headers, timestamp, partition: self.partition })
    }
}

fn take(line: &mut Json, name: &str) -> Result<Option<Json>, String> {
    match line {
        Json::Object(fields) => Ok(fields.remove(name)),
        _ => Err("not a JSON object".into()),
    }
}

/// No headers at all are none.
fn texts(name: &str, field: Option<Json>) -> Result<Vec<(String, String)>, String> {
    let fields = match field {
        None | Some(Json::Null) => Map::new(),
        Some(Json::Object(fields)) => fields,
        Some(_) => return Err(format!("{name} is no object, so it has no headers")),
    };
    let text = |(header, value)| match value {
        Json::String(text) => Ok((header, text)),
        _ => Err(format!("{name}: the header {header} is no text")),
    };
    fields.into_iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;
    use serde_json::json;

    fn form(args: &[&str]) -> Form {
        let cli = Cli::try_parse_from([["concord", "publish", "customers.crm"].as_slice(), args].concat()).unwrap();
        let Command::Publish(args) = cli.command else { panic!("not publish") };
        Form::new(&args).unwrap()
    }

    #[test]
    fn all_of_a_record_comes_from_flags_or_from_fields() {
        let fixed =
            form(&["--key", "7", "--header", "a=1", "--header", "b=x=y", "--timestamp", "2026-01-02T00:00:00Z", "--partition", "3"]);
        let record = fixed.read(r#"{"fields":null}"#).unwrap();
        assert_eq!((record.key.as_str(), record.timestamp, record.partition), ("7", Some(1_767_312_000_000), Some(3)));
        assert_eq!((json!(record.headers), record.value), (json!({"a": "1", "b": "x=y"}), json!({"fields": null})));

        let fields =
            form(&["--key-field", "id", "--headers-field", "h", "--timestamp-field", "at", "--value-field", "v", "--header", "a=1"]);
        let record = fields.read(r#"{"id":7,"h":{"a":"2"},"at":1767312000000,"v":{"fields":{}},"rest":1}"#).unwrap();
        assert_eq!((record.key.as_str(), record.timestamp, record.partition), ("7", Some(1_767_312_000_000), None));
        assert_eq!((json!(record.headers), record.value), (json!({"a": "2"}), json!({"fields": {}})));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let form = form(&["--key-field", "id", "--headers-field", "h", "--timestamp-field", "at"]);
        for (line, what) in [
            ("7", "not a JSON object"),
            ("{", "not JSON"),
            (r#"{"at":1}"#, "id"),
            (r#"{"id":"7"}"#, "field at"),
            (r#"{"id":"7","at":"soon"}"#, "2026-01-02"),
            (r#"{"id":"7","at":1,"h":{"a":1}}"#, "header a"),
            (r#"{"id":"7","at":1,"h":[]}"#, "h is no object"),
        ] {
            let error = form.read(line).unwrap_err();
            assert!(error.contains(what), "{line}: {error}");
        }
    }
}
