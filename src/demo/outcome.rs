//! What came back from the topics, held against what was published.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use serde_json::{Value, json};
use vila2_actors::{annotation::EnrichedCaption, error::Reason};

use super::plan::{Expectation, Planned};
use crate::kafka::read::Received;

/// Requests and their terminal records.
#[derive(Debug)]
pub struct Outcome {
    planned: Vec<Planned>,
    by_url: HashMap<String, usize>,
    by_value: HashMap<String, usize>,
    terminal: Vec<Option<Terminal>>,
    /// Records that answer nothing that was published.
    strangers: Vec<String>,
    /// Further records for a request that had one.
    repeated: u64,
}

#[derive(Debug)]
enum Terminal {
    Caption {
        value: Bytes,
        record: Box<EnrichedCaption>,
    },
    Dead {
        reason: String,
        detail: String,
        record: Value,
    },
}

impl Outcome {
    /// Nothing has come back yet.
    #[must_use]
    pub fn new(planned: Vec<Planned>) -> Self {
        let by_url =
            planned
                .iter()
                .enumerate()
                .filter_map(|(at, planned)| match &planned.expected {
                    Expectation::Caption { url } => Some((url.clone(), at)),
                    Expectation::DeadLetter { .. } => None,
                });
        let by_value = planned
            .iter()
            .enumerate()
            .map(|(at, planned)| (planned.value.clone(), at));
        Self {
            by_url: by_url.collect(),
            by_value: by_value.collect(),
            terminal: planned.iter().map(|_| None).collect(),
            planned,
            strangers: Vec::new(),
            repeated: 0,
        }
    }

    /// Takes a record of the output topic; returns how many captions there are now.
    pub fn take_caption(&mut self, received: &Received) -> u64 {
        let value = received.value.clone().unwrap_or_default();
        match serde_json::from_slice::<EnrichedCaption>(&value) {
            Ok(record) => {
                let at = self.by_url.get(&record.url).copied();
                let name = record.url.clone();
                let record = Box::new(record);
                self.settle(at, name, Terminal::Caption { value, record });
            }
            Err(error) => self
                .strangers
                .push(format!("a caption that cannot be read: {error}")),
        }
        self.records().count() as u64
    }

    /// Takes a record of the dead letters; returns how many there are now.
    pub fn take_dead(&mut self, received: &Received) -> u64 {
        let value = received.value.as_deref().unwrap_or_default();
        let value = String::from_utf8_lossy(value).into_owned();
        let header = |name| received.header(name).unwrap_or_default().to_owned();
        let terminal = Terminal::Dead {
            reason: header("vila2-reason"),
            detail: header("vila2-detail"),
            record: record_json(received),
        };
        self.settle(self.by_value.get(&value).copied(), value, terminal);
        self.dead_letters().count() as u64
    }

    fn settle(&mut self, at: Option<usize>, name: String, terminal: Terminal) {
        match at.map(|at| &mut self.terminal[at]) {
            None => self.strangers.push(format!("{name}: was never published")),
            Some(Some(_)) => self.repeated += 1,
            Some(open) => *open = Some(terminal),
        }
    }

