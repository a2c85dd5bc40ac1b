//! Whether librdkafka was built with what the settings ask of it, and secrets that stay out of messages.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;

use super::KafkaStreamsError;

/// Checks that the security that is asked for can be had, before a connection fails for a reason that is hard to find.
pub(super) fn check(settings: &BTreeMap<String, String>) -> Result<(), KafkaStreamsError> {
    let native = ClientConfig::new().create_native_config();
    let built =
        native.and_then(|config| config.get("builtin.features")).map_err(|error| KafkaStreamsError::broker("making a client", error))?;
    check_against(&built, settings)
}

fn check_against(built: &str, settings: &BTreeMap<String, String>) -> Result<(), KafkaStreamsError> {
    let has = |feature: &str| built.split(',').any(|known| known.trim() == feature);
    for (key, value, feature) in needed(settings) {
        if !has(feature) {
            let reason = format!("{value} needs the feature {feature}, and this build of librdkafka has only: {built}");
            return Err(KafkaStreamsError::config(key, reason));
        }
    }
    Ok(())
}

/// Setting, its value, and the feature that it needs.
fn needed(settings: &BTreeMap<String, String>) -> Vec<(&'static str, String, &'static str)> {
    let get = |keys: &[&str]| keys.iter().find_map(|key| settings.get(*key)).map(|value| value.to_ascii_uppercase());
    let protocol = get(&["security.protocol"]).unwrap_or_default();
    let mut needed = Vec::new();
    if protocol.ends_with("SSL") {
        needed.push(("security.protocol", protocol.clone(), "ssl"));
    }
    if protocol.starts_with("SASL") {
        // librdkafka's own default.
        let mechanism = get(&["sasl.mechanism", "sasl.mechanisms"]).unwrap_or_else(|| "GSSAPI".to_owned());
        let feature = match mechanism.as_str() {
            "PLAIN" => "sasl_plain",
            "OAUTHBEARER" => "sasl_oauthbearer",
            scram if scram.starts_with("SCRAM-") => "sasl_scram",
            _ => "sasl_gssapi",
        };
        needed.push(("sasl.mechanism", mechanism, feature));
    }
    needed
}

/// Takes the values of secret settings out of a message.
pub(super) fn redacted<'a>(message: &str, settings: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    const SECRET: [&str; 5] = ["password", "secret", "key.pem", "passphrase", "sasl.jaas.config"];
    let is_secret = |key: &str| SECRET.iter().any(|part| key.contains(part));
    let secrets = settings.filter(|(key, value)| is_secret(key) && !value.is_empty());
    secrets.fold(message.to_owned(), |message, (_, secret)| message.replace(secret, "***"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings<const N: usize>(list: [(&str, &str); N]) -> BTreeMap<String, String> {
        list.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn this_build_has_tls_and_scram() {
        check(&settings([("security.protocol", "sasl_ssl"), ("sasl.mechanism", "SCRAM-SHA-512")])).unwrap();
        check(&settings([("security.protocol", "SSL")])).unwrap();
        check(&settings([])).unwrap();
    }

    #[test]
    fn a_feature_that_lacks_is_named() {
        let scram = settings([("security.protocol", "SASL_SSL"), ("sasl.mechanisms", "SCRAM-SHA-256")]);
        let error = check_against("gzip,ssl,sasl_plain", &scram).unwrap_err();
        assert_eq!(error.code(), "kafka-config");
        let text = error.to_string();
        assert!(text.contains("sasl.mechanism") && text.contains("sasl_scram") && text.contains("gzip,ssl,sasl_plain"), "{text}");
        assert!(check_against("gzip", &settings([("security.protocol", "ssl")])).unwrap_err().to_string().contains("feature ssl"));
        let without = settings([("security.protocol", "sasl_plaintext")]);
        assert!(check_against("ssl,sasl_scram", &without).unwrap_err().to_string().contains("GSSAPI"));
    }

    #[test]
    fn secrets_are_taken_out_of_messages() {
        let secrets = [("sasl.password", "hunter2"), ("sasl.username", "concord"), ("ssl.key.password", "")];
        assert_eq!(redacted("concord/hunter2 is refused", secrets.into_iter()), "concord/*** is refused");
    }
}
