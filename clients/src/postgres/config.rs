//! Which table holds the product's customers, as the configuration says it.

use super::slot::{AddressLine, Slot};
use schemas::Field;
use std::collections::{BTreeMap, BTreeSet};

/// A write's set of columns is a bit mask.
const MAX_COLUMNS: usize = 60;

/// A table by configuration: which column holds which field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableConfig {
    /// `schema.table` (or `table` in `public`), quoted as in SQL where it must be.
    pub table: String,
    pub key: String,
    /// Field → column: `name`, `email`, `phone`, `address` (json) or `address.<line>`, `attributes` (json) and
    /// `attributes.<key>`, `updated_at`, `created_at`.
    pub columns: BTreeMap<String, String>,
    /// The table is Concord's own, and made where it is missing.
    pub owned: bool,
}

impl TableConfig {
    /// `public.customers`, which Concord makes and owns where no table is configured.
    pub fn owned() -> Self {
        let columns = ["name", "email", "phone", "address", "attributes", "created_at", "updated_at"];
        TableConfig {
            table: "public.customers".into(),
            key: "id".into(),
            columns: columns.map(|c| (c.to_string(), c.to_string())).into(),
            owned: true,
        }
    }

    /// Checks all that can be checked without a database.
    pub fn check(&self) -> Result<Mapped, ConfigError> {
        let (schema, table) = qualified(&self.table).ok_or_else(|| ConfigError::Table(self.table.clone()))?;
        let mut mapped = Mapped { schema, table, columns: Vec::new(), updated_at: None, created_at: None };
        let mut seen = BTreeSet::from([self.key.as_str()]);
        for (field, column) in &self.columns {
            if !seen.insert(column) {
                return Err(ConfigError::Twice(column.clone()));
            }
            match field.as_str() {
                "updated_at" => mapped.updated_at = Some(column.clone()),
                "created_at" => mapped.created_at = Some(column.clone()),
                _ => mapped.columns.push((field.parse().map_err(ConfigError::Field)?, column.clone())),
            }
        }
        if mapped.columns.is_empty() {
            return Err(ConfigError::Nothing);
        }
        if mapped.columns.len() > MAX_COLUMNS {
            return Err(ConfigError::TooMany);
        }
        let has = |wanted: fn(&Slot) -> bool| mapped.columns.iter().any(|(slot, _)| wanted(slot));
        if has(|s| *s == Slot::AddressJson) && has(|s| matches!(s, Slot::AddressLine(_))) {
            return Err(ConfigError::TwoAddresses);
        }
        // One order for one set of columns, so that the same configuration always has the same shape.
        mapped.columns.sort();
        Ok(mapped)
    }

    /// Every single attribute that has a column of its own; `None` if all others are kept too, in a json column.
    pub fn attributes(&self) -> Option<BTreeSet<String>> {
        if self.columns.contains_key("attributes") {
            return None;
        }
        Some(self.columns.keys().filter_map(|f| Some(f.strip_prefix("attributes.")?.to_string())).collect())
    }

    /// Whether some column holds the field.
    pub fn maps(&self, field: &Field) -> bool {
        match field {
            Field::Address => self.columns.keys().any(|f| f == "address" || f.starts_with("address.")),
            Field::Attribute(_) => self.columns.contains_key("attributes") || self.columns.contains_key(&field.to_string()),
            _ => self.columns.contains_key(&field.to_string()),
        }
    }
}

/// A checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    pub schema: String,
    pub table: String,
    /// In order of slot.
    pub columns: Vec<(Slot, String)>,
    pub updated_at: Option<String>,
    pub created_at: Option<String>,
}

/// A configuration that names no table of customers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("table: {0:?} is not a table's name (\"schema.table\")")]
    Table(String),
    #[error("columns: {0}")]
    Field(String),
    #[error("columns: the column {0:?} is used twice")]
    Twice(String),
    #[error("columns: no field is mapped")]
    Nothing,
    #[error("columns: at most {MAX_COLUMNS} columns can be mapped; put more attributes into one json column")]
    TooMany,
    #[error("columns: the address is either one json column (address) or one column per line (address.{0}, …), not both", AddressLine::ALL[0].name())]
    TwoAddresses,
}

/// Splits `schema.table` as SQL does: without quotes a name is lower-cased; no schema is `public`.
fn qualified(text: &str) -> Option<(String, String)> {
    let mut parts: Vec<String> = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_name(quoted)?,
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                let name = &rest[..end];
                let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
                if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(plain) {
                    return None;
                }
                (name.to_lowercase(), &rest[end..])
            }
        };
        parts.push(part);
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => break,
            None => return None,
        }
    }
    let mut parts = parts.into_iter();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(table), None, None) => Some(("public".into(), table)),
        (Some(schema), Some(table), None) => Some((schema, table)),
        _ => None,
    }
}

/// The name up to its closing quote (`""` inside is one quote), and what follows.
fn quoted_name(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return (!name.is_empty()).then_some((name, rest)),
        }
    }
}

/// An identifier for SQL text.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text constant for SQL text.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(columns: &[(&str, &str)]) -> TableConfig {
        TableConfig {
            table: "public.accounts".into(),
            key: "id".into(),
            columns: columns.iter().map(|(f, c)| (f.to_string(), c.to_string())).collect(),
            owned: false,
        }
    }

    #[test]
    fn a_tables_name_is_read_as_sql_reads_it() {
        let pair = |a: &str, b: &str| Some((a.to_string(), b.to_string()));
        assert_eq!(qualified("accounts"), pair("public", "accounts"));
        assert_eq!(qualified("Shop.Accounts"), pair("shop", "accounts"));
        assert_eq!(qualified(r#"shop."My ""Table"".x""#), pair("shop", "My \"Table\".x"));
        for wrong in ["", "a.", ".a", "a.b.c", "a b", "\"\"", "\"a", "\"a\"b", "1a", "a;drop table b"] {
            assert_eq!(qualified(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_a_mapping_is_refused() {
        assert_eq!(config(&[]).check(), Err(ConfigError::Nothing));
        assert!(matches!(config(&[("nme", "a")]).check(), Err(ConfigError::Field(_))));
        assert_eq!(config(&[("name", "id")]).check(), Err(ConfigError::Twice("id".into())));
        assert_eq!(config(&[("address", "a"), ("address.city", "b")]).check(), Err(ConfigError::TwoAddresses));
        assert!(TableConfig::owned().check().is_ok());
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
    }
}
