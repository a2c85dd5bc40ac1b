//! Whether data written with one schema can be read with another (Avro's schema resolution), and where it cannot.
//!
//! The verdicts are those of Avro's own Java library, by which other schema registries judge (`tests/compat` holds what it says of some two
//! hundred cases): a union must be readable in every branch that its writer could have used, names count without their namespace, and a
//! logical type is what is underneath. apache-avro's check answers otherwise in many cases, and names no field.

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

/// What kind of thing is wrong, in the words of Avro's own library and of other schema registries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    NameMismatch,
    FixedSizeMismatch,
    MissingEnumSymbols,
    ReaderFieldMissingDefaultValue,
    TypeMismatch,
    MissingUnionBranch,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::NameMismatch => "NAME_MISMATCH",
            Kind::FixedSizeMismatch => "FIXED_SIZE_MISMATCH",
            Kind::MissingEnumSymbols => "MISSING_ENUM_SYMBOLS",
            Kind::ReaderFieldMissingDefaultValue => "READER_FIELD_MISSING_DEFAULT_VALUE",
            Kind::TypeMismatch => "TYPE_MISMATCH",
            Kind::MissingUnionBranch => "MISSING_UNION_BRANCH",
        })
    }
}

/// One place where data cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incompatibility {
    /// What is wrong; within a union that no branch takes it is that.
    pub kind: Kind,
    /// Where in the reader's schema that is, as a JSON pointer, e.g. `/fields/3/type/items`; `/`: the whole.
    pub pointer: String,
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
    let names = (&Names::of(writer.plain()), &Names::of(reader.plain()));
    let mut check = Check::new(names.0, names.1);
    check.pair(writer.plain(), reader.plain());
    check.found
}

