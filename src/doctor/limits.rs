//! Open files.

use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::{app::fetch_sockets, config::Config};

/// What everything but fetching keeps open: Kafka, probes, traces, models, the runtime itself.
const REST: u64 = 512;

pub(super) fn examine(config: &Config) -> Finding {
    let sockets = fetch_sockets(config) as u64;
    judged(sockets, getrlimit(Resource::Nofile).current)
}

/// `limit` open files, of which fetching takes `sockets`; `None`: without limit.
fn judged(sockets: u64, limit: Option<u64>) -> Finding {
    let subject = "open files";
    // A connection is kept for a while after its answer, in case its host is asked again.
    let wanted = 2 * sockets + REST;
    let needs = format!(
        "{sockets} pictures are fetched at once, as many connections are kept for the next, {REST} \
         are for the rest"
    );
    let advice = format!(
        "raise it to {wanted} (`ulimit -n {wanted}`, LimitNOFILE= of systemd, --ulimit nofile= of a \
         container)"
    );
    match limit {
        None => Finding::ok(subject, format!("no limit; {needs}")),
        Some(limit) if limit >= wanted => Finding::ok(subject, format!("{limit}; {needs}")),
        Some(limit) if limit >= sockets + REST / 2 => {
            Finding::warning(subject, format!("only {limit}; {needs}"), advice)
        }
        Some(limit) => Finding::fault(subject, format!("only {limit}; {needs}"), advice),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn the_limit_must_hold_what_is_fetched_and_the_rest() {
        assert_eq!(judged(256, Some(1024)).level, Level::Ok);
        assert_eq!(judged(256, None).level, Level::Ok);
        assert_eq!(judged(256, Some(600)).level, Level::Warning);
        let fault = judged(256, Some(256));
        assert_eq!(fault.level, Level::Fault);
        assert!(fault.found.contains("only 256"), "{}", fault.found);
        assert!(fault.advice.contains("ulimit -n 1024"), "{}", fault.advice);
    }
}
