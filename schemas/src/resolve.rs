//! Avro's schema resolution: a value as its writer's schema says, made into one of the reader's schema.
//!
//! The twin of [`crate::compatibility`]: what that lets pass is read here. (apache-avro's own resolution takes no aliases of fields,
//! and looks at a union's branches without knowing which type was written.)

use crate::{
    compatibility::{always_readable, promotes, same_type, writers_field},
    generic,
    schema::{Names, Schema, Shape},
};
use apache_avro::types::Value;

/// Where and why a value could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", if path.is_empty() { String::new() } else { format!("{path}: ") })]
pub struct ResolveError {
    pub path: String,
    pub reason: String,
}

/// The value, written with `writer`, as a value of `reader`.
pub fn resolve(value: Value, writer: &Schema, reader: &Schema) -> Result<Value, ResolveError> {
    let names = (&Names::of(writer.plain()), &Names::of(reader.plain()));
    Resolver { writer: names.0, reader: names.1 }
        .value(value, writer.plain(), reader.plain())
        .map_err(|error| ResolveError { path: error.path.into_iter().rev().collect::<Vec<_>>().join("."), reason: error.reason })
}

/// The path is gathered on the way out, inside first.
struct Failure {
    path: Vec<String>,
    reason: String,
}

impl Failure {
    fn new(reason: impl Into<String>) -> Self {
        Failure { path: Vec::new(), reason: reason.into() }
    }

    fn under(mut self, step: &str) -> Self {
        self.path.push(step.to_owned());
        self
    }
}

struct Resolver<'n, 'a> {
    writer: &'n Names<'a>,
    reader: &'n Names<'a>,
}

impl<'a> Resolver<'_, 'a> {
    fn value(&self, value: Value, writer: &'a apache_avro::Schema, reader: &'a apache_avro::Schema) -> Result<Value, Failure> {
        let (writer, reader) = (self.writer.follow(writer), self.reader.follow(reader));
        let (w, r) = (self.writer.shape(writer), self.reader.shape(reader));
        match (value, w, r) {
            (Value::Union(branch, value), Shape::Union(branches), _) => match branches.get(branch as usize) {
                Some(branch) => self.value(*value, branch, reader),
                None => Err(Failure::new("no such branch of the union")),
            },
            (value, _, Shape::Union(known)) => {
                let (branch, schema) = self
                    .branch(writer, known)
                    .ok_or_else(|| Failure::new(format!("the writer's {} is in no branch of the reader's union", w.name())))?;
                Ok(Value::Union(branch, Box::new(self.value(value, writer, schema)?)))
            }
            (Value::Record(mut written), Shape::Record(w), Shape::Record(r)) => {
                let mut fields = Vec::with_capacity(r.fields.len());
                // By an alias two of the reader's fields may be one of the writer's.
                let shared = r.fields.iter().any(|field| !field.aliases.is_empty());
                for field in &r.fields {
                    let value = match (writers_field(w, field), &field.default) {
                        (Some((at, of)), _) => {
                            let value = written.get_mut(at).map_or(Value::Null, |(_, value)| match shared {
                                true => value.clone(),
                                false => std::mem::replace(value, Value::Null),
                            });
                            self.value(value, &of.schema, &field.schema).map_err(|e| e.under(&field.name))?
                        }
                        (None, Some(default)) => generic::default_value(default, &field.schema, self.reader)
                            .map_err(|e| Failure::new(format!("its default: {e}")).under(&field.name))?,
                        (None, None) => return Err(Failure::new("the writer has no such field, and it has no default").under(&field.name)),
                    };
                    fields.push((field.name.clone(), value));
                }
                Ok(Value::Record(fields))
            }
            (Value::Enum(_, symbol), Shape::Enum(_), Shape::Enum(r)) => {
                let known = r.symbols.iter().position(|known| *known == symbol);
                let default = r.default.as_ref().and_then(|default| r.symbols.iter().position(|known| known == default));
                match known.or(default) {
                    Some(at) => Ok(Value::Enum(at as u32, r.symbols[at].clone())),
                    None => Err(Failure::new(format!("the reader's enum {} lacks {symbol}, and has no default", r.name.name()))),
                }
            }
            (Value::Array(items), Shape::Array(w), Shape::Array(r)) => {
                let items = items.into_iter().enumerate();
                items
                    .map(|(n, item)| self.value(item, w, r).map_err(|e| e.under(&format!("[{n}]"))))
                    .collect::<Result<_, _>>()
                    .map(Value::Array)
            }
            (Value::Map(items), Shape::Map(w), Shape::Map(r)) => {
                let items = items.into_iter();
                items
                    .map(|(key, item)| match self.value(item, w, r) {
                        Ok(item) => Ok((key, item)),
                        Err(e) => Err(e.under(&key)),
                    })
                    .collect::<Result<_, _>>()
                    .map(Value::Map)
            }
            (value, w, r) if same_type(w, r, reader.aliases()) || promotes(w, r) => {
                primitive(value, r).ok_or_else(|| Failure::new(format!("a {} cannot be read as {}", w.name(), r.name())))
            }
            (_, w, r) => Err(Failure::new(format!("the writer's {} cannot be read as {}", w.name(), r.name()))),
        }
    }

    /// The branch of the reader's union that takes the writer's type: the same type first, else what it promotes to. Names count without
    /// their namespace, so several branches may have the writer's: then it is the one of the full name, if that can always be read, else the first that can.
    fn branch(&self, writer: &'a apache_avro::Schema, known: &'a [apache_avro::Schema]) -> Option<(u32, &'a apache_avro::Schema)> {
        let w = self.writer.shape(writer);
        let shapes = || known.iter().enumerate().map(|(n, schema)| (n as u32, self.reader.follow(schema), self.reader.shape(schema)));
        let mut same: Vec<_> = shapes().filter(|(_, schema, r)| same_type(w, *r, schema.aliases())).collect();
        if same.len() > 1 {
            same.sort_by_key(|(_, schema, _)| schema.name() != writer.name());
            let fits = same.iter().position(|(_, schema, _)| always_readable((writer, self.writer), (schema, self.reader)));
            same.swap(0, fits.unwrap_or(0));
        }
        same.into_iter().next().or_else(|| shapes().find(|(_, _, r)| promotes(w, *r))).map(|(n, schema, _)| (n, schema))
    }
}

/// A value without inner values, as the reader's type.
fn primitive(value: Value, r: Shape<'_>) -> Option<Value> {
    Some(match (r, value) {
        (Shape::Long, Value::Int(n)) => Value::Long(n.into()),
        (Shape::Float, Value::Int(n)) => Value::Float(n as f32),
        (Shape::Float, Value::Long(n)) => Value::Float(n as f32),
        (Shape::Double, Value::Int(n)) => Value::Double(n.into()),
        (Shape::Double, Value::Long(n)) => Value::Double(n as f64),
        (Shape::Double, Value::Float(n)) => Value::Double(n.into()),
        (Shape::String, Value::Bytes(bytes)) => Value::String(String::from_utf8(bytes).ok()?),
        (Shape::Bytes, Value::String(text)) => Value::Bytes(text.into_bytes()),
        (Shape::Fixed(_, size), Value::Fixed(_, bytes)) if bytes.len() == size => Value::Fixed(size, bytes),
        (Shape::Fixed(..), _) => return None,
        // The same type.
        (_, value) => value,
    })
}
