//! The broker of a test binary: started with the first test that asks, gone when the process is, however that ends.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};

const BROKER_SESSION_MS: u64 = 3_000;
const CONTROLLER: u16 = 100;
/// Partitions of the topics in which the coordinators of groups and of transactions keep what they know.
pub const COORDINATOR_PARTITIONS: i32 = 4;
/// When the controller has missed a broker that is gone. One that is back before waits for that: it is not let in twice.
pub const BROKER_MISSED: Duration = Duration::from_millis(BROKER_SESSION_MS + 500);

/// In a broker's first half a minute the second compiler takes about as much processor time as its work does, which tests do not have to spare.
/// What measures is built for release, and has it.
const COMPILER: &[&str] = if cfg!(debug_assertions) { &["-XX:TieredStopAtLevel=1"] } else { &[] };

static SERVERS: OnceLock<String> = OnceLock::new();

/// Has all clients of this binary use a broker that it started by other means.
pub(super) fn use_broker(address: &str) {
    SERVERS.set(address.to_owned()).expect("before any other broker is asked for");
}

/// `bootstrap.servers` of the broker: `KAFKA_BOOTSTRAP_SERVERS`, or one of our own.
pub fn bootstrap() -> &'static str {
    SERVERS.get_or_init(|| given().unwrap_or_else(|| own_cluster(1).address()))
}

/// `KAFKA_BOOTSTRAP_SERVERS`, with which [`bootstrap`] starts nothing.
pub fn given() -> Option<String> {
    std::env::var("KAFKA_BOOTSTRAP_SERVERS").ok().filter(|servers| !servers.is_empty())
}

/// The broker that this binary started itself, to be treated badly.
pub fn own_broker() -> &'static Broker {
    &own_cluster(1).brokers[0]
}

/// The brokers that this binary started itself: as many as the first who asks says. With three of them everything is kept three times.
pub fn own_cluster(brokers: u16) -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(brokers))
}

/// Brokers, and the controller that they belong to.
pub struct Cluster {
    pub brokers: Vec<Broker>,
    _controller: Node,
}

/// A broker.
pub struct Broker {
    /// As Kafka calls it.
    pub id: u16,
    ports: Ports,
    node: Node,
}

#[derive(Clone, Copy)]
struct Ports {
    /// For clients.
    direct: u16,
    /// For a proxy, which is told to the clients behind it as `proxy`.
    behind_proxy: u16,
    proxy: u16,
}

impl Cluster {
    /// The controller is a process of its own, and stays: a broker that restarts together with its controller believes for a moment that
    /// it still leads, and can complete a transaction without its markers (seen with 4.3.1).
    fn start(brokers: u16) -> Cluster {
        let [controller_port] = free_ports();
        let controller = Node::new(&format!(
            "process.roles=controller\nnode.id={CONTROLLER}\nlisteners=CONTROLLER://127.0.0.1:{controller_port}\n{}",
            settings(controller_port, brokers)
        ));
        controller.tell("start");
        let broker = |id| {
            let ports = Ports::free();
            Broker { id, ports, node: Node::new(&format!("{}{}", ports.settings(id), settings(controller_port, brokers))) }
        };
        // Formatting is a process of its own for each.
        let brokers: Vec<Broker> = std::thread::scope(|scope| {
            let formatting: Vec<_> = (1..=brokers).map(|id| scope.spawn(move || broker(id))).collect();
            formatting.into_iter().map(|broker| broker.join().unwrap()).collect()
        });
        brokers.iter().for_each(|broker| broker.node.tell("start"));
        brokers.iter().for_each(|broker| broker.await_answer(brokers.len()));
        Cluster { brokers, _controller: controller }
    }

    /// `bootstrap.servers`.
    pub fn address(&self) -> String {
        self.brokers.iter().map(Broker::address).collect::<Vec<_>>().join(",")
    }
}

impl Broker {
    /// `bootstrap.servers`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.direct)
    }

    /// Where a proxy reaches the broker, and where the broker says that the proxy is.
    pub fn behind_proxy(&self) -> (u16, u16) {
        (self.ports.behind_proxy, self.ports.proxy)
    }

    /// As a machine that loses its power.
    pub fn kill(&self) {
        self.node.tell("kill");
    }

    /// Starts it again, and waits until it answers.
    pub fn start(&self) {
        self.node.tell("start");
        self.await_answer(1);
    }

    /// Its process.
    pub fn process(&self) -> u32 {
        self.node.ask("process").parse().expect("a number")
    }

    /// It keeps its connections, and answers nobody.
    pub fn stop(&self) {
        self.node.tell("stop");
    }

    pub fn go_on(&self) {
        self.node.tell("continue");
    }

    /// Waits until it knows so many brokers, and a leader for each partition that there is.
    fn await_answer(&self, brokers: usize) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", self.address()).set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "100");
        // Its complaints while it waits are of no interest.
        let consumer: BaseConsumer = settings.set_log_level(RDKafkaLogLevel::Emerg).create().unwrap();
        let answers = || {
            let metadata = consumer.fetch_metadata(None, Duration::from_millis(500)).ok()?;
            let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
            (metadata.brokers().len() >= brokers && partitions.all(|partition| partition.leader() >= 0)).then_some(())
        };
        while answers().is_none() {
            let log = || fs::read_to_string(self.node.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "the broker does not answer; it said: {}", log());
        }
    }
}

/// A process of Kafka, with its folder.
pub(super) struct Node {
    folder: PathBuf,
    shell: Mutex<Shell>,
}

