//! Answers, and the error bodies that the API promises.

use clients::postgres::message;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value as Json, json};
use warp::reply::Response;

/// A JSON answer.
pub fn json(status: StatusCode, body: &Json) -> Response {
    let mut response = Response::new(body.to_string().into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `{"detail": …}`.
pub fn detail(status: StatusCode, text: impl AsRef<str>) -> Response {
    json(status, &json!({ "detail": text.as_ref() }))
}

pub fn not_found() -> Response {
    detail(StatusCode::NOT_FOUND, "Not found.")
}

/// A page of a list, with the next one's address.
pub fn list(items: Vec<Json>, next: Option<String>) -> Response {
    let mut response = json(StatusCode::OK, &Json::Array(items));
    if let Some(next) = next.and_then(|next| HeaderValue::try_from(format!("<{next}>; rel=\"next\"")).ok()) {
        response.headers_mut().insert(header::LINK, next);
    }
    response
}

/// What went wrong with a database, for the caller: never the statement, never the connection string.
pub fn database(error: &sqlx::Error) -> Response {
    tracing::warn!(error = message(error), "a query failed");
    detail(StatusCode::SERVICE_UNAVAILABLE, "The database does not answer; try again.")
}

/// `limit` of a list: 50 by default, 500 at the most.
pub fn limit(asked: Option<&str>) -> Result<i64, Response> {
    match asked.map(str::parse::<i64>) {
        None => Ok(50),
        Some(Ok(n)) if (1..=500).contains(&n) => Ok(n),
        Some(_) => Err(json(StatusCode::BAD_REQUEST, &json!({"limit": ["A whole number from 1 to 500."]}))),
    }
}

/// The same address with `after` set, and everything else as asked.
pub fn next_page(path: &str, query: &[(String, String)], after: &str) -> String {
    let encode = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let kept = query.iter().filter(|(name, _)| name != "after").map(|(n, v)| format!("{}={}", encode(n), encode(v)));
    let all: Vec<String> = kept.chain([format!("after={}", encode(after))]).collect();
    format!("{path}?{}", all.join("&"))
}

/// The query's parameters, or which of them is not known.
pub fn parameters(query: Vec<(String, String)>, known: &[&str]) -> Result<Parameters, Response> {
    match query.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        Some((name, _)) => {
            let message = format!("Not a parameter here; these are: {}.", known.join(", "));
            let mut body = serde_json::Map::new();
            body.insert(name.clone(), json!([message]));
            Err(json(StatusCode::BAD_REQUEST, &Json::Object(body)))
        }
        None => Ok(Parameters(query)),
    }
}

/// A query's parameters, known ones only.
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn all(&self) -> &[(String, String)] {
        &self.0
    }
}

pub fn no_content() -> Response {
    let mut response = Response::new("".into());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
