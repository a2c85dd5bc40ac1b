//! The table's rows, by SQL made from its columns. Names are quoted by [`clients::postgres::Table`]; values are always bound.

use super::{
    Product,
    body::{Body, Whole},
};
use clients::postgres::{Slot, config::quote};
use schemas::{CustomerFields, Field, Value, Values};
use serde_json::Value as Json;
use sqlx::{AssertSqlSafe, Row as _, postgres::PgRow};

/// A row of the table.
pub struct Row {
    pub id: String,
    fields: CustomerFields,
    created: Option<i64>,
    updated: Option<i64>,
}

impl Row {
    pub fn json(&self) -> Json {
        super::customer_json(&self.id, &self.fields, self.created, self.updated)
    }

    fn of(product: &Product, row: &PgRow) -> Result<Row, sqlx::Error> {
        let columns: Vec<Option<String>> = row.try_get(1)?;
        Ok(Row {
            id: row.try_get(0)?,
            fields: product.table.shape().snapshot(&columns),
            created: row.try_get(2)?,
            updated: row.try_get(3)?,
        })
    }
}

/// What every statement gives back of a row `t`.
fn shown(product: &Product) -> String {
    let table = &product.table;
    let millis = |column: &Option<String>| match column {
        Some(column) => format!("(extract(epoch FROM t.{}::timestamptz) * 1000)::bigint", quote(column)),
        None => "NULL::bigint".into(),
    };
    format!("{}, {}, {}, {}", table.id_of("t"), table.fields_of("t"), millis(&table.created_at), millis(&table.updated_at))
}

pub async fn list(product: &Product, after: Option<&str>, email: Option<&str>, limit: i64) -> Result<Vec<Row>, sqlx::Error> {
    let table = &product.table;
    let key = table.key_of("t");
    let email_column = table.columns.iter().find(|c| c.slot == Slot::Text(Field::Email));
    let by_email = email_column.map_or_else(|| "false".into(), |c| format!("lower(btrim({})) = $2::text", c.text("t")));
    let sql = format!(
        "SELECT {} FROM {} t WHERE ($1::text IS NULL OR {key} > {}) AND ($2::text IS NULL OR {by_email}) ORDER BY {key} LIMIT $3",
        shown(product),
        table.sql(),
        table.as_key("$1::text"),
    );
    let email = email.map(|email| schemas::normalise_email(email).unwrap_or_default());
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(after).bind(email).bind(limit).fetch_all(&product.pool).await?;
    rows.iter().map(|row| Row::of(product, row)).collect()
}

pub async fn get(product: &Product, id: &str) -> Result<Option<Row>, sqlx::Error> {
    let table = &product.table;
    let sql = format!("SELECT {} FROM {} t WHERE {} = {}", shown(product), table.sql(), table.key_of("t"), table.as_key("$1::text"));
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id).fetch_optional(&product.pool).await?;
    row.map(|row| Row::of(product, &row)).transpose()
}

pub async fn insert(product: &Product, id: Option<&str>, body: &Body) -> Result<Row, sqlx::Error> {
    let table = &product.table;
    let mut names = Vec::new();
    let mut values = Vec::new();
    let mut bound = Vec::new();
    if let Some(id) = id {
        bound.push(Some(id.to_string()));
        names.push(quote(&table.key.name));
        values.push(table.as_key("$1::text"));
    }
    for (column, value) in table.columns.iter().zip(table.shape().encode(&body.set)) {
        if let Some(value) = value {
            bound.push(Some(value));
            names.push(quote(&column.name));
            values.push(column.assigned(None, &format!("${}::text", bound.len())));
        }
    }
    let row = if names.is_empty() { "DEFAULT VALUES".into() } else { format!("({}) VALUES ({})", names.join(", "), values.join(", ")) };
    let sql = format!("INSERT INTO {} AS t {row} RETURNING {}", table.sql(), shown(product));
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for value in bound {
        query = query.bind(value);
    }
    Row::of(product, &query.fetch_one(&product.pool).await?)
}

pub async fn update(product: &Product, id: &str, body: &Body, whole: Whole) -> Result<Option<Row>, sqlx::Error> {
    let table = &product.table;
    let whole = whole == Whole::Yes;
    let set = if whole { everything(product, &body.set) } else { body.set.clone() };
    let all_attributes = whole || body.clears_attributes;
    let mut assignments = Vec::new();
    let mut bound = vec![id.to_string()];
    for (column, value) in table.columns.iter().zip(table.shape().encode(&set)) {
        let attribute = matches!(column.slot, Slot::AttributesJson | Slot::Text(Field::Attribute(_)));
        let value = match value {
            None if attribute && all_attributes => Some(if column.slot.is_json() { "{}".to_string() } else { String::new() }),
            value => value,
        };
        let Some(value) = value else { continue };
        bound.push(value);
        // A json column that is replaced starts from nothing; otherwise only the keys that are set change.
        let from = if all_attributes && attribute { None } else { Some("t") };
        assignments.push(format!("{} = {}", quote(&column.name), column.assigned(from, &format!("${}::text", bound.len()))));
    }
    if assignments.is_empty() {
        return get(product, id).await;
    }
    let key = format!("{} = {}", table.key_of("t"), table.as_key("$1::text"));
    let sql = format!("UPDATE {} AS t SET {} WHERE {key} RETURNING {}", table.sql(), assignments.join(", "), shown(product));
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for value in bound {
        query = query.bind(value);
    }
    let row = query.fetch_optional(&product.pool).await?;
    row.map(|row| Row::of(product, &row)).transpose()
}

/// Whether there was such a row.
pub async fn delete(product: &Product, id: &str) -> Result<bool, sqlx::Error> {
    let table = &product.table;
    let sql = format!("DELETE FROM {} AS t WHERE {} = {}", table.sql(), table.key_of("t"), table.as_key("$1::text"));
    Ok(sqlx::query(AssertSqlSafe(sql)).bind(id).execute(&product.pool).await?.rows_affected() > 0)
}

/// What is set, and no value for every other field that has a column of its own.
fn everything(product: &Product, set: &Values) -> Values {
    let mut all: Values = product.table.columns.iter().filter_map(|c| c.slot.field()).map(|field| (field, Value::Empty)).collect();
    all.extend(set.clone());
    all
}
