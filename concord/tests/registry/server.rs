//! `concord registry` in a folder of its own.

use reqwest::Method;
use serde_json::Value as Json;
use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Long enough for a loaded machine; nothing waits that long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Server {
    pub listen: SocketAddr,
    pub data: PathBuf,
    pub http: reqwest::Client,
    pub env: Vec<(String, String)>,
    process: Option<Child>,
    folder: tempfile::TempDir,
}

impl Server {
    /// It does not run yet.
    pub fn prepared() -> Server {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listen = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().expect("a client");
        Server { listen, data: folder.path().join("data"), http, env: Vec::new(), process: None, folder }
    }

    pub async fn running() -> Server {
        let mut server = Server::prepared();
        server.start().await;
        server
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_concord"));
        command.env_clear().current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
        command.env("CONCORD_LOG", std::env::var("CONCORD_LOG").unwrap_or_else(|_| "warn".into())).envs(self.env.iter().cloned());
        command.arg("registry").arg("--listen").arg(self.listen.to_string()).arg("--data-dir").arg(&self.data);
        command
    }

    pub async fn start(&mut self) {
        self.process = Some(self.command().spawn().expect("concord starts"));
        let deadline = Instant::now() + PATIENCE;
        while self.http.get(self.url("/")).send().await.is_err() {
            let ended = self.process.as_mut().and_then(|p| p.try_wait().expect("its state"));
            assert!(ended.is_none(), "the registry ended: {ended:?}");
            assert!(Instant::now() < deadline, "the registry does not answer");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.listen)
    }

    /// Status and body; a body that is no JSON as a text.
    pub async fn ask(&self, method: &str, path: &str, body: Option<&Json>) -> (u16, Json) {
        self.try_ask(method, path, body).await.expect("an answer")
    }

    pub async fn try_ask(&self, method: &str, path: &str, body: Option<&Json>) -> Result<(u16, Json), reqwest::Error> {
        let mut request = self.http.request(Method::from_bytes(method.as_bytes()).expect("a method"), self.url(path));
        if let Some(body) = body {
            request = request.header("content-type", "application/vnd.schemaregistry.v1+json").body(body.to_string());
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Json::String(text))))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
