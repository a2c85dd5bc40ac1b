//! Tables, and their joins with streams.

use streams::{
    Consumed, Grouped, Joined, LongSerde, Materialized, Nullable, Produced, Serde, StreamsBuilder, StringSerde, Topology, TopologyError,
};

use crate::golden::nullable_text;

fn text() -> Consumed<String, String> {
    Consumed::with(StringSerde, StringSerde)
}

fn nullable() -> Consumed<Option<String>, Option<String>> {
    Consumed::with(nullable_text(), nullable_text())
}

fn out() -> Produced<String, String> {
    Produced::with(StringSerde, StringSerde)
}

/// For a table's changes.
fn changes() -> Produced<String, Option<String>> {
    Produced::with(StringSerde, nullable_text())
}

fn shown(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or("null")
}

pub fn tables() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    let plain = builder.table("plain", text());
    plain.filter(|_, value| value.len() > 1).to_stream().to("plain-long", changes());
    plain.map_values(|value| value + "!").to_stream().to("plain-loud", changes());
    let stored = builder.table_with("stored", text().with_name("stored-table"), Materialized::named("stored-store"));
    stored.filter(|_, value| value.len() > 1).to_stream().to("stored-long", changes());
    stored
        .filter_not_with(|_, value| value.len() > 1, Materialized::named("short"))
        .to_stream_named("short-changes")
        .to("stored-short", changes());
    stored
        .map_values_with(|value| value.len() as i64, Materialized::named("lengths").with_value_serde(LongSerde))
        .to_stream()
        .to("stored-lengths", Produced::with(StringSerde, LongSerde.nullable()));
    stored
        .map_values_named("with-key", |key, value| format!("{key}{value}"))
        .filter_named("longer", |_, value| value.len() > 2)
        .to_stream()
        .to("stored-both", changes());
    builder.build()
}

pub fn join() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    let people = builder.table("people", Consumed::with(nullable_text(), StringSerde));
    let orders = builder.stream("orders", nullable());
    let to = || Produced::with(nullable_text(), StringSerde);
    orders.join(&people, |order, person| format!("{} by {person}", shown(&order)), Joined::default()).to("joined", to());
    orders
        .left_join(
            &people,
            |order, person| format!("{} by {}", shown(&order), shown(&person)),
            Joined::with(nullable_text(), nullable_text()),
        )
        .to("left-joined", to());
    orders
        .join_with_key(
            &people,
            |key, order, person| format!("{}{}{person}", shown(key), shown(&order)),
            Joined::default().with_name("third"),
        )
        .to("third-joined", to());
    builder.build()
}

pub fn join_repartitioned() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    let people = builder.table_with("people", text(), Materialized::named("people-store"));
    let orders = builder.stream("orders", text()).map(|id, name| (name, id));
    orders.join(&people, |order, person| format!("{order} by {person}"), Joined::with(StringSerde, StringSerde)).to("joined", out());
    orders
        .left_join(
            &people,
            |order, person| format!("{order} by {}", shown(&person)),
            Joined::with(StringSerde, StringSerde).with_name("lefts"),
        )
        .to("left-joined", out());
    builder.build()
}

pub fn join_derived() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    let people = builder.table("people", text());
    let shout = people.filter(|_, value| value.len() > 2).map_values(|value| value + "!");
    let lengths = people.map_values_named_with(
        "lengths-node",
        |_, value: String| value.len() as i64,
        Materialized::named("lengths").with_key_serde(StringSerde).with_value_serde(LongSerde),
    );
    let orders = builder.stream("orders", text());
    orders.left_join(&shout, |order, person| format!("{order} by {}", shown(&person)), Joined::default()).to("shouted", out());
    orders.join(&lengths, |order, length| format!("{order}{length}"), Joined::default()).to("measured", out());
    builder.build()
}

pub fn join_aggregate() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    let visits = builder.stream("visits", text()).group_by_key(Grouped::default()).count_with(Materialized::named("visit-counts"));
    let shown = |count: Option<i64>| count.map_or("null".to_owned(), |count| count.to_string());
    builder
        .stream("orders", text())
        .left_join(&visits, move |order, count| format!("{order}:{}", shown(count)), Joined::default())
        .to("out", out());
    builder.build()
}

pub fn to_table() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    let changes = builder.stream("changes", nullable());
    let to = || Produced::with(nullable_text(), Nullable(nullable_text()));
    changes
        .to_table(Materialized::named("latest").with_key_serde(nullable_text()).with_value_serde(nullable_text()))
        .to_stream()
        .to("latest-out", to());
    let rekeyed = changes
        .filter(|_, value| value.is_some())
        .select_key(|_, value| value.clone())
        .to_table(Materialized::with(nullable_text(), nullable_text()));
    rekeyed.to_stream().to("rekeyed-out", to());
    changes
        .filter(|key, value| key.is_some() && value.is_some())
        .left_join(&rekeyed, |change, other| format!("{}{}", shown(&change), shown(&other.flatten())), Joined::default())
        .to("joined-out", Produced::with(nullable_text(), StringSerde));
    builder.build()
}

pub fn aggregate_filtered() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    builder
        .stream("words", text())
        .group_by_key(Grouped::with(StringSerde, StringSerde))
        .count()
        .filter(|_, count| count % 2 == 0)
        .to_stream()
        .to("even", Produced::with(StringSerde, LongSerde.nullable()));
    builder.build()
}
