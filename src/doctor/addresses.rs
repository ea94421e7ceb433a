//! What the address guard lets through, in words.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::Finding;
use crate::{config::Config, fetch::guard::is_public};

const SUBJECT: &str = "addresses that may be fetched from";

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let allowed = &config.fetch.allow_addresses;
    let mut findings = Vec::new();
    if allowed.is_empty() {
        findings.push(Finding::ok(
            SUBJECT,
            "public ones only: loopback, private and link-local addresses and the metadata services \
             of clouds are refused",
        ));
    }
    findings.extend(allowed.iter().map(|entry| judged(entry.trim())));
    if !config.fetch.file_roots.is_empty() {
        let roots = config.fetch.file_roots.iter();
        let roots: Vec<_> = roots.map(|root| root.display().to_string()).collect();
        findings.push(Finding::warning(
            "files that may be fetched",
            format!(
                "everything under {}: whoever may write to `{}` can have it captioned",
                roots.join(", "),
                config.kafka.topics.images
            ),
            "keep nothing but pictures there, or empty fetch.file_roots",
        ));
    }
    findings
}

/// One entry of the allow list.
fn judged(entry: &str) -> Finding {
    let (place, ports) = match entry.parse::<SocketAddr>() {
        Ok(socket) => (
            IpNet::from(socket.ip()),
            format!("port {} only", socket.port()),
        ),
        Err(_) => {
            let network = entry.parse::<IpNet>();
            let network = network.or_else(|_| entry.parse::<IpAddr>().map(IpNet::from));
            match network {
                Ok(network) => (network, "every port".to_owned()),
                // The fetcher refuses to start with it.
                Err(_) => return Finding::fault(SUBJECT, format!("{entry} is no address"), ""),
            }
        }
    };
    let kinds = kinds(place);
    let what = if kinds.is_empty() {
        return Finding::ok(SUBJECT, format!("{entry} is public, and allowed anyway"));
    } else {
        kinds.join(", ")
    };
    Finding::warning(
        SUBJECT,
        format!(
            "also {entry} ({what}; {ports}): whoever may write to the input topic reaches the \
             services there through this process"
        ),
        "keep it only if pictures are served there, and then as address:port; else take it out of \
         fetch.allow_addresses",
    )
}

/// What lies in a network, besides public addresses.
fn kinds(network: IpNet) -> Vec<&'static str> {
    const KINDS: [(&str, &[&str]); 6] = [
        ("this machine", &["127.0.0.0/8", "::1/128", "0.0.0.0/8"]),
        (
            "the private network",
            &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"],
        ),
        (
            "metadata services of clouds, which give out credentials",
            &[
                "169.254.169.254/32",
                "fd00:ec2::254/128",
                "100.100.100.200/32",
            ],
        ),
        ("link-local", &["169.254.0.0/16", "fe80::/10"]),
        ("carrier-grade NAT", &["100.64.0.0/10"]),
        ("multicast", &["224.0.0.0/4", "ff00::/8"]),
    ];
    let within = |texts: &&[&str]| {
        let mut known = texts.iter().filter_map(|text| text.parse::<IpNet>().ok());
        known.any(|known| known.contains(&network) || network.contains(&known))
    };
    let mut found: Vec<_> = KINDS
        .iter()
        .filter(|(_, texts)| within(texts))
        .map(|(kind, _)| *kind)
        .collect();
    if found.is_empty() && !is_public(network.network()) {
        found.push("not public");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn every_kind_of_address_is_named() {
        for (entry, words) in [
            ("127.0.0.0/8", "this machine; every port"),
            ("[::1]:8080", "this machine; port 8080 only"),
            ("10.1.2.3:80", "the private network; port 80 only"),
            ("169.254.169.254", "credentials"),
            (
                "0.0.0.0/0",
                "this machine, the private network, metadata services",
            ),
            ("fd00::/8", "the private network"),
            ("192.0.2.0/24", "not public"),
        ] {
            let finding = judged(entry);
            assert_eq!(finding.level, Level::Warning, "{entry}");
            assert!(finding.found.contains(words), "{}", finding.found);
        }
        assert_eq!(judged("93.184.216.34").level, Level::Ok);
    }
}