    /// Whether every request has a terminal record.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.terminal.iter().all(Option::is_some)
    }

    /// Everything that is missing or not as it should be, one line each.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<_> = self
            .planned
            .iter()
            .zip(&self.terminal)
            .filter_map(|(planned, terminal)| fault(planned, terminal.as_ref()))
            .collect();
        faults.extend(self.strangers.iter().cloned());
        faults
    }

    /// How many images were published, without the bad requests.
    #[must_use]
    pub fn images(&self) -> u64 {
        self.by_url.len() as u64
    }

    /// Records beyond the first of a request (at-least-once delivery allows them).
    #[must_use]
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// The captions, in the order of the requests.
    pub fn records(&self) -> impl Iterator<Item = &EnrichedCaption> {
        self.terminal
            .iter()
            .flatten()
            .filter_map(|terminal| match terminal {
                Terminal::Caption { record, .. } => Some(&**record),
                Terminal::Dead { .. } => None,
            })
    }

    /// Reasons of the dead letters, in the order of the requests.
    pub fn dead_letters(&self) -> impl Iterator<Item = &str> {
        self.terminal
            .iter()
            .flatten()
            .filter_map(|terminal| match terminal {
                Terminal::Dead { reason, .. } => Some(reason.as_str()),
                Terminal::Caption { .. } => None,
            })
    }

    /// Dead letters by reason, the most frequent first.
    #[must_use]
    pub fn dead_by_reason(&self) -> Vec<(String, u64)> {
        let mut counts = BTreeMap::new();
        for reason in self.dead_letters() {
            *counts.entry(reason.to_owned()).or_insert(0) += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }

    /// Captions that tripped a rule, as their records tell: rule → `mark` or `reject` → captions.
    #[must_use]
    pub fn rules(&self) -> BTreeMap<String, BTreeMap<String, u64>> {
        let mut rules: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        let mut note = |rule: &str, action: &str| {
            let actions = rules.entry(rule.to_owned()).or_default();
            *actions.entry(action.to_owned()).or_default() += 1;
        };
        for terminal in self.terminal.iter().flatten() {
            match terminal {
                Terminal::Caption { record, .. } => {
                    record.marks.iter().for_each(|rule| note(rule, "mark"));
                }
                Terminal::Dead { reason, detail, .. } if *reason == Reason::Rule.as_str() => {
                    let rule = detail
                        .split_once(':')
                        .map_or(detail.as_str(), |(rule, _)| rule);
                    note(rule, "reject");
                }
                Terminal::Dead { .. } => {}
            }
        }
        rules
    }

    /// The captions as they came, one a line.
    #[must_use]
    pub fn captions(&self) -> String {
        let values = self
            .terminal
            .iter()
            .flatten()
            .filter_map(|terminal| match terminal {
                Terminal::Caption { value, .. } => Some(String::from_utf8_lossy(value)),
                Terminal::Dead { .. } => None,
            });
        values.map(|value| format!("{value}\n")).collect()
    }

    /// The dead letters, one JSON object a line.
    #[must_use]
    pub fn dead(&self) -> String {
        let records = self
            .terminal
            .iter()
            .flatten()
            .filter_map(|terminal| match terminal {
                Terminal::Dead { record, .. } => Some(record),
                Terminal::Caption { .. } => None,
            });
        records.map(|record| format!("{record}\n")).collect()
    }
}

fn fault(planned: &Planned, terminal: Option<&Terminal>) -> Option<String> {
    let value = &planned.value;
    match (&planned.expected, terminal) {
        (_, None) => Some(format!("{value}: neither caption nor dead letter")),
        (Expectation::Caption { .. }, Some(Terminal::Caption { .. })) => None,
        // Whoever sets rules that reject wants it so.
        (Expectation::Caption { .. }, Some(Terminal::Dead { reason, .. }))
            if *reason == Reason::Rule.as_str() =>
        {
            None
        }
        (Expectation::Caption { .. }, Some(Terminal::Dead { reason, detail, .. })) => {
            Some(format!("{value}: dead letter {reason}: {detail}"))
        }
        (Expectation::DeadLetter { name, .. }, Some(Terminal::Caption { .. })) => {
            Some(format!("{value} ({name}): a caption"))
        }
        (
            Expectation::DeadLetter { name, reason },
            Some(Terminal::Dead {
                reason: got,
                detail,
                ..
            }),
        ) => (reason != got)
            .then(|| format!("{value} ({name}): dead letter {got}, not {reason}: {detail}")),
    }
}

