//! TLS and SASL against a real Apache Kafka, with a keystore made here: the whole path with the
//! shipped program, and what it says where the broker will not have it.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use support::{
    apache_kafka::{ApacheKafka, Extra, free_ports},
    program::{Ran, Running, finished, vila2},
    tls::{Authority, STORE_PASSWORD},
    web::Web,
};
use tempfile::TempDir;

const PASSWORD: &str = "correct horse";
const SCENES: u64 = 3;

/// A broker that speaks TLS on one port and SASL over TLS on another.
struct Secure {
    kafka: ApacheKafka,
    tls: u16,
    sasl: u16,
    trusted: Authority,
    untrusted: Authority,
    folder: TempDir,
}

impl Secure {
    fn start() -> Self {
        let folder = TempDir::with_prefix("vila2-secure-").unwrap();
        let trusted = Authority::new(folder.path(), "trusted");
        let untrusted = Authority::new(folder.path(), "untrusted");
        let keystore = trusted.sign_for_loopback();
        let [tls, sasl] = free_ports();
        let kafka = ApacheKafka::start_with(|_| Extra {
            listeners: vec![("SSL", tls), ("SASL_SSL", sasl)],
            properties: properties(&keystore),
            format: vec![
                "--add-scram".into(),
                format!("SCRAM-SHA-512=[name=scram-user,password={PASSWORD}]"),
            ],
        });
        Self {
            kafka,
            tls,
            sasl,
            trusted,
            untrusted,
            folder,
        }
    }

    /// A configuration file as the README says it, with topics of its own.
    fn config(&self, name: &str, port: u16, options: &str) -> PathBuf {
        let path = self.folder.path().join(format!("{name}.toml"));
        let text = format!(
            "[kafka]\n\
             brokers = \"127.0.0.1:{port}\"\n\
             group = \"{name}\"\n\
             topics = {{ images = \"{name}\", captions = \"{name}.out\", dead = \"{name}.dead\" }}\n\
             [kafka.options]\n{options}\n\
             [stages]\n\
             ground.mode = \"off\"\nrelate.mode = \"off\"\nread_text.mode = \"off\"\n\
             [http]\nlisten = \"off\"\n"
        );
        fs::write(&path, text).unwrap();
        path
    }

    fn trust(&self) -> String {
        trust(&self.trusted.pem())
    }
}

fn properties(keystore: &Path) -> String {
    let keystore = keystore.display();
    let login = "org.apache.kafka.common.security";
    format!(
        "ssl.keystore.type=PKCS12\n\
         ssl.keystore.location={keystore}\n\
         ssl.keystore.password={STORE_PASSWORD}\n\
         sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512\n\
         listener.name.sasl_ssl.plain.sasl.jaas.config={login}.plain.PlainLoginModule required \
         user_plain-user=\"{PASSWORD}\";\n\
         listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
         {login}.scram.ScramLoginModule required;\n"
    )
}

fn trust(pem: &Path) -> String {
    format!("\"ssl.ca.location\" = '{}'\n", pem.display())
}

fn login(mechanism: &str, user: &str, password: &str) -> String {
    format!(
        "\"security.protocol\" = \"SASL_SSL\"\n\"sasl.mechanism\" = \"{mechanism}\"\n\
         \"sasl.username\" = \"{user}\"\n\"sasl.password\" = \"{password}\"\n"
    )
}

#[test]
fn tls_and_sasl_carry_the_whole_path_and_a_refusal_says_what_to_do() {
    let secure = Secure::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let web = runtime.block_on(Web::start(11, SCENES));
    let trust = secure.trust();

    let tls = format!("\"security.protocol\" = \"SSL\"\n{trust}");
    whole_path(&secure, &web, &secure.config("tls", secure.tls, &tls), None);
    let plain = trust.clone() + &login("PLAIN", "plain-user", PASSWORD);
    whole_path(
        &secure,
        &web,
        &secure.config("plain", secure.sasl, &plain),
        None,
    );
    let scram = trust.clone() + &login("SCRAM-SHA-512", "scram-user", "from the environment");
    let scram = secure.config("scram", secure.sasl, &scram);
    whole_path(&secure, &web, &scram, Some(PASSWORD));

    refused(&secure, &trust);
    the_service_says_why_and_tries_on(&secure, &trust);
}

