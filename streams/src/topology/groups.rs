//! Sub-topologies: what is connected by records or by stores.

use std::collections::HashMap;

use super::{Role, Topology};

/// The sub-topology of each node, numbered by the first node of each in the order they were added, as Kafka Streams numbers them.
pub(super) fn node_groups(topology: &Topology) -> Vec<usize> {
    let index: HashMap<&str, usize> = topology.nodes.iter().enumerate().map(|(index, node)| (node.name.as_str(), index)).collect();
    let mut roots: Vec<usize> = (0..topology.nodes.len()).collect();
    let mut first_user: HashMap<&str, usize> = HashMap::new();
    for (node, spec) in topology.nodes.iter().enumerate() {
        for parent in &spec.parents {
            unite(&mut roots, node, index[parent.as_str()]);
        }
        if let Role::Processor { stores } = &spec.role {
            for store in stores {
                let user = *first_user.entry(store).or_insert(node);
                unite(&mut roots, node, user);
            }
        }
    }
    let mut numbers: HashMap<usize, usize> = HashMap::new();
    (0..topology.nodes.len())
        .map(|node| {
            let root = root(&mut roots, node);
            let next = numbers.len();
            *numbers.entry(root).or_insert(next)
        })
        .collect()
}

fn root(roots: &mut [usize], mut node: usize) -> usize {
    while roots[node] != node {
        roots[node] = roots[roots[node]];
        node = roots[node];
    }
    node
}

fn unite(roots: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(roots, a), root(roots, b));
    roots[a.max(b)] = a.min(b);
}