/// Whether one type, as it stands within its schema, is always readable as another one.
pub(crate) fn always_readable<'a>(
    (writer, writers): (&'a apache_avro::Schema, &Names<'a>),
    (reader, readers): (&'a apache_avro::Schema, &Names<'a>),
) -> bool {
    let mut check = Check::new(writers, readers);
    check.pair(writer, reader);
    check.found.is_empty()
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

/// The field's name and its aliases are several fields of the writer: Avro's own library gives up.
fn ambiguous(writer: &RecordSchema, field: &RecordField) -> bool {
    let known = |name: &String| writer.fields.iter().any(|candidate| candidate.name == *name);
    std::iter::once(&field.name).chain(&field.aliases).filter(|name| known(name)).count() > 1
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

type Pair = (*const apache_avro::Schema, *const apache_avro::Schema);

struct Check<'n, 'a> {
    writer: &'n Names<'a>,
    reader: &'n Names<'a>,
    /// Taken for readable until something is found: pairs that are being compared or were (a recursive type meets itself again).
    assumed: HashSet<Pair>,
    /// Found to be unreadable, which stays true whatever else is assumed.
    refused: HashSet<Pair>,
    /// Only whether the pair is readable is asked, not why.
    trial: bool,
    path: Vec<String>,
    pointer: Vec<String>,
    /// The union that no branch takes, while the reasons in its nearest branch are told.
    union: Option<String>,
    found: Vec<Incompatibility>,
}

impl<'n, 'a> Check<'n, 'a> {
    fn new(writer: &'n Names<'a>, reader: &'n Names<'a>) -> Self {
        let (assumed, refused) = (HashSet::new(), HashSet::new());
        Check { writer, reader, assumed, refused, trial: false, path: Vec::new(), pointer: Vec::new(), union: None, found: Vec::new() }
    }

    fn fail(&mut self, kind: Kind, place: &str, reason: String) {
        let (kind, pointer) = match &self.union {
            Some(union) => (Kind::MissingUnionBranch, union.clone()),
            None => (kind, self.pointer(place)),
        };
        self.found.push(Incompatibility { kind, pointer, path: self.path.join("."), reason });
    }

    fn pointer(&self, place: &str) -> String {
        let steps = self.pointer.iter().map(String::as_str).chain(Some(place).filter(|place| !place.is_empty()));
        format!("/{}", steps.collect::<Vec<_>>().join("/"))
    }

    /// The pair at an inner place: its name in the path (none: no step), and in the pointer.
    fn at(&mut self, step: Option<&str>, place: String, writer: &'a apache_avro::Schema, reader: &'a apache_avro::Schema) {
        self.path.extend(step.map(str::to_owned));
        self.pointer.push(place);
        self.pair(writer, reader);
        self.pointer.pop();
        if step.is_some() {
            self.path.pop();
        }
    }

    /// Whether the pair is readable, under what is assumed so far.
    fn readable(&mut self, writer: &'a apache_avro::Schema, reader: &'a apache_avro::Schema) -> bool {
        let refused = std::mem::take(&mut self.refused);
        let mut trial = Check { assumed: self.assumed.clone(), refused, trial: true, ..Check::new(self.writer, self.reader) };
        trial.pair(writer, reader);
        self.refused = trial.refused;
        if trial.found.is_empty() {
            self.assumed = trial.assumed;
        }
        trial.found.is_empty()
    }

    fn pair(&mut self, writer: &'a apache_avro::Schema, reader: &'a apache_avro::Schema) {
        let (writer, reader) = (self.writer.follow(writer), self.reader.follow(reader));
        let pair: Pair = (writer, reader);
        if self.trial && self.refused.contains(&pair) {
            return self.fail(Kind::TypeMismatch, "", String::new());
        }
        if !self.assumed.insert(pair) {
            return;
        }
        let before = self.found.len();
        self.shapes(writer, reader);
        if self.found.len() > before {
            self.refused.insert(pair);
        }
    }

    fn shapes(&mut self, writer: &'a apache_avro::Schema, reader: &'a apache_avro::Schema) {
        let (w, r) = (self.writer.shape(writer), self.reader.shape(reader));
        match (w, r) {
            (Shape::Union(branches), Shape::Union(known)) => {
                for (n, branch) in branches.iter().enumerate() {
                    self.some_branch(branch, known, &n.to_string());
                }
            }
            (Shape::Union(branches), _) => {
                for (n, branch) in branches.iter().enumerate() {
                    self.at(None, n.to_string(), branch, reader);
                }
            }
            (_, Shape::Union(known)) => self.some_branch(writer, known, ""),
            (Shape::Record(w), Shape::Record(r)) => self.records(w, r),
            (Shape::Enum(w), Shape::Enum(r)) => self.enums(w, r),
            (Shape::Array(w), Shape::Array(r)) => self.at(Some("[]"), "items".into(), w, r),
            (Shape::Map(w), Shape::Map(r)) => self.at(Some("{}"), "values".into(), w, r),
            (Shape::Fixed(w_name, w_size), Shape::Fixed(r_name, r_size)) => {
                if let (Some(w), Some(r)) = (w_name, r_name) {
                    self.names("fixed", w, r, reader.aliases());
                }
                if w_size != r_size {
                    let reason = format!("the writer's fixed has {w_size} bytes, the reader's {r_size}");
                    self.fail(Kind::FixedSizeMismatch, "size", reason);
                }
            }
            _ if std::mem::discriminant(&w) == std::mem::discriminant(&r) || promotes(w, r) => {}
            _ => self.fail(Kind::TypeMismatch, "", format!("the writer's {} cannot be read as {}", w.name(), r.name())),
        }
    }

    fn names(&mut self, what: &str, writer: &Name, reader: &Name, aliases: Option<&Vec<Alias>>) {
        if !same_name(writer, reader, aliases) {
            self.fail(Kind::NameMismatch, "name", format!("the writer's {what} {} is not the reader's {}", writer.name(), reader.name()));
        }
    }

    /// One branch of the reader's union must take what the writer wrote.
    fn some_branch(&mut self, writer: &'a apache_avro::Schema, known: &'a [apache_avro::Schema], place: &str) {
        if known.iter().any(|branch| self.readable(writer, branch)) {
            return;
        }
        let w = self.writer.shape(writer);
        let outer = self.union.clone();
        self.union = outer.clone().or_else(|| Some(self.pointer(place)));
        // The branch of the same type says best what is wrong with it.
        let same = known.iter().find(|branch| same_type(w, self.reader.shape(branch), self.reader.follow(branch).aliases()));
        let before = self.found.len();
        if let Some(branch) = same {
            self.pair(writer, branch);
        }
        // None, or one whose faults were told already, at another place.
        if self.found.len() == before {
            let known = known.iter().map(|branch| self.reader.shape(branch).name()).collect::<Vec<_>>().join(", ");
            let reason = format!("the writer's {} is in no branch of the reader's union ({known})", w.name());
            self.fail(Kind::MissingUnionBranch, place, reason);
        }
        self.union = outer;
    }

    fn records(&mut self, w: &'a RecordSchema, r: &'a RecordSchema) {
        self.names("record", &w.name, &r.name, r.aliases.as_ref());
        for (n, field) in r.fields.iter().enumerate() {
            let place = format!("fields/{n}");
            let fault = match writers_field(w, field) {
                Some(_) if ambiguous(w, field) => Some("by its name and aliases it is more than one of the writer's fields"),
                Some((_, written)) => {
                    self.at(Some(&field.name), format!("{place}/type"), &written.schema, &field.schema);
                    None
                }
                None if field.default.is_some() => None,
                None => Some("the reader wants this field, the writer has none, and it has no default"),
            };
            if let Some(fault) = fault {
                self.path.push(field.name.clone());
                self.fail(Kind::ReaderFieldMissingDefaultValue, &place, fault.into());
                self.path.pop();
            }
        }
    }

    fn enums(&mut self, w: &EnumSchema, r: &EnumSchema) {
        self.names("enum", &w.name, &r.name, r.aliases.as_ref());
        let missing: Vec<&str> = w.symbols.iter().filter(|symbol| !r.symbols.contains(symbol)).map(String::as_str).collect();
        if !missing.is_empty() && r.default.is_none() {
            let reason = format!("the reader's enum {} lacks {}, and has no default", r.name.name(), missing.join(", "));
            self.fail(Kind::MissingEnumSymbols, "symbols", reason);
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
