//! A log that begins anew: what it takes over of the one before it. `unify` is the only memory of what was said to whom, so what it
//! knows of each customer is taken over, but for what was under way, and the other two stages' stores are made from that.
//!
//! Not taken over, and so looked for anew: requests whose outcome nobody knows, snapshots, questions without an answer. But what was told
//! once and not taken in ([`Untold`]) is told again: notices, and the product's results, whose answers nothing else tells.

use super::{
    Config, Error, Kind,
    identify::Claimants,
    resolve::Record,
    state::{Customer, Replica},
    stored::{CUSTOMERS, EMAILS, codec, links_store, read, write},
    topics,
};
use schemas::{
    Action, AvroCodec, CustomerId, CustomerLink, ExternalId, IdentifyBody, IdentifyMessage, Notice, Read, Registry, RegistryError, Request,
    SourceCustomer, Status, System, UnifyBody, UnifyMessage, value_subject,
};
use std::collections::{BTreeMap, BTreeSet};
use streams::{ConsumerRecord, ProducerRecord, partition_for_key};

/// An entry of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub store: String,
    pub partition: i32,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// How the results of a system are numbered in the new log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Orders {
    /// As before: they are numbered elsewhere (the product's outbox), or the topic stays as it is.
    Stay,
    /// From the beginning.
    Anew,
    /// Each record's last result has another number; a record that is not here has none.
    Become(BTreeMap<ExternalId, i64>),
}

/// What was read so far of the old log's customers. Give it every one of them, then ask for the rest.
pub struct Renewal {
    config: Config,
    customers: AvroCodec<Customer>,
    emails: AvroCodec<Claimants>,
    /// Of each system that is configured.
    systems: BTreeMap<System, Codecs>,
    unify: AvroCodec<UnifyMessage>,
    orders: BTreeMap<System, Orders>,
    /// Every customer's unified record is published again: the topic is empty.
    publish_again: bool,
    found: BTreeMap<System, BTreeMap<ExternalId, Record>>,
    claims: BTreeMap<String, Vec<Claim>>,
}

struct Codecs {
    record: AvroCodec<Record>,
    link: AvroCodec<CustomerLink>,
}

#[derive(Clone, Copy)]
struct Claim {
    customer: CustomerId,
    /// As the customer knows it.
    contested: bool,
}

/// The order of the last result of each record, as the old log numbers them. Give it every customer, too.
pub struct LastOrders {
    codec: AvroCodec<Customer>,
    systems: BTreeSet<System>,
    pub orders: BTreeMap<System, BTreeMap<ExternalId, i64>>,
}

impl LastOrders {
    /// Of the systems whose results are numbered by a topic that somebody else fills.
    pub fn published(config: &Config, registry: &Registry) -> Result<LastOrders, RenewalError> {
        let systems = config.systems.iter().filter(|system| system.kind == Kind::Topic).map(|system| system.name.clone()).collect();
        Ok(LastOrders { codec: codec(config, registry, CUSTOMERS)?, systems, orders: BTreeMap::new() })
    }

    pub fn customer(&mut self, bytes: &[u8]) -> Result<(), RenewalError> {
        let customer = read(&self.codec, CUSTOMERS, bytes)?;
        for (system, r) in customer.replicas.iter().filter(|(system, _)| self.systems.contains(*system)) {
            let last = self.orders.entry(system.clone()).or_default().entry(r.external_id.clone()).or_default();
            *last = r.order.max(*last);
        }
        Ok(())
    }
}

/// Why nothing can be taken over.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Stored(#[from] Error),
}

impl Renewal {
    /// `registry`: the old log's schemas, and those that this program writes with. A system without `orders`: anew.
    pub fn new(
        config: &Config,
        registry: &Registry,
        orders: BTreeMap<System, Orders>,
        publish_again: bool,
    ) -> Result<Renewal, RenewalError> {
        let codecs = |system: &super::SystemConfig| {
            let record = codec(config, registry, &links_store(&system.name))?;
            let link = registry.codec(&value_subject(&topics::links(&system.name)))?;
            Ok((system.name.clone(), Codecs { record, link }))
        };
        Ok(Renewal {
            customers: codec(config, registry, CUSTOMERS)?,
            emails: codec(config, registry, EMAILS)?,
            systems: config.systems.iter().map(codecs).collect::<Result<_, RegistryError>>()?,
            unify: registry.codec(&value_subject(topics::UNIFY))?,
            config: config.clone(),
            orders,
            publish_again,
            found: BTreeMap::new(),
            claims: BTreeMap::new(),
        })
    }

