//! Records of a topic of Apache Kafka exported by one process, by several that share it, and by
//! those that go on after one was killed: every record once, and counts that add up.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::{apache_kafka::ApacheKafka, on_topics, program::finished, relay};
use vila2::kafka::{KafkaSettings, feeder::Feeder};

const PARTITIONS: i32 = 3;
/// How long a first shard may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a slow server takes for a picture: so much work is left for a second process.
const SLOW: Duration = Duration::from_millis(20);

/// A topic of records whose pictures are files, or on a slow server.
struct Place {
    folder: tempfile::TempDir,
    settings: KafkaSettings,
    written: usize,
    /// The server's address.
    server: Option<String>,
}

/// Serves `picture N` at `/N`, slowly; returns its address.
fn slow_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(mut stream: TcpStream) {
    let mut head = [0; 4096];
    let Ok(length) = stream.read(&mut head) else {
        return;
    };
    let head = String::from_utf8_lossy(&head[..length]);
    let number = head.split(['/', ' ']).nth(2).unwrap_or_default();
    let body = format!("picture {number}");
    std::thread::sleep(SLOW);
    let length = body.len();
    // Whoever was killed does not read it.
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
}

impl Place {
    fn new(kafka: &ApacheKafka, name: &str) -> Self {
        let mut settings = relay::settings(&kafka.brokers(), name);
        settings.topics.captions = format!("{name}.captions");
        kafka.create_topics(&[&settings.topics.captions], PARTITIONS);
        Self {
            folder: tempfile::tempdir().unwrap(),
            settings,
            written: 0,
            server: None,
        }
    }

    fn feeder(&self) -> Feeder {
        Feeder::new(&self.settings, &self.settings.topics.captions).unwrap()
    }

    /// Writes so many more records, each with a picture of its own.
    fn write(&mut self, count: usize) {
        let mut feeder = self.feeder();
        for number in self.written..self.written + count {
            let id = format!("id {number}");
            let body = format!("picture {number}");
            let url = match &self.server {
                Some(server) => format!("http://{server}/{number}"),
                None => {
                    let path = self.folder.path().join(format!("p{number}.png"));
                    fs::write(&path, &body).unwrap();
                    file_url(&path)
                }
            };
            let record = record(&id, &url, body.as_bytes(), 0);
            let source = format!("images/0/{number}");
            let value = record.to_string();
            let headers = [("vila2-source", source.as_str())];
            (feeder.send(Some(id.as_bytes()), Some(value.as_bytes()), &headers)).unwrap();
        }
        feeder.finish(Duration::from_secs(30), |_| {}).unwrap();
        self.written += count;
    }

    fn export(&self, out: &Path, more: &[&str]) -> Command {
        let out = out.to_str().unwrap();
        let mut arguments = vec!["export", "kafka:captions", "--json", "--out", out];
        arguments.extend(["--text", "caption"]);
        arguments.extend(more);
        let mut command = on_topics::vila2(&self.settings, &arguments);
        command.args(["--set", "fetch.allow_addresses=['127.0.0.1']"]);
        command.args(["--set", "kafka.options.heartbeat.interval.ms=200"]);
        command
    }

    fn counts(&self, out: &Path, more: &[&str]) -> Value {
        let ran = finished(self.export(out, more));
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
    }

    fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ids(&self) -> Vec<String> {
        let mut ids: Vec<_> = (0..self.written).map(|at| format!("id {at}")).collect();
        ids.sort();
        ids
    }
}

fn file_url(path: &Path) -> String {
    url::Url::from_file_path(path).unwrap().into()
}

fn record(id: &str, url: &str, body: &[u8], round: u32) -> Value {
    let sha256: String = (Sha256::digest(body).iter())
        .map(|byte| format!("{byte:02x}"))
        .collect();
    json!({
        "schema": "vila2.caption/1", "id": id, "url": url, "round": round,
        "image": { "sha256": sha256, "width": 20, "height": 20, "format": "png", "bytes": 3 },
        "caption": { "text": format!("Caption of {id}, round {round}."), "tokens": 7, "finish": "stop" },
        "enriched": format!("Caption of {id}."), "status": "complete",
    })
}

/// Shards by their names.
fn tars(out: &Path) -> BTreeMap<String, PathBuf> {
    let Ok(entries) = fs::read_dir(out) else {
        return BTreeMap::new();
    };
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "tar"))
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path))
        .collect()
}

