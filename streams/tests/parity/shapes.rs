//! Topologies for their shape: the customer topology's, and ones that try the order of the description.

use streams::{Processor, ProcessorContext, ProcessorError, Record, StoreBuilder, StringSerde, Topology, TopologyError};

/// Sends each record to the child that its value starts with, with the rest as value.
struct Route {
    prefix: String,
}

impl Processor<String, String> for Route {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<String, String>) -> Result<(), ProcessorError> {
        let (word, rest) = record.value.split_once(' ').unwrap_or((&record.value, ""));
        let (child, rest) = (format!("{}{word}", self.prefix), rest.to_owned());
        ctx.forward_to(&child, record.with_value(rest))
    }
}

fn source(topology: &mut Topology, name: &str, topics: &[&str]) -> Result<(), TopologyError> {
    topology.add_source::<String, String>(name, StringSerde, StringSerde, topics.iter().copied()).map(drop)
}

fn route(topology: &mut Topology, name: &str, prefix: &str, parents: &[&str]) -> Result<(), TopologyError> {
    let prefix = prefix.to_owned();
    topology.add_processor(name, move || Route { prefix: prefix.clone() }, parents.iter().copied()).map(drop)
}

fn sink(topology: &mut Topology, name: &str, topic: &str, parents: &[&str]) -> Result<(), TopologyError> {
    topology.add_sink::<String, String>(name, topic, StringSerde, StringSerde, parents.iter().copied()).map(drop)
}

fn store(topology: &mut Topology, name: &str, processors: &[&str]) -> Result<(), TopologyError> {
    topology.add_state_store(StoreBuilder::key_value(name), processors.iter().copied()).map(drop)
}

pub fn customers() -> Result<Topology, TopologyError> {
    let mut topology = Topology::new();
    let it = &mut topology;
    for system in ["product", "stripe", "salesforce"] {
        let resolve = format!("resolve-{system}");
        let (customers, links) = (format!("customers-{system}"), format!("links-{system}"));
        source(it, &customers, &[&format!("customers.{system}")])?;
        source(it, &links, &[&format!("links.{system}")])?;
        route(it, &resolve, &format!("{resolve}-"), &[&customers, &links])?;
        store(it, &format!("links-{system}-store"), &[&resolve])?;
        sink(it, &format!("{resolve}-identify"), "customers.identify", &[&resolve])?;
        sink(it, &format!("{resolve}-unify"), "customers.unify", &[&resolve])?;
        sink(it, &format!("{resolve}-requests-{system}"), &format!("requests.{system}"), &[&resolve])?;
    }
    source(it, "customers-identify", &["customers.identify"])?;
    route(it, "identify", "identify-", &["customers-identify"])?;
    store(it, "emails", &["identify"])?;
    sink(it, "identify-unify", "customers.unify", &["identify"])?;
    source(it, "customers-unify", &["customers.unify"])?;
    route(it, "unify", "unify-", &["customers-unify"])?;
    for name in ["customers", "due", "walks"] {
        store(it, name, &["unify"])?;
    }
    for (name, topic) in [("unify", "unify"), ("identify", "identify"), ("unified", "unified"), ("conflicts", "conflicts")] {
        sink(it, &format!("unify-{name}"), &format!("customers.{topic}"), &["unify"])?;
    }
    for system in ["product", "stripe", "salesforce"] {
        sink(it, &format!("unify-links-{system}"), &format!("links.{system}"), &["unify"])?;
        sink(it, &format!("unify-requests-{system}"), &format!("requests.{system}"), &["unify"])?;
    }
    Ok(topology)
}

pub fn fan_out() -> Result<Topology, TopologyError> {
    let mut topology = Topology::new();
    let it = &mut topology;
    source(it, "many", &["t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "t9", "t10", "t11", "t12", "t13", "t14"])?;
    source(it, "other", &["other"])?;
    route(it, "root", "", &["many", "other"])?;
    route(it, "zeta", "", &["root"])?;
    route(it, "alpha", "", &["root"])?;
    route(it, "mid", "mid-", &["root"])?;
    route(it, "deep", "", &["root"])?;
    route(it, "left", "left-", &["deep"])?;
    route(it, "right", "", &["deep", "mid"])?;
    route(it, "join", "", &["right", "zeta", "alpha"])?;
    sink(it, "left-out", "left", &["left"])?;
    sink(it, "mid-out", "mid", &["mid"])?;
    sink(it, "all-out", "all", &["join", "left", "alpha"])?;
    for leaf in 0..9 {
        route(it, &format!("leaf-{leaf}"), "", &["mid"])?;
        sink(it, &format!("leaf-out-{leaf}"), "leaves", &[&format!("leaf-{leaf}"), "root"])?;
    }
    Ok(topology)
}

pub fn many_stores() -> Result<Topology, TopologyError> {
    let mut topology = Topology::new();
    let it = &mut topology;
    source(it, "source", &["in"])?;
    for name in ["p0", "p1", "p2"] {
        route(it, name, "", &["source"])?;
    }
    source(it, "apart", &["apart"])?;
    route(it, "same-group", "", &["apart"])?;
    for number in 0..30 {
        store(it, &format!("store-{}", number * number), &[if number % 2 == 0 { "p0" } else { "p1" }, "p2"])?;
    }
    it.connect_processor_and_state_stores("same-group", ["store-1", "store-0", "store-4"])?;
    route(it, "sink-less", "", &["p0", "p1", "p2", "same-group"])?;
    Ok(topology)
}
