//! Avro data without a Rust type: values by schema, and plain JSON.
//!
//! JSON here is what a person would write: `{"fields": {"name": "Ada"}}`. A union's value stands alone; only where a union has several
//! records, its value is `{"<record's name>": {…}}`, in and out. In, a field may be left out if it has a default, and the forms of Avro's
//! own JSON (`{"string": "Ada"}`) are understood, too. Bytes are texts of the characters U+0000 to U+00FF, as in Avro's JSON.

use crate::schema::{Names, Schema, Shape};
use apache_avro::{
    Schema as Avro, reader::datum::GenericDatumReader, schema::RecordSchema, types::Value, writer::datum::GenericDatumWriter,
};
use serde_json::{Map, Value as Json};

/// Bytes that are no datum of the schema, or a value that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatumError {
    #[error("the datum does not match its schema: {0}")]
    Datum(String),
    #[error("{0} bytes follow the datum")]
    Trailing(usize),
}

/// Where JSON does not fit the schema, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", if path.is_empty() { String::new() } else { format!("{path}: ") })]
pub struct JsonError {
    /// E.g. `fields.address.line1` or `notices[0].event_id`; empty: the whole.
    pub path: String,
    pub reason: String,
}

impl JsonError {
    fn new(reason: impl Into<String>) -> Self {
        JsonError { path: String::new(), reason: reason.into() }
    }

    fn under(mut self, step: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{step}{dot}{}", self.path);
        self
    }
}

/// The value that the datum is. Logical types are left as what is underneath.
pub fn decode(datum: &[u8], schema: &Schema) -> Result<Value, DatumError> {
    let reader = GenericDatumReader::builder(schema.plain()).build().map_err(|e| DatumError::Datum(e.to_string()))?;
    let mut datum = Datum { rest: datum, starved: false };
    let value = reader.read_value(&mut datum).map_err(|e| DatumError::Datum(e.to_string()))?;
    match datum {
        Datum { starved: true, .. } => Err(DatumError::Datum("it ends too early".into())),
        Datum { rest: [], .. } => Ok(value),
        Datum { rest, .. } => Err(DatumError::Trailing(rest.len())),
    }
}

/// apache-avro takes the end of the bytes, where a union should be, for null: so remember that more was wanted than there is.
struct Datum<'a> {
    rest: &'a [u8],
    starved: bool,
}

impl std::io::Read for Datum<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.starved |= self.rest.is_empty() && !buffer.is_empty();
        self.rest.read(buffer)
    }
}

/// The datum of a value as [`decode`] and [`from_json`] make it.
pub fn encode(value: &Value, schema: &Schema) -> Result<Vec<u8>, DatumError> {
    let writer = GenericDatumWriter::builder(schema.plain()).validate(false).build().map_err(|e| DatumError::Datum(e.to_string()))?;
    let mut datum = Vec::new();
    writer.write_value_ref(&mut datum, value).map_err(|e| DatumError::Datum(e.to_string()))?;
    Ok(datum)
}

/// The value as plain JSON.
pub fn to_json(value: &Value, schema: &Schema) -> Json {
    let names = Names::of(schema.plain());
    json_of(value, schema.plain(), &names)
}

/// JSON as a value of the schema, defaults filled in.
pub fn from_json(json: &Json, schema: &Schema) -> Result<Value, JsonError> {
    let names = Names::of(schema.plain());
    value_of(json, schema.plain(), &names)
}

/// A field's default, as a value.
pub(crate) fn default_value<'a>(default: &Json, schema: &'a Avro, names: &Names<'a>) -> Result<Value, JsonError> {
    value_of(default, schema, names)
}

