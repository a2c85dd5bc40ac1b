//! Any schema, and what somebody may make of it; all from a string of bytes, which proptest shrinks.

use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};

/// Decisions, one byte each; when they are used up everything is 0, which is always the plainest choice.
pub struct Entropy<'a>(std::slice::Iter<'a, u8>);

impl<'a> Entropy<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Entropy(bytes.iter())
    }

    fn below(&mut self, n: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % n
    }

    /// Once in `n`.
    fn rarely(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

const PRIMITIVES: [&str; 8] = ["int", "string", "long", "null", "float", "double", "bytes", "boolean"];
const SYMBOLS: [&str; 5] = ["x", "y", "z", "v", "w"];
const FIELDS: [&str; 5] = ["a", "b", "c", "d", "e"];
/// All with a namespace: apache-avro puts a name without one into the namespace around it.
const NAMES: [&str; 5] = ["k.A", "k.B", "n.A", "k.C", "m.A"];

#[derive(Clone, Debug)]
pub enum Type {
    Primitive(&'static str),
    Array(Box<Type>),
    Map(Box<Type>),
    Union(Vec<Type>),
    Named(Named),
    /// A record that is defined elsewhere or around it.
    Reference(&'static str),
}

#[derive(Clone, Debug)]
pub struct Named {
    name: &'static str,
    alias: Option<&'static str>,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Record(Vec<Field>),
    Enum { symbols: Vec<&'static str>, default: bool },
    Fixed(usize),
}

#[derive(Clone, Debug)]
struct Field {
    name: &'static str,
    alias: Option<&'static str>,
    default: bool,
    of: Type,
}

pub fn any_type(dice: &mut Entropy<'_>, depth: usize) -> Type {
    if depth == 0 {
        return Type::Primitive(dice.pick(&PRIMITIVES));
    }
    match dice.below(10) {
        0..=2 => Type::Primitive(dice.pick(&PRIMITIVES)),
        3 => Type::Array(any_type(dice, depth - 1).into()),
        4 => Type::Map(any_type(dice, depth - 1).into()),
        5 => Type::Union((0..=dice.below(4)).map(|_| any_type(dice, depth - 1)).collect()),
        6 => Type::Reference(dice.pick(&NAMES)),
        kind => Type::Named(Named { name: dice.pick(&NAMES), alias: None, body: any_body(dice, depth, kind) }),
    }
}

fn any_body(dice: &mut Entropy<'_>, depth: usize, kind: usize) -> Body {
    match (kind, dice.below(3)) {
        (9, 1) => Body::Enum { symbols: SYMBOLS[..=dice.below(SYMBOLS.len())].to_vec(), default: dice.rarely(3) },
        (9, 2) => Body::Fixed(1 + dice.below(3)),
        _ => Body::Record((0..dice.below(4)).map(|n| any_field(dice, depth, FIELDS[n])).collect()),
    }
}

fn any_field(dice: &mut Entropy<'_>, depth: usize, name: &'static str) -> Field {
    Field { name, alias: None, default: dice.rarely(2), of: any_type(dice, depth - 1) }
}

/// What somebody may make of it.
pub fn changed(of: &Type, dice: &mut Entropy<'_>) -> Type {
    match dice.below(14) {
        10 => return Type::Union(vec![Type::Primitive("null"), changed(of, dice)]),
        11 => return Type::Union(vec![changed(of, dice), any_type(dice, 1)]),
        12 => return any_type(dice, 2),
        _ => {}
    }
    match of {
        Type::Primitive(kind) => Type::Primitive(match (kind, dice.below(6)) {
            (&"int", 3) => "long",
            (&"int" | &"long", 4) => "float",
            (&"int" | &"long" | &"float", 5) => "double",
            (&"string", 4) => "bytes",
            (&"bytes", 4) => "string",
            (&"long", 3) => "int",
            _ => kind,
        }),
        Type::Array(items) => Type::Array(changed(items, dice).into()),
        Type::Map(values) => Type::Map(changed(values, dice).into()),
        Type::Reference(name) => Type::Reference(if dice.rarely(6) { dice.pick(&NAMES) } else { name }),
        Type::Union(branches) => {
            let mut branches: Vec<Type> = branches.iter().map(|branch| changed(branch, dice)).collect();
            match dice.below(6) {
                2 if branches.len() > 1 => drop(branches.remove(dice.below(branches.len()))),
                3 => branches.push(any_type(dice, 1)),
                4 => branches.reverse(),
                5 => return branches.swap_remove(dice.below(branches.len())),
                _ => {}
            }
            Type::Union(branches)
        }
        Type::Named(named) => {
            let (name, alias) = match dice.below(8) {
                5 => (dice.pick(&NAMES), Some(named.name)),
                6 => (dice.pick(&NAMES), None),
                _ => (named.name, None),
            };
            Type::Named(Named { name, alias, body: changed_body(&named.body, dice) })
        }
    }
}

fn changed_body(of: &Body, dice: &mut Entropy<'_>) -> Body {
    match of {
        Body::Fixed(size) => Body::Fixed(if dice.rarely(5) { size + 1 } else { *size }),
        Body::Enum { symbols, default } => {
            let mut symbols = symbols.clone();
            match dice.below(5) {
                2 => symbols.push(dice.pick(&SYMBOLS)),
                3 if symbols.len() > 1 => {
                    symbols.remove(0);
                }
                4 => symbols.reverse(),
                _ => {}
            }
            let mut seen = BTreeSet::new();
            symbols.retain(|symbol| seen.insert(*symbol));
            Body::Enum { symbols, default: *default != dice.rarely(3) }
        }
        Body::Record(fields) => {
            let mut fields: Vec<Field> = fields.iter().map(|field| changed_field(field, dice)).collect();
            match dice.below(6) {
                2 if !fields.is_empty() => drop(fields.remove(dice.below(fields.len()))),
                3 | 5 => {
                    let name = dice.pick(&FIELDS);
                    fields.push(Field { default: !dice.rarely(4), ..any_field(dice, 2, name) });
                }
                4 => fields.reverse(),
                _ => {}
            }
            Body::Record(fields)
        }
    }
}

fn changed_field(field: &Field, dice: &mut Entropy<'_>) -> Field {
    let of = changed(&field.of, dice);
    match dice.below(10) {
        7 => Field { name: dice.pick(&FIELDS), alias: Some(field.name), of, ..*field },
        8 => Field { name: dice.pick(&FIELDS), of, ..*field },
        9 => Field { default: !field.default, of, ..*field },
        _ => Field { of, ..field.clone() },
    }
}

/// The schema's text. A name that was defined already is a reference; what Avro does not allow is made into what it does.
pub fn schema(of: &Type) -> Json {
    let mut writer = Writer::default();
    names(of, &mut writer.taken);
    writer.write(of, false)
}

fn names(of: &Type, taken: &mut BTreeSet<&'static str>) {
    match of {
        Type::Primitive(_) => {}
        Type::Reference(name) => {
            taken.insert(name);
        }
        Type::Array(inner) | Type::Map(inner) => names(inner, taken),
        Type::Union(branches) => branches.iter().for_each(|branch| names(branch, taken)),
        Type::Named(named) => {
            taken.insert(named.name);
            if let Body::Record(fields) = &named.body {
                fields.iter().for_each(|field| names(&field.of, taken));
            }
        }
    }
}

#[derive(Default)]
struct Writer {
    defined: BTreeMap<&'static str, Json>,
    under_way: BTreeSet<&'static str>,
    /// Names and aliases. To apache-avro an alias that is another type's name is that type.
    taken: BTreeSet<&'static str>,
}

impl Writer {
    /// `held`: in an array, a map or beside null, where a type may refer to itself.
    fn write(&mut self, of: &Type, held: bool) -> Json {
        match of {
            Type::Primitive(kind) => json!(kind),
            Type::Array(items) => json!({"type": "array", "items": self.write(items, true)}),
            Type::Map(values) => json!({"type": "map", "values": self.write(values, true)}),
            Type::Reference(name) => self.reference(name, held),
            Type::Union(branches) => self.union(branches, held),
            Type::Named(named) => self.named(named, held),
        }
    }

    fn reference(&self, name: &'static str, held: bool) -> Json {
        let known = self.defined.contains_key(name) || (held && self.under_way.contains(name));
        if known { json!(name) } else { json!("null") }
    }

    fn union(&mut self, branches: &[Type], held: bool) -> Json {
        let mut flat = Vec::new();
        flatten(branches, &mut flat);
        let held = held || flat.iter().any(|branch| matches!(branch, Type::Primitive("null")));
        let mut seen = BTreeSet::new();
        let mut out = Vec::new();
        for branch in &flat {
            // What is left out must not have defined anything.
            let kind = match branch {
                Type::Primitive(kind) => json!(kind),
                Type::Array(_) => json!("array"),
                Type::Map(_) => json!("map"),
                Type::Named(Named { name, .. }) if !self.defined.contains_key(name) && !self.under_way.contains(name) => json!(name),
                Type::Named(Named { name, .. }) | Type::Reference(name) => self.reference(name, held),
                Type::Union(_) => continue,
            };
            if seen.insert(kind.to_string()) {
                out.push(self.write(branch, held));
            }
        }
        Json::Array(out)
    }

    fn named(&mut self, named: &Named, held: bool) -> Json {
        let name = named.name;
        if self.defined.contains_key(name) || self.under_way.contains(name) {
            return self.reference(name, held);
        }
        self.under_way.insert(name);
        let (namespace, short) = name.rsplit_once('.').unwrap_or(("", name));
        let mut out = json!({"name": short, "namespace": namespace});
        if let Some(alias) = named.alias.filter(|alias| self.taken.insert(alias)) {
            out["aliases"] = json!([alias]);
        }
        match &named.body {
            Body::Fixed(size) => {
                out["type"] = json!("fixed");
                out["size"] = json!(size);
            }
            Body::Enum { symbols, default } => {
                out["type"] = json!("enum");
                out["symbols"] = json!(symbols);
                if *default {
                    out["default"] = json!(symbols[0]);
                }
            }
            Body::Record(fields) => {
                let mut seen = BTreeSet::new();
                let fields = fields.iter().filter(|field| seen.insert(field.name)).collect::<Vec<_>>();
                // To apache-avro an alias that is a later field's name, or another alias, is no schema.
                let mut aliases = BTreeSet::new();
                let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
                let fields = fields.into_iter().enumerate().map(|(n, field)| {
                    let alias = field.alias.filter(|alias| !names[n..].contains(alias) && aliases.insert(*alias));
                    self.field(&Field { alias, ..field.clone() })
                });
                let fields = fields.collect::<Vec<_>>();
                out["type"] = json!("record");
                out["fields"] = json!(fields);
            }
        }
        self.under_way.remove(name);
        self.defined.insert(name, out.clone());
        out
    }

    fn field(&mut self, field: &Field) -> Json {
        let of = self.write(&field.of, false);
        let mut out = json!({"name": field.name});
        if field.default
            && let Some(default) = self.plainest(&of, 4)
        {
            out["default"] = default;
        }
        if let Some(alias) = field.alias {
            out["aliases"] = json!([alias]);
        }
        out["type"] = of;
        out
    }

    /// A value that may be the default of a field of this type; none where it would hold itself, or a type that is not complete yet.
    fn plainest(&self, of: &Json, depth: usize) -> Option<Json> {
        Some(match kind_of(of).as_str() {
            "null" => Json::Null,
            "boolean" => json!(true),
            "int" | "long" => json!(7),
            "float" | "double" => json!(0.5),
            "string" | "bytes" => json!("k"),
            "array" => json!([]),
            "map" => json!({}),
            "union" => self.plainest(of.get(0)?, depth.checked_sub(1)?)?,
            name => {
                let of = self.defined.get(name)?;
                match of["type"].as_str()? {
                    "fixed" => json!("k".repeat(of["size"].as_u64()? as usize)),
                    "enum" => of["symbols"][0].clone(),
                    _ => {
                        let fields = of["fields"].as_array()?.iter();
                        let value = |field: &Json| {
                            Some((field["name"].as_str()?.to_owned(), self.plainest(&field["type"], depth.checked_sub(1)?)?))
                        };
                        Json::Object(fields.map(value).collect::<Option<Map<_, _>>>()?)
                    }
                }
            }
        })
    }
}

fn flatten(branches: &[Type], out: &mut Vec<Type>) {
    for branch in branches {
        match branch {
            Type::Union(inner) => flatten(inner, out),
            other => out.push(other.clone()),
        }
    }
}

/// What tells a union's branches apart: the type, or a named type's full name.
fn kind_of(schema: &Json) -> String {
    match schema {
        Json::String(name) => name.clone(),
        Json::Array(_) => "union".into(),
        object => match object["name"].as_str() {
            Some(short) => match object["namespace"].as_str() {
                Some("") | None => short.into(),
                Some(namespace) => format!("{namespace}.{short}"),
            },
            None => object["type"].as_str().unwrap_or_default().into(),
        },
    }
}
