//! Runs a topology in memory: single thread, manual clock, no broker. For tests of topologies, users' ones too.

mod machine;
mod topics;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use machine::Machine;
pub use machine::Pending;
pub use topics::{TestInputTopic, TestKeyValueStore, TestOutputTopic};

use crate::error::{ProcessorError, TaskError};
use crate::record::{ConsumerRecord, ProducerRecord, TopicPartition};
use crate::serde::{Serde, SerdeError};
use crate::task::{TaskConfig, TaskId};
use crate::topology::{BuiltTopology, Topology, TopologyError};

/// How a [`TopologyTestDriver`] runs.
#[derive(Debug, Clone)]
pub struct TestDriverConfig {
    /// The application id, part of the names of internal topics.
    pub application_id: String,
    /// How many partitions every topic has, save those in `topic_partitions`. Kafka Streams' own test driver knows one.
    pub partitions: i32,
    /// Topics with another number of partitions.
    pub topic_partitions: BTreeMap<String, i32>,
    /// The wall clock at the start, in milliseconds since the Unix epoch.
    pub initial_wall_clock_ms: i64,
    /// Exception handler and the like.
    pub task: TaskConfig,
    /// Records wait until [`TopologyTestDriver::step`] or [`TopologyTestDriver::run`] is called, instead of being processed as they are piped.
    pub manual: bool,
}

impl Default for TestDriverConfig {
    fn default() -> Self {
        Self {
            application_id: "test".to_owned(),
            partitions: 1,
            topic_partitions: BTreeMap::new(),
            initial_wall_clock_ms: 0,
            task: TaskConfig::default(),
            manual: false,
        }
    }
}

