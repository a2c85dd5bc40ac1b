//! lines → words (another sub-topology) → counts, with a store.

use streams::{KeyValueStore, LongSerde, Processor, ProcessorContext, ProcessorError, Record, StoreBuilder, StringSerde, Topology};

struct Split;

impl Processor<String, String> for Split {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<String, String>) -> Result<(), ProcessorError> {
        for word in record.value.split(' ') {
            ctx.forward(record.clone().with_key(word.to_owned()))?;
        }
        Ok(())
    }
}

struct Count(KeyValueStore<String, i64>);

impl Processor<String, String> for Count {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<String, String>) -> Result<(), ProcessorError> {
        let count = self.0.get(ctx, &record.key)?.unwrap_or(0) + 1;
        self.0.put(ctx, &record.key, &count)?;
        // After the store was changed: what fails must take that back.
        if record.key == "poison" {
            return Err(ProcessorError::new("refused", "no poison"));
        }
        ctx.forward(record.with_value(count))
    }
}

/// Counts, and one more for each start of a task.
struct CountFromTheStart(Count);

impl Processor<String, String> for CountFromTheStart {
    fn init(&mut self, ctx: &mut ProcessorContext<'_>) -> Result<(), ProcessorError> {
        let key = "started".to_owned();
        let count = self.0.0.get(ctx, &key)?.unwrap_or(0) + 1;
        self.0.0.put(ctx, &key, &count)
    }

    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<String, String>) -> Result<(), ProcessorError> {
        self.0.process(ctx, record)
    }
}

/// Counts keys over two topics, `<prefix>-left` and `<prefix>-right`, into `<prefix>-counts`: a task needs a partition of each.
pub fn count_both(prefix: &str) -> Topology {
    counted_both(prefix, || Count(KeyValueStore::new("counts", StringSerde, LongSerde)))
}

/// The same, and the store also counts the starts of its task.
pub fn count_from_the_start(prefix: &str) -> Topology {
    counted_both(prefix, || CountFromTheStart(Count(KeyValueStore::new("counts", StringSerde, LongSerde))))
}

fn counted_both<P: Processor<String, String> + 'static>(prefix: &str, count: impl Fn() -> P + Send + Sync + 'static) -> Topology {
    let topic = |name: &str| format!("{prefix}-{name}");
    let mut topology = Topology::new();
    topology.add_source("both", StringSerde, StringSerde, [topic("left"), topic("right")]).unwrap();
    topology.add_processor("count", count, ["both"]).unwrap();
    topology.add_state_store(StoreBuilder::key_value("counts"), ["count"]).unwrap();
    topology.add_sink("to-counts", topic("counts").as_str(), StringSerde, LongSerde, ["count"]).unwrap();
    topology
}

/// Counts the words of the topic `<prefix>-lines`, through `<prefix>-words`, into `<prefix>-counts`.
pub fn word_count(prefix: &str) -> Topology {
    let topic = |name: &str| format!("{prefix}-{name}");
    let mut topology = Topology::new();
    topology.add_source("lines", StringSerde, StringSerde, [topic("lines")]).unwrap();
    topology.add_processor("split", || Split, ["lines"]).unwrap();
    topology.add_sink("to-words", topic("words").as_str(), StringSerde, StringSerde, ["split"]).unwrap();
    topology.add_source("words", StringSerde, StringSerde, [topic("words")]).unwrap();
    topology.add_processor("count", || Count(KeyValueStore::new("counts", StringSerde, LongSerde)), ["words"]).unwrap();
    topology.add_state_store(StoreBuilder::key_value("counts"), ["count"]).unwrap();
    topology.add_sink("to-counts", topic("counts").as_str(), StringSerde, LongSerde, ["count"]).unwrap();
    topology
}
