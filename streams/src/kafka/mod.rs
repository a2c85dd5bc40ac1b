//! The driver on Apache Kafka: `exactly_once_v2` with Kafka Streams' words, or `at_least_once`.
//!
//! [`KafkaStreams::start`] checks the topics, makes the internal ones, and starts the stream threads. A stream thread is an OS thread
//! with one consumer of the application's group, one transactional producer and the tasks of the partitions that the group gave it. One
//! transaction covers what its tasks read, wrote and changed in their stores since the last commit; only after it is committed do the
//! local stores take the changes, each with the place in its changelog, in one transaction of their own. So a local store may lag
//! behind Kafka, and restoring closes the gap; it is never ahead. At least once there are no transactions: what is written is acknowledged,
//! then the local stores take it, then the offsets are committed.
//!
//! | module | why it exists |
//! |---|---|
//! | `config`, `error`, `clients` | settings, what can go wrong, and the clients that they lead to |
//! | `streams` | the handle, and what the stream threads share |
//! | `cluster`, `topics` | what the brokers know: topics that must exist, internal topics that are made |
//! | `thread`, `life`, `leaving`, `commit`, `purge` | a stream thread, its lives from one failure to the next, their ends, the commit, and what may go after it |
//! | `rebalance`, `assignment`, `membership` | partitions come and go; which tasks they make, and what becomes of those |
//! | `transactions`, `output` | the producer and its transactions, what its errors mean, and where outputs go |
//! | `outage` | what goes on without a producer: while brokers are away, or nobody knows what became of a commit |
//! | `fail_point` | where tests let the process die |
//! | `watchdog` | calls of librdkafka that take no timeout |
//! | `security`, `refusal` | what librdkafka can do for it, and what the brokers refuse |
//! | `running`, `receive`, `input`, `progress` | a task, how records come to it, and how far it is |
//! | `local_store`, `state_dir`, `restore` | the stores on disk, their locks, and how they catch up with their changelogs |
//! | `log` | beside the driver: what connectors append to and read from |

mod assignment;
mod clients;
mod cluster;
mod commit;
mod config;
mod error;
mod fail_point;
mod input;
mod leaving;
mod life;
mod local_store;
mod log;
mod membership;
mod outage;
mod output;
mod progress;
mod purge;
mod rebalance;
mod receive;
mod refusal;
mod restore;
mod running;
mod security;
mod state_dir;
mod streams;
mod thread;
mod topics;
mod transactions;
mod watchdog;

pub use config::{GroupProtocol, KafkaStreamsConfig, ProcessingGuarantee};
pub use error::KafkaStreamsError;
pub use log::{Follow, GroupState, KafkaLogError, Log, LogConfig, OWNERS_TOPIC, Owner, TopicSettings, TopicState};
pub use streams::{KafkaStreams, Trouble};

pub use crate::client::{State, TaskFailure, UncaughtHandler, UncaughtResponse};
