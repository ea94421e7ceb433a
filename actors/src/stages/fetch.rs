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
    delivery::{Cut, Delivery, Worked},
    engine::panicked,
    envelope::Envelope,
    error::{Disposition, FetchError, Reason},
    fingerprint,
    image::Fetched,
    message::{Admitted, Body, Downloaded, PublishMessage},
    ports::{Fetcher, Repeats},
    record::Request,
    stage::Stage,
    telemetry::redacted,
};

/// The actor: admits and forwards.
pub(crate) struct Fetch(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) fetcher: Arc<dyn Fetcher>,
    pub(crate) repeats: Option<Arc<dyn Repeats>>,
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
        let Admitted(envelope) = take_up(message, Stage::Fetch);
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move { inner.fetch(envelope).await });
        Ok(())
    }
}

/// Responses that are given up for want of room without counting as attempts: one that was larger
/// than expected, one that was larger still. A server that goes on changing its mind does count.
const FREE_RETURNS: u32 = 2;

/// What was spent on a record.
#[derive(Default)]
struct Spent {
    attempts: u32,
    /// Waiting between two attempts.
    between: Duration,
    /// Attempts.
    work: Duration,
    /// Responses that were given up for want of room.
    returned: u32,
}

impl Spent {
    fn in_all(&self) -> Duration {
        self.work + self.between
    }
}

impl Inner {
    async fn fetch(&self, mut envelope: Envelope<Request>) {
        let started = Instant::now();
        let mut credit = self.exit.chain.bytes.credit();
        let mut spent = Spent::default();
        let url = envelope.body.url.clone();
        let attempts = self.attempts(&envelope.delivery, &url, &mut credit, &mut spent);
        let result = attempts.await;
        let worked = Worked {
            waited: started.elapsed().saturating_sub(spent.work),
            ..Worked::since(started)
        };
        let error = match &result {
            Ok(Ok(_)) => None,
            Ok(Err((_, detail))) => Some(detail.as_str()),
            Err(_) => Some("cut off"),
        };
        (envelope.delivery).worked(Stage::Fetch, worked, error, || {
            let retries = i64::from(spent.attempts.saturating_sub(1));
            vec![
                KeyValue::new("url.full", redacted(&url)),
                KeyValue::new("http.request.resend_count", retries),
            ]
        });
        envelope.delivery.charge(spent.between);
        let id = || envelope.body.id.clone();
        match result {
            Ok(Ok(fetched)) if self.is_repeat(&envelope, &fetched) => {
                pass(&self.exit.publish, PublishMessage::Repeated(envelope));
            }
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

    fn is_repeat(&self, envelope: &Envelope<Request>, fetched: &Fetched) -> bool {
        self.repeats.as_ref().is_some_and(|repeats| {
            let config = &self.exit.chain.config.caption;
            let question = fingerprint::question(&envelope.body, &fetched.body, config);
            repeats.is_repeat(&envelope.delivery.record().id, question)
        })
    }

    async fn attempts(
        &self,
        delivery: &Delivery,
        url: &str,
        credit: &mut ImageCredit,
        spent: &mut Spent,
    ) -> Result<Result<Fetched, (Reason, String)>, Cut> {
        let config = &self.exit.chain.config.fetch;
        let mut backoff = config.backoff;
        let left = |spent: &Spent| delivery.left().saturating_sub(spent.in_all());
        loop {
            spent.attempts += 1;
            // Room first, then the socket, then the request: what waits for room holds no socket,
            // and no response stays open while its body has nowhere to go.
            (delivery.waits(credit.reserve_expected(config.expected_bytes))).await?;
            let socket = delivery.waits(self.sockets.acquire()).await?;
            let began = Instant::now();
            let working = self.exit.chain.meters.counts.works(Stage::Fetch);
            let once = async { self.fetcher.fetch(url, credit).await };
            let once = AssertUnwindSafe(once).catch_unwind();
            let result = delivery.within(left(spent), once).await;
            drop((socket, working));
            let took = began.elapsed();
            let error = match result {
                Ok(Ok(Err(FetchError::NoRoom { bytes }))) if spent.returned < FREE_RETURNS => {
                    spent.returned += 1;
                    spent.attempts -= 1;
                    credit.release();
                    if let Err(error) = delivery.waits(credit.reserve(bytes)).await? {
                        return Ok(Err((Reason::TooLarge, error.to_string())));
                    }
                    continue;
                }
                result => {
                    spent.work += took;
                    match result? {
                        Ok(Ok(fetched)) => return Ok(Ok(fetched)),
                        Ok(Err(error)) => error,
                        Err(panic) => FetchError::Connection(panicked(panic.as_ref())),
                    }
                }
            };
            let (reason, asked) = match error.disposition() {
                Disposition::Retry(reason, wait) => (reason, wait.unwrap_or_default()),
                Disposition::Reject(reason) => return Ok(Err((reason, error.to_string()))),
                Disposition::Fail => return Ok(Err((Reason::FetchFailed, error.to_string()))),
            };
            if spent.attempts > config.retries || asked > config.max_backoff {
                return Ok(Err((reason, error.to_string())));
            }
            credit.release();
            let wait = backoff.min(config.max_backoff).max(asked);
            let slept = Instant::now();
            let waited = (delivery.within(left(spent), tokio::time::sleep(wait))).await;
            spent.between += slept.elapsed();
            waited?;
            backoff *= 2;
        }
    }
}
