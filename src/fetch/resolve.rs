//! Names to addresses, with the guard in between: what the client connects to is exactly what was
//! checked here, so an answer that changes between a check and a connection has nothing to win.

use std::{
    collections::HashMap,
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::{sync::Semaphore, time::Instant};

use super::guard::AddressGuard;

/// How long an answer is used again. Short: it only spares a burst of URLs of one host the look-ups.
const KEEP: Duration = Duration::from_secs(30);
/// Answers kept at most.
const KEPT: usize = 4096;
/// Look-ups at a time: each holds a thread of the runtime's blocking pool, which decoding uses too.
const AT_A_TIME: usize = 64;

/// Resolves a name to addresses, unchecked.
pub type Lookup =
    Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync + 'static>;

/// The system's resolver (getaddrinfo on a thread of the blocking pool). Names of this machine are
/// answered without it, since not every resolver knows them with a dot at the end.
#[must_use]
pub fn system_lookup() -> Lookup {
    Arc::new(|name| {
        Box::pin(async move {
            if is_this_machine(&name) {
                return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
            }
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(found.map(|socket| socket.ip()).collect())
        })
    })
}

/// Whether a name is `localhost` or below it, which mean this machine everywhere (RFC 6761, 6.3).
fn is_this_machine(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or(name);
    last.eq_ignore_ascii_case("localhost")
}

/// No address of the host may be connected to.
#[derive(Debug, thiserror::Error)]
#[error("{address} of {host} is blocked")]
pub(super) struct Blocked {
    pub host: String,
    pub address: String,
}

/// The name has no address.
#[derive(Debug, thiserror::Error)]
#[error("cannot resolve {host}: {detail}")]
pub(super) struct Unresolved {
    host: String,
    detail: String,
}

/// Answers of a lookup, kept for a moment.
pub(super) struct Answers {
    lookup: Lookup,
    kept: Mutex<HashMap<String, (Instant, Vec<IpAddr>)>>,
    running: Semaphore,
}

impl Answers {
    pub(super) fn new(lookup: Lookup) -> Arc<Self> {
        Arc::new(Self {
            lookup,
            kept: Mutex::default(),
            running: Semaphore::new(AT_A_TIME),
        })
    }

    async fn of(&self, host: &str) -> Result<Vec<IpAddr>, Unresolved> {
        if let Some(known) = self.known(host) {
            return Ok(known);
        }
        let _running = self.running.acquire().await.expect("bug: never closed");
        if let Some(known) = self.known(host) {
            return Ok(known); // somebody else asked meanwhile
        }
        let unresolved = |detail: String| Unresolved {
            host: host.to_owned(),
            detail,
        };
        let found = (self.lookup)(host.to_owned())
            .await
            .map_err(|e| unresolved(e.to_string()))?;
        if found.is_empty() {
            return Err(unresolved("no address".to_owned()));
        }
        self.keep(host, &found);
        Ok(found)
    }

    fn known(&self, host: &str) -> Option<Vec<IpAddr>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(host)
            .filter(|(until, _)| Instant::now() < *until)
            .map(|(_, addresses)| addresses.clone())
    }

    fn keep(&self, host: &str, addresses: &[IpAddr]) {
        let now = Instant::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.retain(|_, (until, _)| now < *until);
        }
        if kept.len() < KEPT {
            kept.insert(host.to_owned(), (now + KEEP, addresses.to_vec()));
        }
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").finish_non_exhaustive()
    }
}

/// The resolver of one client. A client is never told the port while it resolves, so there is one
/// client for each port that an `address:port` entry names, and one (port 0) for all others.
#[derive(Debug, Clone)]
pub(super) struct GuardedResolver {
    pub guard: Arc<AddressGuard>,
    pub answers: Arc<Answers>,
    pub port: u16,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let this = self.clone();
        Box::pin(async move {
            let host = name.as_str();
            let found = this.answers.of(host).await?;
            let (allowed, refused): (Vec<_>, Vec<_>) = found
                .into_iter()
                .partition(|address| this.guard.allows(*address, this.port));
            if allowed.is_empty() {
                let refused: Vec<_> = refused.iter().map(IpAddr::to_string).collect();
                return Err(Blocked {
                    host: host.to_owned(),
                    address: refused.join(", "),
                }
                .into());
            }
            // Port 0: the client puts in the URL's.
            let sockets = allowed
                .into_iter()
                .map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(sockets) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_of_this_machine_need_no_resolver() {
        for name in [
            "localhost",
            "localhost.",
            "LOCALHOST",
            "a.localhost",
            "a.b.localhost.",
        ] {
            let found = system_lookup()(name.to_owned()).await.expect("known");
            assert!(found.iter().all(IpAddr::is_loopback), "{name}: {found:?}");
            assert_eq!(found.len(), 2, "{name}");
        }
        for name in ["localhost.example.org", "notlocalhost", "localhost.."] {
            assert!(!is_this_machine(name), "{name}");
        }
    }
}
