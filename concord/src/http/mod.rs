//! What `concord run` serves. Each file is one part of the API; [`guard`] decides who may ask.

pub mod answer;
mod dlq;
pub mod events;
pub mod guard;
pub mod health;
mod page;
mod product;
mod topics;
mod unified;

pub use events::Events;
pub use guard::Guard;
pub use health::{Look, Part, Parts};
pub use product::Product;

use crate::{dlq::DeadLetters, topics::Publisher};
use http::StatusCode;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value as Json, json};
use sqlx::PgPool;
use std::{
    convert::Infallible,
    sync::{Arc, OnceLock},
};
use warp::{Filter, Rejection, Reply, filters::BoxedFilter, reply::Response};

/// What is answered where the product's table or the golden tables beside it would be needed.
const NO_PRODUCT: &str =
    "No system of kind postgres is configured: there is no product, and there are no golden tables. A concord.toml names every system.";

/// All that the routes use.
pub struct App {
    /// The configured systems, as `/api/v1/systems` shows them.
    pub systems: Json,
    pub parts: Parts,
    pub metrics: PrometheusHandle,
    pub events: Events,
    pub publisher: Publisher,
    pub dead_letters: Arc<DeadLetters>,
    /// The golden tables' database.
    pub pool: Option<PgPool>,
    /// Set once the table is attached.
    pub product: Option<Arc<OnceLock<Product>>>,
}

impl App {
    fn system_names(&self) -> Vec<&str> {
        self.systems.as_array().into_iter().flatten().filter_map(|system| system["name"].as_str()).collect()
    }
}

/// Every route but the webhooks.
pub fn routes(app: App) -> BoxedFilter<(Response,)> {
    let app = Arc::new(app);
    let shared = {
        let app = app.clone();
        warp::any().map(move || app.clone())
    };

    let healthz = warp::path!("healthz").and(warp::get()).map(health::healthz);
    let readyz = warp::path!("readyz").and(warp::get()).and(shared.clone()).then(|app: Arc<App>| async move {
        app.dead_letters.glance().await;
        health::readyz(&app.parts)
    });
    let metrics = warp::path!("metrics").and(warp::get()).and(shared.clone()).then(|app: Arc<App>| async move {
        app.dead_letters.glance().await;
        let mut response = Response::new(app.metrics.render().into());
        response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; version=0.0.4"));
        response
    });
    let systems = warp::path!("api" / "v1" / "systems")
        .and(warp::get())
        .and(shared.clone())
        .map(|app: Arc<App>| answer::json(StatusCode::OK, &app.systems));
    let events = warp::path!("api" / "v1" / "events").and(warp::get()).and(shared.clone()).map(|app: Arc<App>| app.events.stream());

    let query = warp::query::<Vec<(String, String)>>();
    let customers =
        warp::path!("api" / "v1" / "customers").and(warp::get()).and(shared.clone()).and(query).then(|app: Arc<App>, query| async move {
            match golden(&app) {
                Ok(pool) => unified::list(pool, query, app.system_names()).await,
                Err(response) => response,
            }
        });
    let customer =
        warp::path!("api" / "v1" / "customers" / String).and(warp::get()).and(shared.clone()).then(|id, app: Arc<App>| async move {
            match golden(&app) {
                Ok(pool) => unified::show(pool, id).await,
                Err(response) => response,
            }
        });
    let conflicts =
        warp::path!("api" / "v1" / "conflicts").and(warp::get()).and(shared.clone()).and(query).then(|app: Arc<App>, query| async move {
            match golden(&app) {
                Ok(pool) => unified::conflicts(pool, query).await,
                Err(response) => response,
            }
        });

    let page = page::routes();
    healthz
        .or(readyz)
        .unify()
        .or(metrics)
        .unify()
        .or(systems)
        .unify()
        .or(events)
        .unify()
        .or(customers)
        .unify()
        .or(customer)
        .unify()
        .or(conflicts)
        .unify()
        .or(topics::routes(shared.clone().boxed()))
        .unify()
        .or(dlq::routes(shared.clone().boxed()))
        .unify()
        .or(product::routes(shared.boxed()))
        .unify()
        .or(page)
        .unify()
        .recover(refused)
        .unify()
        .boxed()
}

// The golden tables live in the product's database.
fn golden(app: &App) -> Result<PgPool, Response> {
    app.pool.clone().ok_or_else(|| answer::detail(StatusCode::NOT_FOUND, NO_PRODUCT))
}

/// What no route takes, in the API's own form.
async fn refused(rejection: Rejection) -> Result<Response, Infallible> {
    let (status, detail) = if rejection.is_not_found() {
        (StatusCode::NOT_FOUND, "Not found.")
    } else if rejection.find::<warp::reject::PayloadTooLarge>().is_some() {
        (StatusCode::PAYLOAD_TOO_LARGE, "Too large.")
    } else if rejection.find::<warp::reject::LengthRequired>().is_some() {
        (StatusCode::LENGTH_REQUIRED, "Needs a Content-Length.")
    } else if rejection.find::<warp::reject::UnsupportedMediaType>().is_some() {
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, "Send application/json.")
    } else if rejection.find::<warp::filters::body::BodyDeserializeError>().is_some() {
        (StatusCode::BAD_REQUEST, "The body is not JSON of the expected form.")
    } else if rejection.find::<warp::reject::InvalidQuery>().is_some() {
        (StatusCode::BAD_REQUEST, "The query cannot be read.")
    } else if rejection.find::<warp::reject::MethodNotAllowed>().is_some() {
        // Last: a route that took the method may have refused something else.
        (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed.")
    } else {
        tracing::warn!(rejection = ?rejection, "a request was refused");
        (StatusCode::BAD_REQUEST, "Not understood.")
    };
    Ok(answer::json(status, &json!({ "detail": detail })).into_response())
}
