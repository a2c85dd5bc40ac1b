//! What is asked of the file beyond its form. Each complaint names the service.

use crate::file::{Compose, Condition, Service};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Everything that is wrong with a file whose paths are relative to `root`.
pub fn complaints(text: &str, root: &Path) -> Vec<String> {
    let compose = match Compose::parse(text) {
        Ok(compose) => compose,
        Err(error) => return vec![error],
    };
    let mut wrong = Vec::new();
    for (name, service) in &compose.services {
        let mut complain = |what: String| wrong.push(format!("{name}: {what}"));
        hardened(service, &mut complain);
        reached(&compose, service, &mut complain);
        mounted(&compose, service, root, &mut complain);
        ordered(&compose, service, &mut complain);
        healthy(service, &mut complain);
    }
    whole(&compose, &mut wrong);
    variables(text, root, &mut wrong);
    wrong
}

fn hardened(service: &Service, complain: &mut impl FnMut(String)) {
    let tag = service.image.rsplit_once(':').map(|(_, tag)| tag).unwrap_or_default();
    if service.is_ours() != (tag == "local") || (!service.is_ours() && !tag.contains(|c: char| c.is_ascii_digit())) {
        complain(format!("the image {} is not pinned", service.image));
    }
    if !service.read_only {
        complain("its root can be written".into());
    }
    if service.cap_drop != ["ALL"] {
        complain("it keeps capabilities".into());
    }
    if service.security_opt != ["no-new-privileges:true"] {
        complain("it can gain privileges".into());
    }
    if !["max-size", "max-file"].iter().all(|bound| service.logging.options.contains_key(*bound)) {
        complain("its log has no bound".into());
    }
}

fn reached(compose: &Compose, service: &Service, complain: &mut impl FnMut(String)) {
    for port in &service.ports {
        let parts: Vec<&str> = port.split(':').collect();
        if parts.len() != 3 || parts[0] != "127.0.0.1" || !parts[1..].iter().all(|port| port.parse::<u16>().is_ok()) {
            complain(format!("the port {port} is not on 127.0.0.1"));
        }
    }
    if let Some(mode) = &service.network_mode {
        let other = mode.strip_prefix("service:").unwrap_or_default();
        if !compose.services.contains_key(other) || !service.depends_on.contains_key(other) {
            complain(format!("the network {mode} is nobody's that it depends on"));
        }
        if !service.ports.is_empty() {
            complain("ports are published by whose network it is".into());
        }
    }
    // Where other services are looked for by name: NAME:PORT.
    for (variable, value) in &service.environment {
        let hosts = value
            .split(['/', '@', ',', ' ', '{', '}'])
            .filter_map(|part| part.split_once(':'))
            .filter(|(_, port)| port.parse::<u16>().is_ok());
        for (host, _) in hosts {
            let is_name = host.starts_with(|c: char| c.is_ascii_lowercase()) && host != "localhost";
            if is_name && !compose.services.contains_key(host) {
                complain(format!("{variable}: there is no service {host}"));
            }
        }
    }
}

fn mounted(compose: &Compose, service: &Service, root: &Path, complain: &mut impl FnMut(String)) {
    for volume in &service.volumes {
        let (source, target) = volume.split_once(':').unwrap_or((volume, ""));
        if !target.starts_with('/') {
            complain(format!("{volume} is mounted nowhere"));
        }
        if source.starts_with('.') {
            if !root.join(source).exists() {
                complain(format!("there is no {source}"));
            }
            if !target.ends_with(":ro") {
                complain(format!("{source} can be written"));
            }
        } else if !compose.volumes.contains_key(source) {
            complain(format!("there is no volume {source}"));
        }
    }
    if service.image.starts_with("postgres:18") && !service.volumes.iter().any(|v| v.ends_with(":/var/lib/postgresql")) {
        complain("from 18 on the data is below /var/lib/postgresql".into());
    }
    if service.tmpfs.iter().any(|path| !path.starts_with('/')) {
        complain("a tmpfs that is no path".into());
    }
}

fn ordered(compose: &Compose, service: &Service, complain: &mut impl FnMut(String)) {
    for (name, dependency) in &service.depends_on {
        let Some(other) = compose.services.get(name) else {
            complain(format!("it depends on {name}, which is not there"));
            continue;
        };
        let may_be_absent = !other.profiles.is_empty() && !service.profiles.iter().any(|profile| other.profiles.contains(profile));
        if may_be_absent && dependency.required {
            complain(format!("{name} is in another profile, so it cannot be required"));
        }
        let can_be = match dependency.condition {
            Condition::Started => true,
            Condition::Healthy => other.tells_health(),
            Condition::Completed => other.is_one_shot(),
        };
        if !can_be {
            complain(format!("{name} will never be {:?}", dependency.condition));
        }
    }
}

fn healthy(service: &Service, complain: &mut impl FnMut(String)) {
    if !service.tells_health() && !service.is_one_shot() && service.network_mode.is_none() {
        complain("nothing tells whether it is well".into());
    }
    let Some(check) = service.healthcheck.as_ref().filter(|check| !check.disable) else { return };
    if !check.test.first().is_some_and(|how| how == "CMD" || how == "CMD-SHELL") || check.test.len() < 2 {
        complain(format!("{:?} is no health check", check.test));
    }
    let absent = ["curl", "wget", "nc"].into_iter().find(|tool| check.test.iter().any(|word| word.split_whitespace().any(|w| w == *tool)));
    if let (Some(tool), true) = (absent, service.image.starts_with("confluentinc/")) {
        complain(format!("there is no {tool} in Confluent's images"));
    }
}

/// What concerns more than one service.
fn whole(compose: &Compose, wrong: &mut Vec<String>) {
    let mut published = BTreeMap::new();
    for (name, service) in &compose.services {
        for port in &service.ports {
            let host = port.rsplit_once(':').map_or(port.as_str(), |(host, _)| host);
            if let Some(other) = published.insert(host, name) {
                wrong.push(format!("{name}: {host} is published by {other}, too"));
            }
        }
    }
    let used: BTreeSet<&str> = compose.services.values().flat_map(|s| &s.volumes).filter_map(|v| v.split(':').next()).collect();
    wrong.extend(compose.volumes.keys().filter(|v| !used.contains(v.as_str())).map(|v| format!("nobody uses the volume {v}")));
}

/// `${NAME:?…}` must be set, and is told of in .env.example; what is a secret has no other form, unless it is the stand-in's.
fn variables(text: &str, root: &Path, wrong: &mut Vec<String>) {
    let example = std::fs::read_to_string(root.join(".env.example")).unwrap_or_default();
    let told: BTreeSet<&str> =
        example.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    let mut needed = BTreeSet::new();
    for used in text.split("${").skip(1) {
        let used = used.split('}').next().unwrap_or_default();
        let name = used.split([':', '-', '?']).next().unwrap_or_default();
        let is_secret = ["PASSWORD", "TOKEN", "KEY", "SECRET"].iter().any(|word| name.contains(word));
        if used[name.len()..].starts_with(":?") {
            needed.insert(name);
        } else if is_secret && !used.contains("sandbox") {
            wrong.push(format!("{name}: a secret has no default"));
        }
    }
    wrong.extend(needed.difference(&told).map(|name| format!("{name}: not in .env.example")));
    wrong.extend(told.difference(&needed).map(|name| format!("{name}: in .env.example, and not used")));
}
