//! decode: makes pixels of the body. Each record in a task of its own, the work on blocking
//! threads, as many at once as there are cores.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use opentelemetry::KeyValue;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::Semaphore;

use super::{Exit, pass, take_up};
use crate::{
    delivery::{Cut, Worked},
    engine::panicked,
    envelope::Envelope,
    error::{DecodeError, Disposition, Reason},
    image::{Decoded, Fetched},
    message::{Body, CaptionMessage, Downloaded, Picture},
    ports::Decoder,
    stage::Stage,
};

/// The actor: admits and forwards.
pub(crate) struct Decode(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) decoder: Arc<dyn Decoder>,
    /// Blocking threads that may decode. Held for one decode only, never while waiting.
    pub(crate) threads: Arc<Semaphore>,
    pub(crate) next: ActorRef<CaptionMessage>,
    pub(crate) exit: Exit,
}

impl Actor for Decode {
    type Msg = Downloaded;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Downloaded>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Downloaded>,
        message: Downloaded,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let Downloaded(envelope) = take_up(message);
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move { inner.decode(envelope).await });
        Ok(())
    }
}

impl Inner {
    async fn decode(&self, envelope: Envelope<Body>) {
        let Envelope { mut delivery, body } = envelope;
        let Body { request, fetched } = body;
        let body = fetched.body.len() as u64;
        let claimed = self.claim(&fetched).and_then(|bytes| {
            // Grows without waiting: only an image above the whole budget is refused.
            (delivery.credit.resize(bytes + body))
                .map_err(|error| (Reason::TooLarge, error.to_string()))
        });
        let mut started = Instant::now();
        let result = match claimed {
            Err(refused) => Ok(Err(refused)),
            Ok(()) => {
                let work = self.on_a_thread(fetched, &mut started);
                delivery.within(work).await
            }
        };
        let error = match &result {
            Ok(Ok(_)) => None,
            Ok(Err((_, detail))) => Some(detail.as_str()),
            Err(_) => Some("cut off"),
        };
        delivery.worked(Stage::Decode, Worked::since(started), error, || {
            vec![KeyValue::new("vila2.file.size", body as i64)]
        });
        let id = request.id.clone();
        match result {
            Ok(Ok(decoded)) => {
                let pixels = decoded.image.pixels.len() as u64;
                if let Err(error) = delivery.credit.resize(pixels) {
                    let envelope = Envelope::new(delivery, ());
                    (self.exit).reject(envelope, id, Reason::TooLarge, error.to_string(), 1);
                    return;
                }
                let envelope = Envelope::new(delivery, Picture { request, decoded });
                pass(&self.next, CaptionMessage::Decoded(envelope));
            }
            Ok(Err((reason, detail))) => {
                (self.exit).reject(Envelope::new(delivery, ()), id, reason, detail, 1);
            }
            Err(cut @ (Cut::Expired | Cut::Stale)) => {
                self.exit.cut(Envelope::new(delivery, ()), id, cut);
            }
        }
    }

    /// Bytes that decoding will need, as the file's header says.
    fn claim(&self, fetched: &Fetched) -> Result<u64, (Reason, String)> {
        let header = catch_unwind(AssertUnwindSafe(|| self.decoder.header(&fetched.body)));
        match header {
            Ok(Ok(header)) => Ok(header.decoded_bytes),
            Ok(Err(error)) => Err(refused(&error)),
            Err(panic) => Err((Reason::CorruptImage, panicked(panic.as_ref()))),
        }
    }

    async fn on_a_thread(
        &self,
        fetched: Fetched,
        started: &mut Instant,
    ) -> Result<Decoded, (Reason, String)> {
        let permit = Arc::clone(&self.threads).acquire_owned().await;
        *started = Instant::now();
        let decoder = Arc::clone(&self.decoder);
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            catch_unwind(AssertUnwindSafe(|| decoder.decode(fetched.body)))
        });
        match work.await {
            Ok(Ok(Ok(decoded))) => Ok(decoded),
            Ok(Ok(Err(error))) => Err(refused(&error)),
            Ok(Err(panic)) => Err((Reason::CorruptImage, panicked(panic.as_ref()))),
            Err(error) => Err((Reason::CorruptImage, error.to_string())),
        }
    }
}

fn refused(error: &DecodeError) -> (Reason, String) {
    match error.disposition() {
        Disposition::Reject(reason) | Disposition::Retry(reason, _) => (reason, error.to_string()),
        Disposition::Fail => (Reason::CorruptImage, error.to_string()),
    }
}
