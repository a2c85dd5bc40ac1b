//! A schema registry over its REST API (Confluent's), as a client.

use crate::config::Env;
use anyhow::{Context, anyhow, bail};
use clients::Secret;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder};
use schemas::Compatibility;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const MEDIA: &str = "application/vnd.schemaregistry.v1+json";

/// Error codes that say that there is no such thing.
const ABSENT: [i64; 5] = [40401, 40402, 40403, 40408, 40409];

pub struct Client {
    http: reqwest::Client,
    base: String,
    auth: Option<(String, Secret)>,
}

/// One version of a subject.
#[derive(Debug, Clone, Deserialize)]
pub struct Registered {
    pub subject: String,
    pub version: i32,
    pub id: u32,
    #[serde(rename = "schemaType", default)]
    pub schema_type: Option<String>,
    pub schema: String,
    #[serde(default)]
    pub references: Vec<Json>,
}

impl Registered {
    /// Whether it can be judged here: Avro that stands alone.
    pub fn is_plain_avro(&self) -> bool {
        self.schema_type.as_deref().is_none_or(|kind| kind == "AVRO") && self.references.is_empty()
    }
}

impl Client {
    /// `SCHEMA_REGISTRY_BASIC_AUTH`: user and password, with a colon between.
    pub fn new(url: &str, env: &Env) -> anyhow::Result<Client> {
        let basic = env.secret("SCHEMA_REGISTRY_BASIC_AUTH").map_err(anyhow::Error::msg)?;
        Client::with(url, basic.as_ref())
    }

    /// `basic`: user and password, with a colon between.
    pub fn with(url: &str, basic: Option<&Secret>) -> anyhow::Result<Client> {
        let parsed = reqwest::Url::parse(url).map_err(|_| anyhow!("the registry's address is not a URL like http://127.0.0.1:8081"))?;
        if parsed.password().is_some() || !parsed.username().is_empty() {
            bail!("the registry's address holds credentials: give them in SCHEMA_REGISTRY_BASIC_AUTH");
        }
        let auth = match basic {
            None => None,
            Some(pair) => match pair.reveal().split_once(':') {
                Some((user, password)) => Some((user.to_owned(), Secret::new(password))),
                None => bail!("SCHEMA_REGISTRY_BASIC_AUTH: not user:password"),
            },
        };
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        let http = http.connect_timeout(Duration::from_secs(5)).timeout(PATIENCE).build()?;
        Ok(Client { http, base: url.trim_end_matches('/').to_owned(), auth })
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub async fn subjects(&self) -> anyhow::Result<Vec<String>> {
        self.expect("/subjects").await
    }

    /// Numbers of the subject's versions; none if there is no such subject.
    pub async fn versions(&self, subject: &str) -> anyhow::Result<Vec<i32>> {
        Ok(self.find(&format!("/subjects/{}/versions", segment(subject))).await?.unwrap_or_default())
    }

    /// One version, by its number or `latest`.
    pub async fn version(&self, subject: &str, version: &str) -> anyhow::Result<Option<Registered>> {
        self.find(&format!("/subjects/{}/versions/{}", segment(subject), segment(version))).await
    }

    /// All versions of the subject, the oldest first.
    pub async fn history(&self, subject: &str) -> anyhow::Result<Vec<Registered>> {
        let mut history = Vec::new();
        for version in self.versions(subject).await? {
            history.extend(self.version(subject, &version.to_string()).await?);
        }
        Ok(history)
    }

    /// A schema's text.
    pub async fn by_id(&self, id: u32) -> anyhow::Result<Option<String>> {
        let found: Option<Json> = self.find(&format!("/schemas/ids/{id}")).await?;
        Ok(found.and_then(|body| body["schema"].as_str().map(str::to_owned)))
    }

    /// The version under which this very schema is registered, if it is.
    pub async fn lookup(&self, subject: &str, schema: &str) -> anyhow::Result<Option<Registered>> {
        let request = self.request(Method::POST, &format!("/subjects/{}", segment(subject))).json(&json!({"schema": schema}));
        self.answer(request).await
    }

    /// Its id.
    pub async fn register(&self, subject: &str, schema: &str) -> anyhow::Result<u32> {
        let path = format!("/subjects/{}/versions", segment(subject));
        let request = self.request(Method::POST, &path).json(&json!({"schema": schema}));
        let body: Option<Json> = self.answer(request).await?;
        let id = body.as_ref().and_then(|body| body["id"].as_u64()).and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| anyhow!("{}{path} gave no id", self.base))
    }

    /// The level of a subject (the global one where it has none), or the global one.
    pub async fn level(&self, subject: Option<&str>) -> anyhow::Result<Compatibility> {
        let path = subject.map_or("/config".to_owned(), |subject| format!("/config/{}?defaultToGlobal=true", segment(subject)));
        let found: Option<Json> = self.find(&path).await?;
        let body = match (found, subject) {
            (Some(body), _) => body,
            // A registry that knows no `defaultToGlobal`.
            (None, Some(_)) => self.expect("/config").await?,
            (None, None) => bail!("{}/config: no such thing; is this a schema registry?", self.base),
        };
        let level = body["compatibilityLevel"].as_str().unwrap_or_default();
        level.parse().with_context(|| format!("{}{path}", self.base))
    }

    pub async fn set_level(&self, subject: Option<&str>, level: Compatibility) -> anyhow::Result<()> {
        let path = subject.map_or("/config".to_owned(), |subject| format!("/config/{}", segment(subject)));
        let request = self.request(Method::PUT, &path).json(&json!({"compatibility": level.to_string()}));
        let answer: Option<Json> = self.answer(request).await?;
        answer.map(drop).ok_or_else(|| anyhow!("{}{path}: no such subject", self.base))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base)).header("accept", MEDIA);
        match &self.auth {
            Some((user, password)) => request.basic_auth(user, Some(password.reveal())),
            None => request,
        }
    }

    async fn find<T: serde::de::DeserializeOwned>(&self, path: &str) -> anyhow::Result<Option<T>> {
        self.answer(self.request(Method::GET, path)).await
    }

    async fn expect<T: serde::de::DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.find(path).await?.ok_or_else(|| anyhow!("{}{path}: no such thing; is this a schema registry?", self.base))
    }

    /// The answer's body; none where the registry says that there is no such thing.
    async fn answer<T: serde::de::DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<Option<T>> {
        let silent = |error: reqwest::Error| anyhow!("no schema registry answers at {}: {}", self.base, why(&error));
        let response = request.send().await.map_err(silent)?;
        let status = response.status();
        let text = response.text().await.map_err(silent)?;
        if status.is_success() {
            return serde_json::from_str(&text).map(Some).map_err(|e| anyhow!("{}: not a schema registry's answer: {e}", self.base));
        }
        let body: Json = serde_json::from_str(&text).unwrap_or_default();
        match body["error_code"].as_i64() {
            Some(code) if ABSENT.contains(&code) => Ok(None),
            Some(code) => bail!("{} refused it ({code}): {}", self.base, body["message"].as_str().unwrap_or_default()),
            None if status.as_u16() == 401 => bail!("{} wants credentials: set SCHEMA_REGISTRY_BASIC_AUTH", self.base),
            None => bail!("{} answered {status}; is this a schema registry?", self.base),
        }
    }
}

fn segment(text: &str) -> String {
    utf8_percent_encode(text, PATH).to_string()
}

/// The innermost cause: the outer ones only say that a request was sent.
fn why(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.is_timeout() { format!("nothing came within {} seconds", PATIENCE.as_secs()) } else { cause.to_string() }
}
