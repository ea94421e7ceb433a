//! The page of a running service, over HTTP: a real chain with the shipped model, a broker in this
//! process, and the shipped program.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{
    on_topics,
    page::{self, Series},
    program::Running,
    relay,
    web::Web,
};
use vila2::{
    app::service::Service,
    config::{Config, Layers, Sources},
    kafka::{Embedded, KafkaSettings, feeder::Feeder},
    telemetry,
};

/// Nothing a test waits for takes longer, or it has failed.
const PATIENCE: Duration = Duration::from_secs(120);

struct World {
    broker: Embedded,
    web: Web,
    settings: KafkaSettings,
}

impl World {
    async fn start(name: &str, pictures: u64) -> Self {
        let broker = Embedded::start().unwrap();
        let settings = relay::settings(broker.brokers(), name);
        broker.create_topics(&settings.topics, 1).unwrap();
        Self {
            web: Web::start(7, pictures).await,
            broker,
            settings,
        }
    }

    fn sets(&self, more: &[&str]) -> Vec<String> {
        let mut sets = vec![
            format!("kafka.brokers='{}'", self.broker.brokers()),
            format!("kafka.group='{}'", self.settings.group),
            format!("fetch.allow_addresses=['{}']", self.web.address()),
            "fetch.retries=0".to_owned(),
            "stages.read_text.mode=off".to_owned(),
        ];
        sets.extend(more.iter().map(|set| (*set).to_owned()));
        sets
    }

    fn configuration(&self, more: &[&str]) -> (Config, Layers) {
        Config::load(&Sources {
            file: None,
            environment: Vec::new(),
            sets: self.sets(more),
        })
        .unwrap()
    }

    async fn service(&self, more: &[&str]) -> Service {
        let (config, layers) = self.configuration(more);
        let metrics = telemetry::start_metrics().unwrap().page;
        Service::start(&config, &layers, Some(metrics))
            .await
            .unwrap()
    }

    fn publish(&self, requests: &[String]) {
        let mut feeder = Feeder::new(&self.settings, &self.settings.topics.images).unwrap();
        for request in requests {
            feeder.send(None, Some(request.as_bytes()), &[]).unwrap();
        }
        feeder.finish(Duration::from_secs(30), |_| {}).unwrap();
    }
}

/// A browser's stream of events.
struct Events(BufReader<TcpStream>);

impl Events {
    fn open(address: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        Self(BufReader::new(stream))
    }

    /// The next event's data; `None`: the stream ended.
    fn next(&mut self) -> Option<(String, Value)> {
        let (mut name, mut line) = (String::new(), String::new());
        loop {
            line.clear();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(event) = line.strip_prefix("event: ") {
                name = event.trim().to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((name, serde_json::from_str(data).unwrap()));
            }
        }
    }