/// Runs the process, and does to it what it is told line by line, until standard input is closed: also when this process is killed, and
/// `drop` of a static never runs. Then it kills the process and removes its folder.
struct Shell {
    _process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

const SHELL: &str = r#"
    folder=$1; shift
    kafka=
    while read -r command; do
        case $command in
            start) "$@" >>"$folder/log" 2>&1 </dev/null & kafka=$! ;;
            kill) kill -9 "$kafka"; wait "$kafka" 2>/dev/null ;;
            stop) kill -STOP "$kafka" ;;
            continue) kill -CONT "$kafka" ;;
            process) echo "$kafka" ;;
        esac
        echo done
    done
    kill -9 "$kafka"
    wait "$kafka" 2>/dev/null
    rm -rf "$folder"
"#;

/// Apache Kafka, as Java finds it.
pub fn classpath() -> String {
    let libs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kafka-libs");
    assert!(libs.join("complete").is_file(), "no Apache Kafka in {}: run scripts/kafka.sh first", libs.display());
    format!("{}/*", libs.display())
}

pub(super) fn new_folder() -> PathBuf {
    tempfile::Builder::new().prefix("kafka-").tempdir().unwrap().keep()
}

impl Node {
    /// Formats its storage; it is not started yet.
    fn new(settings: &str) -> Node {
        Node::in_folder(new_folder(), settings, &[])
    }

    /// In a folder that is there, and goes with the process; `format`: what else formatting its storage needs.
    pub(super) fn in_folder(folder: PathBuf, settings: &str, format: &[&str]) -> Node {
        let classpath = classpath();
        let file = folder.join("server.properties");
        fs::write(&file, format!("{settings}log.dirs={}/data\n", folder.display())).unwrap();
        // As the start scripts of Kafka, whose own default is 1 GB.
        let heap = std::env::var("KAFKA_HEAP_OPTS").unwrap_or_else(|_| "-Xms256m -Xmx512m".to_owned());
        let java = |class: &str| {
            let flags = ["-XX:+UseSerialGC", "-Dorg.apache.logging.log4j.level=WARN", "-cp", &classpath, class];
            let compiler = COMPILER.iter().copied();
            heap.split_whitespace().chain(compiler).chain(flags).map(str::to_owned).collect::<Vec<_>>()
        };
        let formatted = Command::new("java")
            .args(java("kafka.tools.StorageTool"))
            .args(["format", "--cluster-id=4L6g3nShT-eMCtK--X86sw", "-c"])
            .arg(&file)
            .args(format)
            .output()
            .expect("java runs: see scripts/kafka.sh");
        assert!(formatted.status.success(), "formatting the storage: {}", String::from_utf8_lossy(&formatted.stderr));
        let mut process = Command::new("sh")
            .args(["-c", SHELL, "sh"])
            .arg(&folder)
            .arg("java")
            .args(java("kafka.Kafka"))
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (commands, answers) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        Node { folder, shell: Mutex::new(Shell { _process: process, commands, answers }) }
    }

    /// Waits until it knows a leader for each partition that there is.
    pub(super) fn await_answer(&self, address: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", address).set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "100");
        // Its complaints while it waits are of no interest.
        let consumer: BaseConsumer = settings.set_log_level(RDKafkaLogLevel::Emerg).create().unwrap();
        let answers = || {
            let metadata = consumer.fetch_metadata(None, Duration::from_millis(500)).ok()?;
            let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
            (!metadata.brokers().is_empty() && partitions.all(|partition| partition.leader() >= 0)).then_some(())
        };
        while answers().is_none() {
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "the broker does not answer; it said: {}", log());
        }
    }

    pub(super) fn tell(&self, command: &str) {
        assert_eq!(self.ask(command), "", "nothing was asked");
    }

    /// What the shell says to it.
    fn ask(&self, command: &str) -> String {
        let mut shell = self.shell.lock().unwrap();
        writeln!(shell.commands, "{command}").unwrap();
        let mut answer = String::new();
        while !answer.ends_with("done\n") {
            assert!(shell.answers.read_line(&mut answer).unwrap() > 0, "the shell of a process of Kafka ended");
        }
        answer.trim_end_matches("done\n").trim_end().to_owned()
    }
}

impl Ports {
    fn free() -> Ports {
        let [direct, behind_proxy, proxy] = free_ports();
        Ports { direct, behind_proxy, proxy }
    }

    /// Settings of the broker that has them.
    fn settings(self, id: u16) -> String {
        let Ports { direct, behind_proxy, proxy } = self;
        format!(
            "process.roles=broker
node.id={id}
listeners=PLAINTEXT://127.0.0.1:{direct},PROXIED://127.0.0.1:{behind_proxy}
advertised.listeners=PLAINTEXT://127.0.0.1:{direct},PROXIED://127.0.0.1:{proxy}
inter.broker.listener.name=PLAINTEXT
"
        )
    }
}

/// Ports that were free a moment ago.
pub(super) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// Settings of every process, but for the folder.
fn settings(controller_port: u16, brokers: u16) -> String {
    let (copies, in_sync) = if brokers < 3 { (1, 1) } else { (3, 2) };
    format!(
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters={CONTROLLER}@127.0.0.1:{controller_port}
broker.session.timeout.ms={BROKER_SESSION_MS}
broker.heartbeat.interval.ms=200
default.replication.factor={copies}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={copies}
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={in_sync}
offsets.topic.num.partitions={COORDINATOR_PARTITIONS}
transaction.state.log.num.partitions={COORDINATOR_PARTITIONS}
auto.create.topics.enable=false
log.retention.check.interval.ms=10000
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=200
group.consumer.min.session.timeout.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=200
"
    )
}