/// `publish`, `run --until-end` and `tail`, as a person types them.
fn whole_path(secure: &Secure, web: &Web, config: &Path, password: Option<&str>) {
    let name = config.file_stem().unwrap().to_str().unwrap();
    let (captions, dead) = (format!("{name}.out"), format!("{name}.dead"));
    secure.kafka.create_topics(&[name, &captions, &dead], 1);
    let urls = secure.folder.path().join("urls.txt");
    fs::write(&urls, web.urls().join("\n")).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = with_config(config, arguments);
        if let Some(password) = password {
            command.env("VILA2_KAFKA__OPTIONS__SASL__PASSWORD", password);
        }
        let said = finished(command);
        assert_eq!(said.code, 0, "{name} {arguments:?}: {}", said.stderr);
        said.stdout
    };

    run(&["publish", urls.to_str().unwrap()]);
    let allow = format!("fetch.allow_addresses=['{}']", web.address());
    run(&["--set", &allow, "run", "--until-end"]);
    let count = SCENES.to_string();
    let lines = run(&["tail", "--from-beginning", "--json", "--count", &count]);
    let found: BTreeSet<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|record| record["url"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(found, web.urls().into_iter().collect(), "{name}");
}

/// What goes wrong, and what `tail` must say of it beside the broker's address: the exit code,
/// librdkafka's reason and what to do.
fn refused(secure: &Secure, trust: &str) {
    let (tls, sasl) = (secure.tls, secure.sasl);
    let distrust = crate::trust(&secure.untrusted.pem());
    let ssl = "\"security.protocol\" = \"SSL\"\n";
    let login = |mechanism, user, password| trust.to_owned() + &login(mechanism, user, password);
    let cases = [
        (
            "wrong-password",
            sasl,
            login("PLAIN", "plain-user", "wrong"),
            ["Authentication failed", "does not accept this user"],
        ),
        (
            "wrong-scram-password",
            sasl,
            login("SCRAM-SHA-512", "scram-user", "wrong"),
            ["invalid credentials", "does not accept this user"],
        ),
        (
            "disabled-mechanism",
            sasl,
            login("SCRAM-SHA-256", "scram-user", PASSWORD),
            [
                "SCRAM-SHA-256",
                "set kafka.options \"sasl.mechanism\" to one",
            ],
        ),
        (
            "untrusted-authority",
            tls,
            format!("{ssl}{distrust}"),
            [
                "certificate verify failed",
                "set kafka.options \"ssl.ca.location\"",
            ],
        ),
        (
            "plain-to-tls",
            tls,
            String::new(),
            [
                "seems to speak TLS",
                "set kafka.options \"security.protocol\"",
            ],
        ),
    ];
    for (name, port, options, parts) in cases {
        let said = tail(&secure.config(name, port, &options));
        assert_eq!(said.code, 1, "{name}: {}", said.stderr);
        let address = format!("127.0.0.1:{port}");
        for part in [address.as_str()].into_iter().chain(parts) {
            assert!(
                said.stderr.contains(part),
                "{name}: no {part:?} in {}",
                said.stderr
            );
        }
        assert!(
            !said.stderr.contains(PASSWORD),
            "{name}: a secret in {}",
            said.stderr
        );
    }

    // The certificate is for the address, not for this name.
    let name = secure.config("wrong-name", tls, &format!("{ssl}{trust}"));
    let text = fs::read_to_string(&name)
        .unwrap()
        .replace("127.0.0.1", "localhost");
    fs::write(&name, text).unwrap();
    let said = tail(&name);
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert!(
        said.stderr
            .contains("use the name in the certificate in kafka.brokers"),
        "{}",
        said.stderr
    );

    let missing = format!("{ssl}\"ssl.ca.location\" = \"/nowhere/ca.pem\"\n");
    let said = tail(&secure.config("missing-file", tls, &missing));
    assert_eq!(said.code, 2, "{}", said.stderr);
    assert!(
        said.stderr.contains("check kafka.options"),
        "{}",
        said.stderr
    );
    assert!(said.stderr.contains("ssl.ca.location"), "{}", said.stderr);
}

fn with_config(config: &Path, arguments: &[&str]) -> Command {
    let config = ["--config", config.to_str().unwrap()];
    vila2(&[&config, arguments].concat())
}

fn tail(config: &Path) -> Ran {
    finished(with_config(
        config,
        &["tail", "--from-beginning", "--idle-ms", "1"],
    ))
}

/// A service that is refused stays, says why, and leaves when told to.
fn the_service_says_why_and_tries_on(secure: &Secure, trust: &str) {
    let options = trust.to_owned() + &login("PLAIN", "plain-user", "wrong");
    let config = secure.config("service", secure.sasl, &options);
    let mut service = Running::start(with_config(&config, &["run"]));
    let line = service.says("trying on");
    for part in [
        &*format!("127.0.0.1:{}", secure.sasl),
        "trying on",
        "Authentication failed",
        "does not accept this user",
    ] {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
    let log = service.log();
    assert_eq!(service.terminate(), Some(0), "{log}");
}
