//! A broker that asks who is there, and lets nobody do what was not granted: SCRAM over TLS, client certificates, and rights that are
//! granted one by one, as the errors ask for them.

mod kafka_support;

mod on_kafka {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::time::Duration;

    use streams::kafka::{KafkaStreams, KafkaStreamsError, State};

    use super::kafka_support::*;

    const WITHIN: Duration = Duration::from_secs(60);

    type Access = (String, Vec<(&'static str, String)>);

    fn start(prefix: &str, folder: &Path, (servers, settings): &Access) -> Result<KafkaStreams, KafkaStreamsError> {
        let mut config = config(prefix, folder);
        config.bootstrap_servers = servers.clone();
        config.client.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        config.longest_pause = Duration::from_secs(1);
        KafkaStreams::start(&word_count(prefix), config)
    }

    /// An application's name, whose topics exist.
    fn topics(name: &str) -> String {
        secure_broker();
        let prefix = unique(name);
        create_topics(&[(&format!("{prefix}-lines"), 2), (&format!("{prefix}-words"), 2), (&format!("{prefix}-counts"), 1)]);
        prefix
    }

    /// What docs/operations.md asks for, for this topology: it reads lines and words, writes words and counts, and keeps its counts.
    fn rights(prefix: &str) -> [String; 9] {
        [
            format!("READ TOPIC LITERAL {prefix}-lines"),
            format!("READ TOPIC LITERAL {prefix}-words"),
            format!("WRITE TOPIC LITERAL {prefix}-words"),
            format!("WRITE TOPIC LITERAL {prefix}-counts"),
            format!("READ GROUP LITERAL {prefix}"),
            format!("WRITE TRANSACTIONAL_ID PREFIXED {prefix}-"),
            format!("CREATE TOPIC PREFIXED {prefix}-"),
            format!("READ TOPIC LITERAL {prefix}-counts-changelog"),
            format!("WRITE TOPIC LITERAL {prefix}-counts-changelog"),
        ]
    }

    fn grant_all(prefix: &str) {
        rights(prefix).iter().for_each(|right| secure_broker().grant(right));
    }

    fn write(prefix: &str, lines: u64) {
        let records: Vec<(String, String)> = (0..lines).map(|n| (n.to_string(), format!("w{}", n % 7))).collect();
        produce(&format!("{prefix}-lines"), records.iter().map(|(key, line)| (key.as_str(), line.as_str(), 1)));
    }

    fn counts_with_exactly_the_documented_rights(name: &str, access: &Access) {
        let (prefix, folder) = (topics(name), tempfile::tempdir().unwrap());
        grant_all(&prefix);
        write(&prefix, 100);
        let streams = start(&prefix, folder.path(), access).unwrap();
        await_counted(&prefix, 100);
        assert_eq!(streams.trouble(), None);
        assert!(streams.close(WITHIN), "it does not end");
        assert_each_counted_once(&prefix, name);
        // With nothing on disk it reads its changelog.
        fs::remove_dir_all(folder.path().join(&prefix)).unwrap();
        write(&prefix, 100);
        let streams = start(&prefix, folder.path(), access).unwrap();
        await_counted(&prefix, 200);
        assert_eq!(streams.trouble(), None);
        assert!(streams.close(WITHIN), "it does not end");
        assert_each_counted_once(&prefix, name);
    }

    /// They share a principal, and what it may do: one at a time.
    fn alone() -> MutexGuard<'static, ()> {
        static ONE: Mutex<()> = Mutex::new(());
        ONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn scram_over_tls() {
        let _alone = alone();
        counts_with_exactly_the_documented_rights("scram", &secure_broker().scram());
    }

    #[test]
    fn client_certificates() {
        let _alone = alone();
        counts_with_exactly_the_documented_rights("mutual", &secure_broker().mutual());
    }

    /// The right that an error asks for.
    fn asked_for(code: &str, error: &str) -> String {
        assert_eq!(code, "kafka-unauthorized", "{error}");
        assert!(!error.contains(PASSWORD), "{error}");
        let (operation, rest) = error.split_once("refuse ").unwrap().1.split_once(" on ").unwrap();
        let resource = rest.split_once(": ").unwrap().0;
        let kinds = [("topic ", "TOPIC"), ("group ", "GROUP"), ("transactional id ", "TRANSACTIONAL_ID")];
        let named = kinds.into_iter().find_map(|(words, kind)| Some(format!("{kind} LITERAL {}", resource.strip_prefix(words)?)));
        format!("{operation} {}", named.unwrap_or_else(|| panic!("{error}")))
    }

    #[test]
    fn whoever_grants_what_the_errors_name_ends_with_the_documented_rights() {
        let _alone = alone();
        let (prefix, folder) = (topics("rights"), tempfile::tempdir().unwrap());
        let (secure, access) = (secure_broker(), secure_broker().scram());
        write(&prefix, 50);
        let mut granted = BTreeSet::new();
        let mut grant = |code: &str, error: &str| {
            let right = asked_for(code, error);
            println!("{error}");
            secure.grant(&right);
            assert!(granted.insert(right), "it is granted already, and asked for again: {error}");
        };
        let mut run = |lines: u64| {
            let streams = loop {
                match start(&prefix, folder.path(), &access) {
                    Ok(streams) => break streams,
                    Err(error) => grant(error.code(), &error.to_string()),
                }
            };
            let mut last = None;
            eventually("all is counted", WITHIN, || {
                let trouble = streams.trouble();
                if let Some(trouble) = trouble.filter(|trouble| last.as_ref() != Some(trouble)) {
                    grant(trouble.code, &trouble.reason);
                    last = Some(trouble);
                }
                counts_so_far(&prefix) >= lines as i64 && read_all(&format!("{prefix}-counts")).len() as u64 >= lines
            });
            assert!(streams.close(WITHIN), "it does not end");
        };
        run(50);
        // With nothing on disk it reads its changelog.
        fs::remove_dir_all(folder.path().join(&prefix)).unwrap();
        write(&prefix, 50);
        run(100);
        assert_each_counted_once(&prefix, "rights granted one by one");

        let literal = |right: &str| right.replace("PREFIXED", "LITERAL");
        let documented: BTreeSet<String> = rights(&prefix).iter().map(|right| literal(right)).collect();
        // The internal names that the documented prefixes stand for.
        let shortened = |right: &String| match right.split_once(&format!(" {prefix}-")) {
            Some((what, _)) if what.contains("TRANSACTIONAL_ID") || what.contains("CREATE") => format!("{what} {prefix}-"),
            _ => right.clone(),
        };
        assert_eq!(granted.iter().map(shortened).collect::<BTreeSet<_>>(), documented);
    }

    #[test]
    fn a_right_that_is_taken_away_stops_it_quietly_until_it_is_given_back() {
        let _alone = alone();
        let (prefix, folder) = (topics("taken"), tempfile::tempdir().unwrap());
        let (secure, right) = (secure_broker(), format!("WRITE TOPIC LITERAL {prefix}-counts"));
        grant_all(&prefix);
        let streams = start(&prefix, folder.path(), &secure.scram()).unwrap();
        write(&prefix, 100);
        await_counted(&prefix, 100);
        secure.take(&right);
        write(&prefix, 100);
        eventually("it says what it lacks", WITHIN, || {
            streams.trouble().is_some_and(|trouble| asked_for(trouble.code, &trouble.reason) == right)
        });
        assert_ne!(streams.state(), State::Error, "somebody may grant it");
        secure.grant(&right);
        await_counted(&prefix, 200);
        eventually("there is no trouble", WITHIN, || streams.trouble().is_none());
        assert!(streams.close(WITHIN), "it does not end");
        assert_each_counted_once(&prefix, "a right taken away and given back");
    }

    #[test]
    fn who_is_not_known_or_knows_nobody_is_told_so_soon_and_without_a_secret() {
        let _alone = alone();
        let (prefix, folder, secure) = (topics("unknown"), tempfile::tempdir().unwrap(), secure_broker());
        const WRONG: &str = "wrong-and-not-to-be-seen";
        let changed = |access: Access, setting: &str, value: Option<String>| {
            let (servers, mut settings) = access;
            settings.retain(|(key, _)| *key != setting);
            settings.extend(value.map(|value| (if setting == "sasl.password" { "sasl.password" } else { "ssl.ca.location" }, value)));
            (servers, settings)
        };
        let refused = |access: Access| {
            let started = std::time::Instant::now();
            let error = start(&prefix, folder.path(), &access).unwrap_err();
            assert_eq!(error.code(), "kafka-authentication", "{error}");
            assert!(started.elapsed() < WITHIN / 2, "it waits for what waiting does not mend");
            println!("{error}");
            error.to_string()
        };
        let error = refused(changed(secure.scram(), "sasl.password", Some(WRONG.to_owned())));
        assert!(error.contains("Authentication failed") && !error.contains(WRONG), "{error}");
        let error = refused(changed(secure.mutual(), "ssl.ca.location", Some(secure.other_authority())));
        assert!(error.contains("certificate"), "{error}");
        let (servers, mut settings) = secure.mutual();
        settings.retain(|(key, _)| !["ssl.certificate.location", "ssl.key.location"].contains(key));
        let error = refused((servers, settings));
        assert!(error.contains("certificate"), "{error}");
    }
}
