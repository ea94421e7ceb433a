//! Every key, its type and its bounds.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use ipnet::IpNet;

use super::{
    Background, Config, Decode, Delivery, Fetch, Kafka, Limits, Log, LogFormat, Model, Page,
    Runtime, Topics, Variant, endpoint,
    fault::Fault,
    layers::Layers,
    reader::{Reader, Section},
    rules, stages,
};
use crate::places::locate;

/// Execution providers that can be registered.
const PROVIDERS: [&str; 3] = ["cpu", "cuda", "tensorrt"];
/// Properties with a key of their own, or on which delivery rests.
const OWN_OPTIONS: [(&str, &str); 6] = [
    ("bootstrap.servers", "kafka.brokers"),
    ("metadata.broker.list", "kafka.brokers"),
    ("group.id", "kafka.group"),
    (
        "enable.auto.commit",
        "no setting: offsets follow the confirmed output",
    ),
    (
        "enable.auto.offset.store",
        "no setting: offsets follow the confirmed output",
    ),
    (
        "enable.idempotence",
        "no setting: the producer is idempotent",
    ),
];

/// The configuration, with placeholders where a value is wrong, and every fault. Without one of
/// its sections there is none.
pub(super) fn read(layers: &Layers, faults: Vec<Fault>) -> (Option<Config>, Vec<Fault>) {
    let reader = Reader::new(layers, faults);
    let config = reader.root(|root| {
        let models: BTreeMap<String, Model> = root.sections("models", model).into_iter().collect();
        // Every section is read before one that is missing ends it.
        let (kafka, delivery, fetch, decode) = (
            root.section("kafka", kafka),
            root.section("delivery", delivery),
            root.section("fetch", fetch),
            root.section("decode", decode),
        );
        let stages = root.section("stages", |section| {
            stages::read(section, &models, layers.specialists())
        });
        let rules = root.section("rules", rules::read);
        let (limits, runtime, http, log) = (
            root.section("limits", |section| limits(section, fetch.as_ref())),
            root.section("runtime", runtime),
            root.section("http", http),
            root.section("log", log),
        );
        let (http, page) = http?;
        Some(Config {
            kafka: kafka?,
            delivery: delivery?,
            fetch: fetch?,
            decode: decode?,
            models,
            stages: stages.flatten()?,
            rules: rules?,
            limits: limits?,
            runtime: runtime?,
            http,
            page,
            log: log?,
        })
    });
    (config, reader.into_faults())
}

fn kafka(section: &Section<'_>) -> Kafka {
    let accepted = "host:port, several separated by commas";
    let brokers = section.text("brokers", accepted, |text| {
        match text
            .split(',')
            .find(|broker| !is_host_and_port(broker.trim()))
        {
            Some(broker) => Err(format!("{:?} is no host:port", broker.trim())),
            None => Ok(()),
        }
    });
    let topics = section
        .section("topics", |topics| {
            let read = |key| topics.text(key, "1 to 249 of A-Z a-z 0-9 . _ -", topic_name);
            Topics {
                images: read("images"),
                captions: read("captions"),
                dead: read("dead"),
            }
        })
        .unwrap_or_else(|| Topics {
            images: String::new(),
            captions: String::new(),
            dead: String::new(),
        });
    let Topics {
        images,
        captions,
        dead,
    } = &topics;
    if !images.is_empty() && (images == captions || captions == dead || images == dead) {
        section.fault("topics", "names a topic twice", "three different names");
    }
    let options = section.scalars("options");
    section.section("options", |options_section| {
        for (name, _) in &options {
            options_section.seen(name);
            if let Some((_, instead)) = OWN_OPTIONS.iter().find(|(own, _)| own == name) {
                options_section.fault(name, "is set by vila2 itself", instead);
            }
        }
    });
    Kafka {
        brokers,
        group: section.text("group", "a name", not_empty),
        topics,
        options,
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let foreign = |letter: char| letter.is_whitespace() || letter == '/';
        !host.is_empty() && !host.contains(foreign) && port.parse::<u16>().is_ok()
    })
}

fn topic_name(text: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=249).contains(&text.len()) && text.chars().all(legal) && text != "." && text != ".." {
        Ok(())
    } else {
        Err(format!("{text:?} is no topic name"))
    }
}

pub(super) fn not_empty(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        Err("is empty".to_owned())
    } else {
        Ok(())
    }
}

fn delivery(section: &Section<'_>) -> Delivery {
    section.text("mode", "\"at_least_once\"", |text| match text {
        "at_least_once" => Ok(()),
        "exactly_once" => Err(
            "\"exactly_once\" is not available in this version: use \"at_least_once\" and drop \
             duplicates by the header vila2-source"
                .to_owned(),
        ),
        other => Err(format!("{other:?} is not known")),
    });
    Delivery {
        attempts: count(section, "attempts", 1..=100),
    }
}

