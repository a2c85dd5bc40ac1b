//! A parsed Avro schema, shared by everything that needs it.

use apache_avro::schema::{EnumSchema, InnerDecimalSchema, Name, RecordSchema, UuidSchema};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use serde_json::Value as Json;
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, OnceLock},
};

/// A text that is no Avro schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an Avro schema: {0}")]
pub struct SchemaError(pub String);

/// An Avro schema: its text, and what the two Avro libraries make of it.
pub struct Schema {
    text: String,
    canonical: String,
    avro: apache_avro::Schema,
    plain: apache_avro::Schema,
    fast: OnceLock<Result<serde_avro_fast::Schema, String>>,
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Schema").field(&self.text).finish()
    }
}

/// Parsing takes a millisecond, and many registries of one process (tests, above all) hold the same few texts.
static PARSED: LazyLock<Mutex<FxHashMap<String, Arc<Schema>>>> = LazyLock::new(Mutex::default);
const PARSED_MOST: usize = 512;

impl Schema {
    /// The schema that the text says.
    pub fn parse(text: &str) -> Result<Arc<Schema>, SchemaError> {
        if let Some(schema) = PARSED.lock().get(text) {
            return Ok(schema.clone());
        }
        let json: Json = serde_json::from_str(text).map_err(|e| SchemaError(e.to_string()))?;
        let avro = apache_avro::Schema::parse(&json).map_err(|e| SchemaError(e.to_string()))?;
        let plain = apache_avro::Schema::parse(&without_logical_types(&json)).map_err(|e| SchemaError(e.to_string()))?;
        let schema =
            Arc::new(Schema { text: without_white_space(text), canonical: avro.canonical_form(), avro, plain, fast: OnceLock::new() });
        let mut parsed = PARSED.lock();
        if parsed.len() >= PARSED_MOST {
            parsed.clear();
        }
        parsed.insert(text.to_owned(), schema.clone());
        Ok(schema)
    }

    /// Its text in one line, fields in the order in which they were given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Avro's parsing canonical form: equal for schemas whose data have the same bytes.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// As apache-avro holds it.
    pub fn avro(&self) -> &apache_avro::Schema {
        &self.avro
    }

    /// The same without logical types, whose data have the same bytes: all that generic code needs to know.
    pub(crate) fn plain(&self) -> &apache_avro::Schema {
        &self.plain
    }

    /// As serde_avro_fast holds it.
    pub(crate) fn fast(&self) -> Result<&serde_avro_fast::Schema, SchemaError> {
        let parsed = self.fast.get_or_init(|| self.text.parse().map_err(|e: serde_avro_fast::schema::SchemaError| e.to_string()));
        parsed.as_ref().map_err(|e| SchemaError(e.clone()))
    }
}

fn without_logical_types(schema: &Json) -> Json {
    match schema {
        Json::Object(object) => object
            .iter()
            .filter(|(key, _)| *key != "logicalType")
            .map(|(key, value)| (key.clone(), if key == "default" { value.clone() } else { without_logical_types(value) }))
            .collect(),
        Json::Array(items) => items.iter().map(without_logical_types).collect(),
        other => other.clone(),
    }
}

fn without_white_space(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut quoted, mut escaped) = (false, false);
    for c in json.chars() {
        if quoted {
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if c.is_ascii_whitespace() {
            continue;
        } else {
            quoted = c == '"';
        }
        out.push(c);
    }
    out
}

/// The named types inside a schema, by full name.
pub(crate) struct Names<'a>(HashMap<&'a Name, &'a apache_avro::Schema>);

