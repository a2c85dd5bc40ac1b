//! A stream of page views, enriched with a table of users' regions.
//!
//! `cargo run -p streams --example stream_table_join` runs on the topology test driver.
//! `cargo run -p streams --example stream_table_join -- folder` runs on the embedded log in that folder.

use std::error::Error;
use std::time::Duration;

use streams::embedded::{Append, Log, Options, StreamsConfig, TopicConfig};
use streams::{
    Consumed, Grouped, Joined, LongSerde, Materialized, Produced, ProducerRecord, Serde, StreamsBuilder, StringSerde, TestDriverConfig,
    TopicPartition, Topology, TopologyError, TopologyTestDriver,
};

const VIEWS: &str = "page-views";
const REGIONS: &str = "user-regions";
const ENRICHED: &str = "page-views-by-user-and-region";
const COUNTS: &str = "views-per-region";

fn topology() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    let views = builder.stream(VIEWS, Consumed::with(StringSerde, StringSerde));
    let regions = builder.table_with(REGIONS, Consumed::with(StringSerde, StringSerde), Materialized::named("regions"));

    let enriched = views.left_join(
        &regions,
        |page, region| (page, region.unwrap_or_else(|| "unknown".to_owned())),
        Joined::with(StringSerde, StringSerde),
    );
    let text = enriched.map_values(|(page, region)| format!("{page} from {region}"));
    text.to(ENRICHED, Produced::with(StringSerde, StringSerde));
    enriched
        .map(|_user, (page, region)| (region, page))
        .group_by_key(Grouped::with(StringSerde, StringSerde))
        .count_with(Materialized::named("views-per-region-store"))
        .to_stream()
        .to(COUNTS, Produced::with(StringSerde, LongSerde.nullable()));
    builder.build()
}

/// Topic, user, page or region.
const EVENTS: [(&str, &str, &str); 6] = [
    (REGIONS, "alice", "asia"),
    (VIEWS, "alice", "index.html"),
    (VIEWS, "bob", "news.html"),
    (REGIONS, "bob", "europe"),
    (VIEWS, "bob", "index.html"),
    (VIEWS, "alice", "eggplant.html"),
];

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
    let enriched = driver.create_output_topic(ENRICHED, StringSerde, StringSerde);
    let counts = driver.create_output_topic(COUNTS, StringSerde, LongSerde);
    for (topic, user, value) in EVENTS {
        driver.create_input_topic(topic, StringSerde, StringSerde).pipe_input(user.to_owned(), value.to_owned())?;
        for (user, view) in enriched.read_key_values_to_list()? {
            println!("{user} looked at {view}");
        }
    }
    for (region, count) in counts.read_key_values_to_map()? {
        println!("{count} views from {region}");
    }
    Ok(())
}

fn on_the_embedded_log(topology: &Topology, folder: &str) -> Result<(), Box<dyn Error>> {
    let log = Log::open(folder, Options::default())?;
    log.create_topic(TopicConfig::compact(REGIONS, 2))?;
    for topic in [VIEWS, ENRICHED, COUNTS] {
        log.create_topic(TopicConfig::delete(topic, 2, Duration::from_secs(3600)))?;
    }
    let running = log.start(topology, StreamsConfig::new("stream-table-join"))?;
    for (topic, user, value) in EVENTS {
        // An append returns when it is committed, with everything that the topology made of it.
        log.append_blocking(Append::of([ProducerRecord::new(topic, user, value)]))?;
    }
    for partition in 0..2 {
        for record in log.read(&TopicPartition::new(ENRICHED, partition), 0, usize::MAX, usize::MAX)? {
            let user = StringSerde.deserialize(ENRICHED, record.key.as_deref())?;
            println!("{user} looked at {} (partition {partition})", StringSerde.deserialize(ENRICHED, record.value.as_deref())?);
        }
    }
    running.close()?;
    log.close();
    Ok(())
}
