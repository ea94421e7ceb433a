//! The shipped program, run as a person or a service manager would.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How long a running program may take to do what is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// The program in the repository, without settings from the outer environment.
pub fn vila2(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vila2"));
    let ours = ["VILA2_", "OTEL_", "HF_", "ORT_DYLIB_PATH"];
    for (name, _) in std::env::vars() {
        if ours.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .stdin(Stdio::null());
    command
}

/// What a finished program left.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self {
            code: output.status.code().expect("an exit code"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Ran {
    finished(vila2(arguments))
}

/// Runs a command to its end.
pub fn finished(mut command: Command) -> Ran {
    command.output().expect("the program runs").into()
}

/// Ends with this code, says all of this, and puts nothing on stdout.
pub fn refused(ran: &Ran, code: i32, parts: &[&str]) {
    assert_eq!(ran.code, code, "{}", ran.stderr);
    assert_eq!(ran.stdout, "", "results only on stdout");
    for part in parts {
        assert!(
            ran.stderr.contains(part),
            "{part:?} is not in\n{}",
            ran.stderr
        );
    }
}

/// A program that runs beside the test; killed when dropped.
pub struct Running {
    process: Child,
    log: Arc<Mutex<String>>,
}

impl Running {
    /// Starts it; what it writes to stderr is kept.
    pub fn start(mut command: Command) -> Self {
        let mut process = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, kept) = (process.stderr.take().expect("a pipe"), Arc::clone(&log));
        thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                let mut log = kept.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self { process, log }
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        (self.log.lock().unwrap_or_else(PoisonError::into_inner)).clone()
    }

    /// Waits until a line of its log holds `part`, and returns that line.
    pub fn says(&mut self, part: &str) -> String {
        self.until(part, |log| {
            log.lines()
                .find(|line| line.contains(part))
                .map(str::to_owned)
        })
    }

    /// Sends SIGTERM and waits for the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        let id = self.process.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &id]).status();
        assert!(killed.expect("kill runs").success());
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().expect("a child process") {
                return status.code();
            }
            assert!(
                Instant::now() < deadline,
                "no end after SIGTERM:\n{}",
                self.log()
            );
            thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn until<T>(&mut self, what: &str, look: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(&self.log()) {
                return found;
            }
            let ended = self.process.try_wait().expect("a child process");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "not seen: {what} ({ended:?}):\n{}",
                self.log()
            );
            thread::park_timeout(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
