//! The embedded log without a topology: what is appended is there, once, in order, and survives.

use std::fs;
use std::time::Duration;

use rusqlite::Connection;
use streams::embedded::{Append, ErrorClass, Log, LogError, LogReader, Options, TopicConfig};
use streams::{Headers, ProducerRecord, TopicPartition, partition_for_key};
use tempfile::TempDir;

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

fn options() -> Options {
    Options { min_free_bytes: 0, lock_timeout: Duration::from_millis(100), ..Options::default() }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn record(key: &str, value: &str) -> ProducerRecord {
    ProducerRecord::new("events", key.to_owned(), value.to_owned())
}

fn values(log: &Log, tp: &TopicPartition) -> Vec<String> {
    let records = log.read(tp, 0, 1000, 1 << 20).unwrap();
    records.iter().map(|record| String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn an_append_is_read_back_whole_and_in_order() {
    let folder = folder();
    let log = Log::open(folder.path(), options()).unwrap();
    log.create_topic(TopicConfig::delete("events", 1, WEEK)).unwrap();
    let mut headers = Headers::new();
    headers.add("trace", "7").add_nullable("none", None);
    let first = record("a", "1").with_timestamp(5).with_headers(headers.clone());

    let offsets = log.append(Append::of([first, record("b", "2"), ProducerRecord::tombstone("events", "a")])).await.unwrap();

    assert_eq!(offsets, [0, 1, 2]);
    let tp = TopicPartition::new("events", 0);
    let records = log.read(&tp, 0, 10, 1 << 20).unwrap();
    assert_eq!(records.len(), 3);
    assert_eq!((records[0].offset, records[0].timestamp, &records[0].headers), (0, 5, &headers));
    assert_eq!(records[0].key.as_deref(), Some(&b"a"[..]));
    assert_eq!(records[2].value, None);
    assert_eq!(log.end_offset(&tp).unwrap(), 3);
    assert_eq!(log.read(&tp, 1, 1, 1 << 20).unwrap()[0].offset, 1);
    assert_eq!(log.read(&tp, 0, 10, 1).unwrap().len(), 1, "at least one record, however small the limit");
    assert!(log.read(&tp, 3, 10, 1 << 20).unwrap().is_empty());
}

#[test]
fn everything_is_there_after_a_restart() {
    let folder = folder();
    let tp = TopicPartition::new("events", 0);
    {
        let log = Log::open(folder.path(), options()).unwrap();
        log.create_topic(TopicConfig::delete("events", 1, WEEK)).unwrap();
        log.append_blocking(Append::of([record("a", "1")]).with_offset("group", tp.clone(), 1)).unwrap();
    }
    let log = Log::open(folder.path(), options()).unwrap();
    assert_eq!(log.topics(), [TopicConfig::delete("events", 1, WEEK)]);
    assert_eq!(values(&log, &tp), ["1"]);
    assert_eq!(log.committed("group", &tp).unwrap(), Some(1));
    assert_eq!(log.append_blocking(Append::of([record("b", "2")])).unwrap(), [1]);
}

#[test]
fn keys_go_to_the_partitions_that_java_chooses() {
    let folder = folder();
    let log = Log::open(folder.path(), options()).unwrap();
    log.create_topic(TopicConfig::delete("events", 4, WEEK)).unwrap();
    for key in ["ada", "bob", "cy", "dora"] {
        log.append_blocking(Append::of([record(key, key)])).unwrap();
        let tp = TopicPartition::new("events", partition_for_key(key.as_bytes(), 4));
        assert_eq!(values(&log, &tp).last().unwrap(), key);
    }
    let chosen = log.append_blocking(Append::of([record("ada", "by hand").with_partition(3)])).unwrap();
    let last = log.read(&TopicPartition::new("events", 3), chosen[0], 1, 1).unwrap();
    assert_eq!(last[0].value.as_deref(), Some(&b"by hand"[..]));
}

#[test]
fn a_wrong_append_changes_nothing_and_says_why() {
    let folder = folder();
    let log = Log::open(folder.path(), options()).unwrap();
    log.create_topic(TopicConfig::delete("events", 1, WEEK)).unwrap();
    let tp = TopicPartition::new("events", 0);

    let unknown = log.append_blocking(Append::of([record("a", "1"), ProducerRecord::new("missing", "a", "1")])).unwrap_err();
    assert!(matches!(&unknown, LogError::UnknownTopic(topic) if topic == "missing"));
    assert_eq!(unknown.class(), ErrorClass::Permanent);
    let partition = log.append_blocking(Append::of([record("a", "1").with_partition(1)])).unwrap_err();
    assert!(matches!(partition, LogError::UnknownPartition(_)));
    let negative = log.append_blocking(Append::of([record("a", "1")]).with_offset("group", tp.clone(), -1)).unwrap_err();
    assert!(matches!(negative, LogError::Invalid { .. }));

    assert_eq!(log.end_offset(&tp).unwrap(), 0);
    assert_eq!(log.committed("group", &tp).unwrap(), None);
}

#[test]
fn a_topic_is_created_once_and_never_changes_its_partitions() {
    let folder = folder();
    let log = Log::open(folder.path(), options()).unwrap();
    log.create_topic(TopicConfig::delete("events", 2, WEEK)).unwrap();
    log.create_topic(TopicConfig::compact("events", 2)).unwrap();
    assert_eq!(log.topics(), [TopicConfig::compact("events", 2)], "the policy may change");
    let differ = log.create_topic(TopicConfig::compact("events", 3)).unwrap_err();
    assert!(matches!(differ, LogError::PartitionsDiffer { found: 2, wanted: 3, .. }));
    for name in ["", "a b", "..", "ä"] {
        assert!(matches!(log.create_topic(TopicConfig::compact(name, 1)), Err(LogError::Invalid { .. })), "{name:?}");
    }
}

#[test]
fn a_second_opener_is_told_who_has_the_folder() {
    let folder = folder();
    let first = Log::open(folder.path(), options()).unwrap();
    let second = Log::open(folder.path(), options()).unwrap_err();
    assert!(matches!(second, LogError::Locked { holder: Some(pid), .. } if pid == std::process::id()));
    assert!(second.to_string().contains(&folder.path().display().to_string()), "{second}");
    first.close();
    Log::open(folder.path(), options()).unwrap();
}

#[test]
fn a_newer_format_is_refused_clearly() {
    let folder = folder();
    Log::open(folder.path(), options()).unwrap().close();
    let file = folder.path().join("log.sqlite");
    Connection::open(&file).unwrap().pragma_update(None, "user_version", 99).unwrap();
    for error in [Log::open(folder.path(), options()).unwrap_err(), LogReader::open(folder.path()).unwrap_err()] {
        assert!(matches!(error, LogError::NewerFormat { found: 99, .. }), "{error}");
        assert_eq!(error.class(), ErrorClass::Fatal);
    }
}

#[test]
fn a_file_of_something_else_is_refused_and_left_alone() {
    let folder = folder();
    let file = folder.path().join("log.sqlite");
    Connection::open(&file).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
    assert!(matches!(Log::open(folder.path(), options()), Err(LogError::NotALog { .. })));
    let text = "plain text, which is no SQLite file, ".repeat(40);
    fs::write(&file, &text).unwrap();
    assert!(matches!(Log::open(folder.path(), options()), Err(LogError::NotALog { .. })));
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn nothing_is_taken_after_close() {
    let folder = folder();
    let log = Log::open(folder.path(), options()).unwrap();
    log.create_topic(TopicConfig::delete("events", 1, WEEK)).unwrap();
    let other = log.clone();
    log.close();
    let error = other.append_blocking(Append::of([record("a", "1")])).unwrap_err();
    assert!(matches!(error, LogError::Closed) && error.is_retriable());
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_see_every_commit_and_readers_see_whole_commits() {
    let folder = folder();
    let log = Log::open(folder.path(), options()).unwrap();
    log.create_topic(TopicConfig::delete("events", 1, WEEK)).unwrap();
    let tp = TopicPartition::new("events", 0);
    let mut end = log.watch(&tp).unwrap();
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (log, tp) = (log.clone(), tp.clone());
            tokio::task::spawn_blocking(move || {
                let mut seen = 0;
                while seen < 500 {
                    let records = log.read(&tp, seen, 1000, 1 << 20).unwrap();
                    assert_eq!(records.len() % 5, 0, "half of an append is never seen");
                    for record in records {
                        assert_eq!(record.offset, seen);
                        seen += 1;
                    }
                }
            })
        })
        .collect();
    let appenders: Vec<_> = (0..4)
        .map(|_| {
            let log = log.clone();
            tokio::spawn(async move {
                for _ in 0..25 {
                    log.append(Append::of((0..5).map(|i| record("k", &i.to_string())))).await.unwrap();
                }
            })
        })
        .collect();
    for appender in appenders {
        appender.await.unwrap();
    }
    for reader in readers {
        reader.await.unwrap();
    }
    end.wait_for(|end| *end == 500).await.unwrap();
}

#[test]
fn another_handle_reads_while_the_log_runs() {
    let folder = folder();
    let log = Log::open(folder.path(), options()).unwrap();
    log.create_topic(TopicConfig::delete("events", 1, WEEK)).unwrap();
    let reader = LogReader::open(folder.path()).unwrap();
    let tp = TopicPartition::new("events", 0);
    assert_eq!(reader.end_offset(&tp).unwrap(), 0);
    log.append_blocking(Append::of([record("a", "1")]).with_offset("group", tp.clone(), 1)).unwrap();
    assert_eq!(reader.read(&tp, 0, 10, 1 << 20).unwrap(), log.read(&tp, 0, 10, 1 << 20).unwrap());
    assert_eq!(reader.groups().unwrap(), [("group".to_owned(), tp.clone(), 1)]);
    assert_eq!(reader.topics().unwrap(), log.topics());
    assert!(matches!(reader.end_offset(&TopicPartition::new("events", 1)), Err(LogError::UnknownPartition(_))));
    assert!(matches!(reader.end_offset(&TopicPartition::new("none", 0)), Err(LogError::UnknownTopic(_))));
}

#[test]
fn a_group_is_behind_by_records_and_not_by_offsets() {
    let folder = folder();
    let log = Log::open(folder.path(), Options { delete_retention: Duration::ZERO, ..options() }).unwrap();
    log.create_topic(TopicConfig::compact("latest", 1)).unwrap();
    log.create_topic(TopicConfig::delete("events", 2, WEEK)).unwrap();
    log.create_group("reader", ["events", "latest"]).unwrap();
    let latest = |key: &'static str, time| ProducerRecord::new("latest", key, "x").with_timestamp(time);
    log.append_blocking(Append::of([latest("a", 10), latest("a", 20), latest("a", 30), latest("b", 40)])).unwrap();
    let events = (0..2_500).map(|n| record("k", "x").with_partition(1).with_timestamp(1_000 + n));
    log.append_blocking(Append::of(events).with_offset("reader", TopicPartition::new("events", 1), 2)).unwrap();
    log.tidy().unwrap();

    let lag = LogReader::open(folder.path()).unwrap().lag().unwrap();
    let shown: Vec<_> = lag
        .iter()
        .map(|of| {
            assert_eq!(of.group, "reader");
            (of.partition.to_string(), of.committed, of.end, of.lag, of.oldest)
        })
        .collect();
    let expected = [
        ("events-0".to_owned(), Some(0), 0, 0, None),
        ("events-1".to_owned(), Some(2), 2_500, 2_498, Some(1_002)),
        // Two of four were compacted away.
        ("latest-0".to_owned(), Some(0), 4, 2, Some(30)),
    ];
    assert_eq!(shown, expected);
}
