//! The HTTP server: `/metrics` for Prometheus, `/livez` and `/readyz` for probes, and `/` where there
//! is a page for people.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// How often histograms are moved into their buckets where nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// One condition of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name, for example `producer`.
    pub name: &'static str,
    /// What is wrong; `None`: nothing.
    pub fault: Option<String>,
}

impl Check {
    /// A condition with the fault to report where it does not hold.
    #[must_use]
    pub fn new(name: &'static str, holds: bool, fault: impl FnOnce() -> String) -> Self {
        Self {
            name,
            fault: (!holds).then(fault),
        }
    }
}

/// Looks at a process from outside.
type Probe = Arc<dyn Fn() -> Vec<Check> + Send + Sync>;

/// What the probes ask.
#[derive(Clone)]
pub struct Probes {
    /// `/livez`: a fault means that only a restart helps. A broker that is away is none.
    pub live: Probe,
    /// `/readyz`: models loaded, group joined, producer connected, both output topics take writes.
    pub ready: Probe,
}

impl fmt::Debug for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probes").finish_non_exhaustive()
    }
}

/// What `/` answers where there is no page.
const NO_PAGE: &str = "The page of the service is off here; http.page = true turns it on, for everyone \
                       who reaches http.listen.\n";

/// What is served; it ends when this is dropped, and idle connections with it.
#[derive(Debug)]
pub struct Page {
    address: SocketAddr,
    upkeep: JoinHandle<()>,
    _open: watch::Sender<()>,
}

impl Page {
    /// Serves on `listen`; port 0 takes a free one. `people` answers `/`, and what else it likes;
    /// `None`: a line that says how to turn it on.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn serve(
        listen: SocketAddr,
        metrics: PrometheusHandle,
        probes: Probes,
        people: Option<Router>,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let upkeep = metrics.clone();
        let router = Router::new()
            .route("/metrics", get(page))
            .with_state(metrics)
            .route("/livez", get(probe).with_state(Arc::clone(&probes.live)))
            .route("/readyz", get(probe).with_state(probes.ready))
            .merge(people.unwrap_or_else(|| {
                Router::new().route("/", get(|| async { (StatusCode::NOT_FOUND, NO_PAGE) }))
            }));
        let (sender, mut open) = watch::channel(());
        tokio::spawn(async move {
            // The sender goes with the page.
            let closed = async move { while open.changed().await.is_ok() {} };
            let server = axum::serve(listener, router).with_graceful_shutdown(closed);
            if let Err(error) = server.await {
                tracing::error!("the page for metrics and probes ended: {error}");
            }
        });
        let upkeep = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(UPKEEP);
            loop {
                ticks.tick().await;
                upkeep.run_upkeep();
            }
        });
        Ok(Self {
            address,
            upkeep,
            _open: sender,
        })
    }

    /// Where it is served.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.upkeep.abort();
    }
}

async fn page(State(metrics): State<PrometheusHandle>) -> Response {
    let content_type = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (content_type, metrics.render()).into_response()
}

async fn probe(State(probe): State<Probe>) -> Response {
    let checks = probe();
    let well = checks.iter().all(|check| check.fault.is_none());
    let status = if well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut lines = String::new();
    for check in checks {
        let line = check.fault.as_deref().unwrap_or("ok");
        lines.push_str(&format!("{}: {line}\n", check.name));
    }
    (status, lines).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use metrics::{Key, Level, Metadata, Recorder};
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    async fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("http://{address}{path}"))
            .await
            .expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    }

    #[tokio::test]
    async fn probes_follow_their_conditions_and_metrics_are_rendered() {
        let joined = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&joined);
        let probes = Probes {
            live: Arc::new(|| vec![Check::new("oldest record", true, String::new)]),
            ready: Arc::new(move || {
                vec![Check::new("group", seen.load(Ordering::Relaxed), || {
                    "not joined".to_owned()
                })]
            }),
        };
        let recorder = PrometheusBuilder::new().build_recorder();
        recorder
            .register_counter(
                &Key::from_name("vila2_abandoned_total"),
                &Metadata::new("test", Level::INFO, None),
            )
            .increment(2);
        let page = Page::serve(
            "127.0.0.1:0".parse().expect("address"),
            recorder.handle(),
            probes,
            None,
        )
        .await
        .expect("a page");
        let address = page.address();

        assert_eq!(
            get(address, "/livez").await,
            (200, "oldest record: ok\n".to_owned())
        );
        assert_eq!(
            get(address, "/readyz").await,
            (503, "group: not joined\n".to_owned())
        );
        joined.store(true, Ordering::Relaxed);
        assert_eq!(get(address, "/readyz").await.0, 200);
        let (status, metrics) = get(address, "/metrics").await;
        assert_eq!(status, 200);
        assert!(metrics.contains("vila2_abandoned_total 2"), "{metrics}");
        assert_eq!(get(address, "/").await, (404, NO_PAGE.to_owned()));
    }
}
