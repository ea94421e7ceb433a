//! fetch: gets the body behind the URL, with retries. Each record in a task of its own: a slow host
//! costs a permit, never a place in a queue.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use opentelemetry::KeyValue;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::Semaphore;

use super::{Exit, pass, take_up};
use crate::{
    budget::ImageCredit,
    delivery::Worked,
    engine::panicked,
    envelope::Envelope,
    error::{Disposition, FetchError, Reason},
    image::Fetched,
    message::{Admitted, Body, Downloaded},
    ports::Fetcher,
    record::Request,
    stage::Stage,
    telemetry::redacted,
};

/// The actor: admits and forwards.
pub(crate) struct Fetch(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) fetcher: Arc<dyn Fetcher>,
    /// Held for one attempt only, never while waiting for the next.
    pub(crate) sockets: Arc<Semaphore>,
    pub(crate) next: ActorRef<Downloaded>,
    pub(crate) exit: Exit,
}

impl Actor for Fetch {
    type Msg = Admitted;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Admitted>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Admitted>,
        message: Admitted,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let Admitted(envelope) = take_up(message);
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move { inner.fetch(envelope).await });
        Ok(())
    }
}

/// What was spent on a record.
#[derive(Default)]
struct Spent {
    attempts: u32,
    waited: Duration,
}

impl Inner {
    async fn fetch(&self, mut envelope: Envelope<Request>) {
        let started = Instant::now();
        let mut credit = self.exit.chain.bytes.credit();
        let mut spent = Spent::default();
        let work = self.attempts(&envelope.body.url, &mut credit, &mut spent);
        let result = envelope.delivery.within(work).await;
        let worked = Worked {
            waited: spent.waited + credit.waited(),
            ..Worked::since(started)
        };
        let error = match &result {
            Ok(Ok(_)) => None,
            Ok(Err((_, detail))) => Some(detail.as_str()),
            Err(_) => Some("cut off"),
        };
        let url = envelope.body.url.clone();
        (envelope.delivery).worked(Stage::Fetch, worked, error, || {
            let retries = i64::from(spent.attempts.saturating_sub(1));
            vec![
                KeyValue::new("url.full", redacted(&url)),
                KeyValue::new("http.request.resend_count", retries),
            ]
        });
        let id = || envelope.body.id.clone();
        match result {
            Ok(Ok(fetched)) => {
                envelope.delivery.credit = credit;
                pass(
                    &self.next,
                    Downloaded(envelope.map(|request| Body { request, fetched })),
                );
            }
            Ok(Err((reason, detail))) => {
                let id = id();
                (self.exit).reject(envelope, id, reason, detail, spent.attempts);
            }
            Err(cut) => {
                let id = id();
                self.exit.cut(envelope, id, cut);
            }
        }
    }

    async fn attempts(
        &self,
        url: &str,
        credit: &mut ImageCredit,
        spent: &mut Spent,
    ) -> Result<Fetched, (Reason, String)> {
        let config = &self.exit.chain.config.fetch;
        let mut backoff = config.backoff;
        loop {
            spent.attempts += 1;
            let queued = Instant::now();
            let socket = self.sockets.acquire().await;
            spent.waited += queued.elapsed();
            let once = async { self.fetcher.fetch(url, credit).await };
            let result = AssertUnwindSafe(once).catch_unwind().await;
            drop(socket);
            let error = match result {
                Ok(Ok(fetched)) => return Ok(fetched),
                Ok(Err(error)) => error,
                Err(panic) => FetchError::Connection(panicked(panic.as_ref())),
            };
            let (reason, asked) = match error.disposition() {
                Disposition::Retry(reason, wait) => (reason, wait.unwrap_or_default()),
                Disposition::Reject(reason) => return Err((reason, error.to_string())),
                Disposition::Fail => return Err((Reason::FetchFailed, error.to_string())),
            };
            if spent.attempts > config.retries || asked > config.max_backoff {
                return Err((reason, error.to_string()));
            }
            credit.release();
            let wait = backoff.min(config.max_backoff).max(asked);
            tokio::time::sleep(wait).await;
            spent.waited += wait;
            backoff *= 2;
        }
    }
}
