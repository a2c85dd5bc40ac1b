//! The wiring: sources, processors, stores and sinks, each with a stable name.

use super::{
    Config, Kind,
    processors::{Identify, Incoming, Resolve, Results, Unify, child},
    stored::{Avro, CUSTOMERS, DUE, EMAILS, WALKS, codec, links_store},
    topics,
};
use schemas::{
    AvroCodec, CustomerConflict, CustomerLink, IdentifyMessage, Message, Registry, RegistryError, Request, SourceCustomer, UnifiedCustomer,
    UnifyMessage,
};
use std::sync::Arc;
use streams::{StoreBuilder, StringSerde, Topology, TopologyError};

/// Why there is no topology.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Config(#[from] super::ConfigError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Topology(#[from] TopologyError),
}

const IDENTIFY: &str = "identify";
const UNIFY: &str = "unify";

/// The customer topology: each system's resolve is a sub-topology of its own, and so are identify and unify.
///
/// Registers the schema of every topic and store that it touches.
pub fn build(config: &Config, registry: &Registry) -> Result<Topology, BuildError> {
    config.check()?;
    let config = Arc::new(config.clone());
    let mut topology = Topology::new();
    // What was said to whom is known from the stores alone.
    topology.require_exactly_once();
    for system in &config.systems {
        resolve(&mut topology, &config, registry, system)?;
    }
    identify(&mut topology, &config, registry)?;
    unify(&mut topology, &config, registry)?;
    Ok(topology)
}

fn resolve(topology: &mut Topology, config: &Arc<Config>, registry: &Registry, system: &super::SystemConfig) -> Result<(), BuildError> {
    let (customers, links, name) = (topics::customers(&system.name), topics::links(&system.name), format!("resolve-{}", system.name));
    let (from_customers, from_links) = (format!("customers-{}", system.name), format!("links-{}", system.name));
    let results = Results { codec: Avro(topic::<SourceCustomer>(registry, &customers)?), kind: system.kind };
    topology.add_source::<String, Incoming>(&from_customers, StringSerde, results, [customers])?;
    topology.add_source::<String, Incoming>(&from_links, StringSerde, Avro(topic::<CustomerLink>(registry, &links)?), [links])?;
    let store = links_store(&system.name);
    let codec = codec(config, registry, &store)?;
    let (config, system_name, node) = (config.clone(), system.name.clone(), name.clone());
    let supplier = move || Resolve::new(config.clone(), &system_name, &node, codec.clone());
    topology.add_processor::<String, Incoming, _>(&name, supplier, [from_customers, from_links])?;
    topology.add_state_store(StoreBuilder::key_value(store), [&name])?;
    sink::<IdentifyMessage>(topology, registry, &name, "identify", topics::IDENTIFY)?;
    sink::<UnifyMessage>(topology, registry, &name, "unify", topics::UNIFY)?;
    if system.kind == Kind::Connector {
        let requests = topics::requests(&system.name);
        sink::<Request>(topology, registry, &name, &format!("requests-{}", system.name), &requests)?;
    }
    Ok(())
}

fn identify(topology: &mut Topology, config: &Arc<Config>, registry: &Registry) -> Result<(), BuildError> {
    let source = "customers-identify";
    let messages = Avro(topic::<IdentifyMessage>(registry, topics::IDENTIFY)?);
    topology.add_source(source, StringSerde, messages, [topics::IDENTIFY])?;
    let (codec, config) = (codec(config, registry, EMAILS)?, config.clone());
    topology.add_processor(IDENTIFY, move || Identify::new(&config, IDENTIFY, codec.clone()), [source])?;
    topology.add_state_store(StoreBuilder::key_value(EMAILS), [IDENTIFY])?;
    sink::<UnifyMessage>(topology, registry, IDENTIFY, "unify", topics::UNIFY)
}

fn unify(topology: &mut Topology, config: &Arc<Config>, registry: &Registry) -> Result<(), BuildError> {
    let source = "customers-unify";
    topology.add_source(source, StringSerde, Avro(topic::<UnifyMessage>(registry, topics::UNIFY)?), [topics::UNIFY])?;
    let (customers, walks) = (codec(config, registry, CUSTOMERS)?, codec(config, registry, WALKS)?);
    let its = config.clone();
    topology.add_processor(UNIFY, move || Unify::new(its.clone(), UNIFY, customers.clone(), walks.clone()), [source])?;
    for store in [CUSTOMERS, DUE, WALKS] {
        topology.add_state_store(StoreBuilder::key_value(store), [UNIFY])?;
    }
    sink::<UnifyMessage>(topology, registry, UNIFY, "unify", topics::UNIFY)?;
    sink::<IdentifyMessage>(topology, registry, UNIFY, "identify", topics::IDENTIFY)?;
    sink::<UnifiedCustomer>(topology, registry, UNIFY, "unified", topics::UNIFIED)?;
    sink::<CustomerConflict>(topology, registry, UNIFY, "conflicts", topics::CONFLICTS)?;
    for system in &config.systems {
        let name = &system.name;
        sink::<CustomerLink>(topology, registry, UNIFY, &format!("links-{name}"), &topics::links(name))?;
        if system.kind == Kind::Connector {
            sink::<Request>(topology, registry, UNIFY, &format!("requests-{name}"), &topics::requests(name))?;
        }
    }
    Ok(())
}

/// A topic's codec, under TopicNameStrategy's subject.
fn topic<T: Message>(registry: &Registry, topic: &str) -> Result<AvroCodec<T>, RegistryError> {
    registry.codec::<T>(&format!("{topic}-value"))
}

fn sink<T: Message + Clone + 'static>(
    topology: &mut Topology,
    registry: &Registry,
    processor: &str,
    what: &str,
    to: &str,
) -> Result<(), BuildError> {
    let values = Avro(topic::<T>(registry, to)?);
    topology.add_sink::<String, T>(child(processor, what), to, StringSerde, values, [processor])?;
    Ok(())
}