/// Why a test driver could not go on.
#[derive(Debug, thiserror::Error)]
pub enum TestDriverError {
    /// The topology cannot be run.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// A task failed; everything since the last commit is undone.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A store could not be read or written.
    #[error(transparent)]
    Processor(#[from] ProcessorError),
    /// A record of the test could not be serialised or deserialised.
    #[error(transparent)]
    Serde(#[from] SerdeError),
    /// There is nothing left to read.
    #[error("Empty topic: {0}")]
    EmptyTopic(String),
    /// A partition that the topic does not have, or a store that the topology does not have.
    #[error("there is no {0}")]
    Unknown(String),
}

/// Chooses which pending partition goes next: a place in the list.
pub type Chooser = Box<dyn FnMut(&[Pending]) -> usize>;

/// Runs a topology in memory.
///
/// Each record that is piped in runs through all its hops (what a sink writes to a topic that the topology reads goes round in the same turn), then
/// [`Processor::before_commit`](crate::Processor::before_commit) of the tasks that ran, then one commit.
///
/// ```
/// use streams::*;
/// let builder = StreamsBuilder::new();
/// builder
///     .stream("in", Consumed::with(StringSerde, StringSerde))
///     .map_values(|value: String| value.to_uppercase())
///     .to("out", Produced::with(StringSerde, StringSerde));
/// let driver = TopologyTestDriver::new(&builder.build()?, TestDriverConfig::default())?;
/// let input = driver.create_input_topic("in", StringSerde, StringSerde);
/// let output = driver.create_output_topic("out", StringSerde, StringSerde);
/// input.pipe_input("key".to_owned(), "value".to_owned())?;
/// assert_eq!(output.read_value()?, "VALUE");
/// assert!(output.is_empty());
/// # Ok::<(), TestDriverError>(())
/// ```
#[derive(Clone)]
pub struct TopologyTestDriver {
    machine: Rc<RefCell<Machine>>,
}

impl TopologyTestDriver {
    /// Builds the topology and its tasks.
    pub fn new(topology: &Topology, config: TestDriverConfig) -> Result<Self, TestDriverError> {
        let built = Arc::new(topology.build(&config.application_id)?);
        Self::with_built(built, config)
    }

    /// The same for a topology that is built already.
    pub fn with_built(topology: Arc<BuiltTopology>, config: TestDriverConfig) -> Result<Self, TestDriverError> {
        Ok(Self { machine: Rc::new(RefCell::new(Machine::new(topology, config)?)) })
    }

    /// A topic to pipe records into. Their timestamps are the wall clock's at this moment, unless they are given.
    pub fn create_input_topic<K, V>(
        &self,
        topic: &str,
        key_serde: impl Serde<K> + 'static,
        value_serde: impl Serde<V> + 'static,
    ) -> TestInputTopic<K, V> {
        let start = self.wall_clock();
        self.create_input_topic_at(topic, key_serde, value_serde, start, Duration::ZERO)
    }

    /// A topic to pipe records into whose timestamps start at `start` and advance with each record.
    pub fn create_input_topic_at<K, V>(
        &self,
        topic: &str,
        key_serde: impl Serde<K> + 'static,
        value_serde: impl Serde<V> + 'static,
        start: i64,
        auto_advance: Duration,
    ) -> TestInputTopic<K, V> {
        TestInputTopic::new(self.clone(), topic, Arc::new(key_serde), Arc::new(value_serde), start, auto_advance)
    }

    /// A topic to read what the topology wrote.
    pub fn create_output_topic<K, V>(
        &self,
        topic: &str,
        key_serde: impl Serde<K> + 'static,
        value_serde: impl Serde<V> + 'static,
    ) -> TestOutputTopic<K, V> {
        TestOutputTopic::new(self.clone(), topic, Arc::new(key_serde), Arc::new(value_serde))
    }

    /// A store, over all its partitions.
    pub fn key_value_store<K, V>(
        &self,
        name: &str,
        key_serde: impl Serde<K> + 'static,
        value_serde: impl Serde<V> + 'static,
    ) -> Result<TestKeyValueStore<K, V>, TestDriverError> {
        self.machine.borrow().store_index(name)?;
        Ok(TestKeyValueStore::new(self.clone(), name, Arc::new(key_serde), Arc::new(value_serde)))
    }

    /// Everything in a store, by partition and key; what is not committed is included.
    pub fn store_entries(&self, name: &str) -> Result<Vec<(i32, Bytes, Bytes)>, TestDriverError> {
        self.machine.borrow_mut().store_entries(name)
    }

    /// The value of a key in a store of one partition.
    pub fn store_get(&self, name: &str, partition: i32, key: &[u8]) -> Result<Option<Bytes>, TestDriverError> {
        self.machine.borrow_mut().store_get(name, partition, key)
    }

    /// Sets an entry of a store, as if it had been committed before.
    pub fn store_put(&self, name: &str, partition: i32, key: impl Into<Bytes>, value: Option<Bytes>) -> Result<(), TestDriverError> {
        self.machine.borrow_mut().store_put(name, partition, key.into(), value)
    }

    /// The wall clock, in milliseconds since the Unix epoch.
    pub fn wall_clock(&self) -> i64 {
        self.machine.borrow().now
    }

    /// Moves the wall clock, and runs the punctuators that this makes due (not with `manual`: see [`punctuate`](Self::punctuate)).
    pub fn advance_wall_clock_time(&self, by: Duration) -> Result<(), TestDriverError> {
        let mut machine = self.machine.borrow_mut();
        machine.now += by.as_millis() as i64;
        match machine.config.manual {
            true => Ok(()),
            false => machine.all_or_nothing(|machine| {
                machine.punctuate()?;
                machine.run_round()
            }),
        }
    }

    /// Appends a record to a topic, partitioned by its key unless it names a partition, and processes it (not with `manual`). Returns partition and offset.
    pub fn append(&self, record: ProducerRecord) -> Result<(i32, i64), TestDriverError> {
        let mut machine = self.machine.borrow_mut();
        let at = machine.append(record, true)?;
        machine.unless_manual()?;
        Ok(at)
    }

    /// Appends a record that has its place already: its offset must be greater than those before it.
    pub fn append_at(&self, record: ConsumerRecord) -> Result<(), TestDriverError> {
        let mut machine = self.machine.borrow_mut();
        machine.append_at(record, true)?;
        machine.unless_manual()
    }

    /// Lets a function choose which pending partition goes next, for example by a seed. Without one, the oldest timestamp goes first.
    pub fn set_chooser(&self, chooser: impl FnMut(&[Pending]) -> usize + 'static) {
        self.machine.borrow_mut().chooser = Some(Box::new(chooser));
    }

    /// The source partitions with records that wait, each with its first.
    pub fn pending(&self) -> Vec<Pending> {
        self.machine.borrow().pending()
    }

    /// Processes one record, the chooser's choice; whether there was one. Commits nothing.
    pub fn step(&self) -> Result<bool, TestDriverError> {
        self.machine.borrow_mut().step()
    }

    /// Processes the first record that waits in a partition; whether there was one. Commits nothing.
    pub fn process(&self, partition: &TopicPartition) -> Result<bool, TestDriverError> {
        self.machine.borrow_mut().process(partition)
    }

    /// Runs the wall-clock punctuators that are due. Commits nothing.
    pub fn punctuate(&self) -> Result<bool, TestDriverError> {
        self.machine.borrow_mut().punctuate()
    }

    /// Runs `before_commit` of the tasks that did something; what that causes waits. Commits nothing.
    pub fn before_commit(&self) -> Result<bool, TestDriverError> {
        self.machine.borrow_mut().before_commit()
    }

    /// Commits outputs, offsets and stores. Records that still wait stay.
    pub fn commit(&self) {
        self.machine.borrow_mut().commit();
    }

    /// A crash: undoes everything since the last commit, and makes the tasks anew. What was read since is pending again.
    pub fn abort(&self) -> Result<(), TestDriverError> {
        self.machine.borrow_mut().abort()
    }

    /// A whole round: everything that waits through all hops, `before_commit`, and the commit.
    pub fn run(&self) -> Result<(), TestDriverError> {
        self.machine.borrow_mut().all_or_nothing(Machine::run_round)
    }

    /// The committed records of a topic's partition.
    pub fn records(&self, partition: &TopicPartition) -> Vec<ConsumerRecord> {
        self.machine.borrow().committed_records(partition)
    }

    /// The topics that were written, in order of name.
    pub fn produced_topics(&self) -> Vec<Arc<str>> {
        self.machine.borrow().produced_topics()
    }

    /// The tasks.
    pub fn tasks(&self) -> Vec<TaskId> {
        self.machine.borrow().tasks.keys().copied().collect()
    }

    /// Closes the processors.
    pub fn close(self) {
        for task in self.machine.borrow_mut().tasks.values_mut() {
            task.close();
        }
    }
}
