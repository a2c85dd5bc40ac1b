//! A topology on a real Kafka: what comes out, what a restart finds, what becomes of poison and of damaged local state.

mod kafka_support;

mod on_kafka {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use streams::kafka::{GroupProtocol, KafkaStreams, KafkaStreamsError, State, UncaughtResponse};
    use streams::{
        Consumed, Grouped, LongSerde, Materialized, Produced, Serde, StreamsBuilder, StringSerde, dead_letter_queue, dlq_headers,
        partition_for_key,
    };

    use super::kafka_support::*;

    const WITHIN: Duration = Duration::from_secs(30);

    /// A prefix whose topics exist.
    fn topics(name: &str) -> String {
        let prefix = unique(name);
        create_topics(&[(&format!("{prefix}-lines"), 2), (&format!("{prefix}-words"), 3), (&format!("{prefix}-counts"), 1)]);
        prefix
    }

    fn counts(prefix: &str) -> Vec<(String, i64)> {
        let count = |record: &Seen| i64::from_be_bytes(record.value.clone().try_into().unwrap());
        let mut counts: Vec<_> = read_all(&format!("{prefix}-counts")).iter().map(|record| (record.key.clone(), count(record))).collect();
        counts.sort();
        counts
    }

    fn close(streams: &KafkaStreams) {
        assert!(streams.close(WITHIN), "it does not end");
        assert_eq!(streams.state(), State::NotRunning);
    }

    #[test]
    fn child() {
        run_child();
    }

    #[test]
    fn words_are_counted_with_headers_and_timestamps_and_a_restart_goes_on() {
        let (prefix, folder) = (topics("count"), tempfile::tempdir().unwrap());
        produce(&format!("{prefix}-lines"), [("1", "a b", 1_700_000_000_001), ("2", "b", 1_700_000_000_002)]);

        let mut two_threads = config(&prefix, folder.path());
        two_threads.num_stream_threads = 2;
        let streams = KafkaStreams::start(&word_count(&prefix), two_threads).unwrap();

        eventually("all is counted", WITHIN, || counts(&prefix) == [("a".to_owned(), 1), ("b".to_owned(), 1), ("b".to_owned(), 2)]);
        eventually("both threads run", WITHIN, || streams.state() == State::Running);
        let a = read_all(&format!("{prefix}-counts")).into_iter().find(|record| record.key == "a").unwrap();
        assert_eq!((a.timestamp, a.headers), (1_700_000_000_001, vec![("trace".to_owned(), "1".to_owned())]));
        for word in read_all(&format!("{prefix}-words")) {
            assert_eq!(word.partition, partition_for_key(word.key.as_bytes(), 3), "as Java's partitioner chooses");
        }
        close(&streams);

        produce(&format!("{prefix}-lines"), [("3", "b", 1_700_000_000_003)]);
        let streams = KafkaStreams::start(&word_count(&prefix), config(&prefix, folder.path())).unwrap();
        eventually("it goes on", WITHIN, || counts(&prefix).contains(&("b".to_owned(), 3)));
        close(&streams);
        assert_eq!(counts(&prefix).len(), 4, "nothing is counted twice");
    }

