//! The product's own API over its table: `/api/v1/myproduct/customers/`. It writes the table as anybody else would; that the
//! change reaches the other systems is the trigger's doing.

mod body;
mod sql;

use super::{App, answer};
use body::{Body, Whole};
use clients::postgres::Table;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value as Json, json};
use sqlx::PgPool;
use std::{collections::BTreeMap, sync::Arc};
use warp::{Filter, filters::BoxedFilter, reply::Response};

/// The product's table, and the database that it is in.
#[derive(Clone)]
pub struct Product {
    pub pool: PgPool,
    pub table: Arc<Table>,
}

/// Messages per field, as the API gives them with a 400.
pub type Errors = BTreeMap<String, Vec<String>>;

/// A customer's body may be this large.
const LIMIT: u64 = 256 << 10;

pub fn routes(app: BoxedFilter<(Arc<App>,)>) -> BoxedFilter<(Response,)> {
    let root = warp::path!("api" / "v1" / "myproduct" / "customers" / ..);
    let collection = root.and(warp::path::end());
    let one = root.and(warp::path::param::<String>()).and(warp::path::end());
    let body = warp::body::content_length_limit(LIMIT).and(warp::body::bytes());

    let list =
        collection.and(warp::get()).and(app.clone()).and(warp::query::<Vec<(String, String)>>()).then(|app: Arc<App>, query| async move {
            match product(&app) {
                Ok(product) => settle(list(product, query).await),
                Err(response) => response,
            }
        });
    let add = collection.and(warp::post()).and(app.clone()).and(body).then(|app: Arc<App>, body: bytes::Bytes| async move {
        match product(&app) {
            Ok(product) => settle(add(product, &body).await),
            Err(response) => response,
        }
    });
    let plain = one.and(warp::get().or(warp::head()).unify().or(warp::delete()).unify()).map(|id| (id, bytes::Bytes::new()));
    let sending = one.and(warp::put().or(warp::patch()).unify()).and(body).map(|id, body| (id, body));
    let single = plain.or(sending).unify().and(warp::method()).and(app).then(
        |(id, body): (String, bytes::Bytes), method: http::Method, app: Arc<App>| async move {
            match product(&app) {
                Ok(product) => settle(single(product, &decoded(&id), &method, &body).await),
                Err(response) => response,
            }
        },
    );
    list.or(add).unify().or(single).unify().boxed()
}

fn product(app: &App) -> Result<&Product, Response> {
    let slot = app.product.as_ref().ok_or_else(|| answer::detail(StatusCode::NOT_FOUND, super::NO_PRODUCT))?;
    slot.get().ok_or_else(|| answer::detail(StatusCode::SERVICE_UNAVAILABLE, "The product's table is not attached yet; see /readyz."))
}

