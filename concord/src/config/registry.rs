//! Settings of the schema registry that this process serves.

use super::{APPLICATION_ID, ConfigError, Env, Kafka, Overrides, data_dir, file, kafka};
use clients::Secret;
use std::{net::SocketAddr, path::PathBuf};

/// Where it listens, and who may ask.
#[derive(Debug, Clone, Default)]
pub struct RegistryConfig {
    /// `None`: not at all.
    pub listen: Option<SocketAddr>,
    pub token: Option<Secret>,
    /// `user:password`, each.
    pub basic: Vec<Secret>,
}

/// What a registry alone needs.
pub struct Alone {
    /// Where its log is,
    pub folder: PathBuf,
    /// unless it is on a cluster.
    pub kafka: Option<Kafka>,
    pub application_id: String,
    pub registry: RegistryConfig,
}

impl RegistryConfig {
    /// For the registry alone: where its log is, and the address that `--listen` or `CONCORD_REGISTRY_LISTEN` gives.
    pub fn alone(overrides: &Overrides, env: &Env) -> Result<Alone, ConfigError> {
        let (from, file) = file::read(overrides, env)?;
        let mut mistakes = Vec::new();
        mistakes.extend(env.log_filter().err());
        let kafka = kafka::check(file.kafka, env, &mut mistakes);
        let registry = RegistryConfig::read(env, overrides.listen.as_deref(), &mut mistakes);
        if !mistakes.is_empty() {
            return Err(ConfigError { from, mistakes });
        }
        let application_id = file.application_id.unwrap_or_else(|| APPLICATION_ID.into());
        Ok(Alone { folder: data_dir(overrides, env), kafka, application_id, registry })
    }

    /// `listen` wins over `CONCORD_REGISTRY_LISTEN`.
    pub fn read(env: &Env, listen: Option<&str>, wrong: &mut Vec<String>) -> Self {
        let mut secret = |name: &str| {
            env.secret(name).unwrap_or_else(|mistake| {
                wrong.push(mistake);
                None
            })
        };
        let token = secret("CONCORD_REGISTRY_TOKEN");
        let basic = secret("CONCORD_REGISTRY_BASIC_AUTH");
        let given = basic.is_some();
        let basic: Vec<Secret> = basic.into_iter().flat_map(|all| users(all.reveal())).collect();
        if given && (basic.is_empty() || basic.iter().any(|one| one.reveal().split_once(':').is_none_or(|(user, _)| user.is_empty()))) {
            wrong.push("CONCORD_REGISTRY_BASIC_AUTH: give user:password, one a line or separated by commas".into());
        }
        let text = listen.map(str::to_owned).or_else(|| env.var("CONCORD_REGISTRY_LISTEN")).unwrap_or_else(|| "127.0.0.1:8081".into());
        let listen = match text.as_str() {
            "off" => None,
            text => match text.parse::<SocketAddr>() {
                Ok(listen) => Some(listen),
                Err(_) => {
                    wrong.push(format!("CONCORD_REGISTRY_LISTEN: {text:?} is not an address and port like 127.0.0.1:8081, nor off"));
                    None
                }
            },
        };
        if token.is_none() && basic.is_empty() && listen.is_some_and(|listen| !listen.ip().is_loopback()) {
            wrong.push(
                "CONCORD_REGISTRY_LISTEN: not a loopback address, so set CONCORD_REGISTRY_BASIC_AUTH (user:password) or \
                 CONCORD_REGISTRY_TOKEN, else anybody could change schemas"
                    .into(),
            );
        }
        RegistryConfig { listen, token, basic }
    }
}

fn users(text: &str) -> Vec<Secret> {
    text.split([',', '\n', '\r']).map(str::trim).filter(|one| !one.is_empty()).map(Secret::new).collect()
}

/// Somebody else's registry, to be used instead of ours.
#[derive(Debug, Clone)]
pub struct RemoteConfig {
    /// Without credentials, so it may be shown; several are separated by commas.
    pub url: String,
    /// `user:password`.
    pub basic: Option<Secret>,
}