/// The ids in shards, sorted, and that every picture stands beside its text.
fn ids<'a>(tars: impl IntoIterator<Item = &'a PathBuf>) -> Vec<String> {
    let mut ids = Vec::new();
    for path in tars {
        let mut tar = tar::Archive::new(fs::File::open(path).unwrap());
        let mut picture = String::new();
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            if name.ends_with(".jpg") {
                picture = text;
            } else if name.ends_with(".json") {
                let members: Value = serde_json::from_str(&text).unwrap();
                let id = members["id"].as_str().unwrap().to_owned();
                assert_eq!(picture, id.replace("id", "picture"));
                ids.push(id);
            }
        }
    }
    ids.sort();
    ids
}

fn wait_for_a_shard(out: &Path, deadline: Instant) {
    while tars(out).is_empty() {
        assert!(Instant::now() < deadline, "no shard in {}", out.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until a running export has a whole shard, and kills it.
fn kill_at_work(mut process: Child, out: &Path) {
    wait_for_a_shard(out, Instant::now() + PATIENCE);
    process.kill().unwrap();
    assert_eq!(process.wait().unwrap().code(), None, "it was done already");
}

#[test]
fn a_topic_is_exported_once_whoever_is_killed() {
    let kafka = ApacheKafka::start();
    every_format_goes_on(&mut Place::new(&kafka, "formats"));
    what_is_no_record_is_counted(&mut Place::new(&kafka, "odd"));
    one_is_killed_and_goes_on(&mut Place::new(&kafka, "alone"));
    one_of_two_is_killed(&mut Place::new(&kafka, "apart"));
    two_fill_one_folder(&mut Place::new(&kafka, "together"));
}

fn every_format_goes_on(place: &mut Place) {
    place.write(100);
    for format in ["webdataset", "vila", "llava", "energon", "hf"] {
        let asked = ["--format", format, "--shard-size", "10"];
        let out = place.out(format);
        let counts = place.counts(&out, &asked);
        let all = place.written;
        assert_eq!(
            (&counts["read"], &counts["written"]),
            (&json!(all), &json!(all))
        );
        let again = place.counts(&out, &asked);
        assert_eq!(again, counts, "nothing is new");
        place.write(20);
        let more = place.counts(&out, &asked);
        assert_eq!(more["written"], place.written, "{more}");
    }
    // The first was made before most records came.
    let out = place.out("webdataset");
    assert_eq!(ids(tars(&out).values()).len(), 120);
    for name in tars(&out).keys() {
        let number: i32 = name.trim_end_matches(".tar").parse().unwrap();
        assert!(number / 1000 < PARTITIONS && number % 1000 < 20, "{name}");
    }
    let listed: Value = json_of(&place.out("vila/wids-meta.json"));
    let shards = tars(&place.out("vila"));
    let names = listed["shardlist"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|shard| shard["url"].as_str().unwrap()).collect();
    assert_eq!(names, shards.keys().collect::<Vec<_>>());
    let samples = listed["shardlist"].as_array().unwrap().iter();
    let samples: u64 = samples
        .map(|shard| shard["nsamples"].as_u64().unwrap())
        .sum();
    assert_eq!(samples, 140, "100, and 20 for each format so far");
    let data = json_of(&place.out("llava/data.json"));
    let mut found: Vec<_> = (data.as_array().unwrap().iter())
        .map(|entry| {
            let image = entry["image"].as_str().unwrap();
            let id = entry["id"].as_str().unwrap();
            let picture = fs::read_to_string(place.out("llava").join(image)).unwrap();
            assert_eq!(picture, id.replace("id", "picture"));
            id
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 160);
    let split = fs::read_to_string(place.out("energon/.nv-meta/split.yaml")).unwrap();
    for name in tars(&place.out("energon")).keys() {
        assert!(split.contains(name), "{name} is not in {split}");
    }
    // The same folder is not for other records, nor for another group.
    for other in [["--status", "complete"], ["--group", "others"]] {
        let mut arguments = vec!["--format", "webdataset", "--shard-size", "10"];
        arguments.extend(other);
        let ran = finished(place.export(&out, &arguments));
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(
            ran.stderr.contains("holds another export"),
            "{}",
            ran.stderr
        );
    }
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn what_is_no_record_is_counted(place: &mut Place) {
    place.write(30);
    let url = file_url(&place.folder.path().join("p3.png"));
    let mut feeder = place.feeder();
    let key = Some(&b"id 3"[..]);
    let again = record("id 3", &url, b"picture 3", 0).to_string();
    let newer = record("id 3", &url, b"picture 3", 2).to_string();
    let source = |at| [("vila2-source", at)];
    feeder
        .send(key, Some(again.as_bytes()), &source("images/0/3"))
        .unwrap();
    feeder
        .send(key, Some(newer.as_bytes()), &source("images/1/3"))
        .unwrap();
    feeder.send(key, Some(b"no record"), &[]).unwrap();
    feeder.send(key, None, &[]).unwrap();
    feeder.finish(Duration::from_secs(30), |_| {}).unwrap();
    let out = place.out("out");
    let counts = place.counts(&out, &["--format", "webdataset", "--newest-round"]);
    assert_eq!(counts["read"], 33, "a tombstone is no record");
    assert_eq!(counts["written"], 30);
    assert_eq!(
        counts["left_out"],
        json!({ "older_round": 1, "redelivered": 1, "no_record": 1 })
    );
    assert_eq!(ids(tars(&out).values()), place.ids());
    let ran = finished(on_topics::vila2(
        &place.settings,
        &[
            "export",
            "kafka:nowhere",
            "--format",
            "hf",
            "--out",
            "/nowhere/out",
        ],
    ));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("`nowhere` is not there"),
        "{}",
        ran.stderr
    );
}

fn one_is_killed_and_goes_on(place: &mut Place) {
    place.write(3_000);
    let asked = ["--format", "webdataset", "--shard-size", "10"];
    let out = place.out("out");
    kill_at_work(place.export(&out, &asked).spawn().unwrap(), &out);
    let counts = place.counts(&out, &asked);
    assert_eq!(
        (&counts["read"], &counts["written"]),
        (&json!(3_000), &json!(3_000))
    );
    assert_eq!(ids(tars(&out).values()), place.ids());
}

/// Two into folders of their own, the second while the first is at work; the first is killed once
/// both are. What the second has of a number counts.
fn one_of_two_is_killed(place: &mut Place) {
    place.server = Some(slow_server());
    place.write(3_000);
    let asked = [
        "--format",
        "webdataset",
        "--shard-size",
        "10",
        "--group",
        "us",
    ];
    let [first, second] = ["one", "two"].map(|name| place.out(name));
    let one = place.export(&first, &asked).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    wait_for_a_shard(&first, deadline);
    // It waits for the second to come, so that there is work left for both.
    signal(&one, "STOP");
    let mut two = place.export(&second, &asked);
    let two = two.stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    signal(&one, "CONT");
    wait_for_a_shard(&second, deadline);
    kill_at_work(one, &first);
    let two = two.wait_with_output().unwrap();
    assert_eq!(two.status.code(), Some(0));
    let counts: Value = serde_json::from_slice(&two.stdout).unwrap();
    assert_eq!(counts["read"], 3_000);
    assert_eq!(counts["written"], 3_000);
    let mut all = tars(&first);
    all.extend(tars(&second));
    assert_eq!(ids(all.values()), place.ids());
}

/// Two into one folder, to their ends.
fn two_fill_one_folder(place: &mut Place) {
    place.write(1_000);
    let asked = ["--format", "vila", "--shard-size", "10", "--group", "us"];
    let out = place.out("out");
    let both = [(); 2].map(|()| {
        let mut one = place.export(&out, &asked);
        one.stdout(Stdio::piped()).spawn().unwrap()
    });
    for one in both {
        let one = one.wait_with_output().unwrap();
        assert_eq!(one.status.code(), Some(0));
        let counts: Value = serde_json::from_slice(&one.stdout).unwrap();
        assert_eq!(counts["written"], 1_000, "{counts}");
    }
    assert_eq!(ids(tars(&out).values()), place.ids());
    let listed = json_of(&out.join("wids-meta.json"));
    let listed = listed["shardlist"].as_array().unwrap().len();
    assert_eq!(listed, tars(&out).len());
}

fn signal(process: &Child, name: &str) {
    let id = process.id().to_string();
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &id])
        .status();
    assert!(sent.unwrap().success());
}
