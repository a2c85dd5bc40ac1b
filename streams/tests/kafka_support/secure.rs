//! A broker that asks who is there: SCRAM over TLS, client certificates, and rights that are granted one by one.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::broker::{Node, classpath, free_ports, new_folder, use_broker};

/// The principal of both kinds: a SCRAM user, and the common name of a certificate.
pub const PRINCIPAL: &str = "counter";
pub const PASSWORD: &str = "not-to-be-seen";

/// The broker, the certificates, and who may do what.
pub struct Secure {
    folder: PathBuf,
    scram: u16,
    mutual: u16,
    rights: Mutex<Rights>,
    _node: Node,
}

struct Rights {
    _process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// The one of this binary, whose ordinary clients are its administrators.
pub fn secure_broker() -> &'static Secure {
    static SECURE: OnceLock<Secure> = OnceLock::new();
    SECURE.get_or_init(Secure::start)
}

impl Secure {
    fn start() -> Secure {
        let [open, scram, mutual, controller] = free_ports();
        let folder = new_folder();
        make_certificates(&folder);
        let keys = folder.display();
        let settings = format!(
            "process.roles=broker,controller
node.id=1
listeners=OPEN://127.0.0.1:{open},SCRAM://127.0.0.1:{scram},MUTUAL://127.0.0.1:{mutual},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=OPEN://127.0.0.1:{open},SCRAM://127.0.0.1:{scram},MUTUAL://127.0.0.1:{mutual}
listener.security.protocol.map=OPEN:PLAINTEXT,SCRAM:SASL_SSL,MUTUAL:SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=OPEN
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.scram.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.mutual.ssl.client.auth=required
listener.name.mutual.ssl.principal.mapping.rules=RULE:^CN=([^,]+).*$/$1/
ssl.keystore.type=PEM
ssl.keystore.location={keys}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={keys}/ca.pem
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=200
"
        );
        let user = format!("--add-scram=SCRAM-SHA-512=[name={PRINCIPAL},password={PASSWORD}]");
        let node = Node::in_folder(folder.clone(), &settings, &[&user]);
        node.tell("start");
        let address = format!("127.0.0.1:{open}");
        node.await_answer(&address);
        use_broker(&address);
        Secure { folder, scram, mutual, rights: Mutex::new(Rights::of(&address)), _node: node }
    }

    /// `bootstrap.servers` where SCRAM over TLS is asked for, and settings of a client for it.
    pub fn scram(&self) -> (String, Vec<(&'static str, String)>) {
        let settings = vec![
            ("security.protocol", "SASL_SSL".to_owned()),
            ("sasl.mechanism", "SCRAM-SHA-512".to_owned()),
            ("sasl.username", PRINCIPAL.to_owned()),
            ("sasl.password", PASSWORD.to_owned()),
            ("ssl.ca.location", self.file("ca.pem")),
        ];
        (format!("127.0.0.1:{}", self.scram), settings)
    }

    /// The same where a client's certificate is asked for.
    pub fn mutual(&self) -> (String, Vec<(&'static str, String)>) {
        let settings = vec![
            ("security.protocol", "SSL".to_owned()),
            ("ssl.ca.location", self.file("ca.pem")),
            ("ssl.certificate.location", self.file("client.pem")),
            ("ssl.key.location", self.file("client.key")),
        ];
        (format!("127.0.0.1:{}", self.mutual), settings)
    }

    /// An authority that signed nothing here.
    pub fn other_authority(&self) -> String {
        self.file("other-ca.pem")
    }

    /// Grants a right to the principal: an operation, and a kind of resource, how its name is meant, its name.
    pub fn grant(&self, right: &str) {
        self.tell("grant", right);
    }

    pub fn take(&self, right: &str) {
        self.tell("take", right);
    }

    fn tell(&self, what: &str, right: &str) {
        let (operation, resource) = right.split_once(' ').unwrap();
        let mut rights = self.rights.lock().unwrap();
        writeln!(rights.commands, "{what} {PRINCIPAL} {operation} {resource}").unwrap();
        let mut answer = String::new();
        rights.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "done\n", "{what} {right}: see above what the administrator's client says");
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

impl Rights {
    /// An administrator's client, which ends when its standard input does.
    fn of(address: &str) -> Rights {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/kafka/Acls.java");
        let mut process = Command::new("java")
            .args(["-Xmx128m", "-XX:+UseSerialGC", "-Dorg.apache.logging.log4j.level=ERROR", "-cp", &classpath()])
            .arg(program)
            .arg(address)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (commands, answers) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        Rights { _process: process, commands, answers }
    }
}

/// An authority, a certificate of the broker and one of the client; another authority.
fn make_certificates(folder: &Path) {
    let authority = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = named(name, Vec::new());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem();
        (certificate, Issuer::new(params, key))
    };
    let write = |name: &str, content: &str| fs::write(folder.join(name), content).unwrap();
    let (ca, issuer) = authority("authority of a test");
    write("ca.pem", &ca);
    write("other-ca.pem", &authority("another authority").0);
    let signed = |params: CertificateParams| {
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    };
    let (certificate, key) = signed(named("broker", vec!["127.0.0.1".to_owned()]));
    write("broker.pem", &format!("{key}{certificate}"));
    let (certificate, key) = signed(named(PRINCIPAL, Vec::new()));
    write("client.pem", &certificate);
    write("client.key", &key);
}

fn named(name: &str, hosts: Vec<String>) -> CertificateParams {
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
