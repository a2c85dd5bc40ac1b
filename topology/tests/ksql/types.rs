//! ksqlDB's types, and how its Avro format shows a schema in them.

use serde_json::Value as Json;
use std::{collections::BTreeMap, fmt};

#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    Boolean,
    Integer,
    Bigint,
    Double,
    String,
    Bytes,
    Timestamp,
    Array(Box<Type>),
    Map(Box<Type>, Box<Type>),
    Struct(Vec<(String, Type)>),
}

impl Type {
    pub fn array(of: Type) -> Type {
        Type::Array(Box::new(of))
    }

    pub fn is_number(&self) -> bool {
        matches!(self, Type::Integer | Type::Bigint | Type::Double)
    }

    /// Whether a column declared so reads what the topic holds: a struct may leave fields out, everything else is the same.
    pub fn reads(&self, held: &Type) -> Result<(), String> {
        match (self, held) {
            (Type::Array(own), Type::Array(held)) => own.reads(held),
            (Type::Map(key, own), Type::Map(held_key, held)) => key.reads(held_key).and_then(|()| own.reads(held)),
            (Type::Struct(fields), Type::Struct(held)) => fields.iter().try_for_each(|(name, own)| {
                let (_, held) = held.iter().find(|(n, _)| n == name).ok_or_else(|| format!("the schema has no field {name}"))?;
                own.reads(held).map_err(|why| format!("{name}: {why}"))
            }),
            (own, held) if own == held => Ok(()),
            (own, held) => Err(format!("declared as {own}, but the schema has {held}")),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Array(of) => write!(f, "ARRAY<{of}>"),
            Type::Map(key, of) => write!(f, "MAP<{key}, {of}>"),
            Type::Struct(fields) => {
                let fields: Vec<_> = fields.iter().map(|(name, of)| format!("{name} {of}")).collect();
                write!(f, "STRUCT<{}>", fields.join(", "))
            }
            plain => f.write_str(&format!("{plain:?}").to_uppercase()),
        }
    }
}

/// What ksqlDB makes of an Avro schema, by way of Connect's data model: names upper-cased; enums and UUIDs are strings;
/// null is left out of a union; a union of several other types is a struct with a field for each.
pub fn of_avro(schema: &Json) -> Type {
    shown(schema, &mut BTreeMap::new())
}

fn shown(schema: &Json, named: &mut BTreeMap<String, Type>) -> Type {
    match schema {
        Json::String(name) => match name.as_str() {
            "boolean" => Type::Boolean,
            "int" => Type::Integer,
            "long" => Type::Bigint,
            "double" => Type::Double,
            "string" => Type::String,
            "bytes" => Type::Bytes,
            name => named[name].clone(),
        },
        Json::Array(union) => {
            let branches: Vec<&Json> = union.iter().filter(|branch| *branch != "null").collect();
            match branches[..] {
                [one] => shown(one, named),
                _ => Type::Struct(branches.iter().map(|branch| (branch_name(branch), shown(branch, named))).collect()),
            }
        }
        schema => match (schema["type"].as_str(), schema["logicalType"].as_str()) {
            (Some("long"), Some("timestamp-millis")) => Type::Timestamp,
            (Some("record"), _) => {
                let fields = schema["fields"].as_array().expect("a record has fields");
                let field = |f: &Json| (f["name"].as_str().expect("a field's name").to_uppercase(), f["type"].clone());
                let fields = fields.iter().map(field).map(|(name, of)| (name, shown(&of, named))).collect();
                let record = Type::Struct(fields);
                named.insert(schema["name"].as_str().expect("a record's name").into(), record.clone());
                record
            }
            (Some("enum"), _) => {
                named.insert(schema["name"].as_str().expect("an enum's name").into(), Type::String);
                Type::String
            }
            (Some("array"), _) => Type::array(shown(&schema["items"], named)),
            (Some("map"), _) => Type::Map(Box::new(Type::String), Box::new(shown(&schema["values"], named))),
            _ => shown(&schema["type"], named),
        },
    }
}

/// A record's branch is called by its name, any other by its type.
fn branch_name(branch: &Json) -> String {
    let name = [branch, &branch["name"], &branch["type"]].into_iter().find_map(Json::as_str);
    name.expect("a branch has a name").to_uppercase()
}
