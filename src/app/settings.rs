//! The configuration in the words of each part.

use std::time::Duration;

use vila2_actors::{
    config::{
        Asking, CaptionConfig, ChainConfig, FetchConfig, Limits, Mode as ChainMode, Names,
        SpecialistConfig, Task, Tolerance,
    },
    rules::{Pattern, Rule, Rules, Test},
    stage::Path,
};

use crate::{
    config::{self, Config, Kind, Mode, Specialist, Wording},
    decode::{self, DecodeSettings},
    fetch::{EXPECTED_BYTES, FetchSettings},
    kafka::{KafkaSettings, Topics},
    models::{
        EndpointSettings, Key, ModelSettings, Options, Provider, Variant, ppocr::ReaderSettings,
    },
};

/// How often positions are committed.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// The part of `limits.image_bytes` that pictures may take which are being cut into tiles, or written
/// into requests to a server.
const AHEAD: u64 = 8;

/// The settings of every Kafka client.
#[must_use]
pub fn kafka(config: &Config) -> KafkaSettings {
    let topics = &config.kafka.topics;
    KafkaSettings {
        brokers: config.kafka.brokers.clone(),
        group: config.kafka.group.clone(),
        topics: Topics {
            images: topics.images.clone(),
            captions: topics.captions.clone(),
            dead: topics.dead.clone(),
        },
        options: config.kafka.options.iter().cloned().collect(),
        commit_every: COMMIT_EVERY,
    }
}

pub(super) fn fetch(config: &Config) -> FetchSettings {
    let fetch = &config.fetch;
    FetchSettings {
        timeout: fetch.timeout,
        max_bytes: fetch.max_bytes,
        user_agent: fetch.user_agent.clone(),
        allow_addresses: fetch.allow_addresses.clone(),
        file_roots: fetch.file_roots.clone(),
        respect_opt_out: fetch.respect_opt_out,
        opt_out_directives: fetch.opt_out_directives.clone(),
    }
}

pub(super) fn decode(config: &Config) -> DecodeSettings {
    DecodeSettings {
        max_pixels: config.decode.max_pixels,
        max_side: config.decode.max_side,
        min_side: config.decode.min_side,
        max_ratio: config.decode.max_ratio,
        background: match config.decode.background {
            config::Background::Contrast => decode::Background::Contrast,
            config::Background::White => decode::Background::White,
            config::Background::Stored => decode::Background::Stored,
        },
    }
}

/// The settings of one of `[models]` that reads text; `name` was checked.
///
/// # Panics
/// Where `name` is not in `[models]`.
#[must_use]
pub fn reader(config: &Config, name: &str) -> ReaderSettings {
    model(config, name).into()
}

/// The settings of one of `[models]` that generates; `name` was checked.
///
/// # Panics
/// Where `name` is not in `[models]`.
#[must_use]
pub fn model(config: &Config, name: &str) -> ModelSettings {
    let model = &config.models[name];
    ModelSettings {
        providers: model
            .providers
            .iter()
            .map(|word| {
                word.parse::<Provider>()
                    .expect("bug: providers were checked")
            })
            .collect(),
        device: model.device,
        provider_options: model.provider_options.clone(),
        library: config.runtime.onnxruntime.clone(),
        threads: (config.runtime.threads > 0).then_some(config.runtime.threads),
        max_running: config.limits.sequences,
        ahead_bytes: config.limits.image_bytes / AHEAD,
        variant: match &model.variant {
            None => Variant::First,
            Some(config::Variant::All(word)) => Variant::All(word.clone()),
            Some(config::Variant::Each(words)) => Variant::Each(words.clone()),
        },
        options: Options {
            longest_edge: model.longest_edge,
            max_tiles: model.max_tiles,
            beams: model.beams,
            keep_special_tokens: model.keep_special_tokens,
        },
        endpoint: model.endpoint.as_ref().map(|it| endpoint(config, it)),
        ..ModelSettings::new(name, &model.path)
    }
}

fn endpoint(config: &Config, endpoint: &config::Endpoint) -> EndpointSettings {
    let key = (endpoint.key_env.as_ref()).zip(endpoint.key.as_ref());
    EndpointSettings {
        key: key.map(|(variable, key)| Key {
            variable: variable.clone(),
            value: key.reveal().to_owned(),
        }),
        concurrency: endpoint.concurrency,
        timeout: endpoint.timeout,
        retries: endpoint.retries,
        away: endpoint.away,
        room: config.limits.image_bytes / AHEAD,
        most_pixels: u64::from(config.decode.max_side)
            .pow(2)
            .min(config.decode.max_pixels),
        ..EndpointSettings::new(endpoint.url.clone(), &endpoint.model)
    }
}

