//! The page of a chain on fakes, over HTTP.

mod cards;
mod numbers;
mod stream;

use std::net::SocketAddr;

use bytes::Bytes;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;
use vila2_actors::{
    error::FetchError,
    pipeline::PipelineHandle,
    testkit::{Fetching, Generating, Harness, World},
};

use super::*;
use crate::health::{Page, Probes};

/// Nothing a test waits for takes longer, or it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn facts() -> Facts {
    Facts {
        images: "images".to_owned(),
        captions: "captions".to_owned(),
        dead: "images.dead".to_owned(),
        group: "vila2".to_owned(),
        records: 2_000,
        image_bytes: 512 << 20,
        tolerated: 20,
        stages: vec![
            StageFacts {
                stage: "caption",
                engine: Some("captioner".to_owned()),
                kind: "caption",
            },
            StageFacts {
                stage: "ground",
                engine: Some("captioner".to_owned()),
                kind: "ground",
            },
            StageFacts {
                stage: "relate",
                engine: Some("relate".to_owned()),
                kind: "relate",
            },
            StageFacts {
                stage: "read_text",
                engine: Some("read_text".to_owned()),
                kind: "read_text",
            },
        ],
    }
}

fn running(handle: &PipelineHandle) -> Running {
    Running {
        activity: handle.activity(),
        engines: handle.engines(),
        behind: Some(handle.in_flight() as u64),
        image_bytes: handle.image_bytes(),
        oldest: handle.oldest(),
    }
}

/// A chain on fakes with its page.
struct Looked {
    chain: Harness,
    live: Live,
    served: Page,
}

impl Looked {
    async fn start(world: World) -> Self {
        let chain = world.start().await;
        let handle = chain.handle.clone();
        let ask: Ask = Arc::new(move || Look {
            chain: Some(running(&handle)),
            missing: Vec::new(),
            draining: false,
            broken: None,
        });
        let live = Live::new(facts(), Readers::ThisMachine, ask).expect("a page");
        chain.handle.set_observer(live.observer());
        let served = serve(Some(live.router())).await;
        Self {
            chain,
            live,
            served,
        }
    }

    fn address(&self) -> SocketAddr {
        self.served.address()
    }
}

async fn serve(people: Option<Router>) -> Page {
    let fine = || Arc::new(Vec::new) as Arc<dyn Fn() -> _ + Send + Sync>;
    let probes = Probes {
        live: fine(),
        ready: fine(),
    };
    let listen = "127.0.0.1:0".parse().expect("an address");
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let page = Page::serve(listen, metrics, probes, people).await;
    page.expect("a port")
}

/// One event of a stream.
#[derive(Debug)]
struct Sent {
    event: String,
    id: Option<String>,
    data: Value,
    /// As it came.
    raw: String,
}

/// A reader of the stream.
struct Stream {
    answer: reqwest::Response,
    text: String,
}

impl Stream {
    async fn open(address: SocketAddr, last: Option<&str>) -> Self {
        let mut request = reqwest::Client::new().get(format!("http://{address}/events"));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let content_type = answer.headers()["content-type"].to_str().expect("text");
        assert!(
            content_type.starts_with("text/event-stream"),
            "{content_type}"
        );
        Self {
            answer,
            text: String::new(),
        }
    }

    /// The next event; `None`: the stream ended.
    async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (raw, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    let line = raw.lines().find_map(|line| line.strip_prefix(name));
                    line.map(|value| value.trim_start().to_owned())
                };
                let data = field("data:").expect("data");
                return Some(Sent {
                    event: field("event:").expect("a name"),
                    id: field("id:"),
                    data: serde_json::from_str(&data).expect("JSON"),
                    raw,
                });
            }
            let chunk = tokio::time::timeout(PATIENCE, self.answer.chunk()).await;
            match chunk.expect("something comes") {
                Ok(Some(chunk)) => self.text += std::str::from_utf8(&chunk).expect("UTF-8"),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// The first event of this name for which `holds`.
    async fn until(&mut self, name: &str, holds: impl Fn(&Value) -> bool) -> Sent {
        let wait = async {
            loop {
                let sent = self.next().await.expect("the stream goes on");
                if sent.event == name && holds(&sent.data) {
                    return sent;
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, wait).await;
        found.unwrap_or_else(|_| panic!("no event {name} of this kind"))
    }
}
