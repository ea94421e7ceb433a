//! A real Apache Kafka, one node in KRaft mode, started from jars that Maven brings into
//! `target/kafka/lib` (see `tests/kafka/pom.xml`). It is killed when dropped.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use tempfile::TempDir;

const NEEDS: &str = "these tests need a JDK 17 (`java`) and Maven (`mvn`); on Debian: \
                     apt-get install openjdk-17-jre-headless maven";
const CLUSTER: &str = "vGlsYTItdGVzdC1rYWZrYQ";
const START: Duration = Duration::from_secs(180);

/// A running broker with a data folder of its own.
pub struct ApacheKafka {
    process: Child,
    folder: TempDir,
    lib: PathBuf,
    port: u16,
}

/// What a broker has beyond its plain listener.
#[derive(Default)]
pub struct Extra {
    /// Further listeners on loopback: a security protocol, which is the name too, and the port.
    pub listeners: Vec<(&'static str, u16)>,
    /// Lines for `server.properties`.
    pub properties: String,
    /// Arguments for `StorageTool format`.
    pub format: Vec<String>,
}

impl ApacheKafka {
    /// A broker with a plain listener only; see [`ApacheKafka::start_with`].
    ///
    /// # Panics
    /// As there.
    pub fn start() -> Self {
        Self::start_with(|_| Extra::default())
    }

    /// Fetches the jars where they are missing, formats a data folder and starts the broker.
    ///
    /// # Panics
    /// Where the JDK or Maven is missing (with how to install them), or the broker does not start
    /// (with the end of its log).
    pub fn start_with(extra: impl FnOnce(&Path) -> Extra) -> Self {
        let lib = jars();
        let folder = TempDir::with_prefix("vila2-kafka-").expect("a scratch folder");
        let [port, controller] = free_ports();
        let extra = extra(folder.path());
        write_properties(folder.path(), port, controller, &extra);
        let formatted = java(&lib)
            .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"])
            .arg(folder.path().join("server.properties"))
            .args(&extra.format)
            .output()
            .expect(NEEDS);
        assert!(
            formatted.status.success(),
            "formatting failed: {}",
            String::from_utf8_lossy(&formatted.stderr)
        );
        let process = launch(&lib, folder.path());
        let mut kafka = Self {
            process,
            folder,
            lib,
            port,
        };
        kafka.wait_until_open();
        kafka
    }

    /// `kafka.brokers` for its clients.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Creates topics of `partitions` partitions.
    pub fn create_topics(&self, topics: &[&str], partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("bootstrap.servers", self.brokers())
            .create()
            .expect("an admin client");
        let new: Vec<NewTopic<'_>> = topics
            .iter()
            .map(|topic| NewTopic::new(topic, partitions, TopicReplication::Fixed(1)))
            .collect();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        let created = runtime
            .block_on(admin.create_topics(&new, &options))
            .expect("an answer");
        for topic in created {
            topic.expect("a new topic");
        }
        // The controller answers before the broker shows the topics to clients.
        let deadline = Instant::now() + START;
        while !topics.iter().all(|topic| is_led(&admin, topic, partitions)) {
            assert!(Instant::now() < deadline, "topics {topics:?} do not appear");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts again on the same data and port, after [`ApacheKafka::kill`].
    pub fn restart(&mut self) {
        self.process = launch(&self.lib, self.folder.path());
        self.wait_until_open();
    }

    fn wait_until_open(&mut self) {
        let deadline = Instant::now() + START;
        loop {
            if let Some(status) = self.process.try_wait().expect("a child process") {
                panic!("Apache Kafka ended with {status}:\n{}", self.log());
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "Apache Kafka did not start:\n{}",
                self.log()
            );
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    fn log(&self) -> String {
        let mut text = String::new();
        let _ = File::open(self.folder.path().join("log"))
            .and_then(|mut log| log.read_to_string(&mut text));
        let from = text.len().saturating_sub(4_000);
        String::from_utf8_lossy(&text.as_bytes()[from..]).into_owned()
    }
}

impl Drop for ApacheKafka {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether every partition of a topic has a leader.
fn is_led(admin: &AdminClient<DefaultClientContext>, topic: &str, partitions: i32) -> bool {
    let metadata = admin
        .inner()
        .fetch_metadata(Some(topic), Duration::from_secs(10));
    metadata.is_ok_and(|metadata| {
        let found = metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions());
        found.filter(|partition| partition.leader() >= 0).count() == partitions as usize
    })
}

/// The folder of jars, filled by Maven where it is empty.
fn jars() -> PathBuf {
    // One test fetches, the others of this process wait.
    static FETCHING: Mutex<()> = Mutex::new(());
    let _alone = FETCHING.lock().unwrap_or_else(PoisonError::into_inner);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lib = root.join("target/kafka/lib");
    if lib.join("kafka_2.13-4.4.0.jar").exists() {
        return lib;
    }
    // Into a folder beside it first: an interrupted download must not look complete.
    let partial = root.join("target/kafka/lib.partial");
    let fetched = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(root.join("tests/kafka/pom.xml"))
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", partial.display()))
        .output()
        .unwrap_or_else(|error| panic!("cannot run mvn ({error}): {NEEDS}"));
    assert!(
        fetched.status.success(),
        "mvn could not fetch Apache Kafka:\n{}{}",
        String::from_utf8_lossy(&fetched.stdout),
        String::from_utf8_lossy(&fetched.stderr)
    );
    if fs::rename(&partial, &lib).is_err() {
        assert!(
            lib.exists(),
            "cannot move {} to {}",
            partial.display(),
            lib.display()
        );
    }
    lib
}

fn java(lib: &Path) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx512m", "-cp"]).arg(lib.join("*"));
    command
}

fn launch(lib: &Path, folder: &Path) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .expect("a log file");
    java(lib)
        .arg("kafka.Kafka")
        .arg(folder.join("server.properties"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run java ({error}): {NEEDS}"))
}

fn write_properties(folder: &Path, port: u16, controller: u16, extra: &Extra) {
    let data = folder.join("data");
    let data = data.display();
    let (mut advertised, mut map) = (format!("PLAINTEXT://127.0.0.1:{port}"), String::new());
    for (protocol, port) in &extra.listeners {
        advertised.push_str(&format!(",{protocol}://127.0.0.1:{port}"));
        map.push_str(&format!(",{protocol}:{protocol}"));
    }
    let more = &extra.properties;
    let text = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners={advertised},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners={advertised}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{map}\n\
         controller.listener.names=CONTROLLER\n\
         inter.broker.listener.name=PLAINTEXT\n\
         log.dirs={data}\n\
         auto.create.topics.enable=false\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=3\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=3\n\
         group.initial.rebalance.delay.ms=0\n\
         group.min.session.timeout.ms=1000\n\
         {more}\n"
    );
    File::create(folder.join("server.properties"))
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .expect("a properties file");
}

/// Ports that were free a moment ago.
pub fn free_ports<const N: usize>() -> [u16; N] {
    // All are held before any is given up: no port comes twice.
    let held = [(); N].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
    held.map(|listener| listener.local_addr().expect("an address").port())
}
