//! Kafka Streams itself ran these topologies (`tests/parity/` at the repository's root) and wrote what it did to goldens: descriptions, topics, every
//! record with its bytes, timestamp and headers, stores, partitions of keys. This engine must do the same.

#[path = "parity/golden.rs"]
mod golden;
#[path = "parity/processors.rs"]
mod processors;
#[path = "parity/shapes.rs"]
mod shapes;
#[path = "parity/streams.rs"]
mod stream_cases;
#[path = "parity/tables.rs"]
mod tables;

use golden::check;
use streams::{TaskConfig, Topology};

macro_rules! cases {
    ($($name:ident: $topology:expr;)*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name), &$topology.expect("a topology"), TaskConfig::default());
        })*

        #[test]
        fn every_golden_has_a_test() {
            let mut tested = vec![$(stringify!($name)),*];
            tested.extend(["errors", "murmur2"]);
            tested.sort_unstable();
            assert_eq!(golden::names(), tested);
        }
    };
}

cases! {
    word_count: stream_cases::word_count();
    word_count_named: stream_cases::word_count_named();
    stateless: stream_cases::stateless();
    stateless_named: stream_cases::stateless_named();
    branches: stream_cases::branches();
    aggregations: stream_cases::aggregations();
    repartitions: stream_cases::repartitions();
    read_twice: stream_cases::read_twice();
    tables: tables::tables();
    join: tables::join();
    join_repartitioned: tables::join_repartitioned();
    join_derived: tables::join_derived();
    join_aggregate: tables::join_aggregate();
    to_table: tables::to_table();
    aggregate_filtered: tables::aggregate_filtered();
    processor_api: processors::processor_api();
    wall_clock: processors::wall_clock();
    dsl_processors: processors::dsl_processors();
    customers: shapes::customers();
    fan_out: shapes::fan_out();
    many_stores: shapes::many_stores();
}

#[test]
fn errors() {
    let topology: Topology = processors::errors().expect("a topology");
    check("errors", &topology, TaskConfig { exception_handler: streams::dead_letter_queue(|_| "dead".to_owned()) });
}

#[test]
fn murmur2() {
    for row in golden::load("murmur2").as_array().expect("a list") {
        let key = row["key"].as_str().expect("a key");
        assert_eq!(i64::from(streams::murmur2(key.as_bytes())), row["murmur2"].as_i64().expect("a hash"), "{key:?}");
        for (count, partition) in row["partitions"].as_object().expect("partitions") {
            let count = count.parse().expect("a number");
            assert_eq!(
                i64::from(streams::partition_for_key(key.as_bytes(), count)),
                partition.as_i64().expect("a partition"),
                "{key:?} of {count}"
            );
        }
    }
}
