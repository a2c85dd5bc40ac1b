//! The word count that every introduction to Kafka Streams starts with.
//!
//! `cargo run -p streams --example word_count` counts the words of a few lines on the topology test driver.
//! `cargo run -p streams --example word_count -- folder` counts the lines of standard input on the embedded log in that folder, and goes on where the
//! last run stopped.

use std::error::Error;
use std::time::Duration;

use streams::embedded::{Append, Log, Options, StreamsConfig, TopicConfig};
use streams::{
    Consumed, Grouped, LongSerde, Materialized, Produced, ProducerRecord, Serde, StreamsBuilder, StringSerde, TestDriverConfig,
    TopicPartition, Topology, TopologyError, TopologyTestDriver,
};

const INPUT: &str = "streams-plaintext-input";
const OUTPUT: &str = "streams-wordcount-output";

fn topology() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    builder
        .stream(INPUT, Consumed::with(StringSerde.nullable(), StringSerde))
        .flat_map_values(|line: String| line.to_lowercase().split(|c: char| !c.is_alphanumeric()).map(str::to_owned).collect::<Vec<_>>())
        .filter(|_, word| !word.is_empty())
        .group_by(|_, word| word.clone(), Grouped::with(StringSerde, StringSerde))
        .count_with(Materialized::named("counts-store"))
        .to_stream()
        .to(OUTPUT, Produced::with(StringSerde, LongSerde.nullable()));
    builder.build()
}

fn main() -> Result<(), Box<dyn Error>> {
    let topology = topology()?;
    println!("{}", topology.describe());
    match std::env::args().nth(1) {
        Some(folder) => on_the_embedded_log(&topology, &folder),
        None => in_memory(&topology),
    }
}

fn in_memory(topology: &Topology) -> Result<(), Box<dyn Error>> {
    let driver = TopologyTestDriver::new(topology, TestDriverConfig::default())?;
    let lines = driver.create_input_topic(INPUT, StringSerde.nullable(), StringSerde);
    let counts = driver.create_output_topic(OUTPUT, StringSerde, LongSerde);
    for line in ["all streams lead to kafka", "hello kafka streams", "join kafka summit"] {
        lines.pipe_input(None, line.to_owned())?;
        for (word, count) in counts.read_key_values_to_list()? {
            println!("{word}\t{count}");
        }
    }
    Ok(())
}

fn on_the_embedded_log(topology: &Topology, folder: &str) -> Result<(), Box<dyn Error>> {
    let log = Log::open(folder, Options::default())?;
    log.create_topic(TopicConfig::delete(INPUT, 1, Duration::from_secs(3600)))?;
    log.create_topic(TopicConfig::compact(OUTPUT, 1))?;
    let running = log.start(topology, StreamsConfig::new("word-count"))?;
    let output = TopicPartition::new(OUTPUT, 0);
    let mut next = log.end_offset(&output)?;
    for line in std::io::stdin().lines() {
        // An append returns when it is committed, with everything that the topology made of it.
        log.append_blocking(Append::of([ProducerRecord::new(INPUT, "line", line?)]))?;
        for record in log.read(&output, next, usize::MAX, usize::MAX)? {
            let word = StringSerde.deserialize(OUTPUT, record.key.as_deref())?;
            println!("{word}\t{}", LongSerde.deserialize(OUTPUT, record.value.as_deref())?);
            next = record.offset + 1;
        }
    }
    running.close()?;
    log.close();
    Ok(())
}
