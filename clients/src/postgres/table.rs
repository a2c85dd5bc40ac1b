//! The product's table as the database has it, and the pieces of SQL that name its columns.

use super::{
    config::{ConfigError, Mapped, TableConfig, literal, quote},
    error::message,
    slot::{Shape, Slot},
};
use sqlx::{PgConnection, Row};
use std::collections::{BTreeSet, HashMap};

/// A table of customers, checked against the database's catalog.
#[derive(Debug, Clone)]
pub struct Table {
    pub schema: String,
    pub name: String,
    pub key: Key,
    pub columns: Vec<Column>,
    pub updated_at: Option<String>,
    pub created_at: Option<String>,
    /// Which columns a constraint or unique index is about, by its name.
    constraints: HashMap<String, Vec<String>>,
}

/// The column that holds the external id.
#[derive(Debug, Clone)]
pub struct Key {
    pub name: String,
    /// Its type as SQL text.
    pub sql_type: String,
    pub kind: KeyKind,
    /// The table makes keys itself.
    pub has_default: bool,
}

/// What texts can be keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Within these bounds.
    Integer(i64, i64),
    Uuid,
    Text,
    /// Whatever the type takes.
    Other,
}

/// One mapped column.
#[derive(Debug, Clone)]
pub struct Column {
    pub slot: Slot,
    pub name: String,
    pub sql_type: String,
    /// A text type that must not be null has `''` for no value.
    pub not_null: bool,
    pub textual: bool,
    comparable: bool,
}

/// Why a table cannot be the product's.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the table {0} does not exist, or this role may not see it")]
    NoTable(String),
    #[error("{0} is no ordinary table")]
    NotATable(String),
    #[error("the table {table} has no column {column:?}")]
    NoColumn { table: String, column: String },
    #[error("{table}.{column} {problem}")]
    Column { table: String, column: String, problem: String },
    #[error("{}", message(.0))]
    Sql(sqlx::Error),
}

impl From<sqlx::Error> for TableError {
    fn from(error: sqlx::Error) -> Self {
        TableError::Sql(error)
    }
}

impl Table {
    /// Looks the configured table up in the catalog.
    pub async fn inspect(db: &mut PgConnection, config: &TableConfig) -> Result<Table, TableError> {
        let mapped = config.check()?;
        let shown = format!("{}.{}", mapped.schema, mapped.table);
        let found = sqlx::query(
            "SELECT c.oid, c.relkind::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relname = $2",
        )
        .bind(&mapped.schema)
        .bind(&mapped.table)
        .fetch_optional(&mut *db)
        .await?
        .ok_or_else(|| TableError::NoTable(shown.clone()))?;
        let oid: sqlx::postgres::types::Oid = found.try_get(0)?;
        if !matches!(found.try_get::<String, _>(1)?.as_str(), "r" | "p") {
            return Err(TableError::NotATable(shown));
        }
        let catalog = catalog_columns(db, oid).await?;
        let find = |name: &str| catalog.get(name).ok_or_else(|| TableError::NoColumn { table: shown.clone(), column: name.to_string() });
        let columns = mapped
            .columns
            .iter()
            .map(|(slot, name)| column(slot, name, find(name)?).map_err(|problem| at(&shown, name, problem)))
            .collect::<Result<Vec<_>, _>>()?;
        let key = key(&config.key, find(&config.key)?);
        let Mapped { updated_at, created_at, .. } = &mapped;
        for name in updated_at.iter().chain(created_at) {
            if find(name)?.category != "D" {
                return Err(at(&shown, name, "is no time (timestamp or date)".into()));
            }
        }
        let unique: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
             WHERE i.indrelid = $1 AND a.attname = $2 AND i.indnkeyatts = 1 AND i.indisunique AND i.indisvalid AND i.indimmediate \
             AND i.indpred IS NULL AND a.attnotnull)",
        )
        .bind(oid)
        .bind(&config.key)
        .fetch_one(&mut *db)
        .await?;
        if !unique {
            return Err(at(&shown, &config.key, "cannot be the key: it needs a primary key or a unique index, and NOT NULL".into()));
        }
        let constraints = constraints(db, oid).await?;
        Ok(Table {
            schema: mapped.schema,
            name: mapped.table,
            key,
            columns,
            updated_at: mapped.updated_at,
            created_at: mapped.created_at,
            constraints,
        })
    }

    pub fn shape(&self) -> Shape {
        Shape { slots: self.columns.iter().map(|c| c.slot.clone()).collect() }
    }

    /// Its name in SQL.
    pub fn sql(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.name))
    }

    /// The key column of `row`, in its own type.
    pub fn key_of(&self, row: &str) -> String {
        format!("{row}.{}", quote(&self.key.name))
    }

    /// The external id of `row`.
    pub fn id_of(&self, row: &str) -> String {
        format!("{}::text", self.key_of(row))
    }

    /// A text expression as a key.
    pub fn as_key(&self, text: &str) -> String {
        format!("{text}::{}", self.key.sql_type)
    }

    /// The mapped columns of `row` as `text[]`.
    pub fn fields_of(&self, row: &str) -> String {
        format!("ARRAY[{}]::text[]", self.texts(row).join(", "))
    }

    /// What an update from `old` to `new` changed as `text[]`: null where nothing, else the value before.
    pub fn previous_of(&self, old: &str, new: &str) -> String {
        let each = self.columns.iter().map(|c| format!("CASE WHEN {} THEN coalesce({}, '') END", c.differs(old, new), c.text(old)));
        format!("ARRAY[{}]::text[]", each.collect::<Vec<_>>().join(", "))
    }

    /// Whether any mapped column differs.
    pub fn differ(&self, old: &str, new: &str) -> String {
        let each: Vec<String> = self.columns.iter().map(|c| c.differs(old, new)).collect();
        format!("({})", each.join(" OR "))
    }

    /// The row's own time of change. An infinite one is none.
    pub fn stamp_of(&self, row: &str) -> String {
        match &self.updated_at {
            Some(column) => format!("CASE WHEN isfinite({row}.{column}) THEN {row}.{column}::timestamptz END", column = quote(column)),
            None => "NULL::timestamptz".into(),
        }
    }

    /// Each mapped column of `row` as a text.
    fn texts(&self, row: &str) -> Vec<String> {
        self.columns.iter().map(|c| c.text(row)).collect()
    }

    /// Which mapped slots a violated constraint is about.
    pub fn constraint_slots(&self, constraint: &str) -> Vec<&Slot> {
        let columns = self.constraints.get(constraint).map(Vec::as_slice).unwrap_or_default();
        self.columns.iter().filter(|c| columns.contains(&c.name)).map(|c| &c.slot).collect()
    }

    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }
}

