//! Answers: JSON in the type that was asked for, and errors with their code.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use schemas::registry::Refusal;
use serde::Serialize;
use serde_json::json;

/// What a route answers.
pub enum Body {
    Json(String),
    /// A schema's text, as it is.
    Text(String),
}

impl Body {
    pub fn json(value: &impl Serialize) -> Result<Body, Refusal> {
        serde_json::to_string(value).map(Body::Json).map_err(|error| Refusal::new(500, error.to_string()))
    }
}

/// The type to answer in.
pub fn media_type(headers: &HeaderMap) -> &'static str {
    const OWN: &str = "application/vnd.schemaregistry.v1+json";
    let accepted: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(',')).collect();
    let accepts = |wanted: &str| accepted.iter().any(|one| one.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted));
    if accepts(OWN) {
        OWN
    } else if accepts("application/vnd.schemaregistry+json") {
        "application/vnd.schemaregistry+json"
    } else if accepts("application/json") {
        "application/json"
    } else {
        OWN
    }
}

pub fn done(body: Body, media_type: &'static str) -> Response<Full<Bytes>> {
    let (Body::Json(text) | Body::Text(text)) = body;
    response(StatusCode::OK, text, media_type)
}

pub fn refused(refusal: &Refusal, media_type: &'static str) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({"error_code": refusal.code, "message": refusal.message}).to_string();
    let mut response = response(status, body, media_type);
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"schema registry\""));
    }
    response
}

fn response(status: StatusCode, text: String, media_type: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
