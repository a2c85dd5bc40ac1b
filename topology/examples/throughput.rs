//! How many source records per second the customer topology decides on one core, in memory: no log, no disk.
//!
//! `cargo run --release -p topology --example throughput -- 200000`

use schemas::*;
use std::time::Instant;
use streams::{ProducerRecord, StringSerde, TestDriverConfig, TopologyTestDriver};
use topology::customers::{self, Config, SystemConfig, stored};

/// Source records between two commits.
const BATCH: usize = 1_000;
const CUSTOMERS: usize = 10_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let records: usize = std::env::args().nth(1).map_or(Ok(100_000), |n| n.parse())?;
    let (product, stripe) = (System::new("product")?, System::new("stripe")?);
    let config = Config::new("throughput", vec![SystemConfig::connector(product), SystemConfig::connector(stripe)]);
    let registry = Registry::new();
    let topology = customers::build(&config, &registry)?;
    let driver = TopologyTestDriver::new(&topology, TestDriverConfig { manual: true, ..TestDriverConfig::default() })?;
    let codec = registry.codec::<SourceCustomer>("customers.product-value")?;
    let requests =
        driver.create_output_topic("requests.stripe", StringSerde, stored::Avro(registry.codec::<Request>("requests.stripe-value")?));

    let started = Instant::now();
    let (mut sent, mut order) = (0, 0);
    let mut send = |topic: &str, key: String, shown: SourceCustomer| -> Result<(), Box<dyn std::error::Error>> {
        order += 1;
        let shown = SourceCustomer { order: Some(order), look: order, ..shown };
        driver.append(ProducerRecord::new(topic, key, codec.encode(&shown)?))?;
        Ok(())
    };
    for round in 0.. {
        // First both systems show every customer; then each edit in the product is a write to Stripe, which answers.
        let first = round * BATCH / 2 % CUSTOMERS;
        let edit = round * BATCH / 2 / CUSTOMERS;
        for customer in first..first + BATCH / 2 {
            send("customers.product", format!("p{customer}"), shows(customer, edit))?;
            if edit == 0 {
                send("customers.stripe", format!("s{customer}"), shows(customer, 0))?;
            }
        }
        sent += BATCH / if edit == 0 { 1 } else { 2 };
        driver.run()?;
        for (key, request) in requests.read_key_values_to_list()? {
            if let Action::Write(write) = request.action {
                let shown = shows(key[1..].parse()?, edit);
                let (refused_field, reason, left) = (None, None, shown.fields.clone());
                let answer =
                    Answer { write_id: write.id, outcome: Outcome::Done, refused_field, reason, taken: false, left, unseen: false };
                send("customers.stripe", key, SourceCustomer { answer: Some(answer), ..shown })?;
                sent += 1;
            }
        }
        if sent >= records {
            break;
        }
    }
    driver.run()?;
    let (rate, store) = (sent as f64 / started.elapsed().as_secs_f64(), driver.store_entries(stored::CUSTOMERS)?);
    let bytes: usize = store.iter().map(|(_, _, value)| value.len()).sum();
    println!("{rate:.0} records/s, {} customers of {} bytes each", store.len(), bytes / store.len().max(1));
    Ok(())
}

fn shows(customer: usize, edit: usize) -> SourceCustomer {
    let fields = CustomerFields {
        name: Some(format!("Customer Number {customer} of {edit}")),
        email: Some(format!("customer{customer}@example.com")),
        phone: Some(format!("+44 20 7946 {:04}", customer % 10_000)),
        ..CustomerFields::default()
    };
    SourceCustomer { fields: Some(fields), ..SourceCustomer::default() }
}
