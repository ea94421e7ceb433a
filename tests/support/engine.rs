//! The shipped program as a child process: started, asked over HTTP, measured, signalled, killed.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use vila2::kafka::KafkaSettings;

/// How long loading the models and joining the group may take on a busy machine.
const START: Duration = Duration::from_secs(120);
const ASK: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// `vila2 run`. Killed when dropped.
pub struct Engine {
    name: String,
    program: PathBuf,
    folder: PathBuf,
    starts: usize,
    process: Child,
    address: SocketAddr,
}

/// What the system says of a process.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Resident memory.
    pub resident_kb: u64,
    /// Open file descriptors.
    pub files: usize,
    /// Threads.
    pub threads: usize,
}

/// The configuration of one engine that talks to `settings`, may fetch from `allow` within `fetch`,
/// and is `name` to the broker. `more` is TOML that follows.
pub fn config(
    settings: &KafkaSettings,
    name: &str,
    allow: &str,
    fetch: Duration,
    more: &str,
) -> String {
    let options: String = settings
        .options
        .iter()
        .map(|(option, value)| format!("\"{option}\" = \"{value}\"\n"))
        .collect();
    let topics = &settings.topics;
    format!(
        "[kafka]\nbrokers = \"{}\"\ngroup = \"{}\"\n\
         topics = {{ images = \"{}\", captions = \"{}\", dead = \"{}\" }}\n\
         [kafka.options]\n{options}\"client.id\" = \"{name}\"\n\
         [fetch]\ntimeout_ms = {}\nretries = 1\nmax_bytes = 4194304\n\
         allow_addresses = [\"{allow}\"]\n\
         [http]\nlisten = \"127.0.0.1:0\"\n{more}",
        settings.brokers,
        settings.group,
        topics.images,
        topics.captions,
        topics.dead,
        fetch.as_millis(),
    )
}

impl Engine {
    /// Starts `program` with `config` and returns once its models are loaded. Configuration and
    /// log are left in `folder`.
    ///
    /// # Panics
    /// With the log, where the program ends instead.
    pub fn start(program: &Path, folder: &Path, name: &str, config: &str) -> Self {
        fs::write(folder.join(format!("{name}.toml")), config).expect("a configuration file");
        let mut engine = Self {
            process: launch(program, folder, name, 1),
            name: name.to_owned(),
            program: program.to_owned(),
            folder: folder.to_owned(),
            starts: 1,
            address: ([127, 0, 0, 1], 0).into(),
        };
        engine.wait_until_loaded();
        engine
    }

    /// Starts it again, after it ended.
    pub fn restart(&mut self) {
        assert!(!self.is_running(), "{} runs already", self.name);
        self.starts += 1;
        self.process = launch(&self.program, &self.folder, &self.name, self.starts);
        self.wait_until_loaded();
    }

    /// Its name to the broker.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the process is there.
    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().expect("a child process").is_none()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// SIGTERM; returns its exit status and how long it took, `None` where it is still there after
    /// `limit`.
    pub fn terminate(&mut self, limit: Duration) -> Option<(ExitStatus, Duration)> {
        let since = Instant::now();
        let told = Command::new("kill")
            .args(["-TERM", &self.process.id().to_string()])
            .status();
        assert!(told.is_ok_and(|told| told.success()), "kill -TERM");
        while since.elapsed() < limit {
            if let Some(status) = self.process.try_wait().expect("a child process") {
                return Some((status, since.elapsed()));
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
        None
    }

    /// What `/readyz` answers; `false` where nothing answers.
    pub fn is_ready(&self) -> bool {
        self.get("/readyz").is_some_and(|(status, _)| status == 200)
    }

    /// A metric, summed over its labels; `None` where it is not there, or nothing answers.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let (_, page) = self.get("/metrics")?;
        let values = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let plain = rest.starts_with(' ') || rest.starts_with('{');
            let value = rest.rsplit(' ').next()?;
            plain.then(|| value.parse::<f64>().ok())?
        });
        values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }

    /// What it takes of the system now; `None` where the process is gone.
    pub fn usage(&self) -> Option<Usage> {
        let folder = PathBuf::from(format!("/proc/{}", self.process.id()));
        let status = fs::read_to_string(folder.join("status")).ok()?;
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Some(Usage {
            resident_kb: field("VmRSS:")?,
            threads: usize::try_from(field("Threads:")?).ok()?,
            files: fs::read_dir(folder.join("fd")).ok()?.count(),
        })
    }

    /// The end of its log, since it was started last.
    pub fn log(&self) -> String {
        let text = self.whole_log();
        let from = text.len().saturating_sub(6_000);
        String::from_utf8_lossy(&text.as_bytes()[from..]).into_owned()
    }

    fn whole_log(&self) -> String {
        fs::read_to_string(log(&self.folder, &self.name, self.starts)).unwrap_or_default()
    }

    /// Waits until it has said where its page is.
    fn wait_until_loaded(&mut self) {
        let deadline = Instant::now() + START;
        loop {
            let log = self.whole_log();
            let address = log.split_once("metrics and probes on http://");
            if let Some((address, _)) = address.and_then(|(_, rest)| rest.split_once('\n')) {
                self.address = address.trim().parse().expect("an address");
                return;
            }
            assert!(self.is_running(), "{} ended:\n{}", self.name, self.log());
            assert!(
                Instant::now() < deadline,
                "{} does not start:\n{}",
                self.name,
                self.log()
            );
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// Status and body of an answer; `None` where nothing answers.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.address, ASK).ok()?;
        stream.set_read_timeout(Some(ASK)).ok()?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.address
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One log for each start.
fn log(folder: &Path, name: &str, start: usize) -> PathBuf {
    folder.join(format!("{name}.{start}.log"))
}

/// Starts the program without settings from the outer environment.
fn launch(program: &Path, folder: &Path, name: &str, start: usize) -> Child {
    let log = File::create(log(folder, name, start)).expect("a log file");
    let mut command = Command::new(program);
    command
        .args(["run", "--config"])
        .arg(folder.join(format!("{name}.toml")))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    for (variable, _) in std::env::vars() {
        if variable.starts_with("VILA2_") || variable.starts_with("OTEL_") {
            command.env_remove(variable);
        }
    }
    command
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", program.display()))
}