impl Column {
    /// The column of `row` as a text.
    pub fn text(&self, row: &str) -> String {
        // One spelling of json, however it was written: that of jsonb.
        if self.slot.is_json() { format!("{}::text", self.jsonb(row)) } else { format!("{row}.{}::text", quote(&self.name)) }
    }

    /// Whether the column differs between two rows.
    fn differs(&self, old: &str, new: &str) -> String {
        // Only a type of Postgres' own surely has its equality on a path of pg_catalog alone; its text always has.
        if self.comparable {
            let name = quote(&self.name);
            format!("{old}.{name} IS DISTINCT FROM {new}.{name}")
        } else {
            format!("{} IS DISTINCT FROM {}", self.text(old), self.text(new))
        }
    }

    fn is_jsonb(&self) -> bool {
        self.sql_type == "\"pg_catalog\".\"jsonb\""
    }

    fn jsonb(&self, row: &str) -> String {
        let column = format!("{row}.{}", quote(&self.name));
        if self.is_jsonb() { column } else { format!("concord.as_jsonb({column})") }
    }

    /// Whether the column of `row` shows what the text `expected` says (see [`Shape::encode`]); `expected` is not null.
    pub fn shows(&self, row: &str, expected: &str) -> String {
        match self.slot {
            Slot::AddressJson => {
                format!("concord.address_lines({}) = concord.address_lines(nullif({expected}, '')::jsonb)", self.jsonb(row))
            }
            Slot::AttributesJson => format!("concord.shows_attributes({}, {expected}::jsonb)", self.jsonb(row)),
            Slot::Text(_) | Slot::AddressLine(_) => format!("coalesce({}, '') = {expected}", self.text(row)),
        }
    }

    /// The column's new value where the text `set` is to be written to `row` (`None`: a new row).
    pub fn assigned(&self, row: Option<&str>, set: &str) -> String {
        let have = row.map_or_else(|| "NULL::jsonb".to_string(), |row| self.jsonb(row));
        let json = match self.slot {
            Slot::AddressJson => format!("concord.with_address({have}, nullif({set}, '')::jsonb)"),
            Slot::AttributesJson => format!("concord.with_attributes({have}, {set}::jsonb)"),
            Slot::Text(_) | Slot::AddressLine(_) => {
                return if self.not_null && self.textual {
                    format!("{set}::{}", self.sql_type)
                } else {
                    format!("nullif({set}, '')::{}", self.sql_type)
                };
            }
        };
        let value = if self.not_null { json } else { format!("nullif({json}, '{{}}'::jsonb)") };
        if self.is_jsonb() { value } else { format!("({value})::{}", self.sql_type) }
    }
}

