//! Whether data written with one schema can be read with another (Avro's schema resolution), and where it cannot.
//!
//! apache-avro has such a check; it knows no aliases, fails where a type is defined in one place and referred to in the other, and
//! names no field. As in Avro's own library a union must be readable in every branch that its writer could have used.

use crate::schema::{Names, Schema, Shape};
use apache_avro::schema::{Alias, EnumSchema, Name, RecordField, RecordSchema};
use std::{collections::HashSet, fmt, str::FromStr};

/// What a new version of a subject's schema must be able to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compatibility {
    /// Anything goes.
    None,
    /// It reads what the latest version wrote.
    #[default]
    Backward,
    /// It reads what any version wrote.
    BackwardTransitive,
    /// The latest version reads what it writes.
    Forward,
    ForwardTransitive,
    /// Both.
    Full,
    FullTransitive,
}

impl Compatibility {
    const ALL: [(Compatibility, &str); 7] = [
        (Compatibility::None, "NONE"),
        (Compatibility::Backward, "BACKWARD"),
        (Compatibility::BackwardTransitive, "BACKWARD_TRANSITIVE"),
        (Compatibility::Forward, "FORWARD"),
        (Compatibility::ForwardTransitive, "FORWARD_TRANSITIVE"),
        (Compatibility::Full, "FULL"),
        (Compatibility::FullTransitive, "FULL_TRANSITIVE"),
    ];

    pub(crate) fn transitive(self) -> bool {
        matches!(self, Compatibility::BackwardTransitive | Compatibility::ForwardTransitive | Compatibility::FullTransitive)
    }

    /// Why `new` may not follow `old`; empty if it may.
    pub fn check(self, old: &Schema, new: &Schema) -> Vec<Incompatibility> {
        use Compatibility::*;
        let mut found = Vec::new();
        if matches!(self, Backward | BackwardTransitive | Full | FullTransitive) {
            found.extend(unreadable(old, new));
        }
        if matches!(self, Forward | ForwardTransitive | Full | FullTransitive) {
            found.extend(unreadable(new, old));
        }
        found
    }
}

impl fmt::Display for Compatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Self::ALL.iter().find(|(level, _)| level == self).map_or("", |(_, name)| name))
    }
}

/// A text that names no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such compatibility level: {0:?}")]
pub struct CompatibilityError(String);

impl FromStr for Compatibility {
    type Err = CompatibilityError;

    fn from_str(text: &str) -> Result<Self, CompatibilityError> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(level, _)| *level).ok_or_else(|| CompatibilityError(text.to_owned()))
    }
}

/// One place where data cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incompatibility {
    /// Where, e.g. `fields.address.line1`; empty: the whole.
    pub path: String,
    /// Why, with "the reader" and "the writer" for the two schemas.
    pub reason: String,
}

impl fmt::Display for Incompatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.reason)
    }
}

/// Where `reader` cannot read what `writer` wrote; empty if it always can.
pub fn unreadable(writer: &Schema, reader: &Schema) -> Vec<Incompatibility> {
    let names = (&Names::of(writer.avro()), &Names::of(reader.avro()));
    let mut check = Check { writer: names.0, reader: names.1, under_way: HashSet::new(), path: Vec::new(), found: Vec::new() };
    check.pair(writer.avro(), reader.avro());
    check.found
}

/// The reader knows the writer's name: as its own, or as an alias.
pub(crate) fn same_name(writer: &Name, reader: &Name, aliases: Option<&Vec<Alias>>) -> bool {
    writer.name() == reader.name()
        || aliases.is_some_and(|aliases| aliases.iter().any(|alias| alias.fully_qualified_name(reader.namespace()).as_ref() == writer))
}

/// The writer's field for a reader's: by its name, else by an alias.
pub(crate) fn writers_field<'w>(writer: &'w RecordSchema, field: &RecordField) -> Option<(usize, &'w RecordField)> {
    std::iter::once(&field.name)
        .chain(&field.aliases)
        .find_map(|name| writer.fields.iter().enumerate().find(|(_, candidate)| candidate.name == *name))
}

/// A primitive of the writer's that the reader's is made from without loss of meaning.
pub(crate) fn promotes(writer: Shape<'_>, reader: Shape<'_>) -> bool {
    matches!(
        (writer, reader),
        (Shape::Int, Shape::Long | Shape::Float | Shape::Double)
            | (Shape::Long, Shape::Float | Shape::Double)
            | (Shape::Float, Shape::Double)
            | (Shape::String, Shape::Bytes)
            | (Shape::Bytes, Shape::String)
    )
}

#[derive(Clone)]
struct Check<'n, 'a> {
    writer: &'n Names<'a>,
    reader: &'n Names<'a>,
    /// Pairs that are being compared or were: a recursive type meets itself again.
    under_way: HashSet<(*const apache_avro::Schema, *const apache_avro::Schema)>,
    path: Vec<String>,
    found: Vec<Incompatibility>,
}