    /// A customer of the old log, as the new one has it.
    pub fn customer(&mut self, bytes: &[u8]) -> Result<Entry, RenewalError> {
        let mut customer: Customer = read(&self.customers, CUSTOMERS, bytes)?;
        for (system, r) in customer.replicas.iter_mut() {
            r.order = self.orders.get(system).unwrap_or(&Orders::Anew).of(r);
        }
        customer.renewed();
        if self.publish_again {
            customer.published = 0;
        }
        self.learn(&customer);
        let id = customer.id;
        let value = write(&self.customers, CUSTOMERS, &customer)?;
        let partition = self.partition(id.to_string().as_bytes());
        Ok(Entry { store: CUSTOMERS.into(), partition, key: id.uuid().as_bytes().to_vec(), value })
    }

    fn learn(&mut self, customer: &Customer) {
        let link = Some(customer.id);
        let replicas = customer.replicas.iter().map(|(system, r)| (system, &r.external_id, r.incarnation, r.deleted, r.order));
        let spares = customer.spares.iter().map(|s| (&s.system, &s.external_id, s.incarnation, s.deleted, 0));
        for (system, external_id, incarnation, deleted, order) in replicas.chain(spares) {
            let record = Record { order, incarnation, deleted, link, asked: true, waiting: Vec::new() };
            let known = self.found.entry(system.clone()).or_default().entry(external_id.clone()).or_insert_with(|| record.clone());
            // An external id that came back was another customer's before.
            if known.incarnation < record.incarnation {
                *known = record;
            }
        }
        if let Some(email) = &customer.claimed {
            let claim = Claim { customer: customer.id, contested: customer.contested };
            self.claims.entry(email.clone()).or_default().push(claim);
        }
    }

    /// The stores of resolve and identify; and what the new log begins with: the links, and an answer for each customer that waits for
    /// one to its claim.
    pub fn rest(self) -> Result<(Vec<Entry>, Vec<ProducerRecord>), RenewalError> {
        let (mut entries, mut records) = (Vec::new(), Vec::new());
        let partitions = self.config.partitions;
        let partition = |key: &str| partition_for_key(key.as_bytes(), partitions);
        for (system, found) in &self.found {
            // A system that is not configured has no store: whoever configures it again has its records asked for anew.
            let Some(codecs) = self.systems.get(system) else { continue };
            let (store, topic) = (links_store(system), topics::links(system));
            for (external_id, record) in found {
                let key = external_id.as_str();
                let value = write(&codecs.record, &store, record)?;
                entries.push(Entry { store: store.clone(), partition: partition(key), key: key.into(), value });
                if let Some(customer) = record.link {
                    let link = CustomerLink { incarnation: record.incarnation, customer };
                    records.push(ProducerRecord::new(topic.as_str(), key.to_owned(), message(&codecs.link, &topic, &link)?));
                }
            }
        }
        for (email, mut claims) in self.claims {
            // Who owns it is known to own it. The ids only make it the same each time.
            claims.sort_by_key(|claim| (claim.contested, claim.customer));
            for (place, claim) in claims.iter().enumerate() {
                let first = place == 0;
                if claim.contested == first {
                    let body = UnifyBody::Status(Status { email: email.clone(), first });
                    let value = message(&self.unify, topics::UNIFY, &UnifyMessage { body })?;
                    records.push(ProducerRecord::new(topics::UNIFY, claim.customer.to_string(), value));
                }
            }
            let customers = claims.into_iter().map(|claim| claim.customer).collect();
            let value = write(&self.emails, EMAILS, &Claimants { customers })?;
            entries.push(Entry { store: EMAILS.into(), partition: partition(&email), key: email.into_bytes(), value });
        }
        Ok((entries, records))
    }

    fn partition(&self, key: &[u8]) -> i32 {
        partition_for_key(key, self.config.partitions)
    }
}

