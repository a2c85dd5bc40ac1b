//! The full customer topology on the embedded log: first contact, then edits in the product, each pushed to a Stripe that answers
//! at once, so that every message of a real conversation is there, and nothing waits for a network.

use crate::{feed::Feed, process};
use anyhow::Context;
use schemas::{
    Action, Answer, AvroCodec, CustomerFields, Field, Outcome, Registry, Request, SourceCustomer, System, UnifiedCustomer, UnifyBody,
    UnifyMessage, Walk, value_subject,
};
use std::time::{Duration, Instant};
use streams::{
    ProducerRecord, TaskConfig, TopicPartition, dead_letter_queue,
    embedded::{Append, Log, Options, StreamsConfig, TopicConfig},
};
use topology::customers::{self, Cleanup, SystemConfig};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Source records in all
    #[arg(long, default_value_t = 1_000_000)]
    records: usize,
    #[arg(long, default_value_t = 200_000)]
    customers: usize,
    /// Partitions of every topic
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// Folder for the log [default: a temporary one]
    #[arg(long)]
    folder: Option<std::path::PathBuf>,
}

const BATCH: usize = 2_000;

struct Bench {
    log: Log,
    feed: Feed,
    codec: AvroCodec<SourceCustomer>,
    requests: AvroCodec<Request>,
    unified: AvroCodec<UnifiedCustomer>,
    product: System,
    stripe: System,
    /// Edits of each customer in the product: they change name and phone in turn.
    edits: Vec<u32>,
    /// What Stripe shows of each: the counters in its name and its phone.
    shown: Vec<(u32, u32)>,
    /// The product's outbox number.
    number: i64,
    sent: usize,
    /// Where the answering Stripe is in each partition of its requests.
    answered: Vec<i64>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let temporary = tempfile::tempdir()?;
    let folder = args.folder.clone().unwrap_or_else(|| temporary.path().to_path_buf());
    let log = Log::open(&folder, Options { min_free_bytes: 0, ..Options::default() })?;
    let (product, stripe) = (System::new("product")?, System::new("stripe")?);
    let mut config =
        customers::Config::new("bench", vec![SystemConfig::connector(product.clone()), SystemConfig::connector(stripe.clone())]);
    config.partitions = args.partitions;
    for topic in customers::topics(&config) {
        log.create_topic(match topic.cleanup {
            Cleanup::Delete => TopicConfig::delete(topic.name, topic.partitions, Duration::from_secs(7 * 86_400)),
            Cleanup::Compact => TopicConfig::compact(topic.name, topic.partitions),
        })?;
    }
    let registry = Registry::new();
    let topology = customers::build(&config, &registry)?;
    let mut streams = StreamsConfig::new("bench");
    streams.task = TaskConfig { exception_handler: dead_letter_queue(|topic| format!("{topic}.dlq")) };
    let _streams = log.start(&topology, streams)?;
    let mut bench = Bench {
        feed: Feed::new(log.clone())?,
        log,
        codec: registry.codec(&value_subject("customers.product"))?,
        requests: registry.codec(&value_subject("requests.stripe"))?,
        unified: registry.codec(&value_subject("customers.unified"))?,
        product,
        stripe,
        edits: vec![0; args.customers],
        shown: vec![(0, 0); args.customers],
        number: 0,
        sent: 0,
        answered: vec![0; usize::try_from(args.partitions)?],
    };

    let (started, cpu) = (Instant::now(), process::cpu_time());
    bench.first_contact()?;
    bench.settle(&config, args.partitions)?;
    let (first, first_records) = (started.elapsed(), bench.sent);
    bench.announce(&registry, args.partitions)?;
    let edits = Instant::now();
    bench.edit_until(args.records)?;
    bench.settle(&config, args.partitions)?;
    let (edited, edited_records) = (edits.elapsed(), bench.sent - first_records);
    let (elapsed, cpu) = (first + edited, process::cpu_time() - cpu);

