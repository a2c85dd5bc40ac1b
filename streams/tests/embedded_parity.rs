//! The same topology on the same input: what the test driver computes in memory, the embedded log computes too.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use streams::embedded::{Append, Log, Options, StreamsConfig, TopicConfig};
use streams::{
    Consumed, ConsumerRecord, Grouped, LongSerde, Materialized, Produced, ProducerRecord, Serde, StreamsBuilder, StringSerde,
    TestDriverConfig, TopicPartition, Topology, TopologyTestDriver,
};

const APPLICATION: &str = "parity";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Counts words, by way of a repartition topic.
fn topology() -> Topology {
    let builder = StreamsBuilder::new();
    builder
        .stream("lines", Consumed::with(StringSerde, StringSerde))
        .flat_map_values(|line: String| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .filter(|_, word| !word.is_empty())
        .group_by(|_, word| word.clone(), Grouped::with(StringSerde, StringSerde))
        .count_with(Materialized::named("counts"))
        .to_stream()
        .to("counted", Produced::with(StringSerde, LongSerde.nullable()));
    builder.build().unwrap()
}

fn lines(seed: u64) -> Vec<ProducerRecord> {
    let mut random = StdRng::seed_from_u64(seed);
    (0..200)
        .map(|number| {
            let words: Vec<String> = (0..random.random_range(0..6)).map(|_| format!("w{}", random.random_range(0..12))).collect();
            let key = format!("k{}", random.random_range(0..5));
            ProducerRecord::new("lines", key, words.join(" ")).with_timestamp(number * 10 + random.random_range(0..50))
        })
        .collect()
}

fn in_memory(partitions: i32, lines: &[ProducerRecord]) -> TopologyTestDriver {
    let config = TestDriverConfig { application_id: APPLICATION.to_owned(), partitions, ..TestDriverConfig::default() };
    let driver = TopologyTestDriver::new(&topology(), config).unwrap();
    for line in lines {
        driver.append(line.clone()).unwrap();
    }
    driver
}

struct Embedded {
    _folder: tempfile::TempDir,
    log: Log,
}

fn embedded(partitions: i32) -> Embedded {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), Options { min_free_bytes: 0, store_buffer_bytes: 1_000, ..Options::default() }).unwrap();
    log.create_topic(TopicConfig::delete("lines", partitions, DAY)).unwrap();
    log.create_topic(TopicConfig::delete("counted", partitions, DAY)).unwrap();
    Embedded { _folder: folder, log }
}

fn counted(partitions: i32, read: impl Fn(&TopicPartition) -> Vec<ConsumerRecord>) -> Vec<Vec<ConsumerRecord>> {
    (0..partitions).map(|partition| read(&TopicPartition::new("counted", partition))).collect()
}

#[test]
fn record_by_record_the_outputs_are_the_same() {
    for (seed, partitions) in [(1, 1), (2, 3)] {
        let lines = lines(seed);
        let driver = in_memory(partitions, &lines);
        let Embedded { log, _folder } = embedded(partitions);
        log.start(&topology(), StreamsConfig::new(APPLICATION)).unwrap();
        for line in &lines {
            log.append_blocking(Append::of([line.clone()])).unwrap();
        }

        let expected = counted(partitions, |tp| driver.records(tp));
        let found = counted(partitions, |tp| log.read(tp, 0, usize::MAX, usize::MAX).unwrap());

        assert_eq!(found, expected, "keys, values, timestamps, headers, offsets");
        for (partition, key, value) in driver.store_entries("counts").unwrap() {
            assert_eq!(log.store_entry(APPLICATION, "counts", partition, &key).unwrap().as_ref(), Some(&value));
        }
    }
}

#[test]
fn a_backlog_ends_in_the_same_counts() {
    let lines = lines(3);
    let driver = in_memory(2, &lines);
    let Embedded { log, _folder } = embedded(2);
    log.append_blocking(Append::of(lines)).unwrap();
    log.start(&topology(), StreamsConfig::new(APPLICATION)).unwrap();

    let last = |records: Vec<Vec<ConsumerRecord>>| -> BTreeMap<_, _> {
        records.into_iter().flatten().map(|record| (record.key, record.value)).collect()
    };
    let expected = counted(2, |tp| driver.records(tp));
    let total: usize = expected.iter().map(Vec::len).sum();
    let found = || counted(2, |tp| log.read(tp, 0, usize::MAX, usize::MAX).unwrap());
    let deadline = Instant::now() + Duration::from_secs(30);
    while found().iter().map(Vec::len).sum::<usize>() < total {
        assert!(Instant::now() < deadline, "the backlog is never processed");
        std::thread::yield_now();
    }
    assert_eq!(last(found()), last(expected));
}
