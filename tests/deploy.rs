//! What is in `deploy/` against what the program really is: its metrics page, its keys, its files.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{
    page::{self, Series},
    program::{Running, finished, vila2},
    relay,
    web::Web,
};
use vila2::kafka::{Embedded, KafkaSettings};

/// What Prometheus adds by itself.
const TARGET_LABELS: [&str; 2] = ["instance", "job"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The documents of a YAML file.
fn yaml(path: &str) -> Vec<Value> {
    use serde::Deserialize;
    serde_yaml_ng::Deserializer::from_str(&text(path))
        .map(|document| {
            Value::deserialize(document).unwrap_or_else(|error| panic!("{path}: {error}"))
        })
        .collect()
}

/// A running service that has settled three pictures and a URL without one, and its page.
fn page_of_a_run() -> Series {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let web = runtime.block_on(Web::start(9, 3));
    let broker = Embedded::start().unwrap();
    let settings = KafkaSettings::new(broker.brokers());
    broker.create_topics(&settings.topics, 2).unwrap();
    let mut lines = web.urls();
    lines.push(web.url("missing.png"));
    relay::publish_urls(&settings, &lines);

    let mut service = Running::start(vila2(&[
        "--set",
        &format!("kafka.brokers={}", broker.brokers()),
        "--set",
        &format!("fetch.allow_addresses=['{}']", web.address()),
        "--set",
        "http.listen='127.0.0.1:0'",
        "run",
    ]));
    let line = service.says("metrics and probes on http://");
    let address = line.split("http://").nth(1).unwrap().trim().to_owned();
    let deadline = Instant::now() + Duration::from_secs(60);
    let settled = loop {
        let (status, body) = page::get(&address, "/metrics");
        assert_eq!(status, 200, "{body}");
        let series = Series::parse(&body);
        let count = |outcome| series.value("vila2_records_total", &[("outcome", outcome)]);
        let lag = series.labels("vila2_consumer_lag_records").is_some();
        if count("published") == Some(3.0) && count("dead_lettered") == Some(1.0) && lag {
            break series;
        }
        assert!(Instant::now() < deadline, "{body}\n{}", service.log());
        std::thread::park_timeout(Duration::from_millis(50));
    };
    for probe in ["/livez", "/readyz"] {
        let (status, body) = page::get(&address, probe);
        assert_eq!(status, 200, "{probe}: {body}");
    }
    assert_eq!(service.terminate(), Some(0));
    settled
}

#[test]
fn the_page_has_the_contracts_metrics_and_the_dashboard_and_alerts_use_no_others() {
    let series = page_of_a_run();
    let histogram = |name: &str, label: &'static str| {
        [
            (format!("{name}_bucket"), vec!["le", label]),
            (format!("{name}_sum"), vec![label]),
            (format!("{name}_count"), vec![label]),
        ]
    };
    let plain = |name: &str, labels: &[&'static str]| (name.to_owned(), labels.to_vec());
    let mut contract: BTreeMap<String, Vec<&str>> = BTreeMap::from([
        plain("vila2_records_total", &["outcome"]),
        plain("vila2_dead_letters_total", &["reason"]),
        plain("vila2_degraded_total", &["stage"]),
        plain("vila2_rules_total", &["rule", "action"]),
        plain("vila2_tokens_total", &["engine"]),
        plain("vila2_in_flight_records", &[]),
        plain("vila2_image_bytes", &[]),
        plain("vila2_oldest_unsettled_seconds", &[]),
        plain("vila2_consumer_lag_records", &["partition"]),
        plain("vila2_abandoned_total", &[]),
    ]);
    contract.extend(histogram("vila2_stage_queue_seconds", "stage"));
    contract.extend(histogram("vila2_stage_work_seconds", "stage"));
    contract.extend(histogram("vila2_batch_size", "engine"));
    for (name, labels) in &contract {
        let expected: BTreeSet<String> = labels.iter().map(|&label| label.to_owned()).collect();
        assert_eq!(series.labels(name), Some(&expected), "{name}");
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|part| name.strip_suffix(part))
            .unwrap_or(name);
        assert!(series.described(family), "{family} has no # HELP line");
    }
    for stage in [
        "fetch",
        "decode",
        "caption",
        "ground",
        "relate",
        "read_text",
        "merge",
    ] {
        let count = series.value("vila2_stage_work_seconds_count", &[("stage", stage)]);
        assert!(
            count.is_some_and(|count| count >= 3.0),
            "{stage}: {count:?}"
        );
    }

    let mut used = BTreeSet::new();
    for (place, expression) in expressions() {
        let (metrics, labels) = page::read_expression(&expression);
        let mut foreign: BTreeSet<String> = labels.into_iter().collect();
        for (metric, matchers) in metrics {
            let known = (series.labels(&metric))
                .unwrap_or_else(|| panic!("{place}: no metric `{metric}`: {expression}"));
            let is_known =
                |label: &String| known.contains(label) || TARGET_LABELS.contains(&label.as_str());
            for (label, value) in matchers {
                assert!(
                    is_known(&label),
                    "{place}: `{metric}` has no label `{label}`"
                );
                let there = TARGET_LABELS.contains(&label.as_str())
                    || series.value(&metric, &[(&label, &value)]).is_some();
                assert!(there, "{place}: `{metric}` never has {label}={value:?}");
            }
            foreign.retain(|label| !is_known(label));
            used.insert(metric);
        }
        assert!(
            foreign.is_empty(),
            "{place}: no metric has {foreign:?}: {expression}"
        );
    }
    let families = |names: &BTreeSet<String>| -> BTreeSet<String> {
        let parts = ["_bucket", "_sum", "_count"];
        let family = |name: &String| {
            let short = parts.iter().find_map(|part| name.strip_suffix(part));
            short.unwrap_or(name).to_owned()
        };
        names.iter().map(family).collect()
    };
    let all = families(&contract.into_keys().collect());
    assert_eq!(families(&used), all, "every metric is looked at somewhere");
}