/// Sockets that fetching holds at once, at most.
#[must_use]
pub fn fetch_sockets(config: &Config) -> usize {
    let chain = chain(config);
    chain.fetch.concurrency.min(chain.limits.records)
}

/// The stages of the chain, in path order.
#[must_use]
pub fn path(config: &Config) -> Path {
    chain(config).path()
}

/// What the chain is told.
pub(super) fn chain(config: &Config) -> ChainConfig {
    let stages = &config.stages;
    ChainConfig {
        limits: Limits {
            records: config.limits.records,
            image_bytes: config.limits.image_bytes,
            record: config.limits.record,
            drain: config.limits.drain,
            decoders: config.decode.parallel,
        },
        fetch: FetchConfig {
            retries: config.fetch.retries,
            expected_bytes: EXPECTED_BYTES.min(config.fetch.max_bytes),
            ..FetchConfig::default()
        },
        caption: CaptionConfig {
            engine: stages.caption.model.clone(),
            prompts: (stages.caption.prompts.iter())
                .map(|prompt| prompt.as_str().into())
                .collect(),
            max_tokens: stages.caption.max_tokens,
            sampling: stages.caption.sampling.clone(),
        },
        rules: rules(&config.rules),
        specialists: stages.specialists.iter().map(specialist).collect(),
        attempts: config.delivery.attempts,
        tolerance: Tolerance::default(),
        names: Names {
            group: config.kafka.group.as_str().into(),
            captions: config.kafka.topics.captions.as_str().into(),
            dead: config.kafka.topics.dead.as_str().into(),
        },
    }
}

/// Those that are not off, the built-in ones first.
fn rules(rules: &config::Rules) -> Rules {
    let pattern = |pattern: Result<Pattern, String>| pattern.expect("bug: patterns were checked");
    let markers = || {
        (rules
            .markers
            .iter()
            .map(|marker| pattern(Pattern::marker(marker))))
        .collect()
    };
    let built_in = [
        (rules.empty, "empty", Test::Empty),
        (
            rules.too_short,
            "too_short",
            Test::TooShort(rules.min_words),
        ),
        (rules.too_long, "too_long", Test::TooLong(rules.max_words)),
        (
            rules.refusal,
            "refusal",
            Test::Refusal(rules.openings.iter().collect()),
        ),
        (
            rules.prompt_leak,
            "prompt_leak",
            Test::PromptLeak(markers()),
        ),
        (rules.repetition, "repetition", Test::Repetition),
    ];
    let phrases = rules.phrases.iter().map(|phrase| {
        let wording = match &phrase.wording {
            Wording::Literal(text) => pattern(Pattern::literal(text)),
            Wording::Regex(text) => pattern(Pattern::regex(text)),
        };
        (phrase.action, phrase.name.as_str(), Test::Phrase(wording))
    });
    Rules {
        list: (built_in.into_iter().chain(phrases))
            .filter_map(|(action, name, test)| {
                Some(Rule {
                    name: name.into(),
                    test,
                    action: action?,
                })
            })
            .collect(),
        retries: rules.retries,
        after_retries: rules.after_retries,
    }
}

fn specialist(specialist: &Specialist) -> SpecialistConfig {
    let engine = specialist.model.clone();
    let asking = || Asking {
        engine: specialist.model.clone(),
        prompts: (specialist.prompts.iter())
            .map(|prompt| prompt.as_str().into())
            .collect(),
        max_tokens: specialist.max_tokens,
        sampling: specialist.sampling.clone(),
    };
    let task = match specialist.kind {
        Kind::Ground => Task::Ground(asking()),
        Kind::Answer => Task::Answer(asking()),
        Kind::Relate if specialist.is_prompted() => Task::State(asking()),
        Kind::Relate => Task::Relate { engine },
        Kind::ReadText if specialist.is_prompted() => Task::Transcribe(asking()),
        Kind::ReadText => Task::ReadText { engine },
    };
    SpecialistConfig {
        mode: match specialist.mode {
            Mode::Required => ChainMode::Required,
            Mode::Optional => ChainMode::Optional,
            Mode::Off => ChainMode::Off,
        },
        timeout: specialist.timeout,
        ..SpecialistConfig::new(&specialist.name, task)
    }
}