fn decoded(segment: &str) -> String {
    percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

fn settle(done: Result<Response, Response>) -> Response {
    done.unwrap_or_else(|refused| refused)
}

/// A 400 with its messages.
fn bad(errors: &Errors) -> Response {
    answer::json(StatusCode::BAD_REQUEST, &json!(errors))
}

async fn list(product: &Product, query: Vec<(String, String)>) -> Result<Response, Response> {
    let query = answer::parameters(query, &["limit", "after", "email"])?;
    let limit = answer::limit(query.get("limit"))?;
    if let Some(after) = query.get("after")
        && !product.table.key.kind.accepts(after)
    {
        return Err(bad(&Errors::from([("after".into(), vec!["Not an id of this table.".into()])])));
    }
    let mut rows = sql::list(product, query.get("after"), query.get("email"), limit + 1).await.map_err(|e| refused(product, &e, false))?;
    let more = rows.len() as i64 > limit;
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next = match rows.last() {
        Some(last) if more => Some(answer::next_page("/api/v1/myproduct/customers/", query.all(), &last.id)),
        _ => None,
    };
    Ok(answer::list(rows.iter().map(sql::Row::json).collect(), next))
}

async fn add(product: &Product, body: &[u8]) -> Result<Response, Response> {
    let body = Body::parse(body, &product.table).map_err(|errors| bad(&errors))?;
    let id = match &body.id {
        Some(id) if product.table.key.kind.accepts(id) => Some(id.clone()),
        Some(_) => return Err(bad(&Errors::from([("id".into(), vec!["Not an id that this table can hold.".into()])]))),
        None if product.table.key.has_default => None,
        None => Some(uuid::Uuid::new_v4().to_string()),
    };
    if let Some(id) = &id
        && !product.table.key.kind.accepts(id)
    {
        return Err(bad(&Errors::from([("id".into(), vec!["This field is required.".into()])])));
    }
    let row = sql::insert(product, id.as_deref(), &body).await.map_err(|e| refused(product, &e, true))?;
    let mut response = answer::json(StatusCode::CREATED, &row.json());
    let encoded = percent_encoding::utf8_percent_encode(&row.id, percent_encoding::NON_ALPHANUMERIC);
    if let Ok(location) = HeaderValue::try_from(format!("/api/v1/myproduct/customers/{encoded}/")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

async fn single(product: &Product, id: &str, method: &http::Method, body: &[u8]) -> Result<Response, Response> {
    use http::Method;
    let whole = if *method == Method::PUT { Whole::Yes } else { Whole::No };
    if !product.table.key.kind.accepts(id) {
        return Err(answer::not_found());
    }
    let done = match *method {
        Method::GET | Method::HEAD => sql::get(product, id).await,
        Method::DELETE => {
            return match sql::delete(product, id).await.map_err(|e| refused(product, &e, false))? {
                true => Ok(answer::no_content()),
                false => Err(answer::not_found()),
            };
        }
        _ => {
            let body = Body::parse(body, &product.table).map_err(|errors| bad(&errors))?;
            if body.id.as_deref().is_some_and(|given| given != id) {
                return Err(bad(&Errors::from([("id".into(), vec!["An id never changes.".into()])])));
            }
            sql::update(product, id, &body, whole).await
        }
    };
    match done.map_err(|e| refused(product, &e, false))? {
        Some(row) => Ok(answer::json(StatusCode::OK, &row.json())),
        None => Err(answer::not_found()),
    }
}

/// What the database said no to: a constraint is the caller's to mend, and names its field; anything else is ours.
fn refused(product: &Product, error: &sqlx::Error, adding: bool) -> Response {
    let Some(database) = error.as_database_error() else { return answer::database(error) };
    let code = database.code().unwrap_or_default().into_owned();
    let message = match code.as_str() {
        "23505" => "Somebody else has this already.",
        "23502" => "This field may not be empty.",
        "23503" => "Something else still needs this, or what it names is not there.",
        "23514" | "23P01" => "The table does not take this value.",
        code if code.starts_with("22") => "The table does not take this value.",
        _ => return answer::database(error),
    };
    let slots = database.constraint().map(|name| product.table.constraint_slots(name)).unwrap_or_default();
    let mut fields: Vec<String> = slots.iter().filter_map(|slot| slot.field()).map(|field| field.to_string()).collect();
    if fields.is_empty()
        && let Some(column) = database.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().and_then(|e| e.column())
    {
        fields.extend(product.table.column(column).and_then(|c| c.slot.field()).map(|field| field.to_string()));
    }
    if code == "23505" && fields.is_empty() && adding {
        return answer::detail(StatusCode::CONFLICT, "A customer with this id exists.");
    }
    let mut errors = Errors::new();
    if fields.is_empty() {
        fields.push("detail".into());
    }
    for field in fields {
        errors.insert(field, vec![message.into()]);
    }
    bad(&errors)
}

/// The JSON of a customer.
fn customer_json(id: &str, fields: &schemas::CustomerFields, created: Option<i64>, updated: Option<i64>) -> Json {
    let address = schemas::json::value(&fields.get(&schemas::Field::Address));
    json!({
        "id": id, "name": fields.name, "email": fields.email, "phone": fields.phone, "address": address, "attributes": fields.attributes,
        "created_at": created.map_or(Json::Null, schemas::json::time), "updated_at": updated.map_or(Json::Null, schemas::json::time),
    })
}
