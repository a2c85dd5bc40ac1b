//! A log with the topics of one system, and what was asked of it.

#![allow(dead_code, reason = "each test uses a part")]

use connect::Requests;
use schemas::{Action, Message, Read, Registry, Request, SourceCustomer, System, value_subject};
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
        let requests = Requests::new(&log.clone().into(), &registry, &system).unwrap();
        RequestsLog { log, registry, requests, system, folder }
    }

    /// Every read that was asked, by partition and offset: the record's external id and the read.
    pub fn reads(&self) -> Vec<(String, Read)> {
        self.all::<Request>(&format!("requests.{}", self.system))
            .into_iter()
            .map(|(id, request)| match request.action {
                Action::Read(read) => (id, read),
                other => panic!("a source only asks for reads, not {other:?}"),
            })
            .collect()
    }

    /// Every result, by partition and offset.
    pub fn results(&self) -> Vec<(String, SourceCustomer)> {
        self.all(&format!("customers.{}", self.system))
    }

    /// The record's newest result.
    pub fn latest(&self, id: &str) -> Option<SourceCustomer> {
        self.results().into_iter().rev().find(|(known, _)| known == id).map(|(_, result)| result)
    }

    fn all<T: Message>(&self, topic: &str) -> Vec<(String, T)> {
        let codec = self.registry.codec::<T>(&value_subject(topic)).unwrap();
        let mut all = Vec::new();
        for partition in 0..PARTITIONS {
            let tp = TopicPartition::new(topic, partition);
            let mut from = 0;
            loop {
                let records = self.log.read(&tp, from, 1_000, 1 << 20).unwrap();
                let Some(last) = records.last() else { break };
                from = last.offset + 1;
                for record in &records {
                    let key = String::from_utf8(record.key.as_ref().unwrap().to_vec()).unwrap();
                    all.push((key, codec.decode(record.value.as_ref().unwrap()).unwrap()));
                }
            }
        }
        all
    }
}
