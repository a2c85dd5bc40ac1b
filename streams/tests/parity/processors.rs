//! Processors of the user's own: stores, punctuators, children by name, headers, errors.

use std::ops::Bound;
use std::time::Duration;

use streams::{
    Consumed, KStream, KeyValueStore, LongSerde, Processor, ProcessorContext, ProcessorError, Produced, PunctuationType, Record,
    ScheduleId, Serde, SerdeError, StoreBuilder, StreamsBuilder, StringSerde, Topology, TopologyError,
};

type Done = Result<(), ProcessorError>;

fn counts(store: &str) -> KeyValueStore<String, i64> {
    KeyValueStore::new(store, StringSerde, LongSerde)
}

/// Counts by key; tells the counts whenever a second of stream time is over; "-k" deletes k.
struct Counting {
    counts: KeyValueStore<String, i64>,
}

impl Processor<String, String> for Counting {
    fn init(&mut self, ctx: &mut ProcessorContext<'_>) -> Done {
        ctx.schedule(Duration::from_secs(1), PunctuationType::StreamTime);
        Ok(())
    }

    fn process(&mut self, ctx: &mut ProcessorContext<'_>, mut record: Record<String, String>) -> Done {
        if let Some(key) = record.value.strip_prefix('-') {
            return self.counts.delete(ctx, &key.to_owned());
        }
        let count = self.counts.get(ctx, &record.key)?.unwrap_or(0);
        self.counts.put(ctx, &record.key, &(count + 1))?;
        record.headers.add("seen", "yes");
        let at = ctx.record_metadata().expect("a record is being processed");
        let value =
            format!("{} {} {} {} {} {}", record.value, ctx.current_stream_time_ms(), ctx.task_id(), at.topic, at.partition, at.offset);
        ctx.forward_to("echo", record.with_value(value))
    }

    fn punctuate(&mut self, ctx: &mut ProcessorContext<'_>, _: ScheduleId, time: i64) -> Done {
        for (key, count) in self.counts.scan(ctx, Bound::Unbounded, usize::MAX)? {
            ctx.forward_to("ticks", Record::new(key, format!("{count} at {time}"), time))?;
        }
        Ok(())
    }
}

pub fn processor_api() -> Result<Topology, TopologyError> {
    let mut topology = Topology::new();
    topology
        .add_source("source", StringSerde, StringSerde, ["in"])?
        .add_processor("counting", || Counting { counts: counts("counts") }, ["source"])?
        .add_state_store(StoreBuilder::key_value("counts"), ["counting"])?
        .add_sink::<String, String>("echo", "echoes", StringSerde, StringSerde, ["counting"])?
        .add_sink::<String, String>("ticks", "tick-out", StringSerde, StringSerde, ["counting"])?;
    Ok(topology)
}

/// Tells its counts every second of wall-clock time, three times; another schedule runs every two seconds.
struct Ticking {
    counts: KeyValueStore<String, i64>,
    seconds: Option<ScheduleId>,
    left: u32,
}

impl Processor<String, String> for Ticking {
    fn init(&mut self, ctx: &mut ProcessorContext<'_>) -> Done {
        self.seconds = Some(ctx.schedule(Duration::from_secs(1), PunctuationType::WallClockTime));
        ctx.schedule(Duration::from_secs(2), PunctuationType::WallClockTime);
        Ok(())
    }

    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<String, String>) -> Done {
        self.counts.put(ctx, &record.key, &record.timestamp)
    }

    fn punctuate(&mut self, ctx: &mut ProcessorContext<'_>, schedule: ScheduleId, time: i64) -> Done {
        if self.seconds != Some(schedule) {
            return ctx.forward(Record::new("two".to_owned(), time.to_string(), time));
        }
        let value = format!("{time} {} {}", ctx.current_system_time_ms(), ctx.current_stream_time_ms());
        ctx.forward(Record::new("second".to_owned(), value, time))?;
        self.counts.put(ctx, &"seconds".to_owned(), &time)?;
        self.left -= 1;
        if self.left == 0 {
            ctx.cancel(schedule);
        }
        Ok(())
    }
}

pub fn wall_clock() -> Result<Topology, TopologyError> {
    let mut topology = Topology::new();
    topology
        .add_source("source", StringSerde, StringSerde, ["in"])?
        .add_state_store(StoreBuilder::key_value("counts"), [""; 0])?
        .add_processor("ticking", || Ticking { counts: counts("counts"), seconds: None, left: 3 }, ["source"])?
        .connect_processor_and_state_stores("ticking", ["counts"])?
        .add_sink::<String, String>("sink", "out", StringSerde, StringSerde, ["ticking"])?;
    Ok(topology)
}

/// Appends the store's count for its key.
struct Numbering {
    counts: KeyValueStore<String, i64>,
}

impl Processor<String, String> for Numbering {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<String, String>) -> Done {
        let count = self.counts.get(ctx, &record.key)?.map_or(0, |before| before + 1);
        self.counts.put(ctx, &record.key, &count)?;
        let value = format!("{}#{count}", record.value);
        ctx.forward(record.with_value(value))
    }
}

pub fn dsl_processors() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    builder.add_state_store(StoreBuilder::key_value("shared")).add_state_store(StoreBuilder::key_value("own"));
    let text = || Consumed::with(StringSerde, StringSerde);
    let left = builder.stream("left", text());
    let right = builder.stream("right", text());
    let left: KStream<String, String> = left.process(|| Numbering { counts: counts("shared") }, ["shared"]);
    let right: KStream<String, String> = right.process_named("numbering", || Numbering { counts: counts("shared") }, ["shared", "own"]);
    left.to("left-out", Produced::with(StringSerde, StringSerde));
    right.to("right-out", Produced::with(StringSerde, StringSerde));
    builder.build()
}

/// Refuses one value.
struct Picky;

impl Serde<String> for Picky {
    fn serialize(&self, topic: &str, value: &String) -> Result<Option<Vec<u8>>, SerdeError> {
        StringSerde.serialize(topic, value)
    }

    fn deserialize(&self, topic: &str, bytes: Option<&[u8]>) -> Result<String, SerdeError> {
        match bytes {
            Some(b"poison") => Err(SerdeError::other("poison", "poison")),
            bytes => StringSerde.deserialize(topic, bytes),
        }
    }
}

struct Failing;

impl Processor<String, String> for Failing {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<String, String>) -> Done {
        match record.value.as_str() {
            "fail" => Err(ProcessorError::new("failed", "failed")),
            _ => ctx.forward(record),
        }
    }
}

pub fn errors() -> Result<Topology, TopologyError> {
    let mut topology = Topology::new();
    topology
        .add_source("source", StringSerde, Picky, ["in"])?
        .add_processor("failing", || Failing, ["source"])?
        .add_sink::<String, String>("sink", "out", StringSerde, StringSerde, ["failing"])?;
    Ok(topology)
}