impl KeyKind {
    /// Whether the text can be a key of this table at all.
    pub fn accepts(self, id: &str) -> bool {
        match self {
            // One text per number: "01" and "+1" are nobody's.
            KeyKind::Integer(low, high) => id.parse::<i64>().is_ok_and(|n| low <= n && n <= high && n.to_string() == id),
            KeyKind::Uuid => uuid::Uuid::try_parse(id).is_ok_and(|u| u.to_string() == id),
            KeyKind::Text | KeyKind::Other => !id.contains('\0'),
        }
    }
}

struct CatalogColumn {
    sql_type: String,
    type_name: String,
    category: String,
    not_null: bool,
    has_default: bool,
    generated: bool,
}

async fn catalog_columns(db: &mut PgConnection, table: sqlx::postgres::types::Oid) -> Result<HashMap<String, CatalogColumn>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT a.attname::text, t.typname::text, t.typcategory::text, \
                a.attnotnull OR t.typnotnull, a.atthasdef OR a.attidentity <> '', a.attgenerated <> '' OR a.attidentity = 'a', n.nspname::text \
         FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
         WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped",
    )
    .bind(table)
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| {
            let (name, type_name): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let namespace: String = row.try_get(6)?;
            // Without a length: a cast to varchar(20) cuts off in silence what an assignment refuses.
            let sql_type = format!("{}.{}", quote(&namespace), quote(&type_name));
            let column = CatalogColumn {
                sql_type,
                type_name,
                category: row.try_get(2)?,
                not_null: row.try_get(3)?,
                has_default: row.try_get(4)?,
                generated: row.try_get(5)?,
            };
            Ok((name, column))
        })
        .collect()
}

fn column(slot: &Slot, name: &str, found: &CatalogColumn) -> Result<Column, String> {
    let json = matches!(found.type_name.as_str(), "json" | "jsonb");
    if slot.is_json() && !json {
        return Err(format!("must be json or jsonb to hold the field {slot}, not {}", found.type_name));
    }
    if !slot.is_json() && json {
        return Err(format!("is {}: only address and attributes can be", found.type_name));
    }
    if found.generated {
        return Err("is generated: it cannot be written".into());
    }
    Ok(Column {
        slot: slot.clone(),
        name: name.to_string(),
        sql_type: found.sql_type.clone(),
        not_null: found.not_null,
        textual: found.category == "S",
        comparable: found.sql_type.starts_with("\"pg_catalog\".")
            && (matches!(found.category.as_str(), "S" | "N" | "B" | "D") || matches!(found.type_name.as_str(), "jsonb" | "uuid")),
    })
}

fn key(name: &str, found: &CatalogColumn) -> Key {
    let kind = match found.type_name.as_str() {
        "int2" => KeyKind::Integer(i16::MIN.into(), i16::MAX.into()),
        "int4" => KeyKind::Integer(i32::MIN.into(), i32::MAX.into()),
        "int8" => KeyKind::Integer(i64::MIN, i64::MAX),
        "uuid" => KeyKind::Uuid,
        _ if found.category == "S" => KeyKind::Text,
        _ => KeyKind::Other,
    };
    Key { name: name.to_string(), sql_type: found.sql_type.clone(), kind, has_default: found.has_default }
}

/// Constraints and unique indexes with their columns, those inside of expressions too.
async fn constraints(db: &mut PgConnection, table: sqlx::postgres::types::Oid) -> Result<HashMap<String, Vec<String>>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT k.name, a.attname::text FROM ( \
           SELECT c.conname::text AS name, unnest(c.conkey) AS attnum FROM pg_catalog.pg_constraint c WHERE c.conrelid = $1 \
           UNION SELECT x.relname::text, d.refobjsubid FROM pg_catalog.pg_index i \
             JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid \
             JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = x.oid AND d.refobjid = i.indrelid AND d.refobjsubid > 0 \
             WHERE i.indrelid = $1 AND i.indisunique \
         ) k JOIN pg_catalog.pg_attribute a ON a.attrelid = $1 AND a.attnum = k.attnum",
    )
    .bind(table)
    .fetch_all(db)
    .await?;
    let mut constraints: HashMap<String, BTreeSet<String>> = HashMap::new();
    for row in rows {
        constraints.entry(row.try_get(0)?).or_default().insert(row.try_get(1)?);
    }
    Ok(constraints.into_iter().map(|(name, columns)| (name, columns.into_iter().collect())).collect())
}

fn at(table: &str, column: &str, problem: String) -> TableError {
    TableError::Column { table: table.into(), column: column.into(), problem }
}

/// SQL constants for an array of slots.
pub(super) fn slots_literal(shape: &Shape) -> String {
    let each: Vec<String> = shape.slots.iter().map(|s| literal(&s.to_string())).collect();
    format!("ARRAY[{}]::text[]", each.join(", "))
}
