//! What a ksqlDB would say, over real HTTP, in the words of its documentation; and what it was asked.

use crate::world::free_address;
use bytes::Bytes;
use serde_json::{Value as Json, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use warp::Filter;

const MEDIA: &str = "application/vnd.ksql.v1+json";

pub struct KsqlDb {
    pub at: SocketAddr,
    said: Arc<Mutex<Said>>,
}

#[derive(Default)]
struct Said {
    sources: BTreeSet<String>,
    /// The table of versions: what was inserted last, by key and column.
    rows: BTreeMap<String, BTreeMap<String, String>>,
    /// What was asked at `/ksql`, but for lists.
    asked: Vec<Json>,
    /// A statement with this in it fails.
    fails: Option<&'static str>,
    /// Statements that were taken and are not done; and how often the table is not ready.
    under_way: u32,
    not_ready: u32,
    sequence: i64,
}

impl KsqlDb {
    pub async fn start(user: &'static str, password: &'static str) -> KsqlDb {
        let said = Arc::new(Mutex::new(Said { not_ready: 1, ..Said::default() }));
        let answering = said.clone();
        let answer = warp::method().and(warp::path::full()).and(warp::header::headers_cloned()).and(warp::body::bytes()).map(
            move |method: http::Method, path: warp::path::FullPath, headers: http::HeaderMap, body: Bytes| {
                let header =
                    |name: http::HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
                let request = reqwest::Client::new().get("http://a").basic_auth(user, Some(password)).build().unwrap();
                let (status, body) = if header(http::header::AUTHORIZATION).as_bytes() != request.headers()["authorization"].as_bytes() {
                    (401, json!({"@type": "generic_error", "error_code": 40100, "message": "Unauthorized"}))
                } else if header(http::header::ACCEPT) != MEDIA {
                    (406, json!({"@type": "generic_error", "error_code": 40600, "message": "another media type"}))
                } else {
                    let body: Json = serde_json::from_slice(&body).unwrap_or_default();
                    answering.lock().unwrap().answer(&method, path.as_str(), &body)
                };
                http::Response::builder().status(status).header("content-type", MEDIA).body(body.to_string()).unwrap()
            },
        );
        let at = free_address();
        let listener = tokio::net::TcpListener::bind(at).await.expect("the address is free");
        tokio::spawn(sources::webhook::serve(listener, warp::service(answer), sources::webhook::Limits::default(), Default::default()));
        KsqlDb { at, said }
    }

    pub fn fails(&self, on: Option<&'static str>) {
        self.said.lock().unwrap().fails = on;
    }

    /// What was asked since the last time.
    pub fn asked(&self) -> Vec<Json> {
        std::mem::take(&mut self.said.lock().unwrap().asked)
    }

    /// A column of the table of versions.
    pub fn column(&self, key: &str, column: &str) -> String {
        self.said.lock().unwrap().rows[key][column].clone()
    }

    pub fn set(&self, key: &str, column: &str, value: &str) {
        self.said.lock().unwrap().rows.get_mut(key).unwrap().insert(column.into(), value.into());
    }
}

impl Said {
    fn answer(&mut self, method: &http::Method, path: &str, body: &Json) -> (u16, Json) {
        match (method.as_str(), path) {
            ("GET", "/info") => {
                let info = json!({"version": "8.3.1", "kafkaClusterId": "k", "ksqlServiceId": "concord_", "serverStatus": "RUNNING"});
                (200, json!({"KsqlServerInfo": info}))
            }
            ("POST", "/ksql") => self.statement(body),
            ("POST", "/query") => self.query(body["ksql"].as_str().unwrap()),
            ("GET", status) if status.starts_with("/status/stream/%60") || status.starts_with("/status/table/%60") => {
                self.under_way -= 1;
                let status = if self.under_way > 0 { "EXECUTING" } else { "SUCCESS" };
                (200, json!({"status": status, "message": "Executing statement"}))
            }
            _ => (404, json!({"@type": "generic_error", "error_code": 40400, "message": "not found"})),
        }
    }

    fn statement(&mut self, body: &Json) -> (u16, Json) {
        let sql = body["ksql"].as_str().unwrap();
        if sql == "LIST STREAMS; LIST TABLES;" {
            let named = |kind: &str| {
                let of = self.sources.iter().filter(|source| (*source == "MIGRATION_SCHEMA_VERSIONS") == (kind == "TABLE"));
                of.map(|name| json!({"type": kind, "name": name, "topic": "t", "keyFormat": "KAFKA", "valueFormat": "JSON"}))
                    .collect::<Vec<_>>()
            };
            return (
                200,
                json!([
                    {"@type": "streams", "statementText": "LIST STREAMS;", "streams": named("STREAM"), "warnings": []},
                    {"@type": "tables", "statementText": "LIST TABLES;", "tables": named("TABLE"), "warnings": []},
                ]),
            );
        }
        self.asked.push(body.clone());
        if self.fails.is_some_and(|text| sql.contains(text)) {
            let message = "Topic doesn't exist";
            return (
                417,
                json!({"@type": "statement_error", "error_code": 41700, "message": message, "statementText": sql, "entities": []}),
            );
        }
        let words: Vec<&str> = sql.split_whitespace().collect();
        match words[0] {
            "CREATE" => {
                let words: Vec<&str> = words.into_iter().filter(|word| *word != "SOURCE").collect();
                let (kind, name) = (words[1].to_lowercase(), words[2].to_uppercase());
                self.sequence += 1;
                // The first of all takes its time.
                let status = if self.sources.is_empty() { "QUEUED" } else { "SUCCESS" };
                self.under_way = if self.sources.is_empty() { 2 } else { 0 };
                self.sources.insert(name.clone());
                (
                    200,
                    json!([{
                        "@type": "currentStatus", "statementText": sql, "commandId": format!("{kind}/`{name}`/create"),
                        "commandStatus": {"status": status, "message": "", "queryId": null}, "commandSequenceNumber": self.sequence, "warnings": [],
                    }]),
                )
            }
            "INSERT" if words[2] == "MIGRATION_EVENTS" => {
                let (columns, values) = sql.split_once(" VALUES ").unwrap();
                let columns = columns[columns.find('(').unwrap() + 1..].trim_end_matches(')').split(", ").map(str::to_owned);
                let values = values.trim_start_matches("('").trim_end_matches("');").split("', '").map(|value| value.replace("''", "'"));
                let row: BTreeMap<String, String> = columns.zip(values).collect();
                self.rows.insert(row["version_key"].clone(), row);
                (200, json!([]))
            }
            "INSERT" => {
                self.sequence += 1;
                let status = json!({"status": "SUCCESS", "message": "Created query", "queryId": "INSERTQUERY_1"});
                (
                    200,
                    json!([{"@type": "currentStatus", "commandId": "stream/`X`/create", "commandStatus": status, "commandSequenceNumber": self.sequence}]),
                )
            }
            "ASSERT" => (200, json!([{"@type": "assert_topic", "statementText": sql, "topicName": "t", "exists": true, "warnings": []}])),
            other => (400, json!({"@type": "statement_error", "error_code": 40001, "message": format!("what is {other}?")})),
        }
    }

    /// `SELECT a, b FROM … WHERE version_key = 'k';`
    fn query(&mut self, sql: &str) -> (u16, Json) {
        if self.not_ready > 0 {
            self.not_ready -= 1;
            let message = "Materialized data is not available yet. Try again later.";
            return (
                400,
                json!({"@type": "statement_error", "error_code": 40001, "message": message, "statementText": sql, "entities": []}),
            );
        }
        let (columns, rest) =
            sql.strip_prefix("SELECT ").unwrap().split_once(" FROM MIGRATION_SCHEMA_VERSIONS WHERE version_key = '").unwrap();
        let row = self.rows.get(rest.trim_end_matches("';"));
        let row = row.map(|row| json!({"row": {"columns": columns.split(", ").map(|column| &row[column]).collect::<Vec<_>>()}}));
        let header = json!({"header": {"queryId": "q", "schema": "`VERSION` STRING"}});
        (200, [header].into_iter().chain(row).collect())
    }
}
