//! `docker-compose.yml`, as far as it is used: a key that is not known here is an error.

use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::BTreeMap;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compose {
    #[serde(rename = "name")]
    pub _name: String,
    pub services: BTreeMap<String, Service>,
    pub volumes: BTreeMap<String, Option<Empty>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    pub image: String,
    pub build: Option<String>,
    #[serde(rename = "user")]
    pub _user: Option<String>,
    #[serde(default)]
    pub profiles: Vec<String>,
    pub entrypoint: Option<Vec<String>>,
    #[serde(default)]
    pub command: Vec<String>,
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    #[serde(default)]
    pub ports: Vec<String>,
    #[serde(default)]
    pub volumes: Vec<String>,
    #[serde(default)]
    pub tmpfs: Vec<String>,
    pub network_mode: Option<String>,
    #[serde(default)]
    pub depends_on: BTreeMap<String, Dependency>,
    pub healthcheck: Option<Healthcheck>,
    pub restart: String,
    #[serde(default)]
    pub read_only: bool,
    #[serde(default)]
    pub cap_drop: Vec<String>,
    #[serde(default)]
    pub security_opt: Vec<String>,
    pub logging: Logging,
    #[serde(rename = "stop_grace_period")]
    pub _stop_grace_period: Option<String>,
    #[serde(rename = "shm_size")]
    pub _shm_size: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    pub condition: Condition,
    #[serde(rename = "restart", default)]
    pub _restart: bool,
    #[serde(default = "yes")]
    pub required: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub enum Condition {
    #[serde(rename = "service_started")]
    Started,
    #[serde(rename = "service_healthy")]
    Healthy,
    #[serde(rename = "service_completed_successfully")]
    Completed,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Healthcheck {
    #[serde(default)]
    pub disable: bool,
    #[serde(default)]
    pub test: Vec<String>,
    #[serde(rename = "interval")]
    pub _interval: Option<String>,
    #[serde(rename = "timeout")]
    pub _timeout: Option<String>,
    #[serde(rename = "retries")]
    pub _retries: Option<u32>,
    #[serde(rename = "start_period")]
    pub _start_period: Option<String>,
    #[serde(rename = "start_interval")]
    pub _start_interval: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logging {
    #[serde(rename = "driver")]
    pub _driver: String,
    pub options: BTreeMap<String, String>,
}

impl Compose {
    pub fn parse(text: &str) -> Result<Compose, String> {
        let mut json: Json = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
        json.as_object_mut().ok_or("no mapping")?.retain(|key, _| !key.starts_with("x-"));
        serde_json::from_value(json).map_err(|e| e.to_string())
    }
}

impl Service {
    /// The image is built here: Concord and the stand-in, whose Dockerfile has a health check.
    pub fn is_ours(&self) -> bool {
        self.build.is_some()
    }

    pub fn is_one_shot(&self) -> bool {
        self.restart == "no"
    }

    pub fn tells_health(&self) -> bool {
        self.healthcheck.as_ref().map_or(self.is_ours(), |check| !check.disable)
    }
}
