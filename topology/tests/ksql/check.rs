//! What ksqlDB would refuse, and what would be wrong about Concord's topics without its noticing.

use super::{
    expressions::{Scope, aggregates, is_undoable, type_of, ungrouped},
    syntax::*,
    types::Type,
};
use std::collections::{BTreeMap, BTreeSet};

/// A topic of Concord's.
#[derive(Clone, Debug)]
pub struct Topic {
    pub partitions: i64,
    pub is_compacted: bool,
    /// What its values are; of dead letters, nothing is known.
    pub value: Option<Type>,
}

/// A stream or table that a statement made.
#[derive(Clone, Debug)]
pub struct Source {
    pub is_table: bool,
    /// Pull queries can be asked of it.
    pub is_materialised: bool,
    /// Declared for look-ups, beside another of the same topic.
    pub is_lookup: bool,
    pub topic: String,
    pub key: Option<String>,
    pub columns: Vec<(String, Type)>,
    pub is_windowed: bool,
}

impl Source {
    fn scope(&self) -> Scope {
        let windows = ["WINDOWSTART", "WINDOWEND"].into_iter().filter(|_| self.is_windowed);
        let columns = self.columns.iter().cloned();
        columns.chain(windows.chain(["ROWTIME"]).map(|name| (name.to_string(), Type::Bigint))).collect()
    }
}

/// What there is after the statements so far.
pub struct Catalog {
    topics: BTreeMap<String, Topic>,
    /// The names of the headers that dead letters have.
    headers: Vec<&'static str>,
    asserted_topics: BTreeSet<String>,
    asserted_subjects: BTreeSet<String>,
    pub sources: BTreeMap<String, Source>,
}

impl Catalog {
    pub fn new(topics: BTreeMap<String, Topic>, headers: Vec<&'static str>) -> Self {
        Catalog { topics, headers, asserted_topics: BTreeSet::new(), asserted_subjects: BTreeSet::new(), sources: BTreeMap::new() }
    }

    /// Checks all statements of a file, in order. What an earlier file asserted may be otherwise by now.
    pub fn run(&mut self, sql: &str) -> Result<(), String> {
        self.asserted_topics.clear();
        self.asserted_subjects.clear();
        for (statement, line) in super::parser::statements(sql)? {
            self.statement(statement).map_err(|why| format!("statement at line {line}: {why}"))?;
        }
        Ok(())
    }

    fn statement(&mut self, statement: Statement) -> Result<(), String> {
        match statement {
            Statement::Set | Statement::Define(_) => Ok(()),
            Statement::AssertTopic { topic, with } => {
                let known = self.topic(&topic)?;
                match with.get("PARTITIONS") {
                    Some(Literal::Number(n)) if *n != known.partitions => {
                        Err(format!("{topic} has {} partitions, not {n}", known.partitions))
                    }
                    _ if with.keys().any(|name| name != "PARTITIONS") => Err("only PARTITIONS is known here".into()),
                    _ => Ok(()),
                }?;
                self.asserted_topics.insert(topic);
                Ok(())
            }
            Statement::AssertSchema { subject } => {
                let topic = subject.strip_suffix("-value").ok_or_else(|| format!("{subject} is not named by its topic"))?;
                self.topic(topic)?.value.as_ref().ok_or_else(|| format!("{topic} has no schema"))?;
                self.asserted_subjects.insert(subject);
                Ok(())
            }
            Statement::CreateSource { is_table, is_lookup, name, columns, with } => {
                let source = self.source(is_table, is_lookup, columns, with)?;
                self.add(name, source)
            }
            Statement::CreateAs { is_table, name, with, query } => {
                let mut source = self.persistent(is_table, &query)?;
                source.topic = self.sink(&with, source.key.is_some())?;
                self.add(name, source)
            }
            Statement::Insert { into, query } => {
                let made = self.persistent(false, &query)?;
                let into = self.sources.get(&into).ok_or_else(|| format!("there is no stream {into}"))?;
                if into.is_table || self.topics.contains_key(&into.topic) {
                    return Err("only into a stream that is not Concord's".into());
                }
                if (&into.columns, &into.key) == (&made.columns, &made.key) {
                    Ok(())
                } else {
                    Err(format!("{:?} into {:?}", made.columns, into.columns))
                }
            }
            Statement::Select(query) => {
                let from = self.from(&query)?;
                if !query.is_push && !from.is_materialised {
                    return Err(format!("{} answers push queries only: EMIT CHANGES", query.from));
                }
                projection(from, &query).map(drop)
            }
        }
    }

