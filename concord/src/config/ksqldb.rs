//! `KSQLDB_URL`: the ksqlDB that `concord deploy` brings the migrations of this build to.

use super::Env;
use clients::Secret;

/// A ksqlDB.
#[derive(Debug, Clone)]
pub struct KsqlDb {
    /// Without credentials, so it may be shown.
    pub url: String,
    /// `user:password`.
    pub basic: Option<Secret>,
}

impl KsqlDb {
    /// `on_kafka`: the log is where ksqlDB can read it.
    pub fn read(env: &Env, on_kafka: bool, wrong: &mut Vec<String>) -> Option<Self> {
        let basic = env.secret("KSQLDB_BASIC_AUTH").unwrap_or_else(|mistake| {
            wrong.push(mistake);
            None
        });
        let Some(url) = env.var("KSQLDB_URL") else {
            if basic.is_some() {
                wrong.push("KSQLDB_BASIC_AUTH: set, but no KSQLDB_URL beside it".into());
            }
            return None;
        };
        if basic.as_ref().is_some_and(|basic| !basic.reveal().contains(':')) {
            wrong.push("KSQLDB_BASIC_AUTH: give user:password".into());
        }
        if url.contains('@') {
            // Not repeated: it may hold a password.
            wrong.push("KSQLDB_URL: holds credentials; give them as KSQLDB_BASIC_AUTH (user:password)".into());
        } else if !["http://", "https://"].iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty())) {
            wrong.push(format!("KSQLDB_URL: {url:?} is not an address like http://127.0.0.1:8088"));
        }
        if !on_kafka {
            wrong.push(
                "KSQLDB_URL: ksqlDB reads Apache Kafka, and the log is in the data folder; set KAFKA_BOOTSTRAP_SERVERS, or unset it".into(),
            );
        }
        Some(KsqlDb { url, basic })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_its_credentials_apart_and_a_log_that_it_can_read() {
        let read = |vars: &[(&str, &str)], on_kafka| {
            let mut wrong = Vec::new();
            (KsqlDb::read(&vars.iter().copied().collect(), on_kafka, &mut wrong), wrong)
        };
        assert!(matches!(read(&[], false), (None, wrong) if wrong.is_empty()));
        let (config, wrong) = read(&[("KSQLDB_URL", "https://a:8088"), ("KSQLDB_BASIC_AUTH", "ada:s3cret")], true);
        assert!(wrong.is_empty() && !format!("{config:?}").contains("s3cret"), "{wrong:?}");
        for (vars, on_kafka) in [
            ([("KSQLDB_URL", "localhost:8088"), ("", "")], true),
            ([("KSQLDB_URL", "http://ada:s3cret@host"), ("", "")], true),
            ([("KSQLDB_URL", "http://host"), ("KSQLDB_BASIC_AUTH", "s3cret")], true),
            ([("KSQLDB_BASIC_AUTH", "ada:s3cret"), ("", "")], true),
            ([("KSQLDB_URL", "http://host"), ("", "")], false),
        ] {
            let (_, wrong) = read(&vars, on_kafka);
            assert!(wrong.len() == 1 && wrong[0].starts_with("KSQLDB_") && !wrong[0].contains("s3cret"), "{wrong:?}");
        }
    }
}
