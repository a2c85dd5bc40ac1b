//! `POST /api/v1/topics/{topic}/records`: JSON to a topic, as Avro.

use super::{App, answer};
use crate::{
    moment::now,
    topics::{Batch, PublishError},
};
use http::StatusCode;
use serde_json::json;
use std::sync::Arc;
use warp::{Filter, filters::BoxedFilter, reply::Response};

/// A batch may be this large: no more than the server takes of any request.
const LIMIT: u64 = 4 << 20;

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
    match app.publisher.publish(&topic, &batch, now()).await {
        Ok(outcome) => answer::json(StatusCode::OK, &json!(outcome)),
        Err(error @ PublishError::NoSuchTopic { .. }) => answer::detail(StatusCode::NOT_FOUND, error.to_string()),
        Err(error @ PublishError::Owned { .. }) => answer::detail(StatusCode::CONFLICT, error.to_string()),
        Err(error @ PublishError::Schema(_)) => answer::detail(StatusCode::BAD_REQUEST, error.to_string()),
        Err(PublishError::Log(error)) => {
            tracing::warn!(error = %error, topic, "records could not be published");
            answer::detail(StatusCode::SERVICE_UNAVAILABLE, format!("The log does not take records now: {error}"))
        }
    }
}
