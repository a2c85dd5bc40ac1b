//! A real Postgres, a stand-in Stripe, and the `concord` binary between them, each test's own.

use reqwest::Method;
use sandbox::{Handle, Options as SandboxOptions, Sandbox, Target, postgres::TestPostgres};
use serde_json::{Value as Json, json};
use sqlx::PgPool;
use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

pub const KEY: &str = "sk_test_sandbox";
pub const SECRET: &str = "whsec_test";

/// Long enough for a loaded machine; nothing waits that long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Everything around one process.
pub struct World {
    pub folder: tempfile::TempDir,
    pub data: PathBuf,
    pub postgres: TestPostgres,
    pub pool: PgPool,
    pub stripe: Option<Handle>,
    pub stripe_at: SocketAddr,
    pub listen: SocketAddr,
    pub http: reqwest::Client,
    pub env: Vec<(String, String)>,
    process: Option<Child>,
}

/// How a world is made.
#[derive(Default)]
pub struct Plan {
    pub config: Option<String>,
    pub postgres: sandbox::postgres::Options,
    pub events_api: bool,
    pub rate_limit: Option<u32>,
}

impl Plan {
    pub fn usual() -> Self {
        Plan { events_api: true, ..Plan::default() }
    }
}

pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port")
}

impl World {
    /// Postgres and Stripe run; Concord does not yet.
    pub async fn prepared(plan: Plan) -> World {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let postgres = TestPostgres::start_with(&plan.postgres).expect("a Postgres cluster");
        let pool = PgPool::connect(&postgres.url()).await.expect("the cluster answers");
        let listen = free_address();
        let webhook = format!("http://{listen}/api/v1/myproduct/stripewebhook/");
        let options = SandboxOptions {
            key: KEY.into(),
            webhook: Some(Target::new(webhook, SECRET)),
            state: Some(folder.path().join("stripe.json")),
            rate_limit: plan.rate_limit,
            events_api: plan.events_api,
            webhook_retry: Duration::from_millis(100),
            webhook_retry_most: Duration::from_secs(2),
            ..SandboxOptions::default()
        };
        let stripe = Sandbox::start(options).await.expect("the stand-in starts");
        let mut env = vec![("CONCORD_MIN_FREE_BYTES".to_string(), "1000000".to_string())];
        if let Some(config) = plan.config {
            let path = folder.path().join("concord.toml");
            std::fs::write(&path, config).expect("the configuration is written");
            env.push(("CONCORD_CONFIG".into(), path.display().to_string()));
        }
        let data = folder.path().join("data");
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().expect("a client");
        World { data, postgres, pool, stripe_at: stripe.addr(), stripe: Some(stripe), listen, http, env, process: None, folder }
    }

    /// Everything runs, and is ready.
    pub async fn running(plan: Plan) -> World {
        let mut world = World::prepared(plan).await;
        world.start().await;
        world
    }

    pub fn stripe(&self) -> &Handle {
        self.stripe.as_ref().expect("the stand-in runs")
    }