/// Every expression of the dashboard and the alerts, with where it stands.
fn expressions() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let dashboard: Value = serde_json::from_str(&text("deploy/grafana/dashboard.json")).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let title = panel["title"].as_str().unwrap().to_owned();
            found.push((title, target["expr"].as_str().unwrap().to_owned()));
        }
    }
    let of_panels = found.len();
    assert!(of_panels > 10);
    for group in yaml("deploy/prometheus/alerts.yaml")[0]["groups"]
        .as_array()
        .unwrap()
    {
        for rule in group["rules"].as_array().unwrap() {
            let name = rule["alert"].as_str().unwrap().to_owned();
            assert!(
                rule["annotations"]["description"].is_string(),
                "{name} says what to do"
            );
            found.push((name, rule["expr"].as_str().unwrap().to_owned()));
        }
    }
    assert!(found.len() > of_panels + 5);
    found
}

#[test]
fn the_image_is_built_from_what_is_there_and_runs_as_nobody() {
    let ignore = text("deploy/Dockerfile.dockerignore");
    let sent: Vec<&str> = ignore
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    let dockerfile = text("deploy/Dockerfile");
    let mut copied = BTreeSet::new();
    for line in dockerfile.lines().filter(|line| line.starts_with("COPY ")) {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        if words[0].starts_with("--from=") {
            continue;
        }
        for source in &words[..words.len() - 1] {
            assert!(
                root().join(source).exists(),
                "{line}: {source} is not there"
            );
            let goes = sent.iter().any(|path| Path::new(source).starts_with(path));
            assert!(goes, "{line}: {source} is not sent to the builder");
            copied.insert(*source);
        }
    }
    // Cargo wants every target of the manifest, and what the program embeds.
    for needed in [
        "Cargo.toml",
        "Cargo.lock",
        "actors",
        "benches",
        "config",
        "src",
        "models",
    ] {
        assert!(copied.contains(needed), "{needed}");
    }
    for stage in ["cpu", "cuda"] {
        let (_, after) = dockerfile.split_once(&format!(" AS {stage}\n")).unwrap();
        let stage = after.split("\nFROM ").next().unwrap();
        for part in [
            "USER 65532:65532",
            "HEALTHCHECK",
            "/livez",
            "ENTRYPOINT",
            "config/production.toml",
        ] {
            assert!(stage.contains(part), "{part}");
        }
    }
    let version = |path: &str, name: &str| {
        let requirements = text(path);
        let line = requirements
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap()
            .to_owned();
        line.split("==")
            .nth(1)
            .unwrap()
            .split_whitespace()
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        version("deploy/cuda-requirements.txt", "onnxruntime-gpu=="),
        version("config/runtime-requirements.txt", "onnxruntime=="),
        "the program looks for one version of the library"
    );
}