    let rate = |records: usize, time: Duration| records as f64 / time.as_secs_f64();
    println!("full customer topology, two systems, {} customers, {} partitions, every commit fsynced", args.customers, args.partitions);
    println!("  first contact      {:>9.0} records/s   ({first_records} records)", rate(first_records, first));
    println!("  edits and answers  {:>9.0} records/s   ({edited_records} records)", rate(edited_records, edited));
    println!(
        "  all                {:>9.0} records/s   ({} records in {:.1} s)",
        rate(bench.sent, elapsed),
        bench.sent,
        elapsed.as_secs_f64()
    );
    println!("  CPU                {:>9.1} s per million records", cpu.as_secs_f64() * 1e6 / bench.sent as f64);
    println!("  peak resident      {:>9.0} MB", process::peak_resident_mb());
    println!("  on disk            {:>9.0} MB", process::folder_mb(&folder));
    bench.verify(&config)
}

fn fields(customer: usize, (name, phone): (u32, u32)) -> CustomerFields {
    CustomerFields {
        name: Some(format!("Customer Number {customer} {name}")),
        email: Some(format!("customer{customer}@example.com")),
        phone: Some(format!("+44 20 7946 {:04} {phone}", customer % 10_000)),
        ..CustomerFields::default()
    }
}

impl Bench {
    /// What the product shows.
    fn fields(&self, customer: usize) -> CustomerFields {
        let edits = self.edits[customer];
        fields(customer, (edits / 2, edits.div_ceil(2)))
    }

    fn send(&mut self, topic: &str, records: Vec<(String, SourceCustomer)>) -> anyhow::Result<()> {
        self.sent += records.len();
        let records: Result<Vec<_>, _> = records
            .iter()
            .map(|(key, value)| self.codec.encode(value).map(|bytes| ProducerRecord::new(topic, key.clone(), bytes)))
            .collect();
        self.feed.send(Append::of(records?))
    }

    /// Both systems have every customer already, under the same e-mail.
    fn first_contact(&mut self) -> anyhow::Result<()> {
        let all: Vec<usize> = (0..self.edits.len()).collect();
        for part in all.chunks(BATCH) {
            let mut product = Vec::with_capacity(part.len());
            let mut stripe = Vec::with_capacity(part.len());
            for customer in part {
                self.number += 1;
                let seen = SourceCustomer { look: 1, fields: Some(self.fields(*customer)), created: 1, ..SourceCustomer::default() };
                product.push((format!("p{customer}"), SourceCustomer { order: Some(self.number), incarnation: Some(0), ..seen.clone() }));
                stripe.push((format!("cus_{customer}"), SourceCustomer { order: Some(1), ..seen }));
            }
            self.send("customers.product", product)?;
            self.send("customers.stripe", stripe)?;
        }
        Ok(())
    }

    /// Both systems count as imported, as after a backfill.
    fn announce(&self, registry: &Registry, partitions: i32) -> anyhow::Result<()> {
        let codec: AvroCodec<UnifyMessage> = registry.codec(&value_subject("customers.unify"))?;
        let mut records = Vec::new();
        for system in [&self.product, &self.stripe] {
            let message = UnifyMessage { body: UnifyBody::Walk(Walk { system: system.clone(), reason: "import".into() }) };
            for partition in 0..partitions {
                records.push(ProducerRecord::new("customers.unify", system.to_string(), codec.encode(&message)?).with_partition(partition));
            }
        }
        self.log.append_blocking(Append::of(records))?;
        Ok(())
    }

    /// Edits in the product, spread over all customers; Stripe answers each write that comes of them.
    fn edit_until(&mut self, records: usize) -> anyhow::Result<()> {
        let mut customer = 0;
        while self.sent < records {
            let mut batch = Vec::with_capacity(BATCH);
            for _ in 0..BATCH {
                // A step that shares no factor with the count visits every customer.
                customer = (customer + 7_919) % self.edits.len();
                self.edits[customer] += 1;
                self.number += 1;
                let fields = Some(self.fields(customer));
                batch.push((
                    format!("p{customer}"),
                    SourceCustomer {
                        order: Some(self.number),
                        incarnation: Some(0),
                        look: self.number,
                        fields,
                        ..SourceCustomer::default()
                    },
                ));
            }
            self.send("customers.product", batch)?;
            self.answer()?;
        }
        Ok(())
    }