fn fetch(section: &Section<'_>) -> Fetch {
    let accepted =
        "a list of networks (\"10.0.0.0/8\") and addresses (\"10.1.2.3\", \"10.1.2.3:80\")";
    let allow_addresses = section.texts("allow_addresses", accepted, |text| {
        if is_network_or_address(text) {
            Ok(())
        } else {
            Err(format!("{text:?} is neither network nor address"))
        }
    });
    Fetch {
        timeout: millis(section, "timeout_ms", 1..=600_000),
        max_bytes: section.number("max_bytes", 1..=1 << 32),
        retries: count(section, "retries", 0..=100),
        user_agent: section.text("user_agent", "visible ASCII", |text| {
            let visible = |c: char| c.is_ascii_graphic() || c == ' ';
            if !text.is_empty() && text.chars().all(visible) {
                Ok(())
            } else {
                Err(format!("{text:?} is no header value"))
            }
        }),
        allow_addresses,
        file_roots: section
            .texts("file_roots", "folders", not_empty)
            .iter()
            .map(|root| locate(Path::new(root)))
            .collect(),
        respect_opt_out: section.flag("respect_opt_out"),
        opt_out_directives: section.texts("opt_out_directives", "a list of words", |word| {
            if !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
                Ok(())
            } else {
                Err(format!("{word:?} is no lower-case word"))
            }
        }),
    }
}

fn is_network_or_address(text: &str) -> bool {
    text.parse::<IpNet>().is_ok()
        || text.parse::<IpAddr>().is_ok()
        || text.parse::<SocketAddr>().is_ok()
}

fn decode(section: &Section<'_>) -> Decode {
    Decode {
        max_pixels: section.number("max_pixels", 1..=1 << 32),
        max_side: count(section, "max_side", 16..=65_535),
        min_side: count(section, "min_side", 0..=65_535),
        max_ratio: section.fraction("max_ratio", 0.0..=65_535.0),
        background: section.choice(
            "background",
            &[
                ("contrast", Background::Contrast),
                ("white", Background::White),
                ("stored", Background::Stored),
            ],
        ),
        parallel: size(section, "parallel", 1..=4_096),
    }
}

/// What a model must have.
const WHERE: &str = "a folder; or, in place of `path`, `endpoint` and `model` for one on a server";

fn model(_name: &str, section: &Section<'_>) -> Model {
    match (section.has("path"), section.has("endpoint")) {
        (false, true) => return endpoint::read(section),
        (true, true) => {
            section.know_all();
            section.fault(
                "endpoint",
                "comes beside `path`, and a model is either a folder or behind an endpoint",
                "one of the two; a server gets a name of its own in [models]",
            );
            return Model::default();
        }
        (_, false) => {}
    }
    let accepted = "a list of \"cpu\", \"cuda\", \"tensorrt\", each at most once";
    // A model is its path; where it runs is said only to have it elsewhere.
    let providers = if section.has("providers") {
        section.texts("providers", accepted, |text| {
            if PROVIDERS.contains(&text) {
                Ok(())
            } else {
                Err(format!("{text:?} is not known"))
            }
        })
    } else {
        vec![PROVIDERS[0].to_owned()]
    };
    let repeated = providers
        .iter()
        .enumerate()
        .any(|(at, provider)| providers[..at].contains(provider));
    if repeated {
        section.fault("providers", "names a provider twice", accepted);
    }
    if section.is_empty_list("providers") {
        section.fault("providers", "is empty", accepted);
    }
    let limit = |key: &str, bounds| section.has(key).then(|| size(section, key, bounds));
    Model {
        variant: variant(section),
        longest_edge: limit("longest_edge", 1..=4_096),
        max_tiles: limit("max_tiles", 1..=65_536),
        beams: limit("beams", 1..=16),
        keep_special_tokens: section.has("keep_special_tokens")
            && section.flag("keep_special_tokens"),
        path: locate(Path::new(&section.text("path", WHERE, not_empty))),
        providers,
        device: limit("device", 0..=255)
            .and_then(|id| i32::try_from(id).ok())
            .unwrap_or(0),
        provider_options: provider_options(section),
        endpoint: None,
    }
}

/// A table of ONNX Runtime's own options; only a provider can tell whether it knows one.
fn provider_options(section: &Section<'_>) -> BTreeMap<String, String> {
    if !section.has("provider_options") {
        return BTreeMap::new();
    }
    if !section.is_table("provider_options") {
        let accepted = "a table of texts by ONNX Runtime's own names, for example \
                        { gpu_mem_limit = \"8589934592\" }";
        section.fault("provider_options", "is no table", accepted);
        section.seen("provider_options");
        return BTreeMap::new();
    }
    section.scalars("provider_options").into_iter().collect()
}