impl RemoteConfig {
    pub fn read(env: &Env, wrong: &mut Vec<String>) -> Option<Self> {
        let basic = env.secret("SCHEMA_REGISTRY_BASIC_AUTH").unwrap_or_else(|mistake| {
            wrong.push(mistake);
            None
        });
        let Some(url) = env.var("SCHEMA_REGISTRY_URL") else {
            if basic.is_some() {
                wrong.push("SCHEMA_REGISTRY_BASIC_AUTH: set, but no SCHEMA_REGISTRY_URL beside it".into());
            }
            return None;
        };
        if basic.as_ref().is_some_and(|basic| !basic.reveal().contains(':')) {
            wrong.push("SCHEMA_REGISTRY_BASIC_AUTH: give user:password".into());
        }
        let good = |url: &str| ["http://", "https://"].iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
        if url.contains('@') {
            // Not repeated: it may hold a password.
            wrong.push("SCHEMA_REGISTRY_URL: holds credentials; give them as SCHEMA_REGISTRY_BASIC_AUTH (user:password)".into());
        } else if !url.split(',').all(|one| good(one.trim())) {
            wrong.push(format!("SCHEMA_REGISTRY_URL: {url:?} is not an address like http://127.0.0.1:8081"));
        }
        Some(RemoteConfig { url, basic })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> (RegistryConfig, Vec<String>) {
        let mut wrong = Vec::new();
        (RegistryConfig::read(&vars.iter().copied().collect(), None, &mut wrong), wrong)
    }

    #[test]
    fn another_registry_is_an_address_and_its_credentials_apart() {
        let read = |vars: &[(&str, &str)]| {
            let mut wrong = Vec::new();
            (RemoteConfig::read(&vars.iter().copied().collect(), &mut wrong), wrong)
        };
        assert!(matches!(read(&[]), (None, wrong) if wrong.is_empty()));
        let (config, wrong) = read(&[("SCHEMA_REGISTRY_URL", "https://a:8081, http://b:8081"), ("SCHEMA_REGISTRY_BASIC_AUTH", "ada:x")]);
        assert!(config.is_some() && wrong.is_empty(), "{wrong:?}");
        for vars in [
            [("SCHEMA_REGISTRY_URL", "localhost:8081"), ("", "")],
            [("SCHEMA_REGISTRY_URL", "http://ada:s3cret@host"), ("", "")],
            [("SCHEMA_REGISTRY_BASIC_AUTH", "ada:s3cret"), ("", "")],
            [("SCHEMA_REGISTRY_URL", "http://host"), ("SCHEMA_REGISTRY_BASIC_AUTH", "s3cret")],
        ] {
            let (_, wrong) = read(&vars);
            assert!(wrong.len() == 1 && wrong[0].starts_with("SCHEMA_REGISTRY_") && !wrong[0].contains("s3cret"), "{wrong:?}");
        }
    }

    #[test]
    fn off_loopback_only_with_credentials() {
        assert_eq!(read(&[]).0.listen, Some("127.0.0.1:8081".parse().unwrap()));
        assert_eq!(read(&[("CONCORD_REGISTRY_LISTEN", "off")]).0.listen, None);
        let open = ("CONCORD_REGISTRY_LISTEN", "0.0.0.0:8081");
        assert!(read(&[open]).1[0].contains("CONCORD_REGISTRY_BASIC_AUTH"));
        assert!(read(&[open, ("CONCORD_REGISTRY_TOKEN", "t")]).1.is_empty());
        let (config, wrong) = read(&[open, ("CONCORD_REGISTRY_BASIC_AUTH", "ada:one,grace:two:three")]);
        assert!(wrong.is_empty() && config.basic.len() == 2, "{wrong:?}");
        for text in ["nobody", ",", ":x"] {
            let (_, wrong) = read(&[("CONCORD_REGISTRY_BASIC_AUTH", text)]);
            assert!(wrong[0].starts_with("CONCORD_REGISTRY_BASIC_AUTH"), "{text}: {wrong:?}");
        }
        assert!(read(&[("CONCORD_REGISTRY_LISTEN", "8081")]).1[0].starts_with("CONCORD_REGISTRY_LISTEN"));
    }
}