/// `vila2 config check` under the settings of a deployment.
fn check_config(what: &str, config: &str, environment: &[(String, String)]) {
    let mut command = vila2(&["--config", config, "config", "check"]);
    let ppocr = root().join("target/runtime/rapidocr_onnxruntime/models");
    for (name, value) in environment {
        // The image has it elsewhere.
        let value = value.replace("/opt/vila2/models/ppocr", ppocr.to_str().unwrap());
        command.env(name, value);
    }
    let said = finished(command);
    assert_eq!(said.code, 0, "{what}: {}{}", said.stdout, said.stderr);
}

/// The variables of a file of `NAME=value` lines that are vila2's.
fn environment_file(path: &str) -> Vec<(String, String)> {
    let content = text(path);
    let pairs = content.lines().filter_map(|line| line.split_once('='));
    ours(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

/// Variables that are vila2's.
fn ours(pairs: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
    (pairs.into_iter())
        .filter(|(name, _)| name.starts_with("VILA2_"))
        .collect()
}

fn image_environment(stage: &str) -> Vec<(String, String)> {
    let dockerfile = text("deploy/Dockerfile");
    let (_, after) = dockerfile.split_once(&format!(" AS {stage}\n")).unwrap();
    let stage = after.split("\nFROM ").next().unwrap();
    let words = stage
        .split_whitespace()
        .filter_map(|word| word.split_once('='));
    ours(words.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())))
}

#[test]
fn every_deployment_has_a_configuration_that_is_valid() {
    let cpu = image_environment("cpu");
    assert!(!cpu.is_empty());
    check_config("the image", "config/production.toml", &cpu);
    check_config(
        "the image with CUDA",
        "config/production.toml",
        &image_environment("cuda"),
    );

    let compose = &yaml("deploy/compose.yaml")[0];
    let environment = compose["services"]["vila2"]["environment"]
        .as_object()
        .unwrap();
    let plain = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let pairs = environment
        .iter()
        .map(|(name, value)| (name.clone(), plain(value)));
    check_config(
        "compose",
        "config/production.toml",
        &[cpu.clone(), ours(pairs)].concat(),
    );

    let variables = |manifest: &Value| {
        let container = &manifest["spec"]["template"]["spec"]["containers"][0];
        let variables = container["env"].as_array().unwrap().iter();
        ours(variables.map(|one| {
            let value = one["value"].as_str().unwrap_or("a secret");
            (one["name"].as_str().unwrap().to_owned(), value.to_owned())
        }))
    };
    let addresses = environment_file("deploy/kubernetes/addresses.env");
    let login = &yaml("deploy/kubernetes/components/kafka-login/deployment.yaml")[0];
    let login = variables(login);
    assert!(!login.is_empty());
    let environment = [cpu, addresses, variables(&deployment()), login].concat();
    check_config("kubernetes", "deploy/kubernetes/vila2.toml", &environment);
}

fn deployment() -> Value {
    yaml("deploy/kubernetes/deployment.yaml").remove(0)
}

fn drain(config: &str) -> Option<Duration> {
    let table: toml::Table = text(config).parse().unwrap();
    let ms = table.get("limits")?.get("drain_ms")?.as_integer()?;
    Some(Duration::from_millis(ms.try_into().unwrap()))
}