/// One word for all graphs, or a table with a word for some. Which variants there are, the folder
/// knows.
fn variant(section: &Section<'_>) -> Option<Variant> {
    let accepted = "the end of the graphs' file names, for example \"fp32\" (none), \"fp16\", \"q8\", \
                    \"q4\"; or a table of them by graph";
    let check = |word: &str| {
        if !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        {
            Ok(())
        } else {
            Err(format!("{word:?} is no variant"))
        }
    };
    if !section.has("variant") {
        return None;
    }
    if !section.is_table("variant") {
        let word = section.text("variant", accepted, check);
        return check(&word).is_ok().then_some(Variant::All(word));
    }
    let by_graph = section.scalars("variant");
    let wrong = by_graph.iter().find_map(|(graph, word)| {
        let problem = check(word).err()?;
        Some((graph, problem))
    });
    if let Some((graph, problem)) = wrong {
        section.fault(&format!("variant.{graph}"), &problem, accepted);
    }
    Some(Variant::Each(by_graph.into_iter().collect()))
}

fn limits(section: &Section<'_>, fetch: Option<&Fetch>) -> Limits {
    let image_bytes = section.number("image_bytes", 1 << 20..=1 << 40);
    // Where fetch.max_bytes is wrong itself, its placeholder is below any limit.
    let largest = fetch.map_or(0, |fetch| fetch.max_bytes);
    if image_bytes < largest && !section.is_wrong("image_bytes") {
        let problem = format!(
            "{image_bytes} is below fetch.max_bytes = {largest}, so files that may be fetched could never be held"
        );
        let accepted =
            format!("{largest} at least, better four times as much; or a lower fetch.max_bytes");
        section.fault("image_bytes", &problem, &accepted);
    }
    Limits {
        records: size(section, "records", 1..=1_000_000),
        image_bytes,
        record: millis(section, "record_ms", 1_000..=86_400_000),
        drain: millis(section, "drain_ms", 0..=3_600_000),
        sequences: size(section, "sequences", 1..=1_024),
    }
}

fn runtime(section: &Section<'_>) -> Runtime {
    let library = section.text("onnxruntime", "a path, or nothing", |_| Ok(()));
    Runtime {
        onnxruntime: (!library.is_empty()).then(|| locate(Path::new(&library))),
        threads: size(section, "threads", 0..=1_024),
    }
}

fn http(section: &Section<'_>) -> (Option<SocketAddr>, Page) {
    let accepted = "an address with its port (\"127.0.0.1:9464\"), or \"off\"";
    let listen = section.text("listen", accepted, |text| {
        if text == "off" || text.parse::<SocketAddr>().is_ok() {
            Ok(())
        } else {
            Err(format!("{text:?} is no address to listen on"))
        }
    });
    let listen: Option<SocketAddr> = listen.parse().ok();
    // Who scrapes metrics from elsewhere must not see pictures unasked.
    let page = match section.has("page").then(|| section.flag("page")) {
        Some(true) => Page::On,
        None if listen.is_some_and(|listen| listen.ip().is_loopback()) => Page::Loopback,
        Some(false) | None => Page::Off,
    };
    (listen, page)
}

fn log(section: &Section<'_>) -> Log {
    let accepted = "levels by target, for example \"info\" or \"info,vila2::fetch=debug\"";
    Log {
        format: section.choice(
            "format",
            &[("human", LogFormat::Human), ("json", LogFormat::Json)],
        ),
        filter: section.text("filter", accepted, |text| {
            text.parse::<tracing_subscriber::filter::Targets>()
                .map(|_| ())
                .map_err(|error| format!("{text:?}: {error}"))
        }),
    }
}

pub(super) fn millis(
    section: &Section<'_>,
    key: &str,
    bounds: std::ops::RangeInclusive<u64>,
) -> Duration {
    Duration::from_millis(section.number(key, bounds))
}

pub(super) fn count(
    section: &Section<'_>,
    key: &str,
    bounds: std::ops::RangeInclusive<u64>,
) -> u32 {
    u32::try_from(section.number(key, bounds)).expect("bug: bounds of a count fit 32 bits")
}

pub(super) fn size(
    section: &Section<'_>,
    key: &str,
    bounds: std::ops::RangeInclusive<u64>,
) -> usize {
    usize::try_from(section.number(key, bounds)).expect("bug: bounds of a size fit the machine")
}
