//! A page of metrics, and expressions over it, as far as the tests need to read them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// Status and body of a GET.
pub fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let limit = Some(Duration::from_secs(10));
    stream.set_read_timeout(limit).expect("a limit");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split_whitespace().nth(1).expect("a status");
    (status.parse().expect("a number"), body.to_owned())
}

type Labels = BTreeMap<String, String>;

/// The samples of a page in Prometheus's text format.
pub struct Series {
    samples: Vec<(String, Labels, f64)>,
    names: BTreeMap<String, BTreeSet<String>>,
    help: BTreeSet<String>,
}

impl Series {
    pub fn parse(page: &str) -> Self {
        let (mut samples, mut names) = (Vec::new(), BTreeMap::new());
        let mut help = BTreeSet::new();
        for line in page.lines() {
            if let Some(text) = line.strip_prefix("# HELP ") {
                help.extend(text.split_whitespace().next().map(str::to_owned));
            }
            if line.starts_with('#') || line.is_empty() {
                continue;
            }
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels: Labels = matchers(labels.trim_end_matches('}')).into_iter().collect();
            let seen: &mut BTreeSet<String> = names.entry(name.to_owned()).or_default();
            seen.extend(labels.keys().cloned());
            samples.push((name.to_owned(), labels, value.parse().expect("a number")));
        }
        Self {
            samples,
            names,
            help,
        }
    }

    /// The label names of a sample name; `None` where there is no such sample.
    pub fn labels(&self, name: &str) -> Option<&BTreeSet<String>> {
        self.names.get(name)
    }

    /// The first sample of this name with these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let holds = |have: &Labels| {
            (labels.iter()).all(|(label, value)| have.get(*label).is_some_and(|have| have == value))
        };
        (self.samples.iter())
            .find(|(of, have, _)| of == name && holds(have))
            .map(|(.., value)| *value)
    }

    /// Whether a family has a line of help.
    pub fn described(&self, family: &str) -> bool {
        self.help.contains(family)
    }
}

/// Each of vila2's metrics in an expression with its label matchers, and the labels in lists
/// (`by (…)`, `ignoring (…)`).
#[allow(clippy::type_complexity)]
pub fn read_expression(text: &str) -> (Vec<(String, Vec<(String, String)>)>, Vec<String>) {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut metrics = Vec::new();
    for (at, _) in text.match_indices("vila2_") {
        let rest = &text[at..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let braces = rest[end..].strip_prefix('{');
        let inside = braces
            .and_then(|rest| rest.split_once('}'))
            .map_or("", |(inside, _)| inside);
        metrics.push((rest[..end].to_owned(), matchers(inside)));
    }
    let mut labels = Vec::new();
    for word in ["by", "ignoring", "on", "without"] {
        for (at, _) in text.match_indices(&format!("{word} (")) {
            let list = &text[at + word.len() + 2..];
            let list = list.split_once(')').map_or("", |(list, _)| list);
            let names = list
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty());
            labels.extend(names.map(str::to_owned));
        }
    }
    (metrics, labels)
}

/// `a="b",c=~"d"` as pairs; no value here holds a comma or a quotation mark.
fn matchers(text: &str) -> Vec<(String, String)> {
    (text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty()))
    .map(|part| {
        let (name, value) = part.split_once(['=', '!']).expect("a matcher");
        let value = value.trim_start_matches(['=', '~']).trim_matches('"');
        (name.trim().to_owned(), value.to_owned())
    })
    .collect()
}
