//! What Confluent documents, as a table: what is asked, in this order, and what is answered.

use crate::server::Server;
use serde_json::{Value as Json, json};

/// What an answer must be.
enum Want {
    /// 200 with exactly this.
    Is(Json),
    /// 200 with a body that has at least these members.
    Has(Json),
    /// An error with this `error_code`; its first three digits are the status.
    Code(u64),
}
use Want::{Code, Has, Is};

type Step = (&'static str, Option<Json>, Want);

async fn run(server: &Server, steps: impl IntoIterator<Item = Step>) {
    for (asked, body, want) in steps {
        let (method, path) = asked.split_once(' ').expect("a method and a path");
        let (status, answer) = server.ask(method, path, body.as_ref()).await;
        let body = body.unwrap_or_default();
        match want {
            Is(wanted) => assert_eq!((status, &answer), (200, &wanted), "{asked} {body}"),
            Has(wanted) => {
                assert_eq!(status, 200, "{asked} {body}: {answer}");
                for (key, value) in wanted.as_object().expect("members") {
                    assert_eq!(&answer[key], value, "{asked} {body}: {key} of {answer}");
                }
            }
            Code(code) => {
                let wanted = if code >= 10_000 { code / 100 } else { code };
                assert_eq!((u64::from(status), &answer["error_code"]), (wanted, &json!(code)), "{asked} {body}: {answer}");
                assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()), "{asked}: {answer}");
            }
        }
    }
}

fn record(fields: Json) -> String {
    json!({"fields": fields, "name": "R", "type": "record"}).to_string()
}

fn of(schema: &str) -> Option<Json> {
    Some(json!({ "schema": schema }))
}

/// The one form of a record's text.
fn kept(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
}

const A: &str = r#"{"name":"a","type":"int"}"#;
const B: &str = r#"{"name":"b","type":"string","default":""}"#;

fn v1() -> String {
    record(json!([{"type": "int", "name": "a"}]))
}

/// Reads what `v1` wrote.
fn v2() -> String {
    record(json!([{"type": "int", "name": "a"}, {"name": "b", "type": "string", "default": ""}]))
}

/// Reads nothing of it.
fn unlike() -> String {
    record(json!([{"name": "c", "type": "int"}]))
}

