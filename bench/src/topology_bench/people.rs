//! The customers, as both systems show them: their first contact, edits in the product, and a Stripe that does at once what it is asked.

use anyhow::Context;
use schemas::{
    Action, Answer, AvroCodec, CustomerFields, Field, Outcome, Registry, RegistryError, Request, SourceCustomer, System, UnifiedCustomer,
    Values, value_subject,
};
use std::collections::BTreeMap;
use streams::{ConsumerRecord, ProducerRecord};
use topology::customers::{self, SystemConfig};

pub const PRODUCT: &str = "customers.product";
pub const STRIPE: &str = "customers.stripe";
pub const REQUESTS: &str = "requests.stripe";

pub struct People {
    codec: AvroCodec<SourceCustomer>,
    requests: AvroCodec<Request>,
    unified: AvroCodec<UnifiedCustomer>,
    /// Edits of each customer in the product: they change name and phone in turn.
    edits: Vec<u32>,
    /// What Stripe shows of each: the counters in its name and its phone.
    shown: Vec<(u32, u32)>,
    /// The product's outbox number.
    number: i64,
    /// Whose edit was the last.
    edited: usize,
}

/// Both systems, on so many partitions.
pub fn config(partitions: i32) -> anyhow::Result<customers::Config> {
    let systems = ["product", "stripe"].map(|name| System::new(name).map(SystemConfig::connector));
    let mut config = customers::Config::new("bench", systems.into_iter().collect::<Result<_, _>>()?);
    config.partitions = partitions;
    Ok(config)
}

fn fields(customer: usize, (name, phone): (u32, u32)) -> CustomerFields {
    CustomerFields {
        name: Some(format!("Customer Number {customer} {name}")),
        email: Some(format!("customer{customer}@example.com")),
        phone: Some(format!("+44 20 7946 {:04} {phone}", customer % 10_000)),
        ..CustomerFields::default()
    }
}

impl People {
    /// Nobody was seen yet. The registry is one that the topology was built on: ids are given in the order of asking.
    pub fn new(registry: &Registry, customers: usize) -> Result<People, RegistryError> {
        Ok(People {
            codec: registry.codec(&value_subject(PRODUCT))?,
            requests: registry.codec(&value_subject(REQUESTS))?,
            unified: registry.codec(&value_subject(customers::topics::UNIFIED))?,
            edits: vec![0; customers],
            shown: vec![(0, 0); customers],
            number: 0,
            edited: 0,
        })
    }

    pub fn count(&self) -> usize {
        self.edits.len()
    }

    /// What the product shows.
    fn fields(&self, customer: usize) -> CustomerFields {
        let edits = self.edits[customer];
        fields(customer, (edits / 2, edits.div_ceil(2)))
    }

    fn record(&self, topic: &str, key: String, value: &SourceCustomer) -> anyhow::Result<ProducerRecord> {
        Ok(ProducerRecord::new(topic, key, self.codec.encode(value)?))
    }

    /// A customer that both systems have already, under the same e-mail.
    pub fn first_contact(&mut self, customer: usize) -> anyhow::Result<[ProducerRecord; 2]> {
        self.number += 1;
        let seen = SourceCustomer { look: 1, fields: Some(self.fields(customer)), created: 1, ..SourceCustomer::default() };
        let product = SourceCustomer { order: Some(self.number), incarnation: Some(0), ..seen.clone() };
        let stripe = SourceCustomer { order: Some(1), ..seen };
        Ok([self.record(PRODUCT, format!("p{customer}"), &product)?, self.record(STRIPE, format!("cus_{customer}"), &stripe)?])
    }

    /// Somebody is edited in the product; all of them in turn.
    pub fn edit(&mut self) -> anyhow::Result<ProducerRecord> {
        // A step that shares no factor with the count visits every customer.
        self.edited = (self.edited + 7_919) % self.edits.len();
        let customer = self.edited;
        self.edits[customer] += 1;
        self.number += 1;
        let fields = Some(self.fields(customer));
        let edit =
            SourceCustomer { order: Some(self.number), incarnation: Some(0), look: self.number, fields, ..SourceCustomer::default() };
        self.record(PRODUCT, format!("p{customer}"), &edit)
    }

    /// What Stripe answers to a request; none if that is no write.
    pub fn answer(&mut self, record: &ConsumerRecord) -> anyhow::Result<Option<ProducerRecord>> {
        let request = self.requests.decode(record.value.as_deref().context("a request without a value")?)?;
        let Action::Write(write) = request.action else { return Ok(None) };
        let key = std::str::from_utf8(record.key.as_deref().context("a request without a key")?)?.to_string();
        let customer: usize = key.strip_prefix("cus_").context("not a customer of this Stripe")?.parse()?;
        for (field, value) in &write.set {
            let counter = value.as_text().and_then(|text| text.rsplit(' ').next()?.parse().ok()).context("not a value of this bench")?;
            match field {
                Field::Name => self.shown[customer].0 = counter,
                Field::Phone => self.shown[customer].1 = counter,
                other => anyhow::bail!("nobody edited {other}"),
            }
        }
        let fields = fields(customer, self.shown[customer]);
        let mark = Some(write.id.to_string());
        let answer = Answer {
            write_id: write.id,
            outcome: Outcome::Done,
            refused_field: None,
            reason: None,
            taken: false,
            left: Some(fields.clone()),
            unseen: false,
        };
        let result = SourceCustomer {
            // The first contact was 1.
            order: Some(record.offset + 2),
            look: record.offset,
            fields: Some(fields),
            mark,
            answer: Some(answer),
            ..SourceCustomer::default()
        };
        self.record(STRIPE, key, &result).map(Some)
    }

    /// Takes a unified record for the check.
    pub fn see(&self, record: &ConsumerRecord, seen: &mut Seen) -> anyhow::Result<()> {
        let customer = self.unified.decode(record.value.as_deref().context("a unified customer without a value")?)?;
        seen.0.insert(customer.customer_id, customer);
        Ok(())
    }

    /// A wrong result has no speed: every customer is unified once, and Stripe was told the last value of each.
    pub fn verify(&self, seen: &Seen) -> anyhow::Result<()> {
        let Seen(seen) = seen;
        anyhow::ensure!(seen.len() == self.count(), "{} unified customers instead of {}", seen.len(), self.count());
        let product = System::new("product")?;
        for customer in seen.values() {
            let record = customer.records.iter().find(|r| r.system == product).context("a customer without its product record")?;
            let number: usize = record.external_id.as_str().trim_start_matches('p').parse()?;
            let golden: Values = customer.fields.iter().map(|f| (f.field.clone(), f.value.clone())).collect();
            anyhow::ensure!(golden == self.fields(number).values(), "customer {number} is {golden:?}");
            anyhow::ensure!(customer.records.len() == 2 && customer.records.iter().all(|r| r.in_step), "customer {number} is not in step");
        }
        println!("  verified: {} unified customers, each with its last values, in step in both systems", seen.len());
        Ok(())
    }
}

/// The last unified record of each customer.
#[derive(Default)]
pub struct Seen(BTreeMap<schemas::CustomerId, UnifiedCustomer>);
