//! `docker-compose.yml`, `Dockerfile` and `observability/`, checked without a container engine: that they fit together, and
//! that they fit what Concord and the stand-in really take.

mod check;
mod file;

use file::Compose;
use serde_json::Value as Json;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn yaml(path: &str) -> Json {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn compose() -> Compose {
    Compose::parse(&read("docker-compose.yml")).unwrap()
}

/// All Rust source of a crate.
fn source(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: PathBuf| match path.is_dir() {
        true => source(&path),
        false => std::fs::read_to_string(path).unwrap(),
    };
    entries.map(text).collect()
}

#[test]
fn nothing_is_wrong_with_it() {
    assert_eq!(check::complaints(&read("docker-compose.yml"), &root()), Vec::<String>::new());
}

#[test]
fn what_would_be_wrong_is_noticed() {
    let shipped = read("docker-compose.yml");
    for (from, to, complaint) in [
        ("image: postgres:18.6", "image: postgres:latest", "postgres: the image postgres:latest is not pinned"),
        ("image: postgres:18.6", "image: postgres", "postgres: the image postgres is not pinned"),
        ("127.0.0.1:5432:5432", "5432:5432", "postgres: the port 5432:5432 is not on 127.0.0.1"),
        ("127.0.0.1:8088:8088", "127.0.0.1:8000:8088", "ksqldb: 127.0.0.1:8000 is published by concord, too"),
        ("  read_only: true\n", "", "kafka: its root can be written"),
        ("cap_drop: [ALL]", "cap_drop: [NET_RAW]", "kafka: it keeps capabilities"),
        ("no-new-privileges:true", "seccomp:unconfined", "kafka: it can gain privileges"),
        ("postgres-data:/var/lib/postgresql\"", "postgres-data:/var/lib/postgresql/data\"", "postgres: from 18 on"),
        ("concord-data:/data", "concord-dat:/data", "concord: there is no volume concord-dat"),
        ("prometheus.yml:ro", "prometheus.yml", "prometheus: ./observability/prometheus.yml can be written"),
        ("./observability/alerts.yml:", "./observability/rules.yml:", "prometheus: there is no ./observability/rules.yml"),
        ("postgres: { condition: service_healthy }", "postgre: { condition: service_healthy }", "deploy: it depends on postgre"),
        (
            "deploy: { condition: service_completed_successfully }",
            "deploy: { condition: service_healthy }",
            "concord: deploy will never be",
        ),
        ("service_healthy, required: false }", "service_healthy }", "deploy: schema-registry is in another profile"),
        ("network_mode: service:concord", "network_mode: service:concords", "sandbox: the network service:concords"),
        ("@postgres:5432", "@database:5432", "concord: DATABASE_URL: there is no service database"),
        ("head -n 1 <&3", "curl -s", "schema-registry: there is no curl"),
        ("${POSTGRES_PASSWORD:?set it in .env}", "${POSTGRES_PASSWORD:-concord}", "POSTGRES_PASSWORD: a secret has no default"),
        ("${CONCORD_REGISTRY_PASSWORD:?", "${REGISTRY_PASSWORD:?", "REGISTRY_PASSWORD: not in .env.example"),
        ("    stop_grace_period: 20s", "    stop_grace: 20s", "unknown field `stop_grace`"),
        ("condition: service_started", "condition: service_running", "unknown variant `service_running`"),
    ] {
        assert!(shipped.contains(from), "{from:?} is not there any more");
        let said = check::complaints(&shipped.replacen(from, to, 1), &root());
        assert!(said.iter().any(|line| line.contains(complaint)), "{to:?}: {said:?}");
    }
}

#[test]
fn the_environment_is_what_the_binaries_read() {
    let (concord, sandbox) = (source(&root().join("concord/src")), source(&root().join("sandbox/src")));
    for (name, service) in compose().services.iter().filter(|(_, service)| service.is_ours()) {
        let program = match service.entrypoint.as_deref() {
            None => &concord,
            Some([program]) if program == "/usr/local/bin/sandbox" => &sandbox,
            Some(other) => panic!("{name} runs {other:?}"),
        };
        for variable in service.environment.keys() {
            // A system's own secrets are named by its prefix.
            let read = variable.strip_prefix("STRIPE_").map_or(format!("\"{variable}\""), |rest| format!("_{rest}\""));
            assert!(program.contains(&read), "{name} reads no {variable}");
        }
        for flag in service.command.iter().filter_map(|word| word.strip_prefix("--")) {
            let field = flag.split('=').next().unwrap().replace('-', "_");
            assert!(program.contains(&format!("    {field}: ")), "{name} has no --{flag}");
        }
    }
}

fn concord(args: &[&str], environment: &[(String, String)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_concord"));
    command.env_clear().envs(environment.iter().cloned()).current_dir(folder.path()).args(args).output().unwrap()
}

#[test]
fn concord_takes_its_configuration_and_commands() {
    let compose = compose();
    let value = |value: &str| {
        // As Compose fills in what .env has, and what it leaves out.
        let mut filled = value.to_string();
        while let Some(at) = filled.find("${") {
            let end = at + filled[at..].find('}').unwrap();
            let default = filled[at..end].split_once(":-").map_or("some-secret", |(_, default)| default).to_string();
            filled.replace_range(at..=end, &default);
        }
        filled
    };
    // What is not read here: this needs the brokers, and names no mistake of the configuration's.
    let offline = compose.services["concord"].environment.iter().filter(|(name, _)| *name != "KAFKA_BOOTSTRAP_SERVERS");
    let environment: Vec<_> = offline.map(|(name, text)| (name.clone(), value(text))).collect();
    let said = concord(&["validate", "--offline"], &environment);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    for service in ["concord", "deploy", "deploy-ksqldb"] {
        let command = compose.services[service].command[0].as_str();
        let is_there = concord(&[command, "--help"], &[]).status.success();
        assert!(is_there, "{service}: there is no concord {command}");
    }
}

#[test]
fn brokers_are_looked_for_where_they_are() {
    let compose = compose();
    let kafka = &compose.services["kafka"].environment;
    let inside = kafka["KAFKA_ADVERTISED_LISTENERS"].split(',').find_map(|l| l.strip_prefix("INSIDE://")).unwrap();
    let asked = [
        ("concord", "KAFKA_BOOTSTRAP_SERVERS"),
        ("ksqldb", "KSQL_BOOTSTRAP_SERVERS"),
        ("schema-registry", "SCHEMA_REGISTRY_KAFKASTORE_BOOTSTRAP_SERVERS"),
        ("kafka-ui", "KAFKA_CLUSTERS_0_BOOTSTRAPSERVERS"),
    ];
    for (service, variable) in asked {
        assert_eq!(compose.services[service].environment[variable], inside, "{service}");
    }
}

#[test]
fn the_image_holds_what_is_built_and_runs_as_nobody() {
    let (dockerfile, ignored, cargo) = (read("Dockerfile"), read(".dockerignore"), read("Cargo.toml"));
    let members = cargo.lines().find(|line| line.starts_with("members")).unwrap();
    for member in members.split('"').skip(1).step_by(2) {
        assert!(ignored.lines().any(|line| line == format!("!{member}")), "{member} is not sent to the build");
    }
    let stages: BTreeSet<&str> = dockerfile.lines().filter_map(|line| line.split_once(" AS ")).map(|(_, stage)| stage).collect();
    let mut bases = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM "));
    assert!(bases.all(|from| {
        let base = from.split(' ').next().unwrap();
        stages.contains(base)
            || base.rsplit_once(':').is_some_and(|(name, tag)| tag != "latest" && name.contains(|c: char| c.is_alphabetic()))
    }));
    let cargo_runs = dockerfile.lines().filter(|line| ["cargo install", "chef cook", "cargo build"].iter().any(|c| line.contains(c)));
    assert!(cargo_runs.clone().count() == 3 && cargo_runs.clone().all(|line| line.contains("--locked")));
    let last = &dockerfile[dockerfile.rfind("FROM ").unwrap()..];
    for line in ["FROM gcr.io/distroless/", "USER 65532:65532", "\"healthcheck\"]", "CMD [\"run\"]"] {
        assert!(last.contains(line), "no {line}");
    }
    assert!(concord(&["healthcheck", "--help"], &[]).status.success());
    let minor = env!("CARGO_PKG_RUST_VERSION").split('.').nth(1).unwrap().parse::<u32>().unwrap();
    let built_with = dockerfile.split("rust:1.").nth(1).unwrap().split('.').next().unwrap().parse::<u32>().unwrap();
    assert!(built_with >= minor, "Rust 1.{minor} is needed");
}

#[test]
fn prometheus_and_grafana_find_each_other_and_concord() {
    let compose = compose();
    let prometheus = yaml("observability/prometheus.yml");
    let job = &prometheus["scrape_configs"][0];
    let target = job["static_configs"][0]["targets"][0].as_str().unwrap();
    let port = compose.services["concord"].environment["CONCORD_LISTEN"].rsplit_once(':').unwrap().1.to_string();
    assert_eq!(target, format!("concord:{port}"));
    // The token is written where it is looked for.
    let token = job["authorization"]["credentials_file"].as_str().unwrap();
    assert!(compose.services["prometheus"].command[0].contains(&format!("> {token}")));

    let mounts = |service: &str, file: &str| compose.services[service].volumes.iter().any(|v| v.contains(file));
    for rules in prometheus["rule_files"].as_array().unwrap() {
        assert!(mounts("prometheus", &format!("/etc/prometheus/{}:ro", rules.as_str().unwrap())));
    }
    let provider = yaml("observability/grafana/provisioning/dashboards/concord.yml");
    let folder = provider["providers"][0]["options"]["path"].as_str().unwrap();
    assert!(mounts("grafana", &format!("./observability/grafana/dashboards:{folder}:ro")));
    let source = &yaml("observability/grafana/provisioning/datasources/prometheus.yml")["datasources"][0];
    assert_eq!(source["url"], "http://prometheus:9090");
    let dashboard: Json = serde_json::from_str(&read("observability/grafana/dashboards/concord.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row");
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert_eq!(panel["datasource"]["uid"], source["uid"], "{}", panel["title"]);
        assert!(ids.insert(panel["id"].as_u64()) && !panel["targets"].as_array().unwrap().is_empty(), "{}", panel["title"]);
    }
    for rule in yaml("observability/alerts.yml")["groups"][0]["rules"].as_array().unwrap() {
        let told = ["alert", "expr"].map(|key| rule[key].is_string());
        let said = ["summary", "description"].map(|key| rule["annotations"][key].is_string());
        assert!(told == said && told == [true, true] && rule["labels"]["severity"].is_string(), "{rule}");
    }
}