    /// Three threads, while a fourth one comes and goes; with each protocol a task has all its partitions on one thread.
    fn tasks_stay_together(protocol: GroupProtocol) {
        let (prefix, folder, other) = (unique("both"), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (left, right) = (format!("{prefix}-left"), format!("{prefix}-right"));
        create_topics(&[(&left, 5), (&right, 5), (&format!("{prefix}-counts"), 1)]);
        let start = |folder: &Path, threads: usize| {
            let mut config = config(&prefix, folder);
            config.num_stream_threads = threads;
            config.group_protocol = protocol;
            if protocol == GroupProtocol::Consumer {
                // With this protocol the broker sets them.
                config.consumer.clear();
            }
            KafkaStreams::start(&count_both(&prefix), config).unwrap()
        };
        let keys: Vec<String> = (0..40).map(|n| format!("k{n}")).collect();
        let write = |topic: &str| produce(topic, keys.iter().map(|key| (key.as_str(), "v", 1)));
        let mut expected = Vec::new();
        let mut expect = |count: i64| {
            expected.extend(keys.iter().map(|key| (key.clone(), count)));
            expected.sort();
            eventually("both topics are counted together", WITHIN, || counts(&prefix) == expected);
        };

        let streams = start(folder.path(), 3);
        write(&left);
        expect(1);
        let guest = start(other.path(), 1);
        eventually("the guest runs", WITHIN, || guest.state() == State::Running && streams.state() == State::Running);
        write(&right);
        expect(2);
        close(&guest);
        write(&left);
        expect(3);
        close(&streams);
    }

    #[test]
    fn tasks_stay_together_when_members_assign() {
        tasks_stay_together(GroupProtocol::Classic);
    }

    #[test]
    fn tasks_stay_together_when_the_broker_assigns() {
        tasks_stay_together(GroupProtocol::Consumer);
    }

    /// A member of the group that has a name of its own there ends and begins again, and the `steady` one does not hear of it. Both have
    /// partitions.
    fn without_a_rebalance(prefix: &str, steady: &KafkaStreams, restart: impl FnOnce()) {
        let (load, tail) = (Load::start(prefix), Tail::of(prefix));
        tail.await_news(WITHIN);
        eventually("the other one runs", WITHIN, || steady.state() == State::Running);
        let states = steady.watch_state();

        restart();

        tail.await_news(WITHIN);
        assert!(!states.has_changed().unwrap(), "the other one heard of it");
        load.stop();
    }

    /// For longer than the test takes: nobody's session ends.
    const SESSION: &str = "120000";

    #[test]
    fn a_process_that_is_killed_or_ends_keeps_its_place_in_the_group() {
        let (prefix, folder, other) = (topics("static"), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let start = || Process::start_with(&prefix, other.path(), &[(GROUP_INSTANCE, "restarted"), (SESSION_TIMEOUT, SESSION)]);
        // The first one leads the group.
        let first = start();
        eventually("it is a member", WITHIN, || members(&prefix) == Some(1));
        let mut config = config(&prefix, folder.path());
        config.consumer.insert("session.timeout.ms".into(), SESSION.into());
        config.consumer.insert("group.instance.id".into(), "steady".into());
        let steady = KafkaStreams::start(&word_count(&prefix), config).unwrap();
        eventually("both are members", WITHIN, || members(&prefix) == Some(2));
        let mut process = Some(first);
        let mut restart = |end: fn(Process)| {
            without_a_rebalance(&prefix, &steady, || {
                end(process.take().unwrap());
                process = Some(start());
            });
        };
        restart(Process::kill);
        restart(Process::end);
        close(&steady);
    }

    #[test]
    fn a_process_that_ends_keeps_its_place_in_the_group_when_the_broker_assigns() {
        let (prefix, folder, other) = (topics("static-kip848"), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let start = |name: &str, folder: &Path| {
            let mut config = config(&prefix, folder);
            config.group_protocol = GroupProtocol::Consumer;
            config.consumer.clear();
            config.consumer.insert("group.instance.id".into(), name.into());
            KafkaStreams::start(&word_count(&prefix), config).unwrap()
        };
        let (steady, mut restarted) = (start("steady", folder.path()), start("restarted", other.path()));
        eventually("both run", WITHIN, || steady.state() == State::Running && restarted.state() == State::Running);
        without_a_rebalance(&prefix, &steady, || {
            close(&restarted);
            restarted = start("restarted", other.path());
        });
        close(&restarted);
        close(&steady);
    }

    #[test]
    fn at_least_once_goes_on_after_a_restart() {
        let (prefix, folder) = (topics("alo"), tempfile::tempdir().unwrap());
        let mut config = config(&prefix, folder.path());
        at_least_once(&mut config);
        for (line, expected) in [("a b", vec![("a", 1), ("b", 1)]), ("b", vec![("a", 1), ("b", 1), ("b", 2)])] {
            produce(&format!("{prefix}-lines"), [("1", line, 1)]);
            let streams = KafkaStreams::start(&word_count(&prefix), config.clone()).unwrap();
            let expected: Vec<_> = expected.into_iter().map(|(word, count)| (word.to_owned(), count)).collect();
            eventually("it is counted", WITHIN, || counts(&prefix) == expected);
            // The end commits.
            close(&streams);
        }
        await_processed(&prefix);
    }

    #[test]
    fn at_least_once_nothing_is_committed_before_all_outputs_are_written() {
        let (prefix, folder) = (unique("alo-refused"), tempfile::tempdir().unwrap());
        let (lines, words, counted) = (format!("{prefix}-lines"), format!("{prefix}-words"), format!("{prefix}-counts"));
        create_topics(&[(&lines, 1), (&counted, 1)]);
        // The broker takes none of the words.
        create_topics_with(&[(&words, 1)], &[("max.message.bytes", "10")]);
        let mut config = config(&prefix, folder.path());
        at_least_once(&mut config);
        let streams = KafkaStreams::start(&word_count(&prefix), config).unwrap();
        produce(&lines, [("1", "a", 1), ("2", "b", 1)]);

        eventually("it is said", WITHIN, || streams.trouble().is_some_and(|trouble| trouble.code == "kafka-producer"));
        set_topic(&words, "max.message.bytes", "1000000");

        eventually("both are counted", WITHIN, || ["a", "b"].iter().all(|word| counts(&prefix).iter().any(|(counted, _)| counted == word)));
        close(&streams);
        await_processed(&prefix);
    }

    #[test]
    fn poison_goes_to_the_dead_letter_queue_and_the_rest_is_counted() {
        let (prefix, folder) = (topics("poison"), tempfile::tempdir().unwrap());
        let mut config = config(&prefix, folder.path());
        config.task.exception_handler = dead_letter_queue(|topic| format!("{topic}.dlq"));
        let streams = KafkaStreams::start(&word_count(&prefix), config).unwrap();

        produce(&format!("{prefix}-lines"), [("1", "a poison a", 1_700_000_000_000)]);

        eventually("the rest is counted", WITHIN, || counts(&prefix) == [("a".to_owned(), 1), ("a".to_owned(), 2)]);
        let mut dead = Vec::new();
        eventually("there is a dead letter", WITHIN, || {
            dead = read_all(&format!("{prefix}-words.dlq"));
            !dead.is_empty()
        });
        close(&streams);
        assert_eq!((dead.len(), dead[0].key.as_str(), dead[0].timestamp), (1, "poison", 1_700_000_000_000));
        assert_eq!(dead[0].value, b"a poison a");
        let header = |name: &str| dead[0].headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!(header(dlq_headers::EXCEPTION), Some("refused"));
        assert_eq!(header(dlq_headers::TOPIC), Some(format!("{prefix}-words").as_str()));
        assert_eq!(header(dlq_headers::PARTITION), Some(partition_for_key(b"poison", 3).to_string().as_str()));
        assert!(header(dlq_headers::OFFSET).is_some_and(|offset| offset.parse::<i64>().is_ok()));
        assert_eq!(header("trace"), Some("1"), "its own headers stay");
    }

    #[test]
    fn a_task_that_fails_takes_its_transaction_back_and_tells_or_stops_the_client() {
        let (prefix, folder) = (topics("fails"), tempfile::tempdir().unwrap());
        let streams = KafkaStreams::start(&word_count(&prefix), config(&prefix, folder.path())).unwrap();
        produce(&format!("{prefix}-lines"), [("1", "poison", 1)]);
        eventually("it fails again and again, and says so", WITHIN, || streams.failures().first().is_some_and(|failure| failure.count > 1));
        assert!(streams.failures()[0].error.contains("no poison"), "{:?}", streams.failures());
        close(&streams);

        let mut config = config(&prefix, folder.path());
        config.uncaught = Arc::new(|_| UncaughtResponse::ShutdownClient);
        let streams = KafkaStreams::start(&word_count(&prefix), config).unwrap();
        eventually("it stops", WITHIN, || streams.state() == State::Error);
        assert_eq!(counts(&prefix), [], "nothing of it is visible");
    }

    #[test]
    fn what_a_processor_stores_at_its_start_is_committed_once() {
        let (prefix, folder) = (unique("init"), tempfile::tempdir().unwrap());
        create_topics(&[(&format!("{prefix}-left"), 3), (&format!("{prefix}-right"), 3), (&format!("{prefix}-counts"), 1)]);
        let streams = KafkaStreams::start(&count_from_the_start(&prefix), config(&prefix, folder.path())).unwrap();

        let started = |partition: i32| {
            let changelog = read_all(&format!("{prefix}-counts-changelog"));
            changelog.iter().filter(|record| record.partition == partition && record.key == "started").count()
        };
        eventually("it is committed without any input", WITHIN, || (0..3).all(|partition| started(partition) == 1));
        // Commits of one task.
        for n in 1..=3 {
            produce(&format!("{prefix}-left"), [("a", "v", 1)]);
            eventually("the record is counted", WITHIN, || counts(&prefix).last() == Some(&("a".to_owned(), n)));
        }
        close(&streams);
        assert_eq!([0, 1, 2].map(started), [1, 1, 1], "the other tasks' stores are not written again");
    }

    #[test]
    fn missing_topics_are_named_and_one_process_runs_on_a_state_directory() {
        let (prefix, folder) = (unique("missing"), tempfile::tempdir().unwrap());
        create_topics(&[(&format!("{prefix}-lines"), 2), (&format!("{prefix}-counts"), 1)]);
        let error = KafkaStreams::start(&word_count(&prefix), config(&prefix, folder.path())).unwrap_err();
        assert_eq!(error.code(), "kafka-topics-missing");
        assert!(error.to_string().ends_with(&format!(": {prefix}-words")), "{error}");

        create_topics(&[(&format!("{prefix}-words"), 2)]);
        let streams = KafkaStreams::start(&word_count(&prefix), config(&prefix, folder.path())).unwrap();
        let second = KafkaStreams::start(&word_count(&prefix), config(&prefix, folder.path()));
        assert!(matches!(second, Err(KafkaStreamsError::StateDirLocked { .. })));
        close(&streams);
    }

    #[test]
    fn internal_topics_are_made_as_kafka_streams_makes_them_and_processed_records_go() {
        let (app, folder) = (unique("dsl"), tempfile::tempdir().unwrap());
        let (lines, counted) = (format!("{app}-lines"), format!("{app}-counts"));
        create_topics(&[(&lines, 3), (&counted, 1)]);
        let builder = StreamsBuilder::new();
        builder
            .stream(&*lines, Consumed::with(StringSerde, StringSerde))
            .flat_map_values(|line: String| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
            .group_by(|_, word| word.clone(), Grouped::with(StringSerde, StringSerde))
            .count_with(Materialized::named("words"))
            .to_stream()
            .to(&*counted, Produced::with(StringSerde, LongSerde.nullable()));
        let mut config = config(&app, folder.path());
        config.repartition_purge_interval = Duration::from_millis(50);
        let streams = KafkaStreams::start(&builder.build().unwrap(), config).unwrap();

        produce(&lines, [("1", "a b", 1), ("2", "b", 2)]);

        eventually("all is counted", WITHIN, || counts(&app) == [("a".to_owned(), 1), ("b".to_owned(), 1), ("b".to_owned(), 2)]);
        let (repartition, changelog) = (format!("{app}-words-repartition"), format!("{app}-words-changelog"));
        let setting = |topic: &str, name: &str| topic_setting(topic, name);
        assert_eq!((setting(&repartition, "cleanup.policy"), setting(&repartition, "retention.ms")), ("delete".into(), "-1".into()));
        assert_eq!(setting(&changelog, "cleanup.policy"), "compact");
        eventually("all that was processed is deleted", WITHIN, || read_all(&repartition).is_empty());
        close(&streams);
        let newest: Vec<(String, Vec<u8>)> = read_all(&changelog).into_iter().map(|record| (record.key, record.value)).collect();
        assert!(newest.contains(&("b".to_owned(), timestamped(2, 2))), "{newest:?}");
    }

    /// A table's entry: its timestamp, then its value.
    fn timestamped(timestamp: i64, count: i64) -> Vec<u8> {
        [timestamp.to_be_bytes(), count.to_be_bytes()].concat()
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => copy(&entry.path(), &to.join(entry.file_name())),
                false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
            }
        }
    }

    /// The files of the local stores.
    fn store_files(state: &Path) -> Vec<std::path::PathBuf> {
        let folders =
            |path: &Path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect::<Vec<_>>();
        let stores = folders(state).into_iter().flat_map(|task| folders(&task));
        let files: Vec<_> = stores.flat_map(|store| fs::read_dir(store).unwrap()).map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty());
        files
    }

    #[test]
    fn local_state_that_is_lost_damaged_or_old_is_restored() {
        let (prefix, folder, backup) = (topics("state"), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let state = folder.path().join(&prefix);
        let mut lines = 0;
        // Lines until everything is counted; then the application ends.
        let mut run = |damage: &str| {
            let records: Vec<(String, String)> = (0..200).map(|n| (n.to_string(), format!("w{}", n % 17))).collect();
            produce(&format!("{prefix}-lines"), records.iter().map(|(key, line)| (key.as_str(), line.as_str(), 1)));
            lines += 200;
            let streams = KafkaStreams::start(&word_count(&prefix), config(&prefix, folder.path())).unwrap();
            await_counted(&prefix, lines);
            close(&streams);
            assert_each_counted_once(&prefix, damage);
        };
        run("nothing yet");
        copy(&state, backup.path());
        run("restart");
        fs::remove_dir_all(&state).unwrap();
        run("state deleted");
        store_files(&state).iter().for_each(|file| fs::write(file, vec![0x5a; 30_000]).unwrap());
        run("state overwritten");
        for file in store_files(&state) {
            let mut bytes = fs::read(&file).unwrap();
            let end = bytes.len();
            bytes[end / 4..end / 2].fill(0x5a);
            fs::write(file, bytes).unwrap();
        }
        run("a part of the state damaged");
        fs::remove_dir_all(&state).unwrap();
        copy(backup.path(), &state);
        run("older copy of the state");
    }
}