/// `{"key", "value", "headers": {}}`; bytes that are no UTF-8 are read lossily.
#[must_use]
pub fn record_json(received: &Received) -> Value {
    let text = |bytes: &Option<Bytes>| {
        let text = bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes));
        text.map(std::borrow::Cow::into_owned)
    };
    let headers: serde_json::Map<_, _> = received
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    json!({ "key": text(&received.key), "value": text(&received.value), "headers": headers })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(value: &str, expected: Expectation) -> Planned {
        Planned {
            key: Vec::new(),
            value: value.to_owned(),
            expected,
        }
    }

    fn dead(value: &str, reason: &str) -> Received {
        Received {
            partition: 0,
            offset: 0,
            timestamp_ms: None,
            key: None,
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            headers: vec![("vila2-reason".to_owned(), reason.to_owned())],
        }
    }

    fn bad(value: &str, reason: &str) -> Planned {
        let reason = reason.to_owned();
        planned(
            value,
            Expectation::DeadLetter {
                name: "bad",
                reason,
            },
        )
    }

    #[test]
    fn what_is_missing_wrong_or_strange_is_a_fault() {
        let url = "http://x/1.jpg".to_owned();
        let mut outcome = Outcome::new(vec![
            planned("http://x/1.jpg", Expectation::Caption { url }),
            bad("a", "bad_request"),
            bad("b", "bad_request"),
            bad("c", "bad_request"),
        ]);
        assert!(!outcome.is_complete());
        outcome.take_dead(&dead("http://x/1.jpg", "stuck"));
        outcome.take_dead(&dead("a", "bad_request"));
        outcome.take_dead(&dead("b", "stuck"));
        outcome.take_dead(&dead("z", "stuck"));
        let faults = outcome.faults();
        assert_eq!(faults.len(), 4, "{faults:?}");
        assert!(faults[0].contains("dead letter stuck"));
        assert!(faults[1].contains("not bad_request"));
        assert!(faults[2].contains("neither"));
        assert!(faults[3].contains("never published"));
    }

    fn caption(url: &str, marks: &[&str]) -> Received {
        let value = json!({
            "schema": "vila2.caption/1", "id": "a", "url": url, "round": 0,
            "image": {"sha256": "", "width": 1, "height": 1, "format": "png", "bytes": 1},
            "caption": {"text": "", "tokens": 0, "finish": "repeat"}, "grounding": [], "text": [],
            "spatial": [], "clauses": [], "marks": marks, "enriched": "", "models": {},
            "status": "complete", "timings_ms": {}, "queue_ms": {},
        });
        Received {
            value: Some(value.to_string().into()),
            ..dead("", "")
        }
    }

    #[test]
    fn captions_that_tripped_a_rule_are_counted_and_no_faults() {
        let urls = ["http://x/1.jpg", "http://x/2.jpg", "http://x/3.jpg"];
        let expected = urls.map(|url| {
            planned(
                url,
                Expectation::Caption {
                    url: url.to_owned(),
                },
            )
        });
        let mut outcome = Outcome::new(expected.into());
        let mut letter = dead(urls[0], "rule");
        let detail = "refusal: \"I cannot\" in \"I cannot: no\"".to_owned();
        letter.headers.push(("vila2-detail".to_owned(), detail));
        outcome.take_dead(&letter);
        outcome.take_caption(&caption(urls[1], &["repetition", "mine"]));
        outcome.take_caption(&caption(urls[2], &["repetition"]));
        assert_eq!(outcome.faults(), Vec::<String>::new());
        let counts = serde_json::to_value(outcome.rules()).expect("JSON");
        let expected =
            json!({"mine": {"mark": 1}, "refusal": {"reject": 1}, "repetition": {"mark": 2}});
        assert_eq!(counts, expected);
    }

    #[test]
    fn a_repeated_answer_counts_once() {
        let mut outcome = Outcome::new(vec![bad("a", "bad_request")]);
        assert_eq!(outcome.take_dead(&dead("a", "bad_request")), 1);
        assert_eq!(outcome.take_dead(&dead("a", "bad_request")), 1);
        assert!(outcome.is_complete());
        assert!(outcome.faults().is_empty());
        assert_eq!(outcome.repeated(), 1);
        assert_eq!(outcome.dead_by_reason(), [("bad_request".to_owned(), 1)]);
    }
}
