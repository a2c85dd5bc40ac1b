//! One broker for all tests of a test binary: started with the first, gone when the process is, however that ends.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

/// `bootstrap.servers` of the broker: `KAFKA_BOOTSTRAP_SERVERS`, or one of our own.
pub fn bootstrap() -> &'static str {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    &BROKER
        .get_or_init(|| match std::env::var("KAFKA_BOOTSTRAP_SERVERS") {
            Ok(servers) if !servers.is_empty() => Broker { servers, _shell: None },
            _ => start(),
        })
        .servers
}

struct Broker {
    servers: String,
    /// Stops the broker when its standard input is closed: also when this process is killed, and `drop` of a static never runs.
    _shell: Option<Child>,
}

/// Runs the broker until standard input ends, then kills it and removes its folder.
const SHELL: &str = r#"
    folder=$1; shift
    "$@" >"$folder/broker.log" 2>&1 </dev/null &
    broker=$!
    cat >/dev/null
    kill -9 "$broker"
    wait "$broker" 2>/dev/null
    rm -rf "$folder"
"#;

fn start() -> Broker {
    let libs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kafka-libs");
    assert!(libs.join("complete").is_file(), "no Apache Kafka in {}: run scripts/kafka.sh first", libs.display());
    let classpath = format!("{}/*", libs.display());
    let folder = tempfile::Builder::new().prefix("kafka-").tempdir().unwrap().keep();
    let [broker, controller] = free_ports();
    let settings = write_settings(&folder, broker, controller);
    let java = |class: &str| {
        let flags = ["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-Dorg.apache.logging.log4j.level=WARN", "-cp", &classpath, class];
        flags.map(str::to_owned)
    };
    let format = Command::new("java")
        .args(java("kafka.tools.StorageTool"))
        .args(["format", "--cluster-id=4L6g3nShT-eMCtK--X86sw", "-c"])
        .arg(&settings)
        .output()
        .expect("java runs: see scripts/kafka.sh");
    assert!(format.status.success(), "formatting the broker's storage: {}", String::from_utf8_lossy(&format.stderr));
    let shell = Command::new("sh")
        .args(["-c", SHELL, "sh"])
        .arg(&folder)
        .arg("java")
        .args(java("kafka.Kafka"))
        .arg(&settings)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let servers = format!("127.0.0.1:{broker}");
    await_answer(&servers, &folder);
    Broker { servers, _shell: Some(shell) }
}

fn await_answer(servers: &str, folder: &Path) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "100")
        .create()
        .unwrap();
    while consumer.fetch_metadata(None, Duration::from_millis(500)).is_err() {
        let log = || fs::read_to_string(folder.join("broker.log")).unwrap_or_default();
        assert!(Instant::now() < deadline, "the broker does not answer; it said: {}", log());
    }
}

/// Ports that were free a moment ago.
fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn write_settings(folder: &Path, broker: u16, controller: u16) -> PathBuf {
    use std::io::Write;
    let path = folder.join("server.properties");
    let settings = format!(
        "process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller}
log.dirs={}/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=200
group.consumer.min.session.timeout.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=200
",
        folder.display()
    );
    File::create(&path).unwrap().write_all(settings.as_bytes()).unwrap();
    path
}
