//! ksqlDB's REST API, as far as migrations need it: statements, what became of them, and rows of tables.

use crate::config::KsqlDb;
use anyhow::{Context, anyhow, bail};
use clients::Secret;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, header};
use serde_json::{Value as Json, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

const MEDIA: &str = "application/vnd.ksql.v1+json";
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// A statement is answered when it is done, or after some seconds; `ASSERT … TIMEOUT` takes as long as it says.
const ANSWER: Duration = Duration::from_secs(120);
/// How long a statement may be under way, and how long a table may not be ready (its server has just started, say).
pub const PATIENCE: Duration = Duration::from_secs(120);
const TABLE_READY: Duration = Duration::from_secs(30);
/// Before it is asked again.
pub const PAUSE: Duration = Duration::from_millis(200);

pub struct Server {
    http: reqwest::Client,
    base: String,
    auth: Option<(String, Secret)>,
    /// The last statement that was taken: no later one is run before it, whichever server takes it.
    sequence: Option<i64>,
}

/// Why there is no answer to be used.
enum Failed {
    /// Nobody answers, or not now.
    Away(anyhow::Error),
    /// It would say the same again.
    Refused(anyhow::Error),
}

impl From<Failed> for anyhow::Error {
    fn from(failed: Failed) -> anyhow::Error {
        let (Failed::Away(error) | Failed::Refused(error)) = failed;
        error
    }
}

impl Server {
    pub fn new(config: &KsqlDb) -> anyhow::Result<Server> {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        let http = http.connect_timeout(Duration::from_secs(5)).timeout(ANSWER).build()?;
        let auth = config.basic.as_ref().and_then(|pair| pair.reveal().split_once(':'));
        Ok(Server {
            http,
            base: config.url.trim_end_matches('/').to_owned(),
            auth: auth.map(|(user, password)| (user.to_owned(), Secret::new(password))),
            sequence: None,
        })
    }

    /// `ksql.service.id`, which names of its topics begin with.
    pub async fn service_id(&self) -> anyhow::Result<String> {
        let info = self.ask(self.request(Method::GET, "/info")).await?;
        let id = info["KsqlServerInfo"]["ksqlServiceId"].as_str();
        id.map(str::to_owned).with_context(|| format!("{}/info tells no ksqlServiceId; is this a ksqlDB?", self.base))
    }

    /// The streams and tables that there are.
    pub async fn sources(&self) -> anyhow::Result<BTreeSet<String>> {
        let answer = self.statements("LIST STREAMS; LIST TABLES;", &BTreeMap::new()).await?;
        let lists = list(&answer).iter().flat_map(|entity| ["streams", "tables"].map(|kind| list(&entity[kind])));
        Ok(lists.flatten().filter_map(|source| source["name"].as_str()).map(str::to_owned).collect())
    }

    /// Runs one statement, and waits until it is done.
    pub async fn run(&mut self, statement: &str, properties: &BTreeMap<String, String>) -> anyhow::Result<()> {
        let answer = self.statements(statement, properties).await?;
        for entity in list(&answer) {
            if let Some(sequence) = entity["commandSequenceNumber"].as_i64().filter(|number| *number >= 0) {
                self.sequence = Some(sequence);
            }
            if !entity["commandStatus"].is_null() {
                self.done(entity["commandId"].as_str().unwrap_or_default(), entity["commandStatus"].clone()).await?;
            }
        }
        Ok(())
    }

    /// What a query of a table gives now. A table that was just made, or whose server was just started, is waited for.
    pub async fn rows(&self, query: &str) -> anyhow::Result<Vec<Vec<Json>>> {
        let deadline = Instant::now() + TABLE_READY;
        let mut told = false;
        loop {
            let body = json!({"ksql": query, "streamsProperties": {}});
            let error = match self.ask(self.request(Method::POST, "/query").body(body.to_string())).await {
                Ok(answer) => match list(&answer).iter().find_map(|part| part["errorMessage"]["message"].as_str()) {
                    None => {
                        let rows = list(&answer).iter().filter_map(|part| part["row"]["columns"].as_array());
                        return Ok(rows.cloned().collect());
                    }
                    Some(message) => anyhow!("{} refused it: {message}", self.base),
                },
                Err(Failed::Away(error)) => error,
                Err(Failed::Refused(error)) => return Err(error),
            };
            if Instant::now() > deadline {
                return Err(error.context(query.to_owned()));
            }
            // A table that is not ready is refused like a query that is wrong.
            if !std::mem::replace(&mut told, true) {
                let error = format!("{error:#}");
                tracing::info!(error, "ksqlDB does not answer it yet; asking again for {} seconds.", TABLE_READY.as_secs());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn statements(&self, statements: &str, properties: &BTreeMap<String, String>) -> anyhow::Result<Json> {
        let mut body = json!({"ksql": statements, "streamsProperties": properties});
        if let Some(sequence) = self.sequence {
            body["commandSequenceNumber"] = sequence.into();
        }
        Ok(self.ask(self.request(Method::POST, "/ksql").body(body.to_string())).await?)
    }

    /// The statement was taken, and may still be under way.
    async fn done(&self, command: &str, mut told: Json) -> anyhow::Result<()> {
        let path: Vec<String> = command.split('/').map(|segment| utf8_percent_encode(segment, SEGMENT).to_string()).collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = told["message"].as_str().unwrap_or_default();
            match told["status"].as_str().unwrap_or_default() {
                "SUCCESS" => return Ok(()),
                "QUEUED" | "PARSING" | "EXECUTING" if Instant::now() < deadline => {}
                status => bail!("{command} is {status}: {message}"),
            }
            tokio::time::sleep(PAUSE).await;
            told = self.ask(self.request(Method::GET, &format!("/status/{}", path.join("/")))).await?;
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        let request = request.header(header::ACCEPT, MEDIA).header(header::CONTENT_TYPE, MEDIA);
        match &self.auth {
            Some((user, password)) => request.basic_auth(user, Some(password.reveal())),
            None => request,
        }
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Json, Failed> {
        let silent = |error: reqwest::Error| Failed::Away(anyhow!("no ksqlDB answers at {}: {}", self.base, why(&error)));
        let response = request.send().await.map_err(silent)?;
        let status = response.status();
        let text = response.text().await.map_err(silent)?;
        let body: Option<Json> = serde_json::from_str(&text).ok();
        match (status.as_u16(), body) {
            (200..=299, Some(body)) => Ok(body),
            (401, _) => Err(Failed::Refused(anyhow!("{} wants other credentials: set KSQLDB_BASIC_AUTH to user:password", self.base))),
            (403, _) => Err(Failed::Refused(anyhow!("{}: these credentials may not do that", self.base))),
            (_, Some(body)) if body["message"].is_string() => {
                let message = body["message"].as_str().unwrap_or_default();
                Err(Failed::Away(anyhow!("{} refused it ({}): {message}", self.base, body["error_code"])))
            }
            _ => Err(Failed::Refused(anyhow!("{} answered {status}; is this a ksqlDB?", self.base))),
        }
    }
}

fn list(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

/// The innermost cause: the outer ones only say that a request was sent.
fn why(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.is_timeout() { format!("nothing came within {} seconds", ANSWER.as_secs()) } else { cause.to_string() }
}
