use std::path::Path;

use super::*;

mod rules;
mod stages;

fn sources(file: Option<PathBuf>, environment: &[(&str, &str)], sets: &[&str]) -> Sources {
    Sources {
        file,
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        sets: sets.iter().map(|set| (*set).to_owned()).collect(),
    }
}

fn load(sources: &Sources) -> Config {
    Config::load(sources).expect("a good configuration").0
}

fn faults(sources: &Sources) -> Vec<Fault> {
    Config::load(sources).expect_err("faults").0
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("vila2.toml");
    std::fs::write(&path, text).expect("a file");
    (folder, path)
}

#[test]
fn the_embedded_default_is_right_as_it_stands() {
    let config = load(&Sources::default());
    assert_eq!(config.kafka.group, "vila2");
    assert_eq!(config.stages.caption.prompts.len(), 3);
    assert_eq!(config.models_in_use(), ["scenes", "ppocr"]);
    assert_eq!(config.http, "127.0.0.1:9464".parse().ok());
}

#[test]
fn production_changes_the_default_and_is_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/production.toml");
    let config = load(&sources(Some(path), &[], &[]));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.kafka.group, "vila2");
}

#[test]
fn properties_of_librdkafka_stand_as_they_were_written() {
    let password = |text: &str| {
        let variable = ("VILA2_KAFKA__OPTIONS__SASL__PASSWORD", text);
        let config = load(&sources(None, &[variable], &[]));
        config.kafka.options
    };
    for (written, read) in [
        ("1e5", "1e5"),
        ("0x1f", "0x1f"),
        ("2026-01-01", "2026-01-01"),
        ("true", "true"),
        ("[x", "[x"),
        ("{a=1}", "{a=1}"),
        ("'in quotes'", "in quotes"),
    ] {
        let expected = ("sasl.password".to_owned(), read.to_owned());
        assert_eq!(password(written), [expected]);
    }
}

#[test]
fn a_variable_with_one_underscore_is_told_with_two() {
    let variables = [
        ("VILA2_KAFKA_BROKERS", "b:9092"),
        ("VILA2_FETCH_TIMEOUT_MS", "1"),
        // Those of a Kubernetes service called vila2-kafka, and what others may set.
        ("VILA2_KAFKA_SERVICE_HOST", "10.0.0.1"),
        ("VILA2_KAFKA_PORT", "tcp://10.0.0.1:9092"),
        ("VILA2_HOME", "/opt/vila2"),
    ];
    let found: Vec<_> = faults(&sources(None, &variables, &[]))
        .into_iter()
        .map(|fault| (fault.key, fault.accepted))
        .collect();
    let expected = [
        ("fetch.timeout_ms", "VILA2_FETCH__TIMEOUT_MS"),
        ("kafka.brokers", "VILA2_KAFKA__BROKERS"),
    ];
    assert_eq!(
        found,
        expected.map(|(key, name)| (key.to_owned(), name.to_owned()))
    );
}

#[test]
fn a_flag_beats_the_environment_and_that_a_file_and_that_the_default() {
    let (_folder, path) = file("[kafka]\ngroup = 'file'\nbrokers = 'file:1'\n[fetch]\nretries = 7");
    let config = load(&sources(
        Some(path),
        &[
            ("VILA2_KAFKA__GROUP", "environment"),
            ("VILA2_KAFKA__BROKERS", "environment:1"),
        ],
        &["kafka.group=flag"],
    ));
    assert_eq!(config.kafka.group, "flag");
    assert_eq!(config.kafka.brokers, "environment:1");
    assert_eq!(config.fetch.retries, 7);
    assert_eq!(config.fetch.timeout, Duration::from_secs(20));
}

#[test]
fn values_of_environment_and_flags_are_read_as_toml_or_as_text() {
    let config = load(&sources(
        None,
        &[
            (
                "VILA2_FETCH__ALLOW_ADDRESSES",
                "[\"127.0.0.0/8\", \"10.1.2.3:80\"]",
            ),
            ("VILA2_KAFKA__GROUP", "42"),
            ("VILA2_SERVICE_HOST", "10.0.0.1"),
        ],
        &["stages.ground.mode=required", "http.listen=off"],
    ));
    assert_eq!(config.kafka.group, "42");
    assert_eq!(config.fetch.allow_addresses.len(), 2);
    assert_eq!(config.fetch.allow_addresses[1], "10.1.2.3:80");
    assert_eq!(config.stages.specialists[0].mode, Mode::Required);
    assert_eq!(config.http, None);
}

