//! `POST /api/v1/topics/{topic}/records`: JSON to a topic, as Avro.

use super::{App, answer};
use crate::topics::{PublishError, Published};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use warp::{Filter, filters::BoxedFilter, reply::Response};

/// A batch may be this large: no more than the server takes of any request.
const LIMIT: u64 = 4 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    records: Vec<Published>,
}

pub fn routes(app: BoxedFilter<(Arc<App>,)>) -> BoxedFilter<(Response,)> {
    warp::path!("api" / "v1" / "topics" / String / "records")
        .and(warp::post())
        .and(app)
        .and(warp::body::content_length_limit(LIMIT))
        .and(warp::body::json())
        .then(publish)
        .boxed()
}

async fn publish(topic: String, app: Arc<App>, batch: Batch) -> Response {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis() as i64);
    match app.publisher.publish(&topic, &batch.records, now).await {
        Ok(outcome) => answer::json(StatusCode::OK, &json!(outcome)),
        Err(error @ PublishError::NoSuchTopic { .. }) => answer::detail(StatusCode::NOT_FOUND, error.to_string()),
        Err(error @ PublishError::Owned { .. }) => answer::detail(StatusCode::CONFLICT, error.to_string()),
        Err(PublishError::Log(error)) => {
            tracing::warn!(error = %error, topic, "records could not be published");
            answer::detail(StatusCode::SERVICE_UNAVAILABLE, format!("The log does not take records now: {error}"))
        }
    }
}