#[tokio::test(flavor = "multi_thread")]
async fn subjects_versions_and_ids() {
    let server = Server::running().await;
    run(
        &server,
        [
            ("GET /", None, Is(json!({}))),
            ("GET /schemas/types", None, Is(json!(["AVRO"]))),
            ("GET /contexts", None, Is(json!(["."]))),
            ("GET /subjects", None, Is(json!([]))),
            ("GET /subjects/a/versions", None, Code(40401)),
            ("GET /subjects/a/versions/1", None, Code(40401)),
            ("POST /subjects/a", of(&v1()), Code(40401)),
            ("GET /schemas/ids/1", None, Code(40403)),
            // Registered; again; the same under another subject; the next.
            ("POST /subjects/a/versions", of(&v1()), Has(json!({"id": 1, "version": 1}))),
            ("POST /subjects/a/versions", of(&kept(A)), Has(json!({"id": 1, "version": 1}))),
            ("POST /subjects/b/versions", of(&v1()), Has(json!({"id": 1, "version": 1}))),
            ("POST /subjects/a/versions", of(&v2()), Has(json!({"id": 2, "version": 2}))),
            ("GET /subjects", None, Is(json!(["a", "b"]))),
            ("GET /subjects/a/versions", None, Is(json!([1, 2]))),
            ("GET /subjects/a/versions?offset=1", None, Is(json!([2]))),
            ("GET /subjects/a/versions?limit=1", None, Is(json!([1]))),
            ("GET /subjects/a/versions/1", None, Is(json!({"subject": "a", "version": 1, "id": 1, "schema": kept(A)}))),
            ("GET /subjects/a/versions/latest", None, Has(json!({"version": 2, "id": 2, "schema": kept(&format!("{A},{B}"))}))),
            ("GET /subjects/a/versions/-1", None, Has(json!({"version": 2}))),
            ("GET /subjects/a/versions/3", None, Code(40402)),
            ("GET /subjects/a/versions/0", None, Code(42202)),
            ("GET /subjects/a/versions/-2", None, Code(42202)),
            ("GET /subjects/a/versions/newest", None, Code(42202)),
            (
                "GET /subjects/a/versions/1/schema",
                None,
                Is(json!({"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]})),
            ),
            ("GET /schemas/ids/2", None, Is(json!({"schema": kept(&format!("{A},{B}"))}))),
            ("GET /schemas/ids/1?fetchMaxId=true", None, Is(json!({"schema": kept(A), "maxId": 2}))),
            ("GET /schemas/ids/1/schema", None, Has(json!({"name": "R"}))),
            ("GET /schemas/ids/1/subjects", None, Is(json!(["a", "b"]))),
            ("GET /schemas/ids/1/versions", None, Is(json!([{"subject": "a", "version": 1}, {"subject": "b", "version": 1}]))),
            ("GET /schemas/ids/9/versions", None, Code(40403)),
            ("GET /schemas/ids/9/subjects", None, Code(40403)),
            ("GET /schemas/ids/x", None, Code(404)),
            // Looked up.
            ("POST /subjects/a", of(&v2()), Is(json!({"subject": "a", "version": 2, "id": 2, "schema": kept(&format!("{A},{B}"))}))),
            ("POST /subjects/b", of(&v2()), Code(40403)),
            ("POST /subjects/c", of(&v2()), Code(40401)),
            // All versions.
            ("GET /schemas?subjectPrefix=b", None, Is(json!([{"subject": "b", "version": 1, "id": 1, "schema": kept(A)}]))),
            ("GET /subjects?subjectPrefix=b", None, Is(json!(["b"]))),
            ("GET /subjects?subjectPrefix=:*:", None, Is(json!(["a", "b"]))),
            // What is no schema, no subject, no request.
            ("POST /subjects/a/versions", of("{\"type\":\"nothing\"}"), Code(42201)),
            ("POST /subjects/a/versions", of(""), Code(42201)),
            ("POST /subjects/a/versions", Some(json!({"schema": "{}", "schemaType": "JSON"})), Code(42201)),
            ("POST /subjects/a/versions", Some(json!({"schema": "syntax = \"proto3\";", "schemaType": "PROTOBUF"})), Code(42201)),
            ("POST /subjects/a/versions", Some(json!({"schema": kept(A), "schemaType": "AVRO"})), Has(json!({"id": 1}))),
            ("POST /subjects/:.other:a/versions", of(&v1()), Code(42208)),
            ("POST /subjects/:.:a/versions", of(&v1()), Has(json!({"id": 1, "version": 1}))),
            ("POST /subjects/a/versions", Some(json!("{")), Code(422)),
            ("POST /subjects/a/versions", None, Code(422)),
            ("GET /nowhere", None, Code(404)),
            ("PATCH /subjects/a", None, Code(405)),
            // A subject's name is any text.
            ("POST /subjects/with%2Fslash%20and%20space/versions", of("\"string\""), Has(json!({"id": 3, "version": 1}))),
            ("GET /subjects/with%2Fslash%20and%20space/versions", None, Is(json!([1]))),
            ("GET /subjects?subjectPrefix=with%2F", None, Is(json!(["with/slash and space"]))),
        ],
    )
    .await;
    let all = server.ask("GET", "/schemas?latestOnly=true", None).await.1;
    let places: Vec<_> = all.as_array().unwrap().iter().map(|s| (s["subject"].as_str().unwrap(), s["version"].as_i64().unwrap())).collect();
    assert_eq!(places, [("a", 2), ("b", 1), ("with/slash and space", 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn compatibility_and_settings() {
    let server = Server::running().await;
    let level = |level: &str| Some(json!({ "compatibility": level }));
    run(
        &server,
        [
            ("GET /config", None, Is(json!({"compatibilityLevel": "BACKWARD"}))),
            ("GET /config/a", None, Code(40408)),
            ("GET /config/a?defaultToGlobal=true", None, Is(json!({"compatibilityLevel": "BACKWARD"}))),
            ("POST /compatibility/subjects/a/versions/latest", of(&v1()), Is(json!({"is_compatible": true}))),
            ("POST /compatibility/subjects/a/versions/1", of(&v1()), Code(40402)),
            ("POST /subjects/a/versions", of(&v1()), Has(json!({"id": 1}))),
            ("POST /subjects/a/versions", of(&unlike()), Code(40901)),
            ("POST /compatibility/subjects/a/versions/latest", of(&unlike()), Is(json!({"is_compatible": false}))),
            ("POST /compatibility/subjects/a/versions/1", of(&v2()), Is(json!({"is_compatible": true}))),
            ("POST /compatibility/subjects/a/versions", of(&unlike()), Is(json!({"is_compatible": false}))),
            ("POST /compatibility/subjects/a/versions/latest?verbose=true", of(&v2()), Is(json!({"is_compatible": true, "messages": []}))),
            ("POST /compatibility/subjects/a/versions/latest", of("nonsense"), Code(42201)),
            ("POST /compatibility/subjects/a/versions/latest?verbose=true", of("nonsense"), Has(json!({"is_compatible": false}))),
            ("POST /compatibility/subjects/a/versions/x", of(&v1()), Code(42202)),
            // Levels.
            ("PUT /config/a", level("SIDEWARD"), Code(42203)),
            ("PUT /config/a", level("full"), Is(json!({"compatibility": "FULL"}))),
            ("GET /config/a", None, Is(json!({"compatibilityLevel": "FULL"}))),
            ("PUT /config", level("FORWARD"), Is(json!({"compatibility": "FORWARD"}))),
            ("GET /config", None, Is(json!({"compatibilityLevel": "FORWARD"}))),
            ("GET /config/b?defaultToGlobal=true", None, Is(json!({"compatibilityLevel": "FORWARD"}))),
            ("POST /subjects/a/versions", of(&v2()), Has(json!({"id": 2, "version": 2}))),
            ("DELETE /config/a", None, Is(json!({"compatibilityLevel": "FULL"}))),
            ("DELETE /config/a", None, Code(40401)),
            // FORWARD now: v1 reads what v2 writes, but a further field may be taken away only with a default.
            ("POST /subjects/a/versions", of(&unlike()), Code(40901)),
            ("PUT /config/a", level("NONE"), Is(json!({"compatibility": "NONE"}))),
            ("POST /subjects/a/versions", of(&unlike()), Has(json!({"id": 3, "version": 3}))),
            // Transitive: against every version, not the latest alone.
            ("PUT /config/a", level("BACKWARD"), Is(json!({"compatibility": "BACKWARD"}))),
            ("POST /compatibility/subjects/a/versions", of(&unlike()), Is(json!({"is_compatible": true}))),
            ("PUT /config/a", level("BACKWARD_TRANSITIVE"), Is(json!({"compatibility": "BACKWARD_TRANSITIVE"}))),
            ("POST /compatibility/subjects/a/versions", of(&unlike()), Is(json!({"is_compatible": false}))),
            ("DELETE /config", None, Is(json!({"compatibilityLevel": "FORWARD"}))),
            ("GET /config", None, Is(json!({"compatibilityLevel": "BACKWARD"}))),
            // normalize: how names and properties are written makes no other schema.
            ("PUT /config/n", Some(json!({"normalize": true})), Is(json!({"normalize": true}))),
            (
                "POST /subjects/n/versions",
                of(r#"{"type":"record","name":"N","namespace":"x","z":1,"a":2,"fields":[]}"#),
                Has(json!({"id": 4, "version": 1})),
            ),
            (
                "POST /subjects/n/versions",
                of(r#"{"a":2,"type":"record","name":"x.N","z":1,"fields":[]}"#),
                Has(json!({"id": 4, "version": 1})),
            ),
            ("POST /subjects/m?normalize=true", of("\"int\""), Code(40401)),
            ("PUT /config/a", Some(json!({"compatibilityGroup": "x"})), Code(42205)),
        ],
    )
    .await;
    let (_, told) = server.ask("POST", "/compatibility/subjects/b/versions?verbose=true", of("\"int\"").as_ref()).await;
    assert_eq!(told, json!({"is_compatible": true, "messages": []}));
    server.ask("POST", "/subjects/b/versions", of(&v1()).as_ref()).await;
    let (_, told) = server.ask("POST", "/compatibility/subjects/b/versions?verbose=true", of(&unlike()).as_ref()).await;
    assert_eq!(told["is_compatible"], false);
    let messages: Vec<&str> = told["messages"].as_array().unwrap().iter().filter_map(Json::as_str).collect();
    assert!(messages[0].starts_with("c: ") && messages.contains(&"{oldSchemaVersion: 1}"), "{messages:?}");
    let (_, refused) = server.ask("POST", "/subjects/b/versions", of(&unlike()).as_ref()).await;
    assert!(refused["message"].as_str().unwrap().contains("c: "), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions() {
    let server = Server::running().await;
    run(
        &server,
        [
            ("DELETE /subjects/a", None, Code(40401)),
            ("DELETE /subjects/a/versions/1", None, Code(40401)),
            ("POST /subjects/a/versions", of(&v1()), Has(json!({"id": 1, "version": 1}))),
            ("POST /subjects/a/versions", of(&v2()), Has(json!({"id": 2, "version": 2}))),
            ("DELETE /subjects/a/versions/3", None, Code(40402)),
            ("DELETE /subjects/a/versions/x", None, Code(42202)),
            ("DELETE /subjects/a/versions/2?permanent=true", None, Code(40407)),
            ("DELETE /subjects/a?permanent=true", None, Code(40405)),
            // One version, softly: not seen any more, but its data stay readable.
            ("DELETE /subjects/a/versions/latest", None, Is(json!(2))),
            ("DELETE /subjects/a/versions/2", None, Code(40406)),
            ("GET /subjects/a/versions", None, Is(json!([1]))),
            ("GET /subjects/a/versions?deleted=true", None, Is(json!([1, 2]))),
            ("GET /subjects/a/versions?deletedOnly=true", None, Is(json!([2]))),
            ("GET /subjects/a/versions/2", None, Code(40402)),
            ("GET /subjects/a/versions/2?deleted=true", None, Has(json!({"id": 2, "deleted": true}))),
            ("GET /subjects/a/versions/latest", None, Has(json!({"version": 1}))),
            ("GET /schemas/ids/2", None, Has(json!({}))),
            ("GET /schemas/ids/2/subjects", None, Is(json!([]))),
            ("GET /schemas/ids/2/subjects?deleted=true", None, Is(json!(["a"]))),
            ("POST /subjects/a", of(&v2()), Code(40403)),
            ("POST /subjects/a?deleted=true", of(&v2()), Has(json!({"version": 2, "id": 2}))),
            // Registered again: the same id, the next number.
            ("POST /subjects/a/versions", of(&v2()), Has(json!({"id": 2, "version": 3}))),
            ("GET /subjects/a/versions?deleted=true", None, Is(json!([1, 3]))),
            // The whole subject, softly, then for good.
            ("DELETE /subjects/a", None, Is(json!([1, 3]))),
            ("DELETE /subjects/a", None, Code(40404)),
            ("GET /subjects", None, Is(json!([]))),
            ("GET /subjects?deleted=true", None, Is(json!(["a"]))),
            ("GET /subjects?deletedOnly=true", None, Is(json!(["a"]))),
            ("GET /subjects/a/versions", None, Code(40401)),
            (
                "GET /schemas?deleted=true&latestOnly=true",
                None,
                Is(json!([{"subject": "a", "version": 3, "id": 2, "schema": kept(&format!("{A},{B}")), "deleted": true}])),
            ),
            ("DELETE /subjects/a/versions/1?permanent=true", None, Is(json!(1))),
            ("GET /schemas/ids/1", None, Code(40403)),
            ("DELETE /subjects/a?permanent=true", None, Is(json!([3]))),
            ("DELETE /subjects/a?permanent=true", None, Code(40401)),
            ("GET /subjects?deleted=true", None, Is(json!([]))),
            ("GET /schemas/ids/2", None, Code(40403)),
            // An id is never given twice, even when nothing is left of it.
            ("POST /subjects/a/versions", of(&unlike()), Has(json!({"id": 3, "version": 1}))),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_for_good_leaves_its_id_behind_after_a_restart() {
    let mut server = Server::running().await;
    run(
        &server,
        [
            ("POST /subjects/a/versions", of(&v1()), Has(json!({"id": 1}))),
            ("PUT /config/a", Some(json!({"compatibility": "FULL"})), Is(json!({"compatibility": "FULL"}))),
            ("DELETE /subjects/a", None, Is(json!([1]))),
            ("DELETE /subjects/a?permanent=true", None, Is(json!([1]))),
            ("GET /config/a", None, Code(40408)),
        ],
    )
    .await;
    server.kill();
    server.start().await;
    run(&server, [("POST /subjects/b/versions", of(&v2()), Has(json!({"id": 2, "version": 1})))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn references() {
    let server = Server::running().await;
    let address = r#"{"type":"record","name":"Address","namespace":"x","fields":[{"name":"city","type":"string"}]}"#;
    let person = r#"{"type":"record","name":"Person","namespace":"y","fields":[{"name":"home","type":"x.Address"}]}"#;
    let inline = person.replace("\"x.Address\"", address);
    let refers =
        |version: i32| Some(json!({"schema": person, "references": [{"name": "x.Address", "subject": "address", "version": version}]}));
    let reference = json!([{"name": "x.Address", "subject": "address", "version": 1}]);
    run(
        &server,
        [
            ("POST /subjects/person/versions", of(person), Code(42201)),
            ("POST /subjects/person/versions", refers(1), Code(42201)),
            ("POST /subjects/address/versions", of(address), Has(json!({"id": 1}))),
            ("POST /subjects/person/versions", refers(2), Code(42201)),
            ("POST /subjects/person/versions", refers(1), Has(json!({"id": 2, "version": 1}))),
            ("POST /subjects/person/versions", refers(1), Has(json!({"id": 2, "version": 1}))),
            ("GET /subjects/person/versions/1", None, Has(json!({"schema": person, "references": reference}))),
            ("GET /schemas/ids/2", None, Is(json!({"schema": person, "references": reference}))),
            // Sent with everything in place it is the same schema.
            ("POST /subjects/person", of(&inline), Has(json!({"id": 2, "version": 1}))),
            ("POST /subjects/person/versions", of(&inline), Has(json!({"id": 2, "version": 1}))),
            ("GET /subjects/address/versions/1/referencedby", None, Is(json!([2]))),
            ("GET /subjects/person/versions/latest/referencedby", None, Is(json!([]))),
            ("GET /subjects/nobody/versions/1/referencedby", None, Code(40401)),
            // The types that it takes from there count when versions are compared.
            (
                "POST /compatibility/subjects/person/versions/latest",
                of(&inline.replace("\"city\",\"type\":\"string\"", "\"city\",\"type\":\"int\"")),
                Is(json!({"is_compatible": false})),
            ),
            // What is referred to stays.
            ("DELETE /subjects/address/versions/1", None, Code(42206)),
            ("DELETE /subjects/address", None, Code(42206)),
            ("DELETE /subjects/person", None, Is(json!([1]))),
            ("GET /subjects/address/versions/1/referencedby", None, Is(json!([]))),
            ("GET /subjects/address/versions/1/referencedby?deleted=true", None, Is(json!([2]))),
            ("DELETE /subjects/address", None, Is(json!([1]))),
            ("DELETE /subjects/address?permanent=true", None, Code(42206)),
            ("DELETE /subjects/person?permanent=true", None, Is(json!([1]))),
            ("DELETE /subjects/address?permanent=true", None, Is(json!([1]))),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn modes() {
    let server = Server::running().await;
    let mode = |mode: &str| Some(json!({ "mode": mode }));
    let placed = |schema: &str, id: i32, version: i32| Some(json!({"schema": schema, "id": id, "version": version}));
    run(
        &server,
        [
            ("GET /mode", None, Is(json!({"mode": "READWRITE"}))),
            ("GET /mode/a", None, Code(40409)),
            ("GET /mode/a?defaultToGlobal=true", None, Is(json!({"mode": "READWRITE"}))),
            ("PUT /mode", mode("SLEEPING"), Code(42204)),
            ("POST /subjects/a/versions", of(&v1()), Has(json!({"id": 1}))),
            ("POST /subjects/a/versions", placed(&v2(), 7, 2), Code(42205)),
            // Nobody writes.
            ("PUT /mode/a", mode("READONLY"), Is(json!({"mode": "READONLY"}))),
            ("GET /mode/a", None, Is(json!({"mode": "READONLY"}))),
            ("POST /subjects/a/versions", of(&v2()), Code(42205)),
            ("DELETE /subjects/a", None, Code(42205)),
            ("DELETE /subjects/a/versions/1", None, Code(42205)),
            ("PUT /config/a", Some(json!({"compatibility": "FULL"})), Code(42205)),
            ("GET /subjects/a/versions/1", None, Has(json!({"id": 1}))),
            ("POST /subjects/b/versions", of(&v1()), Has(json!({"id": 1}))),
            ("DELETE /mode/a", None, Is(json!({"mode": "READONLY"}))),
            ("DELETE /mode/a", None, Code(40401)),
            ("PUT /mode", mode("READONLY_OVERRIDE"), Is(json!({"mode": "READONLY_OVERRIDE"}))),
            ("PUT /mode/a", mode("READWRITE"), Is(json!({"mode": "READWRITE"}))),
            ("POST /subjects/a/versions", of(&v2()), Code(42205)),
            ("DELETE /mode", None, Is(json!({"mode": "READONLY_OVERRIDE"}))),
            ("POST /subjects/a/versions", of(&v2()), Has(json!({"id": 2, "version": 2}))),
            // Moving in: ids and versions as they were elsewhere.
            ("PUT /mode/a", mode("IMPORT"), Code(42205)),
            ("PUT /mode/i", mode("IMPORT"), Is(json!({"mode": "IMPORT"}))),
            ("POST /subjects/i/versions", of(&unlike()), Code(42205)),
            ("POST /subjects/i/versions", placed(&unlike(), 2, 1), Code(42205)),
            ("POST /subjects/i/versions", placed(&unlike(), 40, 3), Has(json!({"id": 40, "version": 3}))),
            // As incompatible as they were.
            ("POST /subjects/i/versions", placed("\"string\"", 41, 5), Has(json!({"id": 41, "version": 5}))),
            ("GET /subjects/i/versions", None, Is(json!([3, 5]))),
            ("PUT /mode/i", mode("READWRITE"), Is(json!({"mode": "READWRITE"}))),
            ("POST /subjects/j/versions", of("\"int\""), Has(json!({"id": 42, "version": 1}))),
            ("PUT /mode/a?force=true", mode("IMPORT"), Is(json!({"mode": "IMPORT"}))),
            ("PUT /mode", mode("FORWARD"), Code(42204)),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn types_of_content() {
    let server = Server::running().await;
    let body = json!({"schema": "\"int\""}).to_string();
    let post = |content_type: Option<&'static str>| {
        let request = server.http.post(server.url("/subjects/a/versions")).body(body.clone());
        content_type
            .map_or_else(|| request.try_clone().unwrap(), |content_type| request.try_clone().unwrap().header("content-type", content_type))
    };
    for given in [
        "application/vnd.schemaregistry.v1+json",
        "application/vnd.schemaregistry+json; qs=0.9",
        "application/json; charset=utf-8",
        "application/octet-stream",
    ] {
        let answer = post(Some(given)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{given}");
        assert_eq!(answer.headers()["content-type"], "application/vnd.schemaregistry.v1+json", "what is answered without an Accept");
    }
    assert_eq!(post(None).send().await.unwrap().status(), 200);
    let refused = post(Some("text/xml")).send().await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.json::<Json>().await.unwrap()["error_code"].clone()), (415, json!(415)));
    for (accept, answered) in [
        ("application/json", "application/json"),
        ("application/vnd.schemaregistry.v1+json, application/json", "application/vnd.schemaregistry.v1+json"),
        ("*/*", "application/vnd.schemaregistry.v1+json"),
    ] {
        let answer = server.http.get(server.url("/subjects")).header("accept", accept).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], answered, "{accept}");
    }
    let raw = server.http.get(server.url("/schemas/ids/1/schema")).send().await.unwrap().text().await.unwrap();
    assert_eq!(raw, "\"int\"");
}
