//! `vila2 caption` as a person runs it, and what it leaves in a folder.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use vila2::{
    records,
    scenes::generate::{Format, Formats, Generator},
};

use super::program::{Ran, finished, vila2};

/// What these tests do not need of a caption.
const PLAIN: [&str; 2] = ["--without", "ground,relate,read_text"];
/// What is asked where a test does not say it.
pub const PROMPT: &str = "Describe the image.";
/// How long a running program may take to do what is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// Drawn pictures as files `NAME.png` in a folder that is made; no two are the same.
pub fn draw(folder: &Path, names: &[&str], seed: u64) {
    let scenes = Generator::new(seed, Formats::Only(Format::Png)).unwrap();
    for (index, name) in (0..).zip(names) {
        let path = folder.join(format!("{name}.png"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, scenes.encode(index).unwrap().bytes).unwrap();
    }
}

/// The command, without specialists; with one prompt for all, where `arguments` have none: of the
/// configured ones another is chosen for each id.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = vila2(&["caption"]);
    command.args(PLAIN).args(arguments);
    if !arguments.contains(&"--prompt") {
        command.args(["--prompt", PROMPT]);
    }
    command
}

/// Runs it to its end.
pub fn caption(arguments: &[&str]) -> Ran {
    finished(command(arguments))
}

/// Runs it to its end with this on stdin.
pub fn caption_of(text: &str, arguments: &[&str]) -> Ran {
    use std::io::Write as _;
    let mut process = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = process.stdin.take().expect("a pipe");
    stdin.write_all(text.as_bytes()).expect("written");
    drop(stdin);
    process.wait_with_output().expect("the program runs").into()
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The folder that `--out` names.
pub struct Out(pub PathBuf);

impl Out {
    /// Its captions, in the order of their files and rows.
    pub fn rows(&self) -> Vec<Value> {
        let mut files: Vec<_> = (fs::read_dir(&self.0).unwrap())
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "parquet"))
            .collect();
        files.sort();
        let rows = files.iter().flat_map(|file| records::read(file).unwrap());
        rows.map(|row| serde_json::from_slice(&row.unwrap()).unwrap())
            .collect()
    }

    /// Its captions by `url`; no URL may have two.
    pub fn by_url(&self) -> BTreeMap<String, Value> {
        let mut by_url = BTreeMap::new();
        for row in self.rows() {
            let url = row["url"].as_str().unwrap().to_owned();
            assert!(
                by_url.insert(url.clone(), row).is_none(),
                "{url} has two rows"
            );
        }
        by_url
    }

    /// Input and reason of its dead letters; no input may have two.
    pub fn dead(&self) -> BTreeMap<String, String> {
        let mut dead = BTreeMap::new();
        for line in fs::read_to_string(self.0.join("dead.jsonl"))
            .unwrap()
            .lines()
        {
            let letter: BTreeMap<String, String> = serde_json::from_str(line).unwrap();
            assert!(
                letter.keys().eq(["detail", "input", "reason"]),
                "{letter:?}"
            );
            let old = dead.insert(letter["input"].clone(), letter["reason"].clone());
            assert!(old.is_none(), "{} has two dead letters", letter["input"]);
        }
        dead
    }

    /// Its counts, after looking whether they are those of rows and dead letters: read, captions,
    /// dead, duplicates, skipped.
    pub fn counts(&self) -> [u64; 5] {
        let summary: Value =
            serde_json::from_slice(&fs::read(self.0.join("summary.json")).unwrap()).unwrap();
        let counts = ["read", "captions", "dead", "duplicates", "skipped"]
            .map(|name| summary[name].as_u64().unwrap());
        let [read, captions, dead, ..] = counts;
        assert_eq!(captions, self.rows().len() as u64);
        let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
        for reason in self.dead().into_values() {
            *reasons.entry(reason).or_default() += 1;
        }
        assert_eq!(summary["reasons"], serde_json::json!(reasons));
        assert_eq!(dead, reasons.values().sum::<u64>());
        assert_eq!(read, captions + dead);
        let rate = summary["images_per_second"].as_f64().unwrap();
        assert_eq!(rate > 0.0, captions > 0, "{rate} images a second");
        let page = fs::read_to_string(self.0.join("report.html")).unwrap();
        assert!(page.contains("</html>"));
        counts
    }

    /// The lines of its journal, whose first says which journal it is.
    fn journal(&self) -> Vec<String> {
        let journal = fs::read(self.0.join(".vila2/journal.jsonl")).unwrap_or_default();
        let journal = String::from_utf8_lossy(&journal).into_owned();
        let lines = journal.split_inclusive('\n');
        let whole = lines.filter(|line| line.ends_with('\n'));
        whole.map(str::to_owned).collect()
    }

    /// Starts a run into it and waits until it has given so many answers.
    pub fn started(&self, arguments: &[&str], answers: usize) -> Child {
        // What an earlier run left is another journal, until it is in the files.
        let before = self.journal().into_iter().next();
        let mut process = command(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let journal = self.journal();
            let lines = journal.len();
            if lines > answers && journal.first() != before.as_ref() {
                return process;
            }
            let ended = process.try_wait().expect("a child process");
            assert!(
                ended.is_none(),
                "it ended before {answers} answers: {ended:?}"
            );
            assert!(Instant::now() < deadline, "{lines} answers only");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Sends a signal, and returns the exit code; `None` where the signal ended the process.
pub fn signal(mut process: Child, name: &str) -> Option<i32> {
    let id = process.id().to_string();
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &id])
        .status();
    assert!(sent.expect("kill runs").success());
    process.wait().expect("a child process").code()
}

/// The texts of rows whose pictures are the same are the same.
pub fn agree(rows: impl IntoIterator<Item = Value>) {
    let mut texts: BTreeMap<String, Value> = BTreeMap::new();
    for row in rows {
        let picture = row["image"]["sha256"].as_str().unwrap().to_owned();
        let text = texts
            .entry(picture)
            .or_insert_with(|| row["enriched"].clone());
        assert_eq!(*text, row["enriched"], "{}", row["url"]);
    }
}

/// The id of a bare URL: its SHA-256.
pub fn id_of(url: &str) -> String {
    use sha2::{Digest as _, Sha256};
    format!("{:x}", Sha256::digest(url))
}