impl Orders {
    fn of(&self, r: &Replica) -> i64 {
        match self {
            Orders::Stay => r.order,
            Orders::Anew => 0,
            Orders::Become(orders) => orders.get(&r.external_id).copied().unwrap_or(0),
        }
    }
}

/// What was told once, and is in messages that go. Give it every record of [`topics`](Self::topics) that its reader has not passed.
pub struct Untold {
    /// Of each system with a connector.
    systems: BTreeMap<System, Told>,
    identify: AvroCodec<IdentifyMessage>,
    unify: AvroCodec<UnifyMessage>,
    records: Vec<ProducerRecord>,
    notices: BTreeMap<(System, ExternalId), Vec<Notice>>,
}

struct Told {
    request: AvroCodec<Request>,
    result: AvroCodec<SourceCustomer>,
    /// Its results are numbered elsewhere: they can be told as they are. Of others only the notices can.
    numbered_elsewhere: bool,
}

impl Untold {
    /// `orders`: as the [`Renewal`] has them.
    pub fn new(config: &Config, registry: &Registry, orders: &BTreeMap<System, Orders>) -> Result<Untold, RenewalError> {
        let connectors = config.systems.iter().filter(|system| system.kind == Kind::Connector);
        let told = |system: &super::SystemConfig| {
            let name = &system.name;
            let request = registry.codec(&value_subject(&topics::requests(name)))?;
            let result = registry.codec(&value_subject(&topics::customers(name)))?;
            let numbered_elsewhere = orders.get(name) == Some(&Orders::Stay);
            Ok((name.clone(), Told { request, result, numbered_elsewhere }))
        };
        Ok(Untold {
            systems: connectors.map(told).collect::<Result<_, RegistryError>>()?,
            identify: registry.codec(&value_subject(topics::IDENTIFY))?,
            unify: registry.codec(&value_subject(topics::UNIFY))?,
            records: Vec::new(),
            notices: BTreeMap::new(),
        })
    }

    /// Where it is, with the system whose conversation reads it; without one, the topology does.
    pub fn topics(&self) -> Vec<(String, Option<System>)> {
        let requests = self.systems.keys().map(|system| (topics::requests(system), Some(system.clone())));
        let results = self.systems.keys().map(|system| (topics::customers(system), None));
        let between = [topics::IDENTIFY, topics::UNIFY].map(|topic| (topic.to_owned(), None));
        requests.chain(results).chain(between).collect()
    }

    /// What cannot be read was no message.
    pub fn record(&mut self, record: &ConsumerRecord) {
        let (Some(Ok(key)), Some(value)) = (record.key.as_deref().map(std::str::from_utf8), record.value.as_deref()) else { return };
        match &*record.topic {
            topics::IDENTIFY => {
                if let Ok(IdentifyMessage { body: IdentifyBody::Ask(question) }) = self.identify.decode(value) {
                    self.result(&question.system, question.external_id.as_str(), question.first);
                }
            }
            topics::UNIFY => match self.unify.decode(value).map(|message| message.body) {
                Ok(UnifyBody::Question(question)) => self.result(&question.system, question.external_id.as_str(), question.first),
                Ok(UnifyBody::Result(of)) => {
                    // An answer that made no record is the customer's.
                    let key = of.external_id.as_ref().map_or(key, ExternalId::as_str);
                    self.result(&of.system, key, of.result);
                }
                Ok(UnifyBody::Gone(_) | UnifyBody::Status(_) | UnifyBody::Walk(_)) | Err(_) => {}
            },
            topic => {
                let of = self.systems.iter().find(|(system, _)| topic == topics::requests(system) || topic == topics::customers(system));
                let Some((system, told)) = of else { return };
                let system = system.clone();
                if topic == topics::customers(&system) {
                    if let Ok(result) = told.result.decode(value) {
                        self.result(&system, key, result);
                    }
                } else if let Ok(Request { action: Action::Read(read) }) = told.request.decode(value) {
                    self.noticed(&system, key, read.notices);
                }
            }
        }
    }

    fn result(&mut self, system: &System, key: &str, result: SourceCustomer) {
        match self.systems.get(system) {
            Some(told) if told.numbered_elsewhere => {
                let topic = topics::customers(system);
                if let Ok(value) = told.result.encode(&result) {
                    self.records.push(ProducerRecord::new(topic, key.to_owned(), value));
                }
            }
            Some(_) => self.noticed(system, key, result.notices),
            None => {}
        }
    }

