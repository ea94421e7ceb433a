//! What the demo publishes, and what must come of each request.

use serde_json::json;

use super::server::{ImageServer, bad_requests};
use crate::{kafka::feeder::key, scenes::scene::Scene};

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The record's key.
    pub key: Vec<u8>,
    /// The record's value.
    pub value: String,
    /// What must come of it.
    pub expected: Expectation,
}

/// What must come of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
    /// A caption of this URL.
    Caption {
        /// As in the record.
        url: String,
    },
    /// A dead letter with this reason.
    DeadLetter {
        /// What is bad about the request.
        name: &'static str,
        /// One of the contract's reasons.
        reason: String,
    },
}

/// Every scene, in turn as a bare URL and as a JSON request with its alt text, and in between the
/// bad requests: those that take time first.
#[must_use]
pub fn plan(server: &ImageServer, scenes: &[Scene]) -> Vec<Planned> {
    let mut bad = bad_requests(&server.base_url());
    bad.sort_by_key(|request| request.name != "slow");
    let mut bad = bad
        .into_iter()
        .map(|request| Planned {
            key: request.name.as_bytes().to_vec(),
            value: request.value,
            expected: Expectation::DeadLetter {
                name: request.name,
                reason: request.reason.to_string(),
            },
        })
        .peekable();

    let gap = (scenes.len() / bad.len().max(1)).max(1);
    let mut planned = Vec::new();
    for (index, scene) in scenes.iter().enumerate() {
        if index % gap == 0 {
            planned.extend(bad.next());
        }
        planned.push(good(server, index, scene));
    }
    planned.extend(bad);
    planned
}

fn good(server: &ImageServer, index: usize, scene: &Scene) -> Planned {
    let url = server.image_url(&scene.file);
    let value = if index.is_multiple_of(2) {
        url.clone()
    } else {
        let id = scene.file.split('.').next().unwrap_or(&scene.file);
        json!({ "url": url, "id": id, "caption": scene.caption }).to_string()
    };
    Planned {
        key: key(value.as_bytes()).unwrap_or_default(),
        value,
        expected: Expectation::Caption { url },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(file: &str) -> Scene {
        serde_json::from_value(json!({
            "file": file, "width": 8, "height": 8, "caption": "a thing", "objects": [],
        }))
        .expect("a scene")
    }

    #[tokio::test]
    async fn every_scene_and_every_kind_of_bad_request_is_planned_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let server = ImageServer::start(folder.path()).await.expect("a server");
        for count in [1, 5, 64] {
            let scenes: Vec<_> = (0..count).map(|n| scene(&format!("{n}.png"))).collect();
            let planned = plan(&server, &scenes);
            let bad = bad_requests(&server.base_url()).len();
            assert!(bad >= 8);
            assert_eq!(planned.len(), count + bad);
            let values: std::collections::BTreeSet<_> =
                planned.iter().map(|planned| &planned.value).collect();
            assert_eq!(values.len(), planned.len(), "values tell requests apart");
        }
    }
}