#[test]
fn the_page_is_on_where_only_this_machine_can_see_it_unless_it_is_said() {
    for (listen, said, page) in [
        ("127.0.0.1:9464", None, Page::Loopback),
        ("[::1]:9464", None, Page::Loopback),
        ("127.8.8.8:80", None, Page::Loopback),
        ("0.0.0.0:9464", None, Page::Off),
        ("[::]:9464", None, Page::Off),
        ("10.1.2.3:9464", None, Page::Off),
        ("off", None, Page::Off),
        ("0.0.0.0:9464", Some("true"), Page::On),
        ("127.0.0.1:9464", Some("true"), Page::On),
        ("127.0.0.1:9464", Some("false"), Page::Off),
    ] {
        let mut sets = vec![format!("http.listen={listen}")];
        sets.extend(said.map(|said| format!("http.page={said}")));
        let sets: Vec<_> = sets.iter().map(String::as_str).collect();
        assert_eq!(load(&sources(None, &[], &sets)).page, page, "{sets:?}");
    }
    let found = faults(&sources(None, &[], &["http.page=perhaps"]));
    assert_eq!(found[0].key, "http.page");
}

#[test]
fn a_lone_word_in_the_environment_is_a_list_of_one() {
    let config = load(&sources(
        None,
        &[("VILA2_FETCH__ALLOW_ADDRESSES", "127.0.0.1:8080")],
        &[],
    ));
    assert_eq!(config.fetch.allow_addresses, ["127.0.0.1:8080"]);
}

#[test]
fn every_fault_is_reported_with_key_accepted_values_and_origin() {
    let (_folder, path) = file(
        "colour = 'red'\n[kafka]\ngroop = 'x'\nbrokers = 'nowhere'\n\
         [decode]\nmax_pixels = 'many'\n[stages.ground]\nmode = 'maybe'",
    );
    let found = faults(&sources(
        Some(path.clone()),
        &[("VILA2_LIMITS__RECORDS", "0")],
        &[
            "delivery.mode=exactly_once",
            "nonsense",
            "models.mine.providers=cpu",
        ],
    ));
    let find = |key: &str| {
        found
            .iter()
            .find(|fault| fault.key == key)
            .unwrap_or_else(|| panic!("no fault of {key} in {found:?}"))
    };
    assert_eq!(find("colour").problem, "is not a key");
    assert!(find("kafka.groop").accepted.contains("group"));
    assert_eq!(find("kafka.brokers").origin, Origin::File(path));
    assert!(find("decode.max_pixels").problem.contains("a text"));
    assert!(find("stages.ground.mode").accepted.contains("\"optional\""));
    assert_eq!(
        find("limits.records").origin,
        Origin::Env("VILA2_LIMITS__RECORDS".to_owned())
    );
    assert!(find("delivery.mode").problem.contains("not available"));
    assert!(find("").problem.contains("nonsense"));
    assert_eq!(find("models.mine.path").problem, "is missing");
    assert_eq!(found.len(), 9, "{found:?}");
}

#[test]
fn small_pictures_and_clear_backgrounds_have_their_settings() {
    let config = load(&sources(None, &[], &[]));
    let decode = &config.decode;
    assert_eq!((decode.min_side, decode.max_ratio), (16, 0.0));
    assert_eq!(decode.background, Background::Contrast);
    let config = load(&sources(
        None,
        &[("VILA2_DECODE__BACKGROUND", "stored")],
        &["decode.min_side=1", "decode.max_ratio=2.5"],
    ));
    let decode = &config.decode;
    assert_eq!((decode.min_side, decode.max_ratio), (1, 2.5));
    assert_eq!(decode.background, Background::Stored);
    let found = faults(&sources(
        None,
        &[],
        &[
            "decode.background=grey",
            "decode.max_ratio=-1",
            "decode.min_side=x",
        ],
    ));
    assert_eq!(found.len(), 3, "{found:?}");
    let background = found.iter().find(|fault| fault.key == "decode.background");
    let accepted = &background.expect("a fault").accepted;
    assert_eq!(accepted, "\"contrast\", \"white\", \"stored\"");
}

