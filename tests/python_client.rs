//! A client in another language, which knows the contract only, on a real Apache Kafka:
//! `tests/clients/stranger.py` publishes requests good and bad while the shipped program runs, and
//! checks every record, key and header that comes back, and all of it against the schemas.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{path::Path, process::Command};

use support::{
    apache_kafka::ApacheKafka,
    program::{Running, finished, vila2},
};

#[test]
fn a_client_in_python_gets_exactly_what_the_contract_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = root.join("target/clients");
    assert!(
        packages.join(".complete").exists(),
        "the client's packages are missing: run `make clients` (Python 3 with pip)"
    );
    let kafka = ApacheKafka::start();
    kafka.create_topics(&["images", "captions", "images.dead"], 3);
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().to_str().expect("UTF-8");
    let drawn = finished(vila2(&[
        "scenes", "generate", "--out", out, "--count", "6", "--seed", "21",
    ]));
    assert_eq!(drawn.code, 0, "{}", drawn.stderr);

    let mut service = Running::start(vila2(&[
        "--set",
        &format!("kafka.brokers={}", kafka.brokers()),
        "--set",
        "fetch.allow_addresses=['127.0.0.1']",
        "--set",
        "fetch.timeout_ms=2000",
        "--set",
        "fetch.retries=0",
        "--set",
        "fetch.max_bytes=2000000",
        "--set",
        "http.listen='off'",
        "run",
    ]));
    service.says("running");
    let python = std::env::var("PYTHON").unwrap_or_else(|_| String::from("python3"));
    let client = Command::new(&python)
        .arg(root.join("tests/clients/stranger.py"))
        .args(["--brokers", &kafka.brokers(), "--pictures"])
        .arg(folder.path().join("images"))
        .arg("--schemas")
        .arg(root.join("config/schemas"))
        .env("PYTHONPATH", &packages)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap_or_else(|error| panic!("cannot run {python}: {error}"));
    let log = service.log();
    assert!(
        client.status.success(),
        "{}{}\n{log}",
        String::from_utf8_lossy(&client.stdout),
        String::from_utf8_lossy(&client.stderr)
    );
    assert_eq!(service.terminate(), Some(0), "{log}");
}