#[test]
fn a_stop_has_time_to_drain_wherever_it_is_deployed() {
    // After the drain: the last confirmations, leaving the group, the last spans.
    let goodbye = Duration::from_secs(15);
    let default = drain("config/default.toml").unwrap();
    let compose = &yaml("deploy/compose.yaml")[0];
    let grace = compose["services"]["vila2"]["stop_grace_period"]
        .as_str()
        .unwrap();
    let grace = grace.strip_suffix('s').unwrap().parse().unwrap();
    let needs = drain("config/production.toml").unwrap_or(default) + goodbye;
    assert!(Duration::from_secs(grace) > needs, "compose: {grace} s");

    let pod = deployment()["spec"]["template"]["spec"].clone();
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    let needs = drain("deploy/kubernetes/vila2.toml").unwrap_or(default) + goodbye;
    assert!(Duration::from_secs(grace) > needs, "kubernetes: {grace} s");
}

#[test]
fn the_manifests_agree_with_each_other_and_with_the_program() {
    let base = root().join("deploy/kubernetes");
    let kustomization = &yaml("deploy/kubernetes/kustomization.yaml")[0];
    let files = kustomization["resources"].as_array().unwrap().iter();
    let files: BTreeSet<PathBuf> = files
        .map(|file| base.join(file.as_str().unwrap()))
        .collect();
    let there: BTreeSet<PathBuf> = (fs::read_dir(&base).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .filter(|path| !path.ends_with("kustomization.yaml"))
        .collect();
    assert_eq!(files, there, "every manifest is applied");

    let deployment = deployment();
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    for (probe, path) in [
        ("startupProbe", "/livez"),
        ("livenessProbe", "/livez"),
        ("readinessProbe", "/readyz"),
    ] {
        let get = &container[probe]["httpGet"];
        assert_eq!(
            (&get["path"], &get["port"]),
            (&path.into(), &"metrics".into())
        );
    }
    let context = &container["securityContext"];
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert!(container["resources"]["limits"]["memory"].is_string());

    // kustomize labels selectors, but not that of a disruption budget.
    let budget = &yaml("deploy/kubernetes/poddisruptionbudget.yaml")[0];
    let labels = &kustomization["labels"][0]["pairs"];
    assert_eq!(&budget["spec"]["selector"]["matchLabels"], labels);

    let config: toml::Table = text("deploy/kubernetes/vila2.toml").parse().unwrap();
    let defaults: toml::Table = text("config/default.toml").parse().unwrap();
    let scaled = &yaml("deploy/kubernetes/scaledobject.yaml")[0]["spec"];
    assert_eq!(
        scaled["scaleTargetRef"]["name"],
        deployment["metadata"]["name"]
    );
    let trigger = &scaled["triggers"][0]["metadata"];
    let key = |name: &str| {
        let of = |table: &toml::Table| table.get("kafka")?.get(name).cloned();
        of(&config).or_else(|| of(&defaults)).unwrap()
    };
    let brokers = trigger["bootstrapServersFromEnv"].as_str().unwrap();
    assert_eq!(brokers, "VILA2_KAFKA__BROKERS");
    let addresses = environment_file("deploy/kubernetes/addresses.env");
    assert!(addresses.iter().any(|(name, _)| name == brokers));
    let sources = container["envFrom"].as_array().unwrap();
    assert_eq!(sources[0]["configMapRef"]["name"], "vila2-addresses");
    assert_eq!(trigger["consumerGroup"].as_str(), key("group").as_str());
    assert_eq!(trigger["topic"].as_str(), key("topics")["images"].as_str());

    // A replica beyond the partitions would stay idle.
    let most = &scaled["maxReplicaCount"];
    let partitions = format!("--partitions {most} ");
    for place in ["deploy/compose.yaml", "deploy/README.md"] {
        assert!(text(place).contains(&partitions), "{place}: {partitions}");
    }
}