/// What a schema is underneath: references followed, logical types taken for what they annotate.
#[derive(Clone, Copy)]
pub(crate) enum Shape<'a> {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    /// Its name (none: a logical type that hides it) and size.
    Fixed(Option<&'a Name>, usize),
    Array(&'a apache_avro::Schema),
    Map(&'a apache_avro::Schema),
    Union(&'a [apache_avro::Schema]),
    Record(&'a RecordSchema),
    Enum(&'a EnumSchema),
}

impl Shape<'_> {
    /// The type's name in a schema's text.
    pub(crate) fn name(&self) -> String {
        match self {
            Shape::Null => "null".into(),
            Shape::Boolean => "boolean".into(),
            Shape::Int => "int".into(),
            Shape::Long => "long".into(),
            Shape::Float => "float".into(),
            Shape::Double => "double".into(),
            Shape::Bytes => "bytes".into(),
            Shape::String => "string".into(),
            Shape::Fixed(_, size) => format!("fixed({size})"),
            Shape::Array(_) => "array".into(),
            Shape::Map(_) => "map".into(),
            Shape::Union(_) => "union".into(),
            Shape::Record(record) => format!("record {}", record.name.name()),
            Shape::Enum(of) => format!("enum {}", of.name.name()),
        }
    }
}

impl<'a> Names<'a> {
    pub(crate) fn of(schema: &'a apache_avro::Schema) -> Self {
        let mut names = HashMap::new();
        collect(schema, &mut names);
        Names(names)
    }

    /// The schema's shape; a reference to nothing (which a parsed schema has not) is `Null`.
    pub(crate) fn shape(&self, schema: &'a apache_avro::Schema) -> Shape<'a> {
        use apache_avro::Schema as S;
        match schema {
            S::Ref { name } => match self.0.get(name) {
                Some(S::Ref { .. }) | None => Shape::Null,
                Some(schema) => self.shape(schema),
            },
            S::Null => Shape::Null,
            S::Boolean => Shape::Boolean,
            S::Int | S::Date | S::TimeMillis => Shape::Int,
            S::Long
            | S::TimeMicros
            | S::TimestampMillis
            | S::TimestampMicros
            | S::TimestampNanos
            | S::LocalTimestampMillis
            | S::LocalTimestampMicros
            | S::LocalTimestampNanos => Shape::Long,
            S::Float => Shape::Float,
            S::Double => Shape::Double,
            S::Bytes | S::BigDecimal | S::Uuid(UuidSchema::Bytes) => Shape::Bytes,
            S::String | S::Uuid(UuidSchema::String) => Shape::String,
            S::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Bytes => Shape::Bytes,
                InnerDecimalSchema::Fixed(fixed) => Shape::Fixed(None, fixed.size),
            },
            S::Uuid(UuidSchema::Fixed(fixed)) | S::Duration(fixed) => Shape::Fixed(None, fixed.size),
            S::Fixed(fixed) => Shape::Fixed(Some(&fixed.name), fixed.size),
            S::Array(array) => Shape::Array(&array.items),
            S::Map(map) => Shape::Map(&map.types),
            S::Union(union) => Shape::Union(union.variants()),
            S::Record(record) => Shape::Record(record),
            S::Enum(of) => Shape::Enum(of),
        }
    }

    /// The schema itself, a reference followed.
    pub(crate) fn follow(&self, schema: &'a apache_avro::Schema) -> &'a apache_avro::Schema {
        match schema {
            apache_avro::Schema::Ref { name } => self.0.get(name).copied().unwrap_or(schema),
            _ => schema,
        }
    }
}

fn collect<'a>(schema: &'a apache_avro::Schema, names: &mut HashMap<&'a Name, &'a apache_avro::Schema>) {
    use apache_avro::Schema as S;
    match schema {
        S::Array(array) => collect(&array.items, names),
        S::Map(map) => collect(&map.types, names),
        S::Union(union) => union.variants().iter().for_each(|branch| collect(branch, names)),
        S::Ref { .. } => {}
        _ => {
            if let Some(name) = schema.name() {
                names.insert(name, schema);
            }
            if let S::Record(record) = schema {
                record.fields.iter().for_each(|field| collect(&field.schema, names));
            }
        }
    }
}
