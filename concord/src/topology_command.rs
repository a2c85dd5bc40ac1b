//! `concord topology describe|graph`.

use crate::{
    cli::{GraphFormat, TopologyCommand},
    config::{Config, Env, Need, Overrides},
    shape, stdout,
};
use schemas::Registry;
use std::fmt::Write;
use streams::{DescribedNode, TopologyDescription};
use topology::customers;

pub fn run(command: &TopologyCommand, overrides: &Overrides, env: &Env) -> anyhow::Result<()> {
    let config = Config::load(overrides, env, Need::Shape)?;
    let topology = customers::build(&shape::customers_config(&config), &Registry::new())?;
    let description = topology.describe();
    match command {
        TopologyCommand::Describe => stdout::print(&description),
        TopologyCommand::Graph { format: GraphFormat::Mermaid } => stdout::print(mermaid(&description)),
        TopologyCommand::Graph { format: GraphFormat::Text } => stdout::print(text(&description)),
    }
}

/// A Mermaid flow chart: topics are drawn once, however many nodes read or write them, and stores beside their processors.
fn mermaid(description: &TopologyDescription) -> String {
    let mut out = String::from("flowchart LR\n");
    let mut edges = String::new();
    let mut topics: Vec<&str> = Vec::new();
    let mut stores: Vec<&str> = Vec::new();
    let id = |name: &str| name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect::<String>();
    for subtopology in &description.subtopologies {
        let _ = writeln!(out, "  subgraph sub{} [\"Sub-topology {}\"]", subtopology.id, subtopology.id);
        for node in &subtopology.nodes {
            let name = node.name();
            let _ = writeln!(out, "    n_{}[\"{name}\"]", id(name));
            match node {
                DescribedNode::Source { topics: read, successors, .. } => {
                    for topic in read {
                        topics.push(topic);
                        let _ = writeln!(edges, "  t_{} --> n_{}", id(topic), id(name));
                    }
                    link(&mut edges, name, successors, id);
                }
                DescribedNode::Processor { stores: used, successors, .. } => {
                    for store in used {
                        stores.push(store);
                        let _ = writeln!(edges, "  n_{} -.- s_{}", id(name), id(store));
                    }
                    link(&mut edges, name, successors, id);
                }
                DescribedNode::Sink { topic, .. } => {
                    if let Some(topic) = topic {
                        topics.push(topic);
                        let _ = writeln!(edges, "  n_{} --> t_{}", id(name), id(topic));
                    }
                }
            }
        }
        out.push_str("  end\n");
    }
    topics.sort_unstable();
    topics.dedup();
    stores.sort_unstable();
    stores.dedup();
    for topic in topics {
        let _ = writeln!(out, "  t_{}([\"{topic}\"])", id(topic));
    }
    for store in stores {
        let _ = writeln!(out, "  s_{}[(\"{store}\")]", id(store));
    }
    out.push_str(&edges);
    out
}

fn link(edges: &mut String, from: &str, successors: &[String], id: impl Fn(&str) -> String) {
    for to in successors {
        let _ = writeln!(edges, "  n_{} --> n_{}", id(from), id(to));
    }
}

/// Topic by topic: who reads it, through which stores, to which topics.
fn text(description: &TopologyDescription) -> String {
    let mut out = String::new();
    for subtopology in &description.subtopologies {
        let mut read = Vec::new();
        let mut written = Vec::new();
        let mut stores = Vec::new();
        for node in &subtopology.nodes {
            match node {
                DescribedNode::Source { topics, .. } => read.extend(topics.iter().map(String::as_str)),
                DescribedNode::Processor { stores: used, .. } => stores.extend(used.iter().map(String::as_str)),
                DescribedNode::Sink { topic, chooser, .. } => written.push(topic.as_deref().unwrap_or(chooser)),
            }
        }
        for list in [&mut read, &mut written, &mut stores] {
            list.sort_unstable();
            list.dedup();
        }
        let _ = writeln!(out, "{}: {} -> {}", subtopology.id, read.join(", "), written.join(", "));
        if !stores.is_empty() {
            let _ = writeln!(out, "   stores: {}", stores.join(", "));
        }
    }
    out
}
