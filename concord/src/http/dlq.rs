//! `POST /api/v1/dlq/retry` and `…/discard`: dealing with dead letters, for `concord dlq`.

use super::{App, answer};
use crate::{
    dlq::{DealError, Dealing, Place, Refused},
    moment::now,
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use warp::{Filter, filters::BoxedFilter, reply::Response};

/// A request may be this large: no more than the server takes of any request.
const LIMIT: u64 = 256 << 10;
/// Dead letters of one request.
const MOST: usize = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Retry {
    ids: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Discard {
    ids: Vec<String>,
    reason: String,
}

pub fn routes(app: BoxedFilter<(Arc<App>,)>) -> BoxedFilter<(Response,)> {
    let limit = warp::body::content_length_limit(LIMIT);
    let retry = warp::path!("api" / "v1" / "dlq" / "retry").and(warp::post()).and(app.clone()).and(limit).and(warp::body::json());
    let retry = retry.then(|app: Arc<App>, Retry { ids }| async move { deal(&app, ids, Dealing::Retry).await });
    let discard = warp::path!("api" / "v1" / "dlq" / "discard").and(warp::post()).and(app).and(limit).and(warp::body::json());
    let discard = discard.then(|app: Arc<App>, Discard { ids, reason }| async move { deal(&app, ids, Dealing::Discard { reason }).await });
    retry.or(discard).unify().boxed()
}

async fn deal(app: &App, ids: Vec<String>, dealing: Dealing) -> Response {
    if ids.len() > MOST {
        return answer::json(StatusCode::BAD_REQUEST, &json!({"ids": [format!("At most {MOST} at once.")]}));
    }
    let mut places = Vec::new();
    let mut refused = Vec::new();
    for id in ids {
        match id.parse::<Place>() {
            Ok(place) => places.push(place),
            Err(error) => refused.push(Refused { id, error }),
        }
    }
    // In a task of its own: who asked may hang up, but what was begun is waited for before the next call looks at the marks.
    let dead_letters = app.dead_letters.clone();
    let dealing = tokio::spawn(async move {
        let dealt = dead_letters.deal(&places, &dealing, now()).await;
        dead_letters.look().await;
        dealt
    });
    let Ok(dealt) = dealing.await else {
        return answer::detail(StatusCode::INTERNAL_SERVER_ERROR, "It failed halfway; `concord dlq list --all` shows what was done.");
    };
    match dealt {
        Ok(mut dealt) => {
            dealt.refused.extend(refused);
            answer::json(StatusCode::OK, &json!(dealt))
        }
        Err(DealError::Log(error)) => {
            tracing::warn!(error = %error, "dead letters could not be dealt with");
            answer::detail(StatusCode::SERVICE_UNAVAILABLE, format!("The log does not take records now: {error}"))
        }
        Err(error @ DealError::Busy) => answer::detail(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        Err(error) => {
            tracing::error!(error = %error, "dead letters could not be dealt with");
            answer::detail(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
        }
    }
}
