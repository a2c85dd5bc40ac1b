//! The topics of a run: inputs in, outputs out.

use super::Args;
use crate::{
    kafka_clients::Inputs,
    merge::{INPUTS, customer},
};
use anyhow::Context;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
    producer::{BaseProducer, BaseRecord, Producer},
};
use schemas::{AvroCodec, SourceCustomer};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const CALL: Duration = Duration::from_secs(20);
/// Every so many keys get an edit from the past.
const STALE_EVERY: usize = 100;

pub struct Topics {
    servers: String,
    /// No other run on the same broker has it.
    run: String,
    args: Args,
    codec: AvroCodec<SourceCustomer>,
}

/// A record of an input.
pub struct Edit {
    topic: String,
    key: String,
    value: Vec<u8>,
}

impl Edit {
    pub fn record(&self) -> BaseRecord<'_, String, Vec<u8>> {
        BaseRecord::to(&self.topic).key(&self.key).payload(&self.value)
    }
}

/// What was read of an output.
pub struct Outputs {
    next: Vec<i64>,
    /// Newest edit by key.
    last: Vec<i64>,
    oldest: i64,
    pub count: usize,
}

impl Outputs {
    pub fn new(args: &Args) -> Outputs {
        let oldest = i64::try_from(args.records - args.keys).unwrap_or(i64::MAX);
        Outputs { next: vec![0; args.partitions as usize], last: vec![0; args.keys], oldest, count: 0 }
    }

    pub fn check(&self) -> anyhow::Result<()> {
        let wrong = self.last.iter().filter(|look| **look <= self.oldest).count();
        anyhow::ensure!(wrong == 0, "{wrong} keys do not have their last input's value");
        Ok(())
    }
}

impl Topics {
    pub fn new(servers: &str, args: Args, codec: AvroCodec<SourceCustomer>) -> anyhow::Result<Topics> {
        let topics = Topics { servers: servers.to_owned(), run: format!("bench-{:08x}", rand::random::<u32>()), args, codec };
        let inputs = topics.inputs();
        topics.create(&inputs.each_ref().map(String::as_str))?;
        Ok(topics)
    }