    fn until(&mut self, event: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut last = Value::Null;
        while Instant::now() < deadline {
            let (name, data) = self.next().expect("the stream goes on");
            if name == event && holds(&data) {
                return data;
            }
            last = data;
        }
        panic!("no event {event} of this kind, the last: {last}");
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_what_the_chain_did_and_says_the_same_as_the_metrics() {
    let world = World::start("page-shows", 12).await;
    let service = world.service(&["http.listen=127.0.0.1:0"]).await;
    let address = service.address().unwrap().to_string();
    let (status, html) = page::get(&address, "/");
    assert_eq!(status, 200);
    assert!(html.contains("a running service"), "{html}");
    let mut events = Events::open(&address);
    events.until("state", |_| true);
    let mut requests = world.web.urls();
    requests.push(world.web.url("missing.jpg?sig=5ec4e7"));
    requests.push("http://user:hunter2@10.0.0.1/x.png".to_owned());
    world.publish(&requests);
    let (state, card) = blocking(move || {
        let settled = |state: &Value| {
            let records = &state["records"];
            records["captions"] == 12 && records["dead_letters"] == 2 && records["behind"] == 0
        };
        let card = events.until("card", |_| true);
        (events.until("state", settled), card)
    })
    .await;
    assert_eq!(state["condition"]["kind"], "idle", "{state}");
    assert_eq!(state["records"]["in_flight"], 0);
    assert_eq!(state["stages"][0]["done"], 14, "fetched");
    assert_eq!(state["stages"][7]["done"], 14, "sent");
    assert_eq!(state["stages"][5]["off"], true, "read_text");
    for (index, stage) in ["decode", "caption", "ground", "relate"].iter().enumerate() {
        let shown = &state["stages"][index + 1];
        assert_eq!(
            (&shown["name"], &shown["done"]),
            (&(*stage).into(), &12.into())
        );
    }
    let engine = &state["engines"][0];
    assert_eq!(
        (&engine["name"], &engine["slots"]),
        (&"scenes".into(), &16.into())
    );
    let text = state.to_string();
    assert!(
        !text.contains("hunter2") && !text.contains("5ec4e7"),
        "{text}"
    );
    assert!(text.contains("missing.jpg?sig=REDACTED"), "{text}");
    let html = card["html"].as_str().unwrap();
    for part in [
        "<article",
        "data:image/jpeg;base64,",
        "class=\"clause ",
        "s-caption",
    ] {
        assert!(html.contains(part), "no {part} in {html}");
    }
    let metrics = Series::parse(&page::get(&address, "/metrics").1);
    let records = |outcome| metrics.value("vila2_records_total", &[("outcome", outcome)]);
    // Other tests of this process count in the same metrics, but only failures to join.
    assert_eq!(
        (records("published"), records("dead_lettered")),
        (Some(12.0), Some(2.0))
    );

    let mut open = Events::open(&address);
    open.until("state", |_| true);
    let begun = Instant::now();
    assert_eq!(service.stop().await.left, 0);
    blocking(move || while open.next().is_some() {}).await;
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_off_beyond_this_machine_and_http_page_overrules_both_ways() {
    let world = World::start("page-off", 1).await;
    for (sets, on) in [
        (&["http.listen=0.0.0.0:0"][..], false),
        (&["http.listen=0.0.0.0:0", "http.page=true"][..], true),
        (&["http.listen=127.0.0.1:0"][..], true),
        (&["http.listen=127.0.0.1:0", "http.page=false"][..], false),
    ] {
        let service = world.service(sets).await;
        let address = format!("127.0.0.1:{}", service.address().unwrap().port());
        assert_eq!(service.has_page(), on, "{sets:?}");
        let (status, body) = page::get(&address, "/");
        let (events, _) = if on {
            (200, String::new())
        } else {
            page::get(&address, "/events")
        };
        if on {
            assert_eq!(status, 200, "{sets:?}");
            Events::open(&address).until("state", |_| true);
        } else {
            assert_eq!((status, events), (404, 404), "{sets:?}");
            assert_eq!(body.lines().count(), 1, "{body}");
            assert!(body.contains("http.page = true"), "{body}");
        }
        assert_eq!(page::get(&address, "/metrics").0, 200);
        assert_eq!(page::get(&address, "/livez").0, 200);
        service.stop().await;
    }
}

#[test]
fn without_a_broker_the_page_says_so_and_sigterm_is_not_held_up_by_a_reader() {
    let settings = relay::settings("127.0.0.1:1", "page-away");
    let listen = "http.listen=127.0.0.1:0";
    let off = "stages.read_text.mode=off";
    let command = on_topics::vila2(&settings, &["run", "--set", listen, "--set", off]);
    let mut program = Running::start(command);
    let line = program.says("metrics and probes on http://");
    assert!(line.contains("the page of this service"), "{line}");
    let address = line.split_once("http://").unwrap().1;
    let address: String = address
        .chars()
        .take_while(|c| c.is_ascii_digit() || ".:".contains(*c))
        .collect();
    let mut events = Events::open(&address);
    let state = events.until("state", |state| {
        let words = state["condition"]["words"].as_str().unwrap_or_default();
        words.contains("no connection to 127.0.0.1:1")
    });
    assert_eq!(state["condition"]["kind"], "waiting");
    assert_eq!(state["records"]["behind"], Value::Null);
    let begun = Instant::now();
    assert_eq!(program.terminate(), Some(0));
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    while events.next().is_some() {}
}
