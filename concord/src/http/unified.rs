//! `GET /api/v1/customers`, `GET /api/v1/customers/{id}` and `GET /api/v1/conflicts`: read from the golden tables.

use super::answer;
use http::StatusCode;
use schemas::ConflictKind;
use serde_json::{Value as Json, json};
use sqlx::{PgPool, Row, types::Json as SqlJson};
use uuid::Uuid;
use warp::reply::Response;

/// `?email=&system=&external_id=&limit=&after=`, in order of customer id. `systems`: those that are configured.
pub async fn list(pool: PgPool, query: Vec<(String, String)>, systems: Vec<&str>) -> Response {
    listed(&pool, query, &systems).await.unwrap_or_else(|response| response)
}

async fn listed(pool: &PgPool, query: Vec<(String, String)>, systems: &[&str]) -> Result<Response, Response> {
    let query = answer::parameters(query, &["email", "system", "external_id", "limit", "after"])?;
    known(&query, "system", systems)?;
    let limit = answer::limit(query.get("limit"))?;
    let after = match query.get("after") {
        Some(text) => Some(text.parse::<Uuid>().map_err(|_| bad("after", "Not a customer id."))?),
        None => None,
    };
    let email = query.get("email").map(|email| schemas::normalise_email(email).unwrap_or_default());
    let rows = sqlx::query(
        "select c.customer_id, c.record from concord.customers c
          where ($1::uuid is null or c.customer_id > $1) and ($2::text is null or c.email_norm = $2)
            and (($3::text is null and $4::text is null) or exists (select from concord.crosswalk w
                  where w.customer_id = c.customer_id and ($3 is null or w.system = $3) and ($4 is null or w.external_id = $4)))
          order by c.customer_id limit $5",
    )
    .bind(after)
    .bind(email)
    .bind(query.get("system"))
    .bind(query.get("external_id"))
    .bind(limit + 1)
    .fetch_all(pool)
    .await
    .map_err(|e| answer::database(&e))?;
    page(&rows, limit, "/api/v1/customers", query.all(), |row| row.try_get::<Uuid, _>(0).map(|id| id.to_string()))
}

/// One customer.
pub async fn show(pool: PgPool, id: String) -> Response {
    let Ok(id) = id.parse::<Uuid>() else { return answer::not_found() };
    let row = sqlx::query("select record from concord.customers where customer_id = $1").bind(id).fetch_optional(&pool).await;
    match row.and_then(|row| row.map(|row| row.try_get::<SqlJson<Json>, _>(0)).transpose()) {
        Ok(Some(SqlJson(record))) => answer::json(StatusCode::OK, &record),
        Ok(None) => answer::not_found(),
        Err(e) => answer::database(&e),
    }
}

/// `?customer_id=&kind=&limit=&after=`, newest first.
pub async fn conflicts(pool: PgPool, query: Vec<(String, String)>) -> Response {
    conflicts_listed(&pool, query).await.unwrap_or_else(|response| response)
}

async fn conflicts_listed(pool: &PgPool, query: Vec<(String, String)>) -> Result<Response, Response> {
    let query = answer::parameters(query, &["customer_id", "kind", "limit", "after"])?;
    let limit = answer::limit(query.get("limit"))?;
    known(&query, "kind", &ConflictKind::ALL.map(ConflictKind::name))?;
    let customer = match query.get("customer_id") {
        Some(text) => Some(text.parse::<Uuid>().map_err(|_| bad("customer_id", "Not a customer id."))?),
        None => None,
    };
    let after = match query.get("after") {
        Some(id) => {
            let seq = sqlx::query_scalar::<_, i64>("select seq from concord.conflicts where id = $1").bind(id).fetch_optional(pool).await;
            Some(seq.map_err(|e| answer::database(&e))?.ok_or_else(|| bad("after", "No conflict has this id."))?)
        }
        None => None,
    };
    let rows = sqlx::query(
        "select id, record from concord.conflicts
          where ($1::uuid is null or customer_id = $1) and ($2::text is null or kind = $2)
            and ($3::bigint is null or seq < $3)
          order by seq desc limit $4",
    )
    .bind(customer)
    .bind(query.get("kind"))
    .bind(after)
    .bind(limit + 1)
    .fetch_all(pool)
    .await
    .map_err(|e| answer::database(&e))?;
    page(&rows, limit, "/api/v1/conflicts", query.all(), |row| row.try_get(0))
}

/// A parameter that has one of a few values, if it is given.
fn known(query: &answer::Parameters, name: &str, values: &[&str]) -> Result<(), Response> {
    match query.get(name) {
        Some(given) if !values.contains(&given) => {
            Err(bad(name, &format!("There is no {name} {given:?}; there are: {}.", values.join(", "))))
        }
        _ => Ok(()),
    }
}

fn bad(field: &str, message: &str) -> Response {
    answer::json(StatusCode::BAD_REQUEST, &json!({ field: [message] }))
}

/// The first `limit` records of one more than that, with the next page's address if there was one more.
fn page(
    rows: &[sqlx::postgres::PgRow],
    limit: i64,
    path: &str,
    query: &[(String, String)],
    key: impl Fn(&sqlx::postgres::PgRow) -> Result<String, sqlx::Error>,
) -> Result<Response, Response> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let records: Result<Vec<Json>, _> = rows.iter().take(limit).map(|row| row.try_get::<SqlJson<Json>, _>(1).map(|r| r.0)).collect();
    let records = records.map_err(|e| answer::database(&e))?;
    let next = match rows.get(limit.wrapping_sub(1)) {
        Some(last) if rows.len() > limit => Some(answer::next_page(path, query, &key(last).map_err(|e| answer::database(&e))?)),
        _ => None,
    };
    Ok(answer::list(records, next))
}
