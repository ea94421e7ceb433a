//! The address of metrics and probes.

use std::net::{SocketAddr, TcpListener};

use super::Finding;
use crate::config::Config;

/// Nothing where the page is off.
pub(super) fn examine(config: &Config) -> Option<Finding> {
    config.http.map(judged)
}

/// Takes the address for a moment: a listener without a connection leaves no trace.
fn judged(address: SocketAddr) -> Finding {
    let subject = "metrics and probes";
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(subject, format!("http://{address} is free")),
        Err(error) => Finding::warning(
            subject,
            format!("cannot listen on {address}: {error}"),
            "where that is a `vila2 run` of this machine, all is well, and another one needs a \
             port of its own; else set http.listen to a free port, or to \"off\"",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn an_address_that_is_taken_is_a_warning() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("its address");
        assert_eq!(judged(address).level, Level::Warning);
        drop(taken);
        assert_eq!(judged(address).level, Level::Ok);
    }
}