fn json_of<'a>(value: &Value, schema: &'a Avro, names: &Names<'a>) -> Json {
    match (value, names.shape(schema)) {
        (Value::Union(at, value), Shape::Union(branches)) => {
            let Some(branch) = branches.get(*at as usize) else { return Json::Null };
            let json = json_of(value, branch, names);
            match names.shape(branch) {
                Shape::Record(record) if several_records(branches, names) => {
                    Json::Object(Map::from_iter([(record.name.name().to_owned(), json)]))
                }
                _ => json,
            }
        }
        (Value::Record(values), Shape::Record(record)) => {
            let fields = record.fields.iter().zip(values);
            Json::Object(fields.map(|(field, (name, value))| (name.clone(), json_of(value, &field.schema, names))).collect())
        }
        (Value::Array(items), Shape::Array(of)) => items.iter().map(|item| json_of(item, of, names)).collect(),
        (Value::Map(items), Shape::Map(of)) => {
            Json::Object(items.iter().map(|(key, item)| (key.clone(), json_of(item, of, names))).collect())
        }
        (Value::Boolean(value), _) => Json::Bool(*value),
        (Value::Int(n), _) => Json::from(*n),
        (Value::Long(n), _) => Json::from(*n),
        (Value::Float(n), _) => float(f64::from(*n)),
        (Value::Double(n), _) => float(*n),
        (Value::String(text) | Value::Enum(_, text), _) => Json::String(text.clone()),
        (Value::Bytes(bytes) | Value::Fixed(_, bytes), _) => Json::String(bytes.iter().copied().map(char::from).collect()),
        _ => Json::Null,
    }
}

/// JSON has no word for these three.
fn float(n: f64) -> Json {
    serde_json::Number::from_f64(n).map_or_else(|| Json::String(n.to_string()), Json::Number)
}

fn several_records<'a>(branches: &'a [Avro], names: &Names<'a>) -> bool {
    branches.iter().filter(|branch| matches!(names.shape(branch), Shape::Record(_))).count() > 1
}

fn value_of<'a>(json: &Json, schema: &'a Avro, names: &Names<'a>) -> Result<Value, JsonError> {
    let shape = names.shape(schema);
    let unfit = || JsonError::new(format!("expected {}, got {}", shape.name(), brief(json)));
    match (shape, json) {
        (Shape::Union(branches), _) => union_of(json, branches, names),
        (Shape::Null, Json::Null) => Ok(Value::Null),
        (Shape::Boolean, Json::Bool(value)) => Ok(Value::Boolean(*value)),
        (Shape::Int, Json::Number(n)) => n.as_i64().and_then(|n| i32::try_from(n).ok()).map(Value::Int).ok_or_else(unfit),
        (Shape::Long, Json::Number(n)) => n.as_i64().map(Value::Long).ok_or_else(unfit),
        (Shape::Float, json) => number(json).map(|n| Value::Float(n as f32)).ok_or_else(unfit),
        (Shape::Double, json) => number(json).map(Value::Double).ok_or_else(unfit),
        (Shape::String, Json::String(text)) => Ok(Value::String(text.clone())),
        (Shape::Bytes, Json::String(text)) => bytes_of(text).map(Value::Bytes).ok_or_else(unfit),
        (Shape::Fixed(_, size), Json::String(text)) => {
            bytes_of(text).filter(|bytes| bytes.len() == size).map(|bytes| Value::Fixed(size, bytes)).ok_or_else(unfit)
        }
        (Shape::Enum(of), Json::String(symbol)) => match of.symbols.iter().position(|known| known == symbol) {
            Some(at) => Ok(Value::Enum(at as u32, symbol.clone())),
            None => Err(JsonError::new(format!("expected one of {}, got {}", of.symbols.join(", "), brief(json)))),
        },
        (Shape::Array(of), Json::Array(items)) => {
            let items = items.iter().enumerate();
            items
                .map(|(n, item)| value_of(item, of, names).map_err(|e| e.under(&format!("[{n}]"))))
                .collect::<Result<_, _>>()
                .map(Value::Array)
        }
        (Shape::Map(of), Json::Object(items)) => {
            let items = items.iter();
            items
                .map(|(key, item)| match value_of(item, of, names) {
                    Ok(value) => Ok((key.clone(), value)),
                    Err(e) => Err(e.under(key)),
                })
                .collect::<Result<_, _>>()
                .map(Value::Map)
        }
        (Shape::Record(record), Json::Object(given)) => {
            if let Some(unknown) = given.keys().find(|key| !record.fields.iter().any(|field| field.name == **key)) {
                return Err(JsonError::new(no_such_field(unknown, record, names)).under(unknown));
            }
            let mut fields = Vec::with_capacity(record.fields.len());
            for field in &record.fields {
                let value = match (given.get(&field.name), &field.default) {
                    (Some(json), _) | (None, Some(json)) => value_of(json, &field.schema, names),
                    (None, None) => Err(JsonError::new("missing, and it has no default")),
                };
                fields.push((field.name.clone(), value.map_err(|e| e.under(&field.name))?));
            }
            Ok(Value::Record(fields))
        }
        _ => Err(unfit()),
    }
}

