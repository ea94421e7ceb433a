//! Numbered requests without end: pictures of a folder and, among them, everything that must be
//! refused. The same seed gives the same requests.

use std::{path::Path, time::Duration};

use serde_json::json;
use vila2::{
    demo::server::{BadRequest, ImageServer, bad_requests},
    kafka::{KafkaSettings, feeder::Feeder},
    scenes::{
        generate::{Format, Formats, write_dataset},
        random::SceneRng,
    },
};
use vila2_actors::error::Reason;

/// How long the broker may take to confirm what is published at once.
const CONFIRM: Duration = Duration::from_secs(60);

/// A request; its key tells it from all others and is its id where it can have one.
#[derive(Debug, Clone)]
pub struct Numbered {
    /// The record's key.
    pub key: String,
    /// The record's value.
    pub value: String,
    /// `None`: a caption; else the reason of its dead letter.
    pub refused: Option<Reason>,
}

/// The requests.
pub struct Requests {
    dice: SceneRng,
    pictures: Vec<String>,
    bad: Vec<BadRequest>,
    bad_percent: u32,
    made: usize,
    made_bad: usize,
}

impl Requests {
    /// Requests to `server`, whose folder holds `pictures`; about `bad_percent` in a hundred are
    /// bad, every kind in turn.
    pub fn new(seed: u64, server: &ImageServer, pictures: &[String], bad_percent: u32) -> Self {
        Self {
            dice: SceneRng::new(seed, 0),
            pictures: pictures.iter().map(|name| server.image_url(name)).collect(),
            bad: bad_requests(&server.base_url()),
            bad_percent,
            made: 0,
            made_bad: 0,
        }
    }

    /// The next ones.
    pub fn take(&mut self, count: usize) -> Vec<Numbered> {
        (0..count).map(|_| self.next()).collect()
    }

    fn next(&mut self) -> Numbered {
        let key = format!("request-{:06}", self.made);
        self.made += 1;
        if self.dice.between(1, 100) <= self.bad_percent {
            let bad = &self.bad[self.made_bad % self.bad.len()];
            self.made_bad += 1;
            return Numbered {
                key,
                value: bad.value.clone(),
                refused: Some(bad.reason),
            };
        }
        let url = self.dice.pick(&self.pictures);
        Numbered {
            value: json!({ "url": url, "id": key }).to_string(),
            key,
            refused: None,
        }
    }
}

/// Draws `count` small pictures into `folder/images` and serves them; returns their names too.
pub async fn serve(folder: &Path, count: u64, seed: u64) -> (ImageServer, Vec<String>) {
    let formats = Formats::Only(Format::Jpeg);
    write_dataset(folder, count, seed, formats, &|_| {}).expect("pictures");
    let images = folder.join("images");
    let mut names: Vec<String> = std::fs::read_dir(&images)
        .expect("pictures")
        .map(|entry| entry.expect("a picture").file_name())
        .map(|name| name.into_string().expect("UTF-8"))
        .collect();
    names.sort();
    let server = ImageServer::start(images).await.expect("a free port");
    (server, names)
}

/// Publishes them and waits until the broker has them all.
pub fn publish(settings: &KafkaSettings, requests: &[Numbered]) {
    let mut feeder = Feeder::new(settings, &settings.topics.images).expect("a topic");
    for Numbered { key, value, .. } in requests {
        feeder
            .send(Some(key.as_bytes()), Some(value.as_bytes()), &[])
            .expect("a request that can be written");
    }
    feeder.finish(CONFIRM, |_| {}).expect("confirmations");
}
