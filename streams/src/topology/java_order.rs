//! The order in which Java's hash and tree collections give back what they hold.
//!
//! Kafka Streams' `describe()` prints from such collections, so its exact text depends on them.

use std::cmp::Ordering;

/// `String.hashCode`, spread as `HashMap` spreads it.
fn spread_hash(text: &str) -> u32 {
    let hash = text.encode_utf16().fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
    hash ^ (hash >> 16)
}

/// The iteration order of a `HashSet` to which these were added one by one.
pub(super) fn hash_set(texts: Vec<String>) -> Vec<String> {
    let mut capacity = 16;
    while texts.len() * 4 > capacity * 3 {
        capacity *= 2;
    }
    by_bucket(texts, capacity)
}

/// The iteration order of a `new HashSet<>(collection)`.
pub(super) fn hash_set_of(texts: Vec<String>) -> Vec<String> {
    let wanted = (texts.len() as f32 / 0.75) as usize + 1;
    by_bucket(texts, wanted.max(16).next_power_of_two())
}

/// Within a bucket, the order of insertion stays.
fn by_bucket(mut texts: Vec<String>, capacity: usize) -> Vec<String> {
    texts.sort_by_key(|text| spread_hash(text) as usize & (capacity - 1));
    texts
}

/// A `TreeSet` of numbers whose order may change while they are in it: a red-black tree, so that each insertion meets the same elements as in Java.
#[derive(Debug, Default)]
pub(super) struct TreeSet {
    nodes: Vec<TreeNode>,
    root: Option<usize>,
}

#[derive(Debug)]
struct TreeNode {
    item: usize,
    parent: Option<usize>,
    left: Option<usize>,
    right: Option<usize>,
    red: bool,
}

impl TreeSet {
    /// Inserts an item where the present order of the items puts it; an equal one is left as it is.
    pub(super) fn insert(&mut self, item: usize, compare: impl Fn(usize, usize) -> Ordering) {
        let (mut parent, mut below, mut left) = (None, self.root, false);
        while let Some(node) = below {
            parent = Some(node);
            match compare(item, self.nodes[node].item) {
                Ordering::Equal => return,
                Ordering::Less => (below, left) = (self.nodes[node].left, true),
                Ordering::Greater => (below, left) = (self.nodes[node].right, false),
            }
        }
        let new = self.nodes.len();
        self.nodes.push(TreeNode { item, parent, left: None, right: None, red: true });
        match parent {
            None => self.root = Some(new),
            Some(parent) if left => self.nodes[parent].left = Some(new),
            Some(parent) => self.nodes[parent].right = Some(new),
        }
        self.rebalance(new);
    }

    /// The items in order.
    pub(super) fn items(&self) -> Vec<usize> {
        let (mut items, mut path, mut at) = (Vec::new(), Vec::new(), self.root);
        while at.is_some() || !path.is_empty() {
            while let Some(node) = at {
                path.push(node);
                at = self.nodes[node].left;
            }
            if let Some(node) = path.pop() {
                items.push(self.nodes[node].item);
                at = self.nodes[node].right;
            }
        }
        items
    }

    fn red(&self, node: Option<usize>) -> bool {
        node.is_some_and(|node| self.nodes[node].red)
    }

    fn rebalance(&mut self, mut node: usize) {
        while let Some(parent) = self.nodes[node].parent.filter(|parent| self.nodes[*parent].red) {
            // A red node is never the root, so there is a grandparent.
            let Some(grandparent) = self.nodes[parent].parent else { break };
            let on_left = self.nodes[grandparent].left == Some(parent);
            let uncle = if on_left { self.nodes[grandparent].right } else { self.nodes[grandparent].left };
            if self.red(uncle) {
                for black in [Some(parent), uncle].into_iter().flatten() {
                    self.nodes[black].red = false;
                }
                self.nodes[grandparent].red = true;
                node = grandparent;
                continue;
            }
            let inner = if on_left { self.nodes[parent].right } else { self.nodes[parent].left };
            if inner == Some(node) {
                node = parent;
                self.rotate(node, on_left);
            }
            if let Some(parent) = self.nodes[node].parent {
                self.nodes[parent].red = false;
            }
            self.nodes[grandparent].red = true;
            self.rotate(grandparent, !on_left);
        }
        if let Some(root) = self.root {
            self.nodes[root].red = false;
        }
    }

    /// Puts a node's right child in its place (`left`), or its left one.
    fn rotate(&mut self, node: usize, left: bool) {
        let Some(child) = (if left { self.nodes[node].right } else { self.nodes[node].left }) else { return };
        let moved = if left { self.nodes[child].left.replace(node) } else { self.nodes[child].right.replace(node) };
        match left {
            true => self.nodes[node].right = moved,
            false => self.nodes[node].left = moved,
        }
        if let Some(moved) = moved {
            self.nodes[moved].parent = Some(node);
        }
        let parent = self.nodes[node].parent.replace(child);
        self.nodes[child].parent = parent;
        match parent {
            None => self.root = Some(child),
            Some(parent) if self.nodes[parent].left == Some(node) => self.nodes[parent].left = Some(child),
            Some(parent) => self.nodes[parent].right = Some(child),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_hashes_as_in_java() {
        assert_eq!(spread_hash("hello") as i32, 99_162_322 ^ (99_162_322 >> 16));
    }

    #[test]
    fn a_tree_set_gives_its_items_in_order() {
        let mut set = TreeSet::default();
        for item in [5, 3, 9, 1, 4, 8, 2, 7, 6, 0, 5, 3] {
            set.insert(item, |a, b| a.cmp(&b));
        }
        assert_eq!(set.items(), (0..10).collect::<Vec<_>>());
    }
}