#[test]
fn a_path_is_enough_for_a_new_model_in_every_layer() {
    let (_folder, path) = file("[models.of_the_file]\npath = 'src'");
    let config = load(&sources(
        Some(path),
        &[("VILA2_MODELS__OF_THE_ENVIRONMENT__PATH", "src")],
        &[
            "models.of_a_flag.path=src",
            "stages.caption.model=of_a_flag",
        ],
    ));
    for name in ["of_the_file", "of_the_environment", "of_a_flag"] {
        assert_eq!(config.models[name].providers, ["cpu"], "{name}");
        assert!(config.models[name].path.ends_with("src"), "{name}");
    }
    assert_eq!(config.stages.caption.model, "of_a_flag");
}

#[test]
fn a_variant_is_any_suffix_for_all_graphs_or_a_word_for_some() {
    for word in ["fp32", "fp16", "quantized", "q4f16", "q8f16", "q4f32", "q2"] {
        let config = load(&sources(
            None,
            &[],
            &[&format!("models.scenes.variant={word}")],
        ));
        let expected = Variant::All(word.to_owned());
        assert_eq!(config.models["scenes"].variant, Some(expected));
    }
    let config = load(&sources(
        None,
        &[],
        &[
            "models.scenes.variant.vision_encoder=fp16",
            "models.scenes.variant.embed_tokens=q4",
        ],
    ));
    let each = [("embed_tokens", "q4"), ("vision_encoder", "fp16")];
    let each = each.map(|(graph, word)| (graph.to_owned(), word.to_owned()));
    let expected = Variant::Each(each.into());
    assert_eq!(config.models["scenes"].variant, Some(expected));
    for (set, key) in [
        ("models.scenes.variant=../q4", "models.scenes.variant"),
        (
            "models.scenes.variant.embed_tokens=Q4",
            "models.scenes.variant.embed_tokens",
        ),
    ] {
        let found = faults(&sources(None, &[], &[set]));
        assert_eq!((found.len(), found[0].key.as_str()), (1, key), "{found:?}");
        assert!(found[0].accepted.contains("\"fp16\""), "{found:?}");
    }
}

#[test]
fn tiles_and_special_tokens_are_left_to_the_folder_unless_set() {
    let model = |sets: &[&str]| load(&sources(None, &[], sets)).models["scenes"].clone();
    let plain = model(&[]);
    assert_eq!((plain.longest_edge, plain.max_tiles), (None, None));
    assert!(!plain.keep_special_tokens);
    let set = model(&[
        "models.scenes.longest_edge=512",
        "models.scenes.max_tiles=5",
        "models.scenes.beams=1",
        "models.scenes.device=1",
        "models.scenes.provider_options.gpu_mem_limit=8589934592",
        "models.scenes.keep_special_tokens=true",
    ]);
    assert_eq!((set.longest_edge, set.max_tiles), (Some(512), Some(5)));
    assert_eq!((plain.beams, set.beams), (None, Some(1)));
    assert_eq!((plain.device, set.device), (0, 1));
    assert_eq!(set.provider_options["gpu_mem_limit"], "8589934592");
    assert!(set.keep_special_tokens);
    let found = faults(&sources(None, &[], &["models.scenes.max_tiles=0"]));
    assert_eq!(found[0].key, "models.scenes.max_tiles");
}

#[test]
fn a_file_that_is_no_toml_does_not_hide_the_other_faults() {
    let (_folder, path) = file("[kafka\n");
    let found = faults(&sources(Some(path), &[], &["fetch.retries=many"]));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].problem.contains("TOML"));
    assert_eq!(found[1].key, "fetch.retries");
}

#[test]
fn a_section_that_is_no_table_is_a_fault() {
    let found = faults(&sources(None, &[], &["stages.relate=5"]));
    assert_eq!(found[0].key, "stages.relate");
    assert_eq!(found[0].accepted, "a table");
}