/// What the record has instead; and where a field of that name belongs, if it is in one of the record's own records.
fn no_such_field<'a>(unknown: &str, record: &'a RecordSchema, names: &Names<'a>) -> String {
    let has = |schema: &'a Avro| matches!(names.shape(schema), Shape::Record(of) if of.fields.iter().any(|field| field.name == unknown));
    let inside = record.fields.iter().find(|field| match names.shape(&field.schema) {
        Shape::Union(branches) => branches.iter().any(has),
        _ => has(&field.schema),
    });
    match inside {
        Some(field) => format!("belongs inside {0:?}: {{{0:?}: {{{unknown:?}: ...}}}}", field.name),
        None => {
            let known = record.fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(", ");
            format!("no such field; {} has {known}", record.name.name())
        }
    }
}

fn union_of<'a>(json: &Json, branches: &'a [Avro], names: &Names<'a>) -> Result<Value, JsonError> {
    let tagged = || {
        let Json::Object(object) = json else { return None };
        let (tag, inner) = object.iter().next().filter(|_| object.len() == 1)?;
        let at = branches.iter().position(|branch| match names.shape(branch) {
            Shape::Record(of) => tag == of.name.name() || *tag == of.name.fullname(None),
            Shape::Enum(of) => tag == of.name.name() || *tag == of.name.fullname(None),
            shape => *tag == shape.name(),
        })?;
        Some(value_of(inner, &branches[at], names).map(|value| Value::Union(at as u32, Box::new(value))).map_err(|e| e.under(tag)))
    };
    if several_records(branches, names)
        && let Some(value) = tagged()
    {
        return value;
    }
    let mut nearest = None;
    for (at, branch) in branches.iter().enumerate() {
        match value_of(json, branch, names) {
            Ok(value) => return Ok(Value::Union(at as u32, Box::new(value))),
            // The branch that this was meant for says best what is wrong: an object's is the record.
            Err(error) if !error.path.is_empty() => nearest = Some(error),
            Err(_) => {}
        }
    }
    if let Some(Ok(value)) = tagged() {
        return Ok(value);
    }
    Err(nearest.unwrap_or_else(|| {
        let known = branches.iter().map(|branch| names.shape(branch).name()).collect::<Vec<_>>().join(" or ");
        JsonError::new(format!("expected {known}, got {}", brief(json)))
    }))
}

fn number(json: &Json) -> Option<f64> {
    match json {
        Json::String(text) if matches!(text.as_str(), "NaN" | "inf" | "-inf") => text.parse().ok(),
        json => json.as_f64(),
    }
}

fn bytes_of(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(c).ok()).collect()
}

/// What was given instead, cut short.
fn brief(json: &Json) -> String {
    match json {
        Json::Null => "null".into(),
        Json::Object(_) => "an object".into(),
        Json::Array(_) => "an array".into(),
        json => {
            let text = json.to_string();
            if text.chars().count() <= 60 { text } else { format!("{}…", text.chars().take(60).collect::<String>()) }
        }
    }
}
