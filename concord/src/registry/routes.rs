//! Which request asks what. The paths and parameters are those of Confluent's REST API.

use super::{Service, answer::Body, request::Request};
use http::Method;
use schemas::registry::{
    Proposal, Refusal, SchemaView,
    ask::{config_answer, mode_named},
};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

pub async fn answer(service: Arc<Service>, request: Request) -> Result<Body, Refusal> {
    let request = Arc::new(request);
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    let r = service.registry();
    let asked = request.clone();
    match (request.method.as_str(), path.as_slice()) {
        ("GET", []) => Body::json(&json!({})),
        ("GET", ["contexts"]) => Body::json(&["."]),
        ("GET", ["schemas", "types"]) => Body::json(&["AVRO"]),
        ("GET", ["schemas"]) => {
            let prefix = prefix(&request);
            Body::json(&request.page(r.all_versions(prefix, request.flag("deleted"), request.flag("latestOnly"))))
        }
        ("GET", ["schemas", "ids", id]) => Body::json(&r.by_id(number(id)?, request.flag("fetchMaxId"))?),
        ("GET", ["schemas", "ids", id, "schema"]) => Ok(Body::Text(r.by_id(number(id)?, false)?.schema)),
        ("GET", ["schemas", "ids", id, "versions"]) => Body::json(&request.page(r.places(number(id)?, request.flag("deleted"))?)),
        ("GET", ["schemas", "ids", id, "subjects"]) => {
            let mut subjects: Vec<String> =
                r.places(number(id)?, request.flag("deleted"))?.into_iter().map(|place| place.subject).collect();
            subjects.dedup();
            Body::json(&request.page(subjects))
        }
        ("GET", ["subjects"]) => Body::json(&request.page(r.subjects_of(prefix(&request), request.which()))),
        ("POST", ["subjects", subject]) => {
            let (proposal, normalize): (Proposal, _) = (request.json()?, request.flag("normalize"));
            Body::json(&r.look_up(own(subject), &proposal, normalize, request.flag("deleted"))?)
        }
        ("DELETE", ["subjects", subject]) => {
            let subject = own(subject).to_owned();
            Body::json(&service.change(move |r| r.delete_subject(&subject, asked.flag("permanent"))).await?)
        }
        ("GET", ["subjects", subject, "versions"]) => Body::json(&request.page(r.versions_of(own(subject), request.which())?)),
        ("POST", ["subjects", subject, "versions"]) => {
            let (subject, proposal): (_, Proposal) = (own(subject).to_owned(), request.json()?);
            Body::json(&service.change(move |r| r.propose(&subject, &proposal, asked.flag("normalize"))).await?)
        }
        ("GET", ["subjects", subject, "versions", version]) => {
            Body::json(&r.version(own(subject), version_named(version)?, request.flag("deleted"))?)
        }
        ("GET", ["subjects", subject, "versions", version, "schema"]) => {
            let SchemaView { schema, .. } = r.version(own(subject), version_named(version)?, request.flag("deleted"))?.schema;
            Ok(Body::Text(schema))
        }
        ("GET", ["subjects", subject, "versions", version, "referencedby"]) => {
            Body::json(&request.page(r.referenced_by(own(subject), version_named(version)?, request.flag("deleted"))?))
        }
        ("DELETE", ["subjects", subject, "versions", version]) => {
            let (subject, version) = (own(subject).to_owned(), version_named(version)?);
            Body::json(&service.change(move |r| r.delete_version(&subject, version, asked.flag("permanent"))).await?)
        }
        ("POST", ["compatibility", "subjects", subject, "versions"]) => fits(&service, &request, own(subject), None),
        ("POST", ["compatibility", "subjects", subject, "versions", version]) => {
            fits(&service, &request, own(subject), Some(version_named(version)?))
        }
        (_, ["config"]) => config(&service, &request, None).await,
        (_, ["config", subject]) => config(&service, &request, subject_or_all(subject)).await,
        (_, ["mode"]) => mode(&service, &request, None).await,
        (_, ["mode", subject]) => mode(&service, &request, subject_or_all(subject)).await,
        (_, path) => Err(nowhere(path)),
    }
}

