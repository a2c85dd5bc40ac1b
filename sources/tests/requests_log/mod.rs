//! A log with the topics of one system, and what was asked of it.

use connect::Requests;
use schemas::{Action, Read, Registry, Request, System, value_subject};
use std::time::Duration;
use streams::{
    TopicPartition,
    embedded::{Log, Options, TopicConfig},
};

pub const PARTITIONS: i32 = 4;

pub struct RequestsLog {
    pub log: Log,
    pub registry: Registry,
    pub requests: Requests,
    pub system: System,
    pub folder: tempfile::TempDir,
}

impl RequestsLog {
    pub fn new(system: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(folder.path(), Options { min_free_bytes: 0, ..Options::default() }).unwrap();
        let system = System::new(system).unwrap();
        let week = Duration::from_secs(7 * 24 * 3600);
        for topic in [format!("requests.{system}"), format!("customers.{system}")] {
            log.create_topic(TopicConfig::delete(topic, PARTITIONS, week)).unwrap();
        }
        log.create_topic(TopicConfig::compact(format!("links.{system}"), PARTITIONS)).unwrap();
        let registry = Registry::new();
        let requests = Requests::new(&log, &registry, &system).unwrap();
        RequestsLog { log, registry, requests, system, folder }
    }

    /// Every read that was asked, by partition and offset: the record's external id and the read.
    pub fn reads(&self) -> Vec<(String, Read)> {
        let topic = format!("requests.{}", self.system);
        let codec = self.registry.codec::<Request>(&value_subject(&topic)).unwrap();
        let mut reads = Vec::new();
        for partition in 0..PARTITIONS {
            let tp = TopicPartition::new(topic.as_str(), partition);
            let mut from = 0;
            loop {
                let records = self.log.read(&tp, from, 1_000, 1 << 20).unwrap();
                let Some(last) = records.last() else { break };
                from = last.offset + 1;
                for record in &records {
                    let Action::Read(read) = codec.decode(record.value.as_ref().unwrap()).unwrap().action else {
                        panic!("a source only asks for reads")
                    };
                    reads.push((String::from_utf8(record.key.as_ref().unwrap().to_vec()).unwrap(), read));
                }
            }
        }
        reads
    }
}