    /// The binary with this world's environment, and nothing of the tester's own.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_concord"));
        command.env_clear().current_dir(self.folder.path());
        command.env("DATABASE_URL", self.postgres.url()).env("STRIPE_API_KEY", KEY).env("STRIPE_WEBHOOK_SECRET", SECRET);
        command.env("STRIPE_API_BASE", format!("http://{}", self.stripe_at)).env("CONCORD_LISTEN", self.listen.to_string());
        command.env("CONCORD_DATA_DIR", &self.data).env("CONCORD_LOG", std::env::var("CONCORD_LOG").unwrap_or_else(|_| "warn".into()));
        // Two worlds would want the same port.
        command.env("CONCORD_REGISTRY_LISTEN", "off").envs(self.env.iter().cloned());
        command
    }

    pub fn launch(&mut self) {
        let mut command = self.command();
        command.arg("run").stdin(Stdio::null()).stdout(Stdio::null());
        self.process = Some(command.spawn().expect("concord starts"));
    }

    pub async fn start(&mut self) {
        self.launch();
        let deadline = Instant::now() + PATIENCE;
        while self.status("/readyz").await != Some(200) {
            assert!(self.alive(), "concord ended instead of getting ready");
            if Instant::now() > deadline {
                panic!("not within {PATIENCE:?}: concord is ready\n{}", self.situation().await);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("concord runs").id()
    }

    /// SIGTERM; how long it took to end, and whether it ended well.
    pub fn terminate(&mut self) -> (Duration, bool) {
        let mut process = self.process.take().expect("concord runs");
        let started = Instant::now();
        let killed = Command::new("kill").arg("-TERM").arg(process.id().to_string()).status().expect("kill");
        assert!(killed.success());
        let status = process.wait().expect("it ends");
        (started.elapsed(), status.success())
    }

    /// Whether the process is still there.
    pub fn alive(&mut self) -> bool {
        self.process.as_mut().is_some_and(|p| p.try_wait().expect("its state").is_none())
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.listen)
    }

    pub async fn status(&self, path: &str) -> Option<u16> {
        self.http.get(self.url(path)).send().await.ok().map(|answer| answer.status().as_u16())
    }

    pub async fn get(&self, path: &str) -> Json {
        let answer = self.http.get(self.url(path)).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        answer.json().await.expect("JSON")
    }

    /// A request to the API: status and body.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Json>) -> (u16, Json) {
        let mut request = self.http.request(method, self.url(path));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.expect("a body")).unwrap_or(Json::Null))
    }

    pub async fn add(&self, body: Json) -> String {
        let (status, body) = self.ask(Method::POST, "/api/v1/myproduct/customers/", Some(body)).await;
        assert_eq!(status, 201, "{body}");
        body["id"].as_str().expect("an id").to_string()
    }

    /// Rows of SQL as JSON.
    pub async fn rows(&self, sql: &str) -> Vec<Json> {
        let sql = format!("select coalesce(jsonb_agg(to_jsonb(t)), '[]') from ({sql}) t");
        let rows: Json = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&self.pool).await.expect("the query works");
        rows.as_array().cloned().unwrap_or_default()
    }

    pub async fn sql(&self, sql: &str) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_string())).execute(&self.pool).await.expect("the statement works");
    }

    /// Live customers in Stripe, by id.
    pub fn in_stripe(&self) -> Vec<Json> {
        let stripe = self.stripe();
        let all = stripe.history().into_iter().filter_map(|(id, _)| stripe.customer(&id).ok());
        all.filter(|customer| customer["deleted"] != true).collect()
    }

    pub fn stripe_by_email(&self, email: &str) -> Vec<Json> {
        self.in_stripe().into_iter().filter(|c| c["email"] == email).collect()
    }

    /// Waits for a condition, with a deadline.
    pub async fn until(&self, what: &str, mut holds: impl AsyncFnMut(&World) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self).await {
            if Instant::now() > deadline {
                panic!("not within {PATIENCE:?}: {what}\n{}", self.situation().await);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What a failing test shows.
    async fn situation(&self) -> String {
        let ready = match self.http.get(self.url("/readyz")).send().await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        let conflicts = match self.http.get(self.url("/api/v1/conflicts")).send().await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        let unified = match self.http.get(self.url("/api/v1/customers?limit=20")).send().await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        let stripe = self.stripe.as_ref().map(|_| json!(self.in_stripe())).unwrap_or_default();
        let clip = |text: String| text.chars().take(6_000).collect::<String>();
        format!("ready: {}\nconflicts: {}\nunified: {}\nstripe: {}", clip(ready), clip(conflicts), clip(unified), clip(stripe.to_string()))
    }

    /// A command of the binary: whether it ended well, stdout, stderr.
    pub fn run(&self, args: &[&str]) -> (bool, String, String) {
        let done = self.command().args(args).stdin(Stdio::null()).output().expect("concord runs");
        (done.status.success(), String::from_utf8_lossy(&done.stdout).into(), String::from_utf8_lossy(&done.stderr).into())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
    }
}
