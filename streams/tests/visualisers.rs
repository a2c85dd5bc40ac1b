//! The tools that draw Kafka Streams topologies read the text of `describe()` line by line with regular expressions. These are theirs in substance:
//! the ones that search within a line, and the stricter ones that match a whole line.

use std::collections::BTreeSet;

use regex_lite::Regex;
use streams::{
    Consumed, DescribedNode, Grouped, Joined, LongSerde, Materialized, Produced, Serde, StreamsBuilder, StringSerde, Topology,
    TopologyDescription,
};

fn topology() -> Topology {
    let builder = StreamsBuilder::new();
    let text = || Consumed::with(StringSerde, StringSerde);
    let counts = builder
        .stream(["lines", "more-lines"], text())
        .group_by(|_, word: &String| word.clone(), Grouped::with(StringSerde, StringSerde))
        .count_with(Materialized::named("counts"));
    counts.to_stream().to("word-counts", Produced::with(StringSerde, LongSerde.nullable()));
    builder
        .stream("words", text())
        .left_join(&counts, |word, count| format!("{word} {count:?}"), Joined::default())
        .to("known-words", Produced::with(StringSerde, StringSerde));
    builder.build().expect("a topology")
}

/// What a drawing shows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Drawing {
    subtopologies: Vec<String>,
    /// Kind, node, topics or stores.
    nodes: BTreeSet<(String, String, Vec<String>)>,
    edges: BTreeSet<(String, String)>,
}

fn names(list: &str) -> Vec<String> {
    list.replace(['[', ']'], "").split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Draws what is found by searching each line.
fn searched(text: &str) -> Drawing {
    let subtopology = Regex::new(r"Sub-topology: ([0-9]*)").expect("a pattern");
    let node = Regex::new(r"(Source:|Processor:|Sink:)\s+(\S+)\s+\((topics|topic|stores):(.*)\)").expect("a pattern");
    let successors = Regex::new(r"-->\s+(.*)").expect("a pattern");
    let (mut drawing, mut current) = (Drawing::default(), String::new());
    for line in text.lines() {
        if let Some(found) = subtopology.captures(line) {
            drawing.subtopologies.push(found[1].to_owned());
        } else if let Some(found) = node.captures(line) {
            current = found[2].to_owned();
            drawing.nodes.insert((found[1].trim_end_matches(':').to_owned(), current.clone(), names(&found[4])));
        } else if let Some(found) = successors.captures(line) {
            drawing.edges.extend(names(&found[1]).into_iter().filter(|name| name != "none").map(|name| (current.clone(), name)));
        }
    }
    drawing
}

/// Draws what whole lines match; a line that nothing matches is an error there.
fn matched(text: &str) -> Drawing {
    let whole = |pattern: &str| Regex::new(&format!("^{pattern}$")).expect("a pattern");
    assert!(text.starts_with("Topolog"), "the text is known by its start");
    let subtopology = whole(r"\s*(Sub-topology: ([0-9]*)).*");
    let kinds = [
        ("Source", whole(r"\s*Source:\s+(\S+)\s+\(topics:\s\[(.*)\]\)")),
        ("Processor", whole(r"\s*Processor:\s+(\S+)\s+\(stores:\s\[(.*)\]\)")),
        ("Sink", whole(r"\s*Sink:\s+(\S+)\s+\(topic:\s(.*)\)")),
    ];
    let (right, left) = (whole(r"\s*-->\s+(.*)"), whole(r"\s*<--\s+(.*)"));
    let (mut drawing, mut current) = (Drawing::default(), String::new());
    for line in text.lines().skip(1).filter(|line| !line.trim().is_empty()) {
        if let Some(found) = subtopology.captures(line) {
            drawing.subtopologies.push(found[2].to_owned());
        } else if let Some((kind, found)) = kinds.iter().find_map(|(kind, pattern)| Some((kind, pattern.captures(line)?))) {
            current = found[1].to_owned();
            drawing.nodes.insert(((*kind).to_owned(), current.clone(), names(&found[2])));
        } else if let Some(found) = right.captures(line) {
            drawing.edges.extend(names(&found[1]).into_iter().filter(|name| name != "none").map(|name| (current.clone(), name)));
        } else {
            assert!(left.is_match(line), "no pattern matches {line:?}");
        }
    }
    drawing
}

fn described(description: &TopologyDescription) -> Drawing {
    let mut drawing = Drawing::default();
    for subtopology in &description.subtopologies {
        drawing.subtopologies.push(subtopology.id.to_string());
        for node in &subtopology.nodes {
            let (kind, with, successors) = match node {
                DescribedNode::Source { topics, successors, .. } => ("Source", topics.clone(), successors.clone()),
                DescribedNode::Processor { stores, successors, .. } => ("Processor", stores.clone(), successors.clone()),
                DescribedNode::Sink { topic, .. } => ("Sink", topic.iter().cloned().collect(), Vec::new()),
            };
            drawing.nodes.insert((kind.to_owned(), node.name().to_owned(), with));
            drawing.edges.extend(successors.into_iter().map(|successor| (node.name().to_owned(), successor)));
        }
    }
    drawing
}

#[test]
fn visualisers_can_read_the_description() {
    let description = topology().describe();
    let text = description.to_string();
    let expected = described(&description);
    assert_eq!(expected.subtopologies, ["0", "1"]);
    assert_eq!(expected.nodes.len(), 11);
    assert_eq!(searched(&text), expected);
    assert_eq!(matched(&text), expected);
}
