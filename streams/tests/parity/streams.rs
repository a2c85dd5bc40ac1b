//! Stateless operators, and streams that are grouped.

use streams::{
    Consumed, Grouped, LongSerde, Materialized, Nullable, Produced, Repartitioned, Serde, StreamsBuilder, StringSerde, TopicName, Topology,
    TopologyError,
};

use crate::golden::nullable_text;

fn text() -> Consumed<String, String> {
    Consumed::with(StringSerde, StringSerde)
}

fn out() -> Produced<String, String> {
    Produced::with(StringSerde, StringSerde)
}

fn words(line: String) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

pub fn word_count() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    builder
        .stream("lines", Consumed::with(nullable_text(), StringSerde))
        .flat_map_values(words)
        .group_by(|_, word: &String| word.clone(), Grouped::with(StringSerde, StringSerde))
        .count()
        .to_stream()
        .to("word-counts", Produced::with(StringSerde, LongSerde.nullable()));
    builder.build()
}

pub fn word_count_named() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    builder
        .stream("lines", Consumed::with(nullable_text(), StringSerde).with_name("lines-source"))
        .map_values_named("lower", |_, line: String| line.to_lowercase())
        .flat_map_values_named("split", |_, line| words(line))
        .group_by(|_, word| word.clone(), Grouped::with(StringSerde, StringSerde).with_name("by-word"))
        .count_named("count", Materialized::named("counts"))
        .to_stream_named("changes")
        .to("word-counts", Produced::with(StringSerde, LongSerde.nullable()).with_name("counts-sink"));
    builder.build()
}

pub fn stateless() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    let numbers = builder.stream("numbers", text());
    let big = numbers.filter(|_, value| value.len() > 1);
    big.map(|key, value| (value, key)).to("swapped", out());
    big.flat_map(|key, value| [(key.clone(), value.clone()), (format!("{key}{key}"), format!("{value}{value}"))]).to("doubled", out());
    numbers
        .filter_not(|_, value| value.len() > 1)
        .merge(&builder.stream("more", text()))
        .map_values(|value| value + "!")
        .to("small", out());
    numbers
        .select_key(|_, value| value.clone())
        .peek(|_, _| ())
        .map_values_with_key(|key, value| format!("{key}={value}"))
        .to("rekeyed", out());
    numbers.foreach(|_, _| ());
    numbers.to(TopicName::extractor("by-key", |key: &String, _: &String| format!("dynamic-{key}")), out());
    builder.build()
}

pub fn stateless_named() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    let numbers = builder.stream("numbers", text().with_name("numbers-source"));
    let big = numbers.filter_named("big", |_, value| value.len() > 1);
    let small = numbers.filter_not_named("small", |_, value| value.len() > 1);
    let swapped = big.map_named("swap", |key, value| (value, key));
    swapped
        .merge_named("both", &small.select_key_named("rekey", |_, value| value.clone()))
        .peek_named("look", |_, _| ())
        .flat_map_named("flat", |key, value| [(key, value)])
        .flat_map_values_named("twice", |_, value| [value.clone(), value])
        .to("out", out().with_name("out-sink"));
    big.foreach_named("each", |_, _| ());
    builder.build()
}

pub fn branches() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    let events = builder.stream("events", text());
    let unnamed = events.split().branch(|_, value| value == "create").branch(|_, value| value.ends_with('e')).no_default_branch();
    unnamed["KSTREAM-BRANCH-00000000011"].to("creates", out());
    unnamed["KSTREAM-BRANCH-00000000012"].to("changes", out());
    let named = events.split_named("kind-").branch_named("deletes", |_, value| value == "delete").default_branch_named("rest");
    named["kind-deletes"].merge(&named["kind-rest"]).to("again", out());
    let last = events.split().branch(|_, _| false).default_branch();
    last["KSTREAM-BRANCH-00000000110"].to("default", out());
    builder.build()
}

pub fn aggregations() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    let amounts = builder.stream("amounts", Consumed::with(nullable_text(), nullable_text()));
    let grouped = amounts.group_by_key(Grouped::with(nullable_text(), nullable_text()));
    // The engine skips null values before they come here.
    let joined = |a: Option<String>, b: Option<String>| Some(format!("{}+{}", a.unwrap_or_default(), b.unwrap_or_default()));
    grouped.reduce(joined).to_stream().to("joined", Produced::with(nullable_text(), Nullable(nullable_text())));
    let sum = |_: &Option<String>, value: Option<String>, sum: Option<i64>| {
        let value = value.unwrap_or_default();
        (value != "reset").then(|| sum.unwrap_or_default() + value.len() as i64)
    };
    let lengths = Materialized::named("lengths").with_key_serde(nullable_text()).with_value_serde(LongSerde.nullable());
    grouped
        .aggregate_named("sum", || Some(0), sum, lengths)
        .to_stream()
        .to("lengths-out", Produced::with(nullable_text(), LongSerde.nullable().nullable()));
    grouped
        .count_with(Materialized::with(nullable_text(), LongSerde))
        .to_stream()
        .to("counts-out", Produced::with(nullable_text(), LongSerde.nullable()));
    builder.build()
}

pub fn repartitions() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    let orders = builder.stream("orders", Consumed::with(nullable_text(), StringSerde));
    orders
        .select_key(|_, value| value.clone())
        .repartition(Repartitioned::with(StringSerde, StringSerde).with_name("by-name").with_number_of_partitions(3))
        .to("named", out());
    orders
        .repartition(Repartitioned::with(nullable_text(), StringSerde))
        .map_values(|value| value + "?")
        .to("unnamed", Produced::with(nullable_text(), StringSerde));
    builder.build()
}

pub fn read_twice() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    builder.stream("shared", text()).map_values(|value| value + "a").to("first", out());
    let second = builder.stream("shared", text()).map_values(|value| value + "b");
    second.merge(&builder.stream(["x", "y", "z"], text())).to("second", out());
    builder.build()
}
