//! What the command line asks of a running process, over its HTTP API.

use crate::{
    cli::Server,
    config::{Env, Overrides},
};
use anyhow::{Context, bail};
use clients::Secret;
use serde_json::Value as Json;
use std::time::Duration;

/// A running process.
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<Secret>,
}

impl Client {
    pub fn new(server: &Server, overrides: &Overrides, env: &Env) -> anyhow::Result<Client> {
        let listen = overrides.listen.clone().or_else(|| env.var("CONCORD_LISTEN")).unwrap_or_else(|| "127.0.0.1:8000".into());
        let base = server.url.clone().unwrap_or_else(|| format!("http://{listen}"));
        let token = env.secret("CONCORD_API_TOKEN").map_err(anyhow::Error::msg)?;
        let http =
            reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(Duration::from_secs(30)).no_proxy().build()?;
        Ok(Client { http, base: base.trim_end_matches('/').to_string(), token })
    }

    /// The answer's status and body, whatever it is.
    pub async fn ask(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<(u16, Json)> {
        self.send(self.http.get(format!("{}{path}", self.base)).query(query)).await
    }

    /// A body that must be there.
    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Json> {
        match self.ask(path, query).await? {
            (200, body) => Ok(body),
            (404, _) => bail!("not found"),
            (401, _) => bail!("{} wants a token: set CONCORD_API_TOKEN", self.base),
            (status, body) => bail!("{}{path} answered {status}: {body}", self.base),
        }
    }

    pub async fn post(&self, path: &str, body: &Json) -> anyhow::Result<(u16, Json)> {
        self.send(self.http.post(format!("{}{path}", self.base)).json(body)).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<(u16, Json)> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.reveal()),
            None => request,
        };
        let response = request
            .send()
            .await
            .with_context(|| format!("no answer from {}: is Concord running? (./start.sh, or name it with --url)", self.base))?;
        let status = response.status().as_u16();
        let text = response.text().await.context("the answer broke off")?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Json::String(text))))
    }
}