    fn topic(&self, name: &str) -> Result<&Topic, String> {
        self.topics.get(name).ok_or_else(|| format!("Concord has no topic {name}"))
    }

    fn from(&self, query: &Query) -> Result<&Source, String> {
        self.sources.get(&query.from).ok_or_else(|| format!("there is no stream or table {}", query.from))
    }

    fn add(&mut self, name: String, source: Source) -> Result<(), String> {
        match self.sources.insert(name.clone(), source) {
            Some(_) => Err(format!("{name} is there already")),
            None => Ok(()),
        }
    }

    /// A stream or table over a topic of Concord's.
    fn source(&self, is_table: bool, is_lookup: bool, columns: Vec<Column>, mut with: Properties) -> Result<Source, String> {
        let topic = text(&mut with, "KAFKA_TOPIC")?;
        let known = self.topic(&topic)?;
        if !self.asserted_topics.contains(&topic) {
            return Err(format!("no ASSERT TOPIC '{topic}' before"));
        }
        if is_table && !known.is_compacted {
            return Err(format!("{topic} forgets: its records are no table"));
        }
        let keys: Vec<&Column> = columns.iter().filter(|c| matches!(c.role, Role::Key | Role::PrimaryKey)).collect();
        let key = match keys[..] {
            [] if !is_table => None,
            [Column { name, of: Type::String, role }] if (*role == Role::PrimaryKey) == is_table => Some(name.clone()),
            _ => return Err("the key is one STRING: KEY of a stream, PRIMARY KEY of a table".into()),
        };
        if key.is_some() && text(&mut with, "KEY_FORMAT")? != "KAFKA" {
            return Err("keys are plain text: KEY_FORMAT = 'KAFKA'".into());
        }
        let values: Vec<(String, Type)> =
            columns.iter().filter(|c| c.role == Role::Value).map(|c| (c.name.clone(), c.of.clone())).collect();
        match (text(&mut with, "VALUE_FORMAT")?.as_str(), &known.value) {
            ("AVRO", Some(held)) if self.asserted_subjects.contains(&format!("{topic}-value")) => Type::Struct(values).reads(held)?,
            ("AVRO", Some(_)) => return Err(format!("no ASSERT SCHEMA SUBJECT '{topic}-value' before")),
            ("KAFKA", None) if matches!(&values[..], [(_, Type::Bytes)]) => {}
            (format, _) => return Err(format!("{topic}: VALUE_FORMAT = '{format}' does not fit")),
        }
        for column in &columns {
            if let Role::Header(name) = &column.role
                && (column.of != Type::Bytes || !self.headers.contains(&name.as_str()))
            {
                return Err(format!("no record has a header {name} of {}", column.of));
            }
        }
        let columns: Vec<(String, Type)> = columns.into_iter().map(|c| (c.name, c.of)).collect();
        if let Some(Literal::Text(name)) = with.remove("TIMESTAMP")
            && !columns.iter().any(|(n, of)| *n == name.trim_matches('`') && *of == Type::Timestamp)
        {
            return Err(format!("there is no TIMESTAMP {name}"));
        }
        nothing_left(with)?;
        Ok(Source { is_table, is_materialised: is_lookup, is_lookup, topic, key, columns, is_windowed: false })
    }