    /// What is asked of Stripe is done at once.
    fn answer(&mut self) -> anyhow::Result<usize> {
        let mut answers = Vec::new();
        for partition in 0..self.answered.len() {
            let tp = TopicPartition::new("requests.stripe", i32::try_from(partition)?);
            loop {
                let records = self.log.read(&tp, self.answered[partition], BATCH, 4 << 20)?;
                let Some(last) = records.last() else { break };
                self.answered[partition] = last.offset + 1;
                for record in &records {
                    let request = self.requests.decode(record.value.as_deref().context("a request without a value")?)?;
                    let Action::Write(write) = request.action else { continue };
                    let key = std::str::from_utf8(record.key.as_deref().context("a request without a key")?)?.to_string();
                    let customer: usize = key.strip_prefix("cus_").context("not a customer of this Stripe")?.parse()?;
                    for (field, value) in &write.set {
                        let counter =
                            value.as_text().and_then(|text| text.rsplit(' ').next()?.parse().ok()).context("not a value of this bench")?;
                        match field {
                            Field::Name => self.shown[customer].0 = counter,
                            Field::Phone => self.shown[customer].1 = counter,
                            other => anyhow::bail!("nobody edited {other}"),
                        }
                    }
                    let fields = fields(customer, self.shown[customer]);
                    let answer = Answer {
                        write_id: write.id.clone(),
                        outcome: Outcome::Done,
                        refused_field: None,
                        reason: None,
                        taken: false,
                        left: Some(fields.clone()),
                        unseen: false,
                    };
                    let mark = Some(write.id.to_string());
                    answers.push((
                        key,
                        SourceCustomer {
                            // The first contact was 1.
                            order: Some(record.offset + 2),
                            look: record.offset,
                            fields: Some(fields),
                            mark,
                            answer: Some(answer),
                            ..SourceCustomer::default()
                        },
                    ));
                }
            }
        }
        let count = answers.len();
        if count > 0 {
            self.send("customers.stripe", answers)?;
        }
        Ok(count)
    }

    /// Until nothing is left to process or to answer: what was asked by then is seen only by an `answer` that comes after.
    fn settle(&mut self, config: &customers::Config, partitions: i32) -> anyhow::Result<()> {
        loop {
            self.feed.finish()?;
            let behind = self.is_behind(config, partitions)?;
            let answered = self.answer()?;
            if answered == 0 && !behind {
                return Ok(());
            }
            if behind {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// Whether the topology has anything left to process. All that is committed is read before any end: a record that waits between
    /// the two is seen, wherever it moves meanwhile.
    fn is_behind(&self, config: &customers::Config, partitions: i32) -> anyhow::Result<bool> {
        let topics = ["customers.product", "customers.stripe", "links.product", "links.stripe", "customers.identify", "customers.unify"];
        let read = topics.iter().flat_map(|topic| (0..partitions).map(|partition| TopicPartition::new(*topic, partition)));
        let read: Vec<TopicPartition> = read.collect();
        let committed = read.iter().map(|tp| Ok(self.log.committed(&config.application_id, tp)?.unwrap_or(0)));
        let committed = committed.collect::<anyhow::Result<Vec<i64>>>()?;
        for (tp, committed) in read.iter().zip(committed) {
            if committed < self.log.end_offset(tp)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A wrong result has no speed: every customer is unified once, and Stripe was told the last value of each.
    fn verify(&self, config: &customers::Config) -> anyhow::Result<()> {
        let mut seen = std::collections::BTreeMap::new();
        for partition in 0..config.partitions {
            let tp = TopicPartition::new("customers.unified", partition);
            let mut from = 0;
            loop {
                let records = self.log.read(&tp, from, 5_000, 8 << 20)?;
                let Some(last) = records.last() else { break };
                from = last.offset + 1;
                for record in records {
                    let customer = self.unified.decode(record.value.as_deref().context("a unified customer without a value")?)?;
                    seen.insert(customer.customer_id, customer);
                }
            }
        }
        anyhow::ensure!(seen.len() == self.edits.len(), "{} unified customers instead of {}", seen.len(), self.edits.len());
        for customer in seen.values() {
            let record = customer.records.iter().find(|r| r.system == self.product).context("a customer without its product record")?;
            let number: usize = record.external_id.as_str().trim_start_matches('p').parse()?;
            let golden: schemas::Values = customer.fields.iter().map(|f| (f.field.clone(), f.value.clone())).collect();
            anyhow::ensure!(golden == self.fields(number).values(), "customer {number} is {golden:?}");
            anyhow::ensure!(customer.records.len() == 2 && customer.records.iter().all(|r| r.in_step), "customer {number} is not in step");
        }
        println!("  verified: {} unified customers, each with its last values, in step in both systems", seen.len());
        Ok(())
    }
}