    fn noticed(&mut self, system: &System, key: &str, notices: Vec<Notice>) {
        if notices.is_empty() {
            return;
        }
        let known = self.notices.entry((system.clone(), ExternalId::new(key))).or_default();
        for notice in notices {
            if known.iter().all(|it| it.event_id != notice.event_id) {
                known.push(notice);
            }
        }
    }

    /// What the new log begins with: results as they were, a read for each record that something was noticed of.
    pub fn rest(mut self) -> Vec<ProducerRecord> {
        for ((system, external_id), notices) in self.notices {
            let Some(told) = self.systems.get(&system) else { continue };
            let read = Request { action: Action::Read(Read { notices, page: None }) };
            if let Ok(value) = told.request.encode(&read) {
                self.records.push(ProducerRecord::new(topics::requests(&system), external_id.as_str().to_owned(), value));
            }
        }
        self.records
    }
}

fn message<T: schemas::Message>(codec: &AvroCodec<T>, topic: &str, value: &T) -> Result<Vec<u8>, Error> {
    codec.encode(value).map_err(|error| Error::State { store: topic.into(), error: error.to_string() })
}

impl Customer {
    /// Nothing is under way any more. What was asked and not answered may have happened all the same, or happen later: the writes and
    /// attempts that are remembered tell it then.
    fn renewed(&mut self) {
        for r in self.replicas.values_mut() {
            r.in_flight = None;
        }
        for creates in self.creates.values_mut() {
            creates.out = None;
        }
        // The index of what was put off is empty: the walk after the import fills it.
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::customers::{
        SystemConfig,
        state::{Call, Creates, Golden, InFlight, Spare},
    };
    use schemas::{Attempt, Field};

    fn system(name: &str) -> System {
        System::new(name).unwrap()
    }

    fn id(n: &str) -> CustomerId {
        CustomerId::minted(&system("product"), &ExternalId::new(n), 0)
    }

    /// A customer with a live record, the last result of which has this order.
    fn customer(n: &str, of: &str, external_id: &str, incarnation: i64, order: i64) -> Customer {
        let mut customer = Customer::new(id(n), 0);
        let mut r = Replica::new(ExternalId::new(external_id), incarnation);
        r.order = order;
        customer.replicas.insert(system(of), Box::new(r));
        customer
    }

    fn config() -> Config {
        let topic = SystemConfig { kind: Kind::Topic, writable: false, ..SystemConfig::connector(system("crm")) };
        let mut config =
            Config::new("test", vec![SystemConfig::connector(system("product")), SystemConfig::connector(system("stripe")), topic]);
        config.partitions = 4;
        config
    }

    struct Renewed {
        customers: BTreeMap<CustomerId, Customer>,
        records: BTreeMap<String, Record>,
        claimants: BTreeMap<String, Vec<CustomerId>>,
        statuses: Vec<(CustomerId, bool)>,
        links: Vec<String>,
    }

    fn renewed(customers: Vec<Customer>, orders: BTreeMap<System, Orders>) -> Renewed {
        let (config, registry) = (config(), Registry::new());
        let mut renewal = Renewal::new(&config, &registry, orders, false).unwrap();
        let mut found = Renewed {
            customers: BTreeMap::new(),
            records: BTreeMap::new(),
            claimants: BTreeMap::new(),
            statuses: Vec::new(),
            links: Vec::new(),
        };
        for customer in customers {
            let entry = renewal.customer(&write(&renewal.customers, CUSTOMERS, &customer).unwrap()).unwrap();
            let customer: Customer = read(&renewal.customers, CUSTOMERS, &entry.value).unwrap();
            assert_eq!(entry.partition, partition_for_key(customer.id.to_string().as_bytes(), 4), "the one of its messages");
            found.customers.insert(customer.id, customer);
        }
        let (entries, records) = renewal.rest().unwrap();
        for entry in entries {
            let key = String::from_utf8(entry.key).unwrap();
            assert_eq!(entry.partition, partition_for_key(key.as_bytes(), 4));
            if entry.store == EMAILS {
                let codec = codec::<Claimants>(&config, &registry, EMAILS).unwrap();
                found.claimants.insert(key, codec.decode(&entry.value).unwrap().customers);
            } else {
                let codec = codec::<Record>(&config, &registry, &entry.store).unwrap();
                found.records.insert(format!("{} {key}", entry.store), codec.decode(&entry.value).unwrap());
            }
        }
        let unify = registry.codec::<UnifyMessage>("customers.unify-value").unwrap();
        for record in records {
            let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
            if &*record.topic != topics::UNIFY {
                found.links.push(format!("{} {key}", record.topic));
            } else if let UnifyBody::Status(status) = unify.decode(&record.value.unwrap()).unwrap().body {
                found.statuses.push((key.parse().unwrap(), status.first));
            }
        }
        found
    }

    #[test]
    fn nothing_is_under_way_and_what_was_asked_is_remembered() {
        let mut ada = customer("ada", "stripe", "cus_1", 0, 40);
        let (write, attempt) = (Call(Attempt::Write(7)), Call(Attempt::Create { number: 1, body: 0 }));
        ada.replicas.get_mut(&system("stripe")).unwrap().in_flight = Some(InFlight { id: write, delete: false });
        ada.creates.insert(system("product"), Creates { out: Some(attempt), bodies: 1, ..Creates::default() });
        ada.due = Some(5);
        let golden = Golden {
            value: "Ada".into(),
            time: 1,
            system: system("stripe"),
            version: 1,
            external_id: ExternalId::new("cus_1"),
            event_id: None,
            chosen_by: crate::customers::state::ChosenBy::First,
        };
        ada.golden.insert(Field::Name, golden);
        let found = renewed(vec![ada.clone()], BTreeMap::new());
        let now = &found.customers[&ada.id];
        assert_eq!((now.due, now.creates[&system("product")].out), (None, None));
        assert_eq!((now.creates[&system("product")].bodies, &now.golden), (1, &ada.golden));
        let r = &now.replicas[&system("stripe")];
        assert!(r.in_flight.is_none() && r.order == 0, "requests are numbered anew: {r:?}");
    }

    #[test]
    fn records_are_those_that_customers_know_in_their_last_incarnation() {
        let mut old = customer("old", "product", "7", 0, 10);
        old.replicas.get_mut(&system("product")).unwrap().deleted = true;
        let mut new = customer("new", "product", "7", 1, 12);
        new.spares.push(Spare { system: system("stripe"), external_id: ExternalId::new("cus_2"), incarnation: 0, deleted: false });
        let published = customer("published", "crm", "c", 0, 90);
        let orders = [(system("product"), Orders::Stay), (system("crm"), Orders::Become(BTreeMap::from([(ExternalId::new("c"), 3)])))];
        // A system that is not configured any more.
        let gone = customer("gone", "erp", "e", 0, 1);
        for customers in [vec![old.clone(), new.clone()], vec![new.clone(), old]] {
            let all = customers.into_iter().chain([published.clone(), gone.clone()]).collect();
            let found = renewed(all, orders.clone().into());
            let record =
                |order, incarnation, link| Record { order, incarnation, deleted: false, link: Some(link), asked: true, waiting: vec![] };
            let expected = BTreeMap::from([
                ("links-product 7".to_owned(), record(12, 1, new.id)),
                ("links-stripe cus_2".to_owned(), record(0, 0, new.id)),
                ("links-crm c".to_owned(), record(3, 0, published.id)),
            ]);
            assert_eq!(found.records, expected);
            assert_eq!(found.links, ["links.crm c", "links.product 7", "links.stripe cus_2"]);
        }
    }

    #[test]
    fn who_owns_an_email_goes_on_to_and_who_waits_is_answered() {
        let claims = |n: &str, email: &str, contested| {
            let mut customer = customer(n, "stripe", n, 0, 1);
            (customer.claimed, customer.contested) = (Some(email.into()), contested);
            customer
        };
        let all = vec![claims("late", "a@x", true), claims("owner", "a@x", false), claims("waits", "b@x", true)];
        let found = renewed(all, BTreeMap::new());
        assert_eq!(found.claimants["a@x"], [id("owner"), id("late")]);
        assert_eq!(found.statuses, [(id("waits"), true)], "nobody else has it, and the answer would never come");
    }
}
