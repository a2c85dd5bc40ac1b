//! What a topology refuses, and how it is cut into sub-topologies, tasks and internal topics.

use std::collections::BTreeMap;

use streams::{
    Consumed, Grouped, Joined, Materialized, Processor, ProcessorContext, ProcessorError, Produced, Record, Repartitioned, StoreBuilder,
    StreamsBuilder, StringSerde, Topology, TopologyError,
};

struct Nothing;

impl Processor<String, String> for Nothing {
    fn process(&mut self, _: &mut ProcessorContext<'_>, _: Record<String, String>) -> Result<(), ProcessorError> {
        Ok(())
    }
}

fn start() -> Topology {
    let mut topology = Topology::new();
    topology
        .add_source::<String, String>("source", StringSerde, StringSerde, ["in"])
        .and_then(|it| it.add_processor("processor", || Nothing, ["source"]))
        .and_then(|it| it.add_sink::<String, String>("sink", "out", StringSerde, StringSerde, ["processor"]))
        .expect("a topology");
    topology
}

#[test]
fn a_wrong_topology_is_refused_with_the_reason() {
    type Change = fn(&mut Topology) -> Result<&mut Topology, TopologyError>;
    let wrong: [(Change, &str); 12] = [
        (|it| it.add_processor("processor", || Nothing, ["source"]), "Processor processor is already added."),
        (|it| it.add_processor("next", || Nothing, ["nobody"]), "Predecessor processor nobody is not added yet for next"),
        (|it| it.add_processor("next", || Nothing, ["next"]), "Processor next cannot be a predecessor of itself."),
        (|it| it.add_processor("next", || Nothing, ["sink"]), "Sink sink cannot be used as a parent of next"),
        (|it| it.add_processor("next", || Nothing, [""; 0]), "You must provide at least one parent name: next"),
        (
            |it| it.add_source::<String, String>("again", StringSerde, StringSerde, ["in"]),
            "Topic in has already been registered by another source.",
        ),
        (
            |it| it.add_source::<String, String>("again", StringSerde, StringSerde, ["x", "x"]),
            "Topic x has already been registered by another source.",
        ),
        (|it| it.add_source::<String, String>("again", StringSerde, StringSerde, [""; 0]), "You must provide at least one topic"),
        (
            |it| it.add_sink::<String, String>("next", "out", StringSerde, StringSerde, ["nobody"]),
            "Predecessor processor nobody is not added yet for next",
        ),
        (|it| it.add_state_store(StoreBuilder::key_value("store"), ["nobody"]), "Processor nobody is not added yet."),
        (
            |it| it.add_state_store(StoreBuilder::key_value("store"), ["sink"]),
            "cannot connect a state store store to a source node or a sink node.",
        ),
        (|it| it.connect_processor_and_state_stores("processor", ["store"]), "StateStore store is not added yet."),
    ];
    for (change, reason) in wrong {
        let error = change(&mut start()).err().expect(reason);
        assert_eq!(error.to_string(), format!("Invalid topology: {reason}"));
    }
}

#[test]
fn a_topology_that_cannot_run_is_refused_when_it_is_built() {
    let mut topology = start();
    topology.add_state_store(StoreBuilder::key_value("lonely"), [""; 0]).expect("added");
    assert!(topology.build("app").err().expect("refused").to_string().contains("StateStore lonely is not connected to any processor."));
    assert!(Topology::new().build("app").is_err(), "nothing to read");
}

#[test]
fn a_missing_serde_is_named_when_the_operators_are_built() {
    let builder = StreamsBuilder::new();
    builder.stream("in", Consumed::with(StringSerde, StringSerde)).map_values(|value| value.len() as i64).to("out", Produced::default());
    let error = builder.build().err().expect("refused");
    assert_eq!(error.to_string(), "Invalid topology: no serde is known for the values of KSTREAM-SINK-0000000002");
}

#[test]
fn the_same_topic_in_different_company_is_refused() {
    let builder = StreamsBuilder::new();
    let text = || Consumed::with(StringSerde, StringSerde);
    builder.stream(["a", "b"], text()).foreach(|_, _| ());
    builder.stream("b", text()).foreach(|_, _| ());
    let error = builder.build().err().expect("refused");
    assert!(error.to_string().contains("overlapping but not equal input topics"), "{error}");
}

fn joined(partitions: Option<i32>) -> Topology {
    let builder = StreamsBuilder::new();
    let text = || Consumed::with(StringSerde, StringSerde);
    let table = builder.table("people", text());
    let orders = builder.stream("orders", text());
    let mut repartitioned = Repartitioned::with(StringSerde, StringSerde).with_name("by-person");
    if let Some(partitions) = partitions {
        repartitioned = repartitioned.with_number_of_partitions(partitions);
    }
    orders
        .select_key(|_, value| value.clone())
        .repartition(repartitioned)
        .join(&table, |order, person| order + &person, Joined::default())
        .to("out", Produced::with(StringSerde, StringSerde));
    builder.build().expect("a topology")
}

#[test]
fn topics_that_are_joined_must_have_equally_many_partitions() {
    let external = |topic: &str| Some(if topic == "people" { 6 } else { 2 });
    let built = joined(None).build("app").expect("built");
    let internal = built.repartition_topics(&external).expect("the partitions are known");
    assert_eq!(internal.iter().map(|(topic, count)| (&**topic, *count)).collect::<Vec<_>>(), [("app-by-person-repartition", 6)]);
    let all = |topic: &str| internal.get(topic).copied().or_else(|| external(topic));
    let tasks: Vec<String> = built.tasks(&all).expect("tasks").iter().map(ToString::to_string).collect();
    assert_eq!(tasks.len(), 8);
    assert_eq!(built.reader_of("people"), built.reader_of("app-by-person-repartition"));

    let built = joined(Some(4)).build("app").expect("built");
    let internal = built.repartition_topics(&external).expect("the partitions are known");
    let error = built.tasks(&|topic| internal.get(topic).copied().or_else(|| external(topic))).expect_err("4 and 6");
    assert_eq!(error.to_string(), "Invalid topology: Topics not co-partitioned: [app-by-person-repartition=4, people=6]");
}

#[test]
fn a_repartition_topic_is_as_wide_as_the_widest_topic_behind_it() {
    let builder = StreamsBuilder::new();
    let text = || Consumed::with(StringSerde, StringSerde);
    let grouped = |name: &str| Grouped::with(StringSerde, StringSerde).with_name(name);
    let first = builder
        .stream(["narrow", "wide"], text())
        .group_by(|_, value| value.clone(), grouped("one"))
        .reduce_with(|_, new| new, Materialized::named("first"))
        .to_stream()
        .flat_map(|key, value| value.map(|value| (value, key)));
    first.group_by(|key, _| key.clone(), grouped("two")).reduce_with(|_, new| new, Materialized::named("second").with_logging_disabled());
    let built = builder.build().expect("a topology").build("app").expect("built");
    let external = |topic: &str| BTreeMap::from([("narrow", 2), ("wide", 5)]).get(topic).copied();
    let internal = built.repartition_topics(&external).expect("known");
    assert_eq!(
        internal.iter().map(|(topic, count)| (&**topic, *count)).collect::<Vec<_>>(),
        [("app-one-repartition", 5), ("app-two-repartition", 5)]
    );
    let changelogs: Vec<Option<&str>> = built.stores().iter().map(|store| store.changelog_topic.as_deref()).collect();
    assert_eq!(changelogs, [Some("app-first-changelog"), None]);
    assert!(built.repartition_topics(&|_| None).is_err());
}
