//! Statements and expressions: as much of ksqlDB's grammar as is used here. What is not known is refused.

use super::types::Type;
use std::collections::BTreeMap;

pub type Properties = BTreeMap<String, Literal>;

#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Text(String),
    Number(i64),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    Set,
    Define(String),
    AssertTopic { topic: String, with: Properties },
    AssertSchema { subject: String },
    CreateSource { is_table: bool, is_lookup: bool, name: String, columns: Vec<Column>, with: Properties },
    CreateAs { is_table: bool, name: String, with: Properties, query: Query },
    Insert { into: String, query: Query },
    Select(Query),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub name: String,
    pub of: Type,
    pub role: Role,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    Value,
    Key,
    PrimaryKey,
    Header(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    pub items: Vec<(String, Expr)>,
    pub from: String,
    pub is_windowed: bool,
    pub filter: Option<Expr>,
    pub group_by: Option<Expr>,
    pub having: Option<Expr>,
    pub is_push: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    Text(String),
    Number(i64),
    Name(String),
    Call(String, Vec<Expr>),
    /// The one argument of `COUNT(*)`.
    Star,
    Lambda(String, Box<Expr>),
    Index(Box<Expr>, Box<Expr>),
    Field(Box<Expr>, String),
    Case(Vec<(Expr, Expr)>, Box<Expr>),
    Not(Box<Expr>),
    IsNotNull(Box<Expr>),
    Binary(&'static str, Box<Expr>, Box<Expr>),
}