    /// The topic that a persistent query writes.
    fn sink(&self, with: &Properties, has_key: bool) -> Result<String, String> {
        let mut with = with.clone();
        let topic = text(&mut with, "KAFKA_TOPIC")?;
        if self.topics.contains_key(&topic) || !topic.starts_with("ksql.") {
            return Err(format!("{topic}: ksqlDB's own topics begin with ksql."));
        }
        if self.sources.values().any(|source| source.topic == topic) {
            return Err(format!("{topic} is written already"));
        }
        if has_key && text(&mut with, "KEY_FORMAT")? != "KAFKA" || text(&mut with, "VALUE_FORMAT")? != "AVRO" {
            return Err("KEY_FORMAT = 'KAFKA' and VALUE_FORMAT = 'AVRO'".into());
        }
        for (name, wanted) in [("PARTITIONS", 4), ("REPLICAS", 1)] {
            if with.remove(name) != Some(Literal::Number(wanted)) {
                return Err(format!("{name} is not pinned to {wanted}"));
            }
        }
        nothing_left(with).map(|()| topic)
    }

    /// What a CREATE … AS or INSERT INTO makes.
    fn persistent(&self, is_table: bool, query: &Query) -> Result<Source, String> {
        let from = self.from(query)?;
        if !query.is_push {
            return Err("no EMIT CHANGES".into());
        }
        let made = projection(from, query)?;
        let key_of_made = match &query.group_by {
            Some(grouped) if !is_table => return Err(format!("a stream is not grouped by {grouped:?}")),
            None if is_table != from.is_table => return Err(format!("{} is of the other kind, and nothing is grouped", query.from)),
            Some(grouped) => {
                if type_of(grouped, &from.scope())? != Type::String {
                    return Err("the KAFKA key format is used for text only".into());
                }
                Some(grouped.clone())
            }
            None => from.key.clone().map(Expr::Name),
        };
        let key = match key_of_made {
            None => None,
            Some(key) => {
                Some(query.items.iter().find(|(_, item)| *item == key).ok_or_else(|| format!("the key {key:?} is not selected"))?.0.clone())
            }
        };
        let is_windowed = query.is_windowed || from.is_windowed;
        Ok(Source {
            is_table,
            is_materialised: query.group_by.is_some(),
            is_lookup: false,
            topic: String::new(),
            key,
            columns: made,
            is_windowed,
        })
    }
}

/// The columns that a query selects, once all of it makes sense.
fn projection(from: &Source, query: &Query) -> Result<Vec<(String, Type)>, String> {
    let scope = from.scope();
    let all = query.items.iter().map(|(_, item)| item).chain(&query.having);
    let found: Vec<&str> = all.clone().flat_map(aggregates).collect();
    match (&query.group_by, found.iter().find(|a| !is_undoable(a))) {
        (None, _) if !found.is_empty() || query.is_windowed || query.having.is_some() => return Err("an aggregate without GROUP BY".into()),
        (Some(_), _) if found.is_empty() => return Err("GROUP BY without an aggregate".into()),
        (Some(_), Some(aggregate)) if from.is_table => return Err(format!("{aggregate} cannot take back what a table's row said before")),
        (Some(_), _) if from.is_table && query.is_windowed => return Err("a table has no windows".into()),
        (Some(grouped), _) => {
            if let Some(name) = all.clone().flat_map(|item| ungrouped(item, grouped)).next() {
                return Err(format!("{name} is neither grouped by nor aggregated"));
            }
        }
        (None, _) => {}
    }
    for condition in [&query.filter, &query.having].into_iter().flatten() {
        if type_of(condition, &scope)? != Type::Boolean {
            return Err("a condition that is neither true nor false".into());
        }
    }
    let mut columns = Vec::new();
    for (name, item) in &query.items {
        let of = type_of(item, &scope).map_err(|why| format!("{name}: {why}"))?;
        if columns.iter().any(|(other, _)| other == name) {
            return Err(format!("two columns {name}"));
        }
        columns.push((name.clone(), of));
    }
    Ok(columns)
}

fn text(with: &mut Properties, name: &str) -> Result<String, String> {
    match with.remove(name) {
        Some(Literal::Text(text)) => Ok(text),
        other => Err(format!("{name} = {other:?}")),
    }
}

fn nothing_left(with: Properties) -> Result<(), String> {
    if with.is_empty() { Ok(()) } else { Err(format!("what is {:?} for?", with.keys())) }
}
