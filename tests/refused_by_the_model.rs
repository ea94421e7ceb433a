//! Requests that only the model's side can refuse, through the shipped program with the shipped
//! model: each is a `bad_request`, none stops the service, and everything else is captioned.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use support::{
    program::{Ran, finished, run, vila2},
    relay,
    web::Web,
};
use vila2::kafka::{
    Embedded, KafkaSettings, feeder,
    read::{self, Reader, Start},
};

struct Bench {
    settings: KafkaSettings,
    web: Web,
    _broker: Embedded,
    _runtime: tokio::runtime::Runtime,
}

/// A broker in this process and a server of so many pictures.
fn bench(pictures: u64) -> Bench {
    let broker = Embedded::start().unwrap();
    let settings = relay::settings(broker.brokers(), "vila2");
    broker.create_topics(&settings.topics, 1).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let web = runtime.block_on(Web::start(11, pictures));
    Bench {
        settings,
        web,
        _broker: broker,
        _runtime: runtime,
    }
}

impl Bench {
    fn publish(&self, values: &[String]) {
        let mut feeder = feeder::Feeder::new(&self.settings, &self.settings.topics.images).unwrap();
        for value in values {
            feeder.send(None, Some(value.as_bytes()), &[]).unwrap();
        }
        feeder.finish(Duration::from_secs(30), |_| {}).unwrap();
    }

    /// Runs the shipped program until the topic's end is settled.
    fn run_until_end(&self) -> Ran {
        let set = |key: &str, value: &str| [String::from("--set"), format!("{key}={value}")];
        let mut command = vila2(&["run", "--until-end"]);
        command
            .args(set(
                "kafka.brokers",
                &format!("'{}'", self.settings.brokers),
            ))
            .args(set(
                "fetch.allow_addresses",
                &format!("['{}']", self.web.address()),
            ))
            .args(set("stages.ground.mode", "'off'"))
            .args(set("stages.read_text.mode", "'off'"))
            .args(set("http.listen", "'off'"));
        finished(command)
    }

    /// Offset of the request → the reason and the words of its dead letter, or nothing for a
    /// caption; each once.
    fn answers(&self) -> BTreeMap<i64, Option<(String, String)>> {
        let topics = &self.settings.topics;
        let mut answers = BTreeMap::new();
        for topic in [&topics.captions, &topics.dead] {
            let bounds = read::bounds(&self.settings, topic).unwrap();
            let count: i64 = bounds.values().map(|(first, end)| end - first).sum();
            let reader = Reader::new(&self.settings, topic, Start::Beginning).unwrap();
            let read = reader.read(Some(count as usize), Duration::from_secs(30), |record| {
                let source = record.header("vila2-source").unwrap();
                let offset = source.rsplit('/').next().unwrap().parse().unwrap();
                let header = |name| record.header(name).unwrap_or_default().to_owned();
                let dead = (record.header("vila2-reason"))
                    .map(|reason| (reason.to_owned(), header("vila2-detail")));
                assert!(answers.insert(offset, dead).is_none(), "{source} twice");
                true
            });
            assert_eq!(read.unwrap() as i64, count);
        }
        answers
    }
}

fn with_prompt(url: &str, prompt: &str) -> String {
    json!({ "url": url, "options": { "prompt": prompt } }).to_string()
}

#[test]
fn two_hundred_good_and_two_hundred_that_the_model_refuses_in_runs_of_sixty_are_all_answered() {
    let bench = bench(40);
    let urls = bench.web.urls();
    let too_long = "word ".repeat(3_000);
    let refused = ["<image>\nDescribe.", too_long.as_str()];
    let (mut values, mut good) = (Vec::new(), Vec::new());
    let (mut left_good, mut left_bad) = (200, 200);
    while left_good + left_bad > 0 {
        // First a run of bad ones: nothing has worked yet.
        let bad = left_bad.min(60);
        for number in 0..bad {
            let url = &urls[values.len() % urls.len()];
            values.push(with_prompt(url, refused[number % 2]));
        }
        left_bad -= bad;
        let now = left_good.min(60);
        for _ in 0..now {
            good.push(values.len() as i64);
            values.push(urls[values.len() % urls.len()].clone());
        }
        left_good -= now;
    }
    bench.publish(&values);

    let ran = bench.run_until_end();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(relay::is_committed(&bench.settings), "{}", ran.stderr);
    let answers = bench.answers();
    assert_eq!(answers.len(), 400);
    for (offset, answer) in &answers {
        match answer {
            None => assert!(good.contains(offset), "{offset}"),
            Some((reason, detail)) => {
                assert!(!good.contains(offset), "{offset}: {reason}: {detail}");
                assert_eq!(reason, "bad_request", "{detail}");
                let image = values[*offset as usize].contains("<image>");
                let what = if image {
                    "leave it out"
                } else {
                    "shorten the prompt by"
                };
                assert!(detail.contains(what), "{detail}");
            }
        }
    }
    let captions = answers.values().filter(|answer| answer.is_none()).count();
    assert_eq!(captions, 200);
}

#[test]
fn forty_prompts_with_the_image_word_and_five_good_ones_are_forty_refusals_and_five_captions() {
    let bench = bench(5);
    let urls = bench.web.urls();
    let mut values = vec![with_prompt(&urls[0], "<image>\nDescribe."); 40];
    values.extend(urls);
    bench.publish(&values);
    let ran = bench.run_until_end();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(relay::is_committed(&bench.settings), "{}", ran.stderr);
    let answers = bench.answers();
    assert_eq!(answers.len(), 45);
    for (offset, answer) in answers {
        let reason = answer.as_ref().map(|(reason, _)| reason.as_str());
        assert_eq!(reason, (offset < 40).then_some("bad_request"), "{answer:?}");
    }
}

#[test]
fn a_prompt_of_the_configuration_that_the_model_refuses_is_a_fault_of_the_configuration() {
    let too_long = "word ".repeat(3_000);
    for (key, value, words) in [
        (
            "stages.caption.prompts",
            String::from(r#"["Describe.", "<image> what?"]"#),
            "the prompt holds `<image>`",
        ),
        (
            "stages.ground.prompt",
            format!("'{too_long}'"),
            "positions for question and answer together",
        ),
    ] {
        let set = format!("{key}={value}");
        for (arguments, code) in [(&["run"][..], 2), (&["models", "check", "scenes"], 1)] {
            let mut all = vec!["--set", set.as_str()];
            all.extend(arguments);
            let ran = run(&all);
            assert_eq!(
                (ran.code, ran.stdout.as_str()),
                (code, ""),
                "{}",
                ran.stderr
            );
            assert!(ran.stderr.contains(key), "{}", ran.stderr);
            assert!(ran.stderr.contains(words), "{}", ran.stderr);
        }
    }
}
