//! What the command line asks of a running process, over its HTTP API.

use crate::{
    cli::Server,
    config::{Env, Overrides},
};
use anyhow::anyhow;
use clients::Secret;
use serde_json::Value as Json;
use std::time::Duration;

/// A running process.
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<Secret>,
    patience: Patience,
}

/// How long a process may take: it is beside us as a rule, and does nothing long.
#[derive(Debug, Clone, Copy)]
struct Patience {
    connect: Duration,
    whole: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { connect: Duration::from_secs(2), whole: Duration::from_secs(10) }
    }
}

/// A page of a list.
pub struct Page {
    pub items: Vec<Json>,
    /// There is another page after it.
    pub more: bool,
}

/// An answer of whatever status.
struct Answer {
    status: u16,
    body: Json,
    /// It names a next page.
    more: bool,
}

impl Client {
    pub fn new(server: &Server, overrides: &Overrides, env: &Env) -> anyhow::Result<Client> {
        let listen = overrides.listen.clone().or_else(|| env.var("CONCORD_LISTEN")).unwrap_or_else(|| "127.0.0.1:8000".into());
        let base = server.url.clone().unwrap_or_else(|| format!("http://{listen}"));
        let token = env.secret("CONCORD_API_TOKEN").map_err(anyhow::Error::msg)?;
        Client::of(base, token, Patience::default())
    }

    fn of(base: String, token: Option<Secret>, patience: Patience) -> anyhow::Result<Client> {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        let http = http.connect_timeout(patience.connect).build()?;
        Ok(Client { http, base: base.trim_end_matches('/').to_string(), token, patience })
    }

    /// The same, for what may take longer.
    pub fn patient(mut self, whole: Duration) -> Client {
        self.patience.whole = whole;
        self
    }

    /// The answer's status and body, whatever it is.
    pub async fn ask(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<(u16, Json)> {
        let answer = self.fetch(path, query).await?;
        Ok((answer.status, answer.body))
    }

    /// A page of a list.
    pub async fn page(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Page> {
        match self.fetch(path, query).await? {
            Answer { status: 200, body: Json::Array(items), more } => Ok(Page { items, more }),
            answer => Err(self.refused(path, answer)),
        }
    }

    /// One thing, or `None` where there is no such thing.
    pub async fn find(&self, path: &str) -> anyhow::Result<Option<Json>> {
        match self.fetch(path, &[]).await? {
            Answer { status: 200, body, .. } => Ok(Some(body)),
            Answer { status: 404, body, .. } if body["detail"] == "Not found." => Ok(None),
            answer => Err(self.refused(path, answer)),
        }
    }

    pub async fn post(&self, path: &str, body: &Json) -> anyhow::Result<(u16, Json)> {
        self.post_text(path, body.to_string()).await
    }

    /// The same with JSON as it is sent.
    pub async fn post_text(&self, path: &str, body: String) -> anyhow::Result<(u16, Json)> {
        let request = self.http.post(format!("{}{path}", self.base)).header("content-type", "application/json").body(body);
        let answer = self.send(request).await?;
        Ok((answer.status, answer.body))
    }

    async fn fetch(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Answer> {
        self.send(self.http.get(format!("{}{path}", self.base)).query(query)).await
    }

    /// What an answer that is none says, in its own words where they are for people.
    fn refused(&self, path: &str, answer: Answer) -> anyhow::Error {
        let Answer { status, body, .. } = answer;
        let said = match (status, &body) {
            (401, _) => return anyhow!("{} wants a token: set CONCORD_API_TOKEN", self.base),
            (_, Json::Object(said)) => said.iter().map(|(name, said)| messages(name, said)).collect::<Vec<_>>().join("; "),
            (_, body) => body.to_string(),
        };
        if status == 400 { anyhow!("{said}") } else { anyhow!("{}{path} answered {status}: {said}", self.base) }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Answer> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.reveal()),
            None => request,
        };
        let response = request.timeout(self.patience.whole).send().await.map_err(|error| self.silent(error, "no answer"))?;
        let status = response.status().as_u16();
        let more = response.headers().contains_key("link");
        let text = response.text().await.map_err(|error| self.silent(error, "half an answer"))?;
        Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or(Json::String(text)), more })
    }

    fn silent(&self, error: reqwest::Error, what: &str) -> anyhow::Error {
        let Client { base, patience, .. } = self;
        let advice = if error.is_timeout() && !error.is_connect() {
            format!(
                "{what} from {base} within {} s: the process there waits for its brokers or its database (`concord status`), or it hangs; its log says which",
                patience.whole.as_secs_f32()
            )
        } else {
            format!("{what} from {base}: is Concord running? (./start.sh, or name it with --url)")
        };
        anyhow::Error::new(error).context(advice)
    }
}

/// Whether an error means that no process listens there; one that hangs does.
pub fn nobody_listens(error: &anyhow::Error) -> bool {
    error.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_connect)
}

/// `{"limit": ["…"]}` or `{"detail": "…"}`, as a line.
fn messages(name: &str, said: &Json) -> String {
    match said {
        Json::Array(all) => format!("{name}: {}", all.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(" ")),
        Json::String(text) => text.clone(),
        other => format!("{name}: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(base: &str, patience: Patience) -> Client {
        // Another test may have set it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Client::of(base.into(), None, patience).unwrap()
    }

    #[tokio::test]
    async fn a_process_that_hangs_is_named_and_not_waited_for() {
        // The system takes the connection; nobody reads what comes over it.
        let hangs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", hangs.local_addr().unwrap());
        let patience = Patience { connect: Duration::from_secs(2), whole: Duration::from_millis(200) };
        let asked = client(&base, patience);
        let error = tokio::time::timeout(Duration::from_secs(30), asked.ask("/readyz", &[])).await.unwrap().unwrap_err();
        assert!(!nobody_listens(&error), "{error:#}");
        let error = format!("{error:#}");
        assert!(error.contains(&base) && error.contains("within 0.2 s") && error.contains("hangs"), "{error}");
    }

    #[tokio::test]
    async fn where_nobody_listens_is_asked_for_a_process() {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = client(&format!("http://{address}"), Patience::default()).ask("/readyz", &[]).await.unwrap_err();
        assert!(nobody_listens(&error) && error.to_string().contains("is Concord running"), "{error:#}");
    }

    #[test]
    fn what_is_wrong_with_a_question_is_said_in_the_answers_words() {
        let client = client("http://127.0.0.1:1/", Patience::default());
        let refused = |status, body| client.refused("/x", Answer { status, body, more: false }).to_string();
        assert_eq!(refused(400, serde_json::json!({"kind": ["Not a kind."]})), "kind: Not a kind.");
        assert_eq!(refused(503, serde_json::json!({"detail": "Not now."})), "http://127.0.0.1:1/x answered 503: Not now.");
        assert!(refused(401, Json::Null).contains("CONCORD_API_TOKEN"));
    }
}