#[test]
fn a_stage_must_name_a_model_that_is_there() {
    let found = faults(&sources(None, &[], &["stages.caption.model=geometry"]));
    assert_eq!(found[0].key, "stages.caption.model");
    assert_eq!(found[0].accepted, "ppocr, scenes");
}

#[test]
fn dotted_options_are_one_key_however_they_are_written() {
    let (_folder, path) = file(
        "[kafka.options]\n\"security.protocol\" = \"SASL_SSL\"\nsasl.mechanism = \"PLAIN\"\n\
         sasl.password = \"old\"\nlinger.ms = 5",
    );
    let config = load(&sources(
        Some(path),
        &[("VILA2_KAFKA__OPTIONS__SASL__PASSWORD", "new")],
        &[],
    ));
    let mut options = config.kafka.options;
    options.sort();
    let options: Vec<_> = options
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        options,
        [
            ("linger.ms", "5"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.password", "new"),
            ("security.protocol", "SASL_SSL"),
        ]
    );
}

#[test]
fn options_on_which_delivery_rests_are_refused() {
    let found = faults(&sources(
        None,
        &[],
        &["kafka.options.enable.auto.commit=true"],
    ));
    assert_eq!(found[0].key, "kafka.options.enable.auto.commit");
}

#[test]
fn a_limit_of_image_bytes_below_the_largest_body_is_a_fault() {
    let sets = ["limits.image_bytes=2097151", "fetch.max_bytes=2097152"];
    let found = faults(&sources(None, &[], &sets));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].key, "limits.image_bytes");
    let text = found[0].to_string();
    for part in ["2097151", "fetch.max_bytes = 2097152", "2097152 at least"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(text.contains("or a lower fetch.max_bytes"), "{text}");
    // Against the default of the other, from either side.
    let found = faults(&sources(None, &[], &["limits.image_bytes=1048576"]));
    assert_eq!(found[0].key, "limits.image_bytes");
    let found = faults(&sources(None, &[], &["fetch.max_bytes=1073741825"]));
    assert_eq!(found[0].key, "limits.image_bytes");
    // As large is enough, and one wrong value gives one fault.
    load(&sources(
        None,
        &[],
        &["limits.image_bytes=2097152", sets[1]],
    ));
    for wrong in ["limits.image_bytes=5", "fetch.max_bytes=0"] {
        assert_eq!(faults(&sources(None, &[], &[wrong])).len(), 1, "{wrong}");
    }
}

#[test]
fn secrets_are_never_shown() {
    let (_, layers) = Config::load(&sources(
        None,
        &[],
        &[
            "kafka.options.sasl.password=hunter2",
            "kafka.options.ssl.key.password=hunter2",
            "kafka.options.ssl.key.pem=hunter2",
            "kafka.options.sasl.oauthbearer.client.secret=hunter2",
            "kafka.options.sasl.username=anna",
        ],
    ))
    .expect("a good configuration");
    let text = format!("{:?}", shown(&layers));
    assert!(!text.contains("hunter2"), "{text}");
    assert!(text.contains("anna"), "{text}");
}

#[test]
fn every_documented_key_is_read_and_every_read_key_is_documented() {
    // A key only in the file is refused as unknown, a key only in the code is missing: the default
    // alone must give no fault. And each key stands under a comment or a commented key.
    assert!(Config::load(&Sources::default()).is_ok());
    let mut commented = false;
    for line in DEFAULT.lines() {
        let line = line.trim();
        if line.starts_with('#') {
            commented = true;
        } else if line.is_empty() {
            commented = false;
        } else if !line.starts_with('[') {
            assert!(commented, "no comment above {line}");
        }
    }
}

#[test]
fn a_model_folder_that_is_missing_is_a_fault_unless_its_stage_is_off() {
    let missing = ["models.ppocr.path=/nowhere", "models.scenes.path=src"];
    let (config, layers) = Config::load(&sources(None, &[], &missing)).expect("good settings");
    let Faults(found) = config.check_folders(&layers).expect_err("no such folder");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].key, "models.ppocr.path");

    let off = [missing[0], missing[1], "stages.read_text.mode=off"];
    let (config, layers) = Config::load(&sources(None, &[], &off)).expect("good settings");
    assert!(config.check_folders(&layers).is_ok());
}
