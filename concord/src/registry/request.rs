//! A request, taken apart: method, decoded path, query, body.

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use http_body_util::BodyExt;
use schemas::registry::{Refusal, Which};
use serde::de::DeserializeOwned;
use sources::webhook::RequestBody;

/// What the routes look at.
pub struct Request {
    pub method: Method,
    pub path: Vec<String>,
    query: Vec<(String, String)>,
    body: Bytes,
}

impl Request {
    pub async fn read(request: http::Request<RequestBody>) -> Result<Request, Refusal> {
        let (head, body) = request.into_parts();
        check_media_type(&head.headers)?;
        let path = head.uri.path().split('/').filter(|part| !part.is_empty()).map(|part| decode(part, false)).collect();
        let query = head.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name, true), decode(value, true))
        };
        let query = query.map(pair).collect();
        let body = body.collect().await.map_err(|error| Refusal::new(413, error.to_string()))?.to_bytes();
        Ok(Request { method: head.method, path, query, body })
    }

    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn flag(&self, name: &str) -> bool {
        self.parameter(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    pub fn which(&self) -> Which {
        match (self.flag("deletedOnly"), self.flag("deleted")) {
            (true, _) => Which::Deleted,
            (false, true) => Which::All,
            (false, false) => Which::Live,
        }
    }

    /// The part of a list that `offset` and `limit` name.
    pub fn page<T>(&self, all: impl IntoIterator<Item = T>) -> Vec<T> {
        let number = |name: &str| self.parameter(name).and_then(|value| value.parse::<i64>().ok());
        let limit = number("limit").and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let offset = number("offset").and_then(|offset| usize::try_from(offset).ok()).unwrap_or(0);
        all.into_iter().skip(offset).take(limit).collect()
    }

    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        if self.body.is_empty() {
            return Err(Refusal::new(422, "The request needs a body."));
        }
        serde_json::from_slice(&self.body).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => Refusal::new(422, format!("The body is not what is asked for here: {error}")),
            _ => Refusal::new(400, format!("The body is not JSON: {error}")),
        })
    }
}

fn decode(part: &str, query: bool) -> String {
    let part = if query { part.replace('+', " ") } else { part.to_owned() };
    percent_encoding::percent_decode_str(&part).decode_utf8_lossy().into_owned()
}

/// The registry's own types, plain JSON, and, as some clients send it, no type at all.
fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(given) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let given = given.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let known =
        ["application/vnd.schemaregistry.v1+json", "application/vnd.schemaregistry+json", "application/json", "application/octet-stream"];
    if given.is_empty() || known.contains(&given.as_str()) {
        Ok(())
    } else {
        Err(Refusal::new(415, format!("Send {} or {}.", known[0], known[2])))
    }
}