    pub fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.run)
    }

    pub fn inputs(&self) -> [String; 2] {
        INPUTS.map(|input| self.name(input))
    }

    /// What the clients read.
    pub fn for_clients(&self) -> Inputs {
        Inputs { servers: self.servers.clone(), topics: self.inputs().into(), partitions: self.args.partitions }
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config
    }

    pub fn create(&self, names: &[&str]) -> anyhow::Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let new: Vec<NewTopic<'_>> =
            names.iter().map(|name| NewTopic::new(name, self.args.partitions, TopicReplication::Fixed(1))).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        for made in runtime.block_on(admin.create_topics(&new, &AdminOptions::new().operation_timeout(Some(CALL))))? {
            made.map_err(|(topic, error)| anyhow::anyhow!("making {topic}: {error}"))?;
        }
        Ok(())
    }

    /// Writes all inputs: every key once before the next edit of any, each edit of a key in another input than the one before.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut key = 0;
        self.write((0..self.args.records).map(|n| {
            // A step that shares no factor with the count visits every key.
            key = (key + 7_919) % self.args.keys;
            (INPUTS[(n + n / self.args.keys) % 2], key, customer(key, n))
        }))
    }

    /// Writes edits that are older than any.
    pub fn write_stale(&self) -> anyhow::Result<()> {
        self.write(
            (0..self.args.keys).step_by(STALE_EVERY).map(|key| (INPUTS[0], key, SourceCustomer { look: 0, ..customer(key, usize::MAX) })),
        )
    }

    pub fn edit(&self, input: &str, key: usize, edit: &SourceCustomer) -> anyhow::Result<Edit> {
        Ok(Edit { topic: self.name(input), key: format!("customer{key}@example.com"), value: self.codec.encode(edit)? })
    }

    pub fn producer(&self, linger_ms: u32) -> anyhow::Result<BaseProducer> {
        let mut config = self.client();
        // Java's partitioner, which the driver uses too.
        config.set("enable.idempotence", "true").set("linger.ms", linger_ms.to_string()).set("partitioner", "murmur2_random");
        Ok(config.create()?)
    }

    fn write(&self, edits: impl Iterator<Item = (&'static str, usize, SourceCustomer)>) -> anyhow::Result<()> {
        let producer = self.producer(20)?;
        // Of today: older records would be deleted while they are read.
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        for (n, (input, key, edit)) in edits.enumerate() {
            let edit = self.edit(input, key, &edit)?;
            let mut record = edit.record().timestamp(now + n as i64);
            while let Err((error, again)) = producer.send(record) {
                anyhow::ensure!(matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)), "writing: {error}");
                producer.poll(Duration::from_millis(10));
                record = again;
            }
            if n % 1_000 == 0 {
                producer.poll(Duration::ZERO);
            }
        }
        producer.flush(CALL).context("writing the inputs")
    }

    /// The first offsets of a topic.
    pub fn beginning(&self) -> Vec<i64> {
        vec![0; self.args.partitions as usize]
    }

    /// The next offsets of a topic, behind what is not committed yet, too.
    pub fn ends(&self, topic: &str) -> anyhow::Result<Vec<i64>> {
        let consumer: BaseConsumer = self.client().set("group.id", "reader").set("isolation.level", "read_uncommitted").create()?;
        (0..self.args.partitions).map(|partition| Ok(consumer.fetch_watermarks(topic, partition, CALL)?.1)).collect()
    }

    /// Records of the inputs so far: no transaction wrote them, so that every offset is one's.
    pub fn written(&self) -> anyhow::Result<usize> {
        let mut written = 0;
        for input in self.inputs() {
            written += self.ends(&input)?.iter().sum::<i64>();
        }
        Ok(usize::try_from(written)?)
    }

    /// An output's key, and the newest edit in it.
    pub fn output(&self, message: &BorrowedMessage<'_>) -> anyhow::Result<(usize, i64)> {
        let key = message
            .key()
            .and_then(|key| std::str::from_utf8(key).ok()?.strip_prefix("customer")?.split('@').next()?.parse::<usize>().ok())
            .filter(|key| *key < self.args.keys)
            .context("an output with a foreign key")?;
        let merged = self.codec.decode(message.payload().unwrap_or_default())?;
        Ok((key, merged.look))
    }

    /// Reads what was added to an output.
    pub fn read_on(&self, topic: &str, outputs: &mut Outputs) -> anyhow::Result<()> {
        let starts = outputs.next.clone();
        self.read(topic, &starts, |message| {
            let (key, look) = self.output(message)?;
            outputs.last[key] = look;
            outputs.next[message.partition() as usize] = message.offset() + 1;
            outputs.count += 1;
            Ok(())
        })
    }

    /// How many committed records a topic has from there on.
    pub fn count(&self, topic: &str, from: &[i64]) -> anyhow::Result<usize> {
        let mut count = 0;
        self.read(topic, from, |_| {
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }

    fn read(&self, topic: &str, starts: &[i64], mut each: impl FnMut(&BorrowedMessage<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let consumer = self.reader(topic, starts)?;
        let mut ended = 0;
        while ended < starts.len() {
            match consumer.poll(CALL) {
                Some(Ok(message)) => each(&message)?,
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => return Err(error).context(format!("reading {topic}")),
                None => anyhow::bail!("reading {topic} came to a halt"),
            }
        }
        Ok(())
    }

    /// Reads what is committed, and says where it ends.
    pub fn reader(&self, topic: &str, starts: &[i64]) -> anyhow::Result<BaseConsumer> {
        let mut config = self.client();
        config
            .set("group.id", "reader")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create()?;
        let mut list = TopicPartitionList::new();
        for (partition, next) in starts.iter().enumerate() {
            list.add_partition_offset(topic, i32::try_from(partition)?, Offset::Offset(*next))?;
        }
        consumer.assign(&list)?;
        Ok(consumer)
    }
}