async fn config(service: &Service, request: &Request, subject: Option<&str>) -> Result<Body, Refusal> {
    let owned = subject.map(str::to_owned);
    match request.method {
        Method::GET => Body::json(&service.registry().config(subject, request.flag("defaultToGlobal"))?),
        Method::PUT => {
            let wanted: Map<String, Json> = request.json()?;
            Body::json(&config_answer(&service.change(move |r| r.set_config(owned.as_deref(), &wanted)).await?))
        }
        Method::DELETE => Body::json(&service.change(move |r| r.delete_config(owned.as_deref())).await?),
        _ => Err(wrong_method()),
    }
}

#[derive(Deserialize)]
struct ModeWanted {
    mode: Option<String>,
}

async fn mode(service: &Service, request: &Request, subject: Option<&str>) -> Result<Body, Refusal> {
    let owned = subject.map(str::to_owned);
    match request.method {
        Method::GET => Body::json(&json!({"mode": service.registry().mode(subject, request.flag("defaultToGlobal"))?})),
        Method::PUT => {
            let ModeWanted { mode } = request.json()?;
            let (wanted, force) = (mode.as_deref().map(mode_named).transpose()?, request.flag("force"));
            service.change(move |r| r.set_mode(owned.as_deref(), wanted, force)).await?;
            Body::json(&json!({"mode": wanted}))
        }
        Method::DELETE => Body::json(&json!({"mode": service.change(move |r| r.delete_mode(owned.as_deref())).await?})),
        _ => Err(wrong_method()),
    }
}

fn fits(service: &Service, request: &Request, subject: &str, version: Option<Option<i32>>) -> Result<Body, Refusal> {
    let (proposal, normalize, verbose): (Proposal, _, _) = (request.json()?, request.flag("normalize"), request.flag("verbose"));
    let mut answer = match service.registry().would_fit(subject, version, &proposal, normalize) {
        // What is wrong with the schema itself is a reason, too.
        Err(refusal) if verbose && refusal.code == 42201 => json!({"is_compatible": false, "messages": [refusal.message]}),
        verdict => {
            let verdict = verdict?;
            json!({"is_compatible": verdict.compatible, "messages": verdict.messages})
        }
    };
    if let Some(answer) = answer.as_object_mut().filter(|_| !verbose) {
        answer.remove("messages");
    }
    Body::json(&answer)
}

fn nowhere(path: &[&str]) -> Refusal {
    let known = matches!(
        path,
        [] | ["contexts"]
            | ["schemas"]
            | ["schemas", "types"]
            | ["schemas", "ids", _]
            | ["schemas", "ids", _, "schema" | "versions" | "subjects"]
            | ["subjects"]
            | ["subjects", _]
            | ["subjects", _, "versions"]
            | ["subjects", _, "versions", _]
            | ["subjects", _, "versions", _, "schema" | "referencedby"]
            | ["compatibility", "subjects", _, "versions"]
            | ["compatibility", "subjects", _, "versions", _]
    );
    if known { wrong_method() } else { Refusal::new(404, "HTTP 404 Not Found") }
}

fn wrong_method() -> Refusal {
    Refusal::new(405, "HTTP 405 Method Not Allowed")
}

/// The subject without the name of the default context, the only one there is.
fn own(subject: &str) -> &str {
    subject.strip_prefix(":.:").unwrap_or(subject)
}

/// The default context by itself is all subjects.
fn subject_or_all(subject: &str) -> Option<&str> {
    Some(own(subject)).filter(|subject| !subject.is_empty())
}

fn prefix(request: &Request) -> &str {
    let prefix = request.parameter("subjectPrefix").unwrap_or_default();
    // Of every context.
    own(prefix.strip_prefix(":*:").unwrap_or(prefix))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| Refusal::new(404, "HTTP 404 Not Found"))
}

/// `None` is the latest.
fn version_named(text: &str) -> Result<Option<i32>, Refusal> {
    match text.trim().parse::<i32>() {
        Ok(-1) => Ok(None),
        Ok(version) if version >= 1 => Ok(Some(version)),
        _ if text.trim().eq_ignore_ascii_case("latest") => Ok(None),
        _ => Err(Refusal::invalid_version(text)),
    }
}
