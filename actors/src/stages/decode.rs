//! decode: makes pixels of the body. Each record in a task of its own, the work on threads of its
//! own, as many as are configured. Between the header and the pixels it waits for
//! room, with nothing but the body in hand.

pub(crate) mod threads;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use self::threads::Threads;
use super::{Exit, pass, take_up};
use crate::{
    delivery::{Cut, Delivery, Worked},
    engine::panicked,
    envelope::Envelope,
    error::{DecodeError, Disposition, Reason},
    image::{Decoded, Fetched},
    message::{Body, CaptionMessage, Downloaded, Picture},
    ports::Decoder,
    stage::Stage,
};
use opentelemetry::KeyValue;
use ractor::{Actor, ActorProcessingErr, ActorRef};

/// The actor: admits and forwards.
pub(crate) struct Decode(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) decoder: Arc<dyn Decoder>,
    /// Held for one header or one picture only, never while waiting.
    pub(crate) threads: Arc<Threads>,
    /// Bytes that the models keep of each picture, beside its pixels.
    pub(crate) kept_by_models: u64,
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
        let Downloaded(envelope) = take_up(message, Stage::Decode);
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move { inner.decode(envelope).await });
        Ok(())
    }
}

impl Inner {
    async fn decode(&self, envelope: Envelope<Body>) {
        let Envelope { mut delivery, body } = envelope;
        let Body { request, fetched } = body;
        let size = fetched.body.len() as u64;
        let started = Instant::now();
        let mut spent = Duration::ZERO;
        let result = self.work(&mut delivery, fetched, &mut spent).await;
        let worked = Worked {
            waited: started.elapsed().saturating_sub(spent),
            ..Worked::since(started)
        };
        let error = match &result {
            Ok(Ok(_)) => None,
            Ok(Err((_, detail))) => Some(detail.as_str()),
            Err(_) => Some("cut off"),
        };
        delivery.worked(Stage::Decode, worked, error, || {
            vec![KeyValue::new("vila2.file.size", size as i64)]
        });
        let id = request.id.clone();
        match result {
            Ok(Ok(decoded)) => {
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

    /// Reads the header, takes credit for what decoding and the models will hold of this picture,
    /// then decodes.
    async fn work(
        &self,
        delivery: &mut Delivery,
        fetched: Fetched,
        spent: &mut Duration,
    ) -> Result<Result<Decoded, Refused>, Cut> {
        let body = fetched.body;
        let header = {
            let body = body.clone();
            let read = move |decoder: &dyn Decoder| decoder.header(&body);
            self.on_a_thread(delivery, spent, read).await?
        };
        let header = match header {
            Ok(header) => header,
            Err(refused) => return Ok(Err(refused)),
        };
        let kept = self.kept_by_models;
        let claim = header.decoded_bytes.saturating_add(kept);
        // It goes with the thread, which cannot be stopped: a decode that is given up holds its
        // bytes until it ends.
        let empty = self.exit.chain.bytes.credit();
        let mut credit = std::mem::replace(&mut delivery.credit, empty);
        // What fetch reserved may be more than what came.
        let shrunk = credit.resize((body.len() as u64).min(credit.held()));
        let reserved = match shrunk {
            Ok(()) => delivery.waits(credit.reserve_pixels(claim)).await?,
            error => error,
        };
        if let Err(error) = reserved {
            let detail =
                format!("file, decoded picture and models' share: {error} by limits.image_bytes");
            return Ok(Err((Reason::TooLarge, detail)));
        }
        let decode = move |decoder: &dyn Decoder| {
            let decoded = decoder.decode(body)?;
            Ok((decoded, credit))
        };
        let decoded = self.on_a_thread(delivery, spent, decode).await?;
        Ok(decoded.map(|(decoded, mut credit)| {
            credit.keep_pixels(decoded.image.pixels.len() as u64 + kept);
            delivery.credit = credit;
            decoded
        }))
    }

    /// Runs `work` on a thread that may decode; the wait for one is no work.
    async fn on_a_thread<T: Send + 'static>(
        &self,
        delivery: &Delivery,
        spent: &mut Duration,
        work: impl FnOnce(&dyn Decoder) -> Result<T, DecodeError> + Send + 'static,
    ) -> Result<Result<T, Refused>, Cut> {
        let thread = delivery.waits(self.threads.one()).await?;
        let began = Instant::now();
        let _working = self.exit.chain.meters.counts.works(Stage::Decode);
        let decoder = Arc::clone(&self.decoder);
        let work = thread.run(move || catch_unwind(AssertUnwindSafe(|| work(&*decoder))));
        let left = delivery.left().saturating_sub(*spent);
        let done = delivery.within(left, work).await;
        *spent += began.elapsed();
        Ok(match done? {
            Some(Ok(Ok(done))) => Ok(done),
            Some(Ok(Err(error))) => Err(refused(&error)),
            Some(Err(panic)) => Err((Reason::CorruptImage, panicked(panic.as_ref()))),
            None => Err((
                Reason::CorruptImage,
                String::from("the decode thread ended"),
            )),
        })
    }
}

/// Why a picture is not decoded, and in words.
type Refused = (Reason, String);

fn refused(error: &DecodeError) -> Refused {
    match error.disposition() {
        Disposition::Reject(reason) | Disposition::Retry(reason, _) => (reason, error.to_string()),
        Disposition::Fail => (Reason::CorruptImage, error.to_string()),
    }
}
