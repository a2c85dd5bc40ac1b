//! The log, the registry in it, and the topology that runs on it.

use super::began;
use crate::{
    cli::Role,
    config::{Config, Kafka},
    deploy,
    http::{Look, Part},
    registry::{self, Service},
    reset, shape, topics,
};
use anyhow::Context;
use schemas::Registry;
use std::{
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use streams::{
    Log, TaskConfig, TopicPartition, Topology, dead_letter_queue,
    embedded::{self, Options, State, StreamsConfig, TaskFailure},
    kafka::{GroupProtocol, KafkaStreams, KafkaStreamsConfig},
};
use topology::customers;

/// How long the stream threads have to commit and to leave their group.
const CLOSE: Duration = Duration::from_secs(5);
/// How often it is looked whether the topology has caught up.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What everything else in the process appends to and reads from.
pub struct Engine {
    pub log: Log,
    pub registry: Registry,
    /// The registry and its topic.
    pub schemas: Service,
    pub customers: customers::Config,
    pub application_id: String,
    streams: Option<Streams>,
    caught_up: Arc<AtomicBool>,
}

/// The running topology.
enum Streams {
    Embedded { log: embedded::Log, streams: embedded::Streams },
    Kafka(KafkaStreams),
}

impl Engine {
    /// Opens the data folder or reaches the brokers, makes the topics, registers the schemas, and starts the topology.
    pub async fn start(config: &Config, roles: &[Role]) -> anyhow::Result<Engine> {
        let folder = &config.data_dir;
        std::fs::create_dir_all(folder).with_context(|| format!("CONCORD_DATA_DIR: cannot make {}", folder.display()))?;
        // Customers' data is nobody else's to read.
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
            .with_context(|| format!("CONCORD_DATA_DIR: cannot restrict {} to this user", folder.display()))?;
        match &config.kafka {
            None => Engine::embedded(config).await,
            Some(kafka) => Engine::on_kafka(config, kafka, roles).await,
        }
    }

    async fn embedded(config: &Config) -> anyhow::Result<Engine> {
        let embedded = embedded::Log::open(&config.data_dir, options())?;
        let log = Log::from(embedded.clone());
        let customers = prepared(config, &log).await?;
        let (schemas, registry, topology) = registered(config, &customers, &log).await?;
        let mut streams = StreamsConfig::new(&config.application_id);
        streams.task = task_config(&customers);
        let streams = embedded.start(&topology, streams)?;
        let streams = Some(Streams::Embedded { log: embedded, streams });
        Ok(Engine {
            log,
            registry,
            schemas,
            customers,
            application_id: config.application_id.clone(),
            streams,
            caught_up: Arc::new(AtomicBool::new(true)),
        })
    }

    async fn on_kafka(config: &Config, kafka: &Kafka, roles: &[Role]) -> anyhow::Result<Engine> {
        let log = Log::from(kafka.connect(&config.application_id).await?);
        reset::refuse_half_done(&log).await?;
        let customers = prepared(config, &log).await?;
        let (schemas, registry, topology) = registered(config, &customers, &log).await?;
        let streams = match roles.contains(&Role::Streams) {
            true => Some(Streams::Kafka(start_streams(config, kafka, topology, task_config(&customers)).await?)),
            false => None,
        };
        let caught_up = Arc::new(AtomicBool::new(streams.is_none()));
        Ok(Engine { log, registry, schemas, customers, application_id: config.application_id.clone(), streams, caught_up })
    }

    /// What tells this log from others.
    pub fn log_name(&self) -> String {
        self.customers.first_number.to_string()
    }

    /// No other process works on this log.
    pub fn is_alone(&self) -> bool {
        matches!(self.log, Log::Embedded(_))
    }

    /// Waits until the topology runs, and has taken in what was in its topics then.
    pub async fn catch_up(&self) -> anyhow::Result<()> {
        let Some(Streams::Kafka(streams)) = &self.streams else { return Ok(()) };
        streams.watch_state().wait_for(|state| *state == State::Running).await?;
        for topic in customers::topics(&self.customers).into_iter().filter(|topic| topic.is_input) {
            for partition in 0..topic.partitions {
                let tp = TopicPartition::new(topic.name.as_str(), partition);
                let end = self.log.end_offset(&tp).await?;
                while !self.log.passed(&self.application_id, &tp, end).await? {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        }
        self.caught_up.store(true, Ordering::Relaxed);
        tracing::info!("The topology has caught up.");
        Ok(())
    }

    /// Finishes what is queued, and frees the folder or leaves the group. Blocks.
    pub fn close(&self) {
        match &self.streams {
            Some(Streams::Embedded { log, .. }) => log.clone().close(),
            Some(Streams::Kafka(streams)) if !streams.close(CLOSE) => {
                tracing::warn!("The topology has not ended in time; it goes on after the next start.");
            }
            Some(Streams::Kafka(_)) | None => {}
        }
    }

    /// `/readyz`: the log and the topology.
    pub fn parts(self: &Arc<Self>) -> Vec<(&'static str, Look)> {
        let trouble = self.log.watch_trouble();
        let log = move || trouble.borrow().clone().map_or_else(|| Part::Ok(String::new()), Part::Down);
        let mut parts: Vec<(&'static str, Look)> = vec![("log", Arc::new(log))];
        if self.streams.is_some() {
            let engine = self.clone();
            parts.push(("topology", Arc::new(move || engine.topology())));
        }
        parts
    }

    fn topology(&self) -> Part {
        let (state, failures) = match &self.streams {
            Some(streams) => (streams.state(), streams.failures()),
            None => return Part::Ok(String::new()),
        };
        let failures: Vec<String> = failures.iter().map(|f| format!("task {}: {}", f.task, f.error)).collect();
        match state {
            State::Running if !failures.is_empty() => Part::Down(format!("{state} {}", failures.join("; "))),
            State::Running if !self.caught_up.load(Ordering::Relaxed) => Part::Down(format!("{state}, catching up")),
            State::Running => Part::Ok(state.to_string()),
            _ => Part::Down(format!("{state} {}", failures.join("; ")).trim().to_string()),
        }
    }
}

impl Streams {
    fn state(&self) -> State {
        match self {
            Streams::Embedded { streams, .. } => streams.state(),
            Streams::Kafka(streams) => streams.state(),
        }
    }

    fn failures(&self) -> Vec<TaskFailure> {
        match self {
            Streams::Embedded { streams, .. } => streams.failures(),
            Streams::Kafka(streams) => streams.failures(),
        }
    }
}

/// Makes the topics; the topology's configuration on this log.
async fn prepared(config: &Config, log: &Log) -> anyhow::Result<customers::Config> {
    let made = deploy::make(log, deploy::wanted(config)).await;
    made.context("a topic of the log is not as configured; `partitions` changes only by `concord reset`")?;
    Ok(customers::Config { first_number: began::number(log).await?, ..shape::customers_config(config) })
}

/// The registry with every schema that this program writes, and the topology over it.
async fn registered(config: &Config, customers: &customers::Config, log: &Log) -> anyhow::Result<(Service, Registry, Topology)> {
    let schemas = Service::open(log.clone(), topics::schemas_topic(config)).await?;
    let registry = registry::ready(&schemas, config, customers).await?;
    let topology = customers::build(customers, &registry)?;
    Ok((schemas, registry, topology))
}

async fn start_streams(config: &Config, kafka: &Kafka, topology: Topology, task: TaskConfig) -> anyhow::Result<KafkaStreams> {
    let mut streams = KafkaStreamsConfig::new(&config.application_id, &kafka.bootstrap_servers, config.data_dir.join("streams"));
    streams.num_stream_threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    streams.client.clone_from(&kafka.client);
    streams.group_protocol = kafka.group_protocol;
    // The newer protocol has these on the brokers.
    if kafka.group_protocol == GroupProtocol::Classic {
        let session = kafka.session_timeout.as_millis();
        streams.consumer.insert("session.timeout.ms".into(), session.to_string());
        streams.consumer.insert("heartbeat.interval.ms".into(), (session / 5).to_string());
    }
    if let Some(id) = &kafka.group_instance_id {
        streams.consumer.insert("group.instance.id".into(), id.clone());
    }
    streams.replication_factor = kafka.replication_factor;
    streams.task = task;
    // It waits for the brokers, on a thread of its own.
    Ok(tokio::task::spawn_blocking(move || KafkaStreams::start(&topology, streams)).await??)
}

fn task_config(customers: &customers::Config) -> TaskConfig {
    let dead_letters = |topic: &str| metrics::counter!("concord_topology_dead_letters_total", "topic" => topic.to_owned());
    // Told from the start: an increase is only seen of what was there before.
    customers::topics(customers).iter().filter(|topic| topic.is_input).for_each(|topic| drop(dead_letters(&topic.name)));
    let queue = dead_letter_queue(move |topic| {
        dead_letters(topic).increment(1);
        format!("{topic}.dlq")
    });
    TaskConfig { exception_handler: registry::waiting(queue) }
}

/// `CONCORD_MIN_FREE_BYTES`: appends are refused while the disk has less free (tests run on small ones).
fn options() -> Options {
    let mut options = Options::default();
    if let Some(bytes) = std::env::var("CONCORD_MIN_FREE_BYTES").ok().and_then(|text| text.parse().ok()) {
        options.min_free_bytes = bytes;
    }
    options
}