impl<'a> Check<'_, 'a> {
    fn fail(&mut self, reason: String) {
        self.found.push(Incompatibility { path: self.path.join("."), reason });
    }

    fn at(&mut self, step: &str, writer: &'a apache_avro::Schema, reader: &'a apache_avro::Schema) {
        self.path.push(step.to_owned());
        self.pair(writer, reader);
        self.path.pop();
    }

    /// Whether the pair is readable; what is found meanwhile is forgotten.
    fn readable(&self, writer: &'a apache_avro::Schema, reader: &'a apache_avro::Schema) -> bool {
        let mut trial = Check { found: Vec::new(), ..self.clone() };
        trial.pair(writer, reader);
        trial.found.is_empty()
    }

    fn pair(&mut self, writer: &'a apache_avro::Schema, reader: &'a apache_avro::Schema) {
        let (writer, reader) = (self.writer.follow(writer), self.reader.follow(reader));
        if !self.under_way.insert((writer, reader)) {
            return;
        }
        let (w, r) = (self.writer.shape(writer), self.reader.shape(reader));
        match (w, r) {
            (Shape::Union(branches), _) => {
                for branch in branches {
                    match r {
                        Shape::Union(known) => self.some_branch(branch, known),
                        _ => self.pair(branch, reader),
                    }
                }
            }
            (_, Shape::Union(known)) => self.some_branch(writer, known),
            (Shape::Record(w), Shape::Record(r)) => self.records(w, r),
            (Shape::Enum(w), Shape::Enum(r)) => self.enums(w, r),
            (Shape::Array(w), Shape::Array(r)) => self.at("[]", w, r),
            (Shape::Map(w), Shape::Map(r)) => self.at("{}", w, r),
            (Shape::Fixed(w_name, w_size), Shape::Fixed(r_name, r_size)) => {
                let aliases = reader.aliases();
                if w_size != r_size {
                    self.fail(format!("the writer's fixed has {w_size} bytes, the reader's {r_size}"));
                } else if let (Some(w), Some(r)) = (w_name, r_name)
                    && !same_name(w, r, aliases)
                {
                    self.fail(format!("the writer's fixed {} is not the reader's {}", w.name(), r.name()));
                }
            }
            _ if std::mem::discriminant(&w) == std::mem::discriminant(&r) || promotes(w, r) => {}
            _ => self.fail(format!("the writer's {} cannot be read as {}", w.name(), r.name())),
        }
        if let (apache_avro::Schema::Decimal(w), apache_avro::Schema::Decimal(r)) = (writer, reader)
            && (w.precision, w.scale) != (r.precision, r.scale)
        {
            self.fail(format!(
                "the writer's decimal({}, {}) is not the reader's decimal({}, {})",
                w.precision, w.scale, r.precision, r.scale
            ));
        }
    }

    /// One branch of the reader's union must take what the writer wrote.
    fn some_branch(&mut self, writer: &'a apache_avro::Schema, known: &'a [apache_avro::Schema]) {
        let w = self.writer.shape(writer);
        // The branch of the same type says best what is wrong with it.
        let same = known.iter().find(|branch| same_type(w, self.reader.shape(branch), self.reader.follow(branch).aliases()));
        if known.iter().any(|branch| self.readable(writer, branch)) {
            return;
        }
        match same {
            Some(branch) => self.pair(writer, branch),
            None => {
                let known = known.iter().map(|branch| self.reader.shape(branch).name()).collect::<Vec<_>>().join(", ");
                self.fail(format!("the writer's {} is in no branch of the reader's union ({known})", w.name()));
            }
        }
    }

    fn records(&mut self, w: &'a RecordSchema, r: &'a RecordSchema) {
        if !same_name(&w.name, &r.name, r.aliases.as_ref()) {
            return self.fail(format!("the writer's record {} is not the reader's {}", w.name.name(), r.name.name()));
        }
        for field in &r.fields {
            match writers_field(w, field) {
                Some((_, written)) => self.at(&field.name, &written.schema, &field.schema),
                None if field.default.is_some() => {}
                None => {
                    self.path.push(field.name.clone());
                    self.fail("the reader wants this field, the writer has none, and it has no default".into());
                    self.path.pop();
                }
            }
        }
    }

    fn enums(&mut self, w: &EnumSchema, r: &EnumSchema) {
        if !same_name(&w.name, &r.name, r.aliases.as_ref()) {
            return self.fail(format!("the writer's enum {} is not the reader's {}", w.name.name(), r.name.name()));
        }
        let missing: Vec<&str> = w.symbols.iter().filter(|symbol| !r.symbols.contains(symbol)).map(String::as_str).collect();
        if !missing.is_empty() && r.default.is_none() {
            self.fail(format!("the reader's enum {} lacks {}, and has no default", r.name.name(), missing.join(", ")));
        }
    }
}

/// The same type without promotion; named ones by name.
pub(crate) fn same_type(writer: Shape<'_>, reader: Shape<'_>, aliases: Option<&Vec<Alias>>) -> bool {
    match (writer, reader) {
        (Shape::Record(w), Shape::Record(r)) => same_name(&w.name, &r.name, aliases),
        (Shape::Enum(w), Shape::Enum(r)) => same_name(&w.name, &r.name, aliases),
        (Shape::Fixed(w, w_size), Shape::Fixed(r, r_size)) => match (w, r) {
            (Some(w), Some(r)) => same_name(w, r, aliases),
            _ => w_size == r_size,
        },
        _ => std::mem::discriminant(&writer) == std::mem::discriminant(&reader),
    }
}
