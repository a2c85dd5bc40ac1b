//! Stream processing with the names and the semantics of Kafka Streams, on Apache Kafka or without a broker.
//!
//! A [`Topology`] of sources, [`Processor`]s, sinks and key-value stores, built by hand or by the operators of a [`StreamsBuilder`], is split into
//! sub-topologies; one sub-topology on one partition is a [`Task`]. A task is pure: records and time go in, and outputs, store changes and the offsets
//! that they cover come out. Who feeds it is a driver: [`TopologyTestDriver`] in memory for tests, [`embedded`] on one SQLite file,
//! [`kafka`] on a broker.
//!
//! | module | what |
//! |---|---|
//! | `record` | [`Record`], [`Headers`], and records as topics hold them ([`ConsumerRecord`], [`ProducerRecord`]) |
//! | `serde` | [`Serde`] and the built-in ones; null is `Option` by [`Serde::nullable`] |
//! | `processor` | [`Processor`], [`ProcessorContext`], punctuators |
//! | `store` | [`StoreBuilder`], [`KeyValueStore`], the overlay of a transaction, [`StateBacking`] |
//! | `topology` | [`Topology`], sub-topologies, internal topics, [`Topology::describe`] |
//! | `task` | [`Task`], and [`TaskConfig`] with the [`ExceptionHandler`] |
//! | `dsl` | [`StreamsBuilder`], `KStream`, `KTable` |
//! | `test_driver` | [`TopologyTestDriver`] |
//! | [`embedded`] | the log and the driver on SQLite |
//! | [`kafka`] | the driver on Apache Kafka, exactly once |
//! | `log` | [`Log`], [`Follow`] and [`Owner`]: what connectors append to and read from, on either |
//! | `client`, `guard`, `folder_lock`, `lag` | what the drivers share: states, panics, one process per folder; how far a group is behind ([`PartitionLag`]) |
//! | `sqlite_range` | a page of a store that is in SQLite |

pub mod embedded;
pub mod kafka;

mod client;
mod dsl;
mod error;
mod folder_lock;
mod guard;
mod lag;
mod log;
mod partition;
mod processor;
mod record;
mod serde;
mod sink;
mod source;
mod sqlite_range;
mod store;
mod task;
mod test_driver;
mod topology;

pub use dsl::{
    BranchedKStream, Consumed, Data, Grouped, Joined, KGroupedStream, KStream, KTable, Materialized, Produced, Repartitioned,
    StreamsBuilder, Topics,
};
pub use error::{
    ErrorHandlerContext, ExceptionHandler, Phase, ProcessorError, Response, TaskError, dead_letter_queue, dlq_headers, log_and_continue,
    log_and_fail,
};
pub use lag::PartitionLag;
pub use log::{Follow, Log, Owner};
pub use partition::{murmur2, partition_for_key};
pub use processor::{Env, Processor, ProcessorContext, PunctuationType, ScheduleId};
pub use record::{ConsumerRecord, Header, Headers, ProducerRecord, Record, RecordMetadata, TopicPartition};
pub use serde::{BytesSerde, DoubleSerde, IntegerSerde, LongSerde, Nullable, Serde, SerdeError, StringSerde};
pub use sink::{StreamPartitioner, TopicName, TopicNameExtractor};
pub use store::{KeyValueStore, MemoryBacking, StateBacking, StateError, StoreBuilder, StoreChanges, StoreInstance, StoreRange, StoreRef};
pub use task::{Task, TaskConfig, TaskId, describe_metrics};
pub use test_driver::{
    Chooser, Pending, TestDriverConfig, TestDriverError, TestInputTopic, TestKeyValueStore, TestOutputTopic, TopologyTestDriver,
};
pub use topology::{
    BuiltStore, BuiltTopology, DescribedNode, InternalTopic, SubTopology, SubtopologyDescription, Topology, TopologyDescription,
    TopologyError,
};
