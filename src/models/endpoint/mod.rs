//! A model behind a server that speaks OpenAI's chat completions: vLLM, SGLang, Ollama, NIM,
//! `transformers serve`.
//!
//! ```text
//! settings    where it is, who asks, how often
//! server      the client; what a server says of its models; what it means that it does not answer
//! patience    trying again: for how long, and whose time it is
//! question    picture and prompt as the body of a request
//! answer      the body of a response as text, tokens and the reason it ended; the words of a refusal
//! room        the bytes that bodies may take
//! ```
//!
//! The engine's thread owns the [`Endpoint`] and waits in [`Generator::step`] for the next answer;
//! the calls run as tasks on a small runtime of the endpoint's own.
//!
//! Nothing is lost where the server is away. A call that was not taken (no connection, 429, 502,
//! 503) is made again for as long as `models.NAME.away_ms`, and that time is no work of its record
//! ([`Generator::waited`]). Then the model is [`ModelError::Broken`], the engine tries to have it
//! again, and the process ends without an answer to what it holds: the next one reads it again. A
//! call that was taken and failed (500, a connection that was cut, no answer in time) is made again
//! `models.NAME.retries` times: a record on which the server dies each time must end.

mod answer;
mod patience;
mod question;
mod room;
mod server;
mod settings;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::{runtime::Runtime, task::AbortHandle};
use vila2_actors::{
    annotation::ModelFacts,
    error::ModelError,
    image::Image,
    ports::{Footprint, Generated, Generator, Load, Prompt, RequestId},
    sampling::Sampling,
};

use self::{patience::Clock, room::Room, server::Server};
pub use self::{
    server::Served,
    settings::{EndpointSettings, Key},
};

/// How long a step waits for an answer before the engine looks for new questions.
const STEP: Duration = Duration::from_millis(20);
/// Sides of the picture of our own question; some models take none below 28.
const OWN_SIDE: u32 = 64;
/// Tokens of its answer.
const OWN_TOKENS: u32 = 4;

type Answered = (RequestId, Result<Generated, ModelError>);

/// How to reach the model: on its engine's thread, and again after it was broken.
///
/// # Errors
/// What it returns fails with [`ModelError::Broken`] where the server refuses us or the model, does
/// not answer a question of our own, or is away: the first time for longer than
/// [`EndpointSettings::away`], later (when it was waited for already) at all.
#[must_use]
pub fn load(name: &str, settings: &EndpointSettings) -> Load<dyn Generator> {
    let (name, settings) = (name.to_owned(), settings.clone());
    let again = AtomicBool::new(false);
    Arc::new(move || {
        let patience = if again.swap(true, Ordering::Relaxed) {
            Duration::ZERO
        } else {
            settings.away
        };
        Ok(Box::new(Endpoint::open(&name, &settings, patience)?))
    })
}

/// What a server says of its models, asked once and waited for no longer than `timeout`.
///
/// # Errors
/// Why it does not say, and what to do.
pub fn look(name: &str, settings: &EndpointSettings, timeout: Duration) -> Result<Served, String> {
    let settings = EndpointSettings {
        timeout,
        retries: 0,
        ..settings.clone()
    };
    let runtime = runtime(name).map_err(|error| error.to_string())?;
    let server = Server::new(name, &settings, Duration::ZERO).map_err(|error| error.to_string())?;
    let looked = wait_for(&runtime, async move { server.served().await });
    runtime.shutdown_background();
    looked.map_err(|error| error.to_string())
}

/// The model: one of these per engine thread.
#[derive(Debug)]
pub struct Endpoint {
    facts: ModelFacts,
    server: Arc<Server>,
    room: Room,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    concurrency: usize,
    running: HashMap<RequestId, Call>,
    /// What those that the last step ended had waited.
    ended: HashMap<RequestId, Duration>,
    sender: Sender<Answered>,
    answers: Receiver<Answered>,
}

/// One call under way.
#[derive(Debug)]
struct Call {
    clock: Arc<Clock>,
    task: AbortHandle,
}

impl Endpoint {
    /// Looks at the server's models and asks it a question of our own; waits for it for `patience`
    /// where it is away.
    ///
    /// # Errors
    /// [`ModelError::Broken`], with what to do.
    pub fn open(
        name: &str,
        settings: &EndpointSettings,
        patience: Duration,
    ) -> Result<Self, ModelError> {
        let runtime = runtime(name)?;
        let server = Arc::new(Server::new(name, settings, patience)?);
        let asked = Arc::clone(&server);
        let opened = wait_for(&runtime, async move {
            let served = asked.served().await?;
            own_question(&asked).await?;
            Ok(served)
        });
        let served = match opened {
            Ok(served) => served,
            Err(error) => {
                runtime.shutdown_background();
                return Err(ModelError::Broken(error.to_string()));
            }
        };
        server.is_open(settings.away, &served);
        let (sender, answers) = mpsc::channel();
        Ok(Self {
            facts: ModelFacts {
                model: name.to_owned(),
                revision: served.revision(settings),
                prompt: None,
            },
            room: Room::new(settings),
            runtime: Some(runtime),
            concurrency: settings.concurrency,
            running: HashMap::new(),
            ended: HashMap::new(),
            server,
            sender,
            answers,
        })
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("bug: dropped before its end")
    }

    fn end(&mut self, (id, result): Answered, ended: &mut Vec<Answered>) {
        // One that was cancelled may have sent its answer before.
        if let Some(call) = self.running.remove(&id) {
            self.ended.insert(id, call.clock.waited());
            ended.push((id, result));
        }
    }
}

impl Generator for Endpoint {
    fn free_slots(&self) -> usize {
        self.concurrency.saturating_sub(self.running.len())
    }

    fn admit(
        &mut self,
        request: RequestId,
        image: Arc<Image>,
        prompt: &Prompt,
    ) -> Result<(), ModelError> {
        let clock = Arc::new(Clock::default());
        let (server, room) = (Arc::clone(&self.server), self.room.clone());
        let (prompt, ticking, sender) = (prompt.clone(), Arc::clone(&clock), self.sender.clone());
        let task = self.runtime().spawn(async move {
            let asked = ask(&server, &room, image, &prompt, &ticking);
            let answered = AssertUnwindSafe(asked).catch_unwind().await;
            let answer = answered.unwrap_or_else(|_| Err(panicked()));
            // Nobody listens any more once the model is dropped.
            let _ = sender.send((request, answer));
        });
        let task = task.abort_handle();
        self.running.insert(request, Call { clock, task });
        Ok(())
    }

    fn step(&mut self) -> Result<Vec<Answered>, ModelError> {
        self.ended.clear();
        let mut ended = Vec::new();
        if !self.running.is_empty()
            && let Ok(first) = self.answers.recv_timeout(STEP)
        {
            self.end(first, &mut ended);
        }
        while let Ok(next) = self.answers.try_recv() {
            self.end(next, &mut ended);
        }
        Ok(ended)
    }

    fn cancel(&mut self, request: RequestId) {
        if let Some(call) = self.running.remove(&request) {
            // The connection is closed with it: the server need not write to the end.
            call.task.abort();
        }
    }

    fn waited(&self, request: RequestId) -> Duration {
        let running = self.running.get(&request).map(|call| call.clock.waited());
        running
            .or_else(|| self.ended.get(&request).copied())
            .unwrap_or_default()
    }

    fn self_check(&mut self) -> Result<(), ModelError> {
        let server = Arc::clone(&self.server);
        wait_for(self.runtime(), async move { own_question(&server).await })
    }

    fn facts(&self) -> ModelFacts {
        self.facts.clone()
    }

    fn footprint(&self) -> Footprint {
        Footprint {
            preparing: self.room.bytes(),
            per_image: 0,
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Ends the calls, and waits for none of them.
            runtime.shutdown_background();
        }
    }
}

/// One question, from pixels to text.
async fn ask(
    server: &Arc<Server>,
    room: &Room,
    image: Arc<Image>,
    prompt: &Prompt,
    clock: &Clock,
) -> Result<Generated, ModelError> {
    let mut taken = clock.waits(room.take(&image)).await;
    let (model, prompt) = (server.model().to_owned(), prompt.clone());
    let written =
        tokio::task::spawn_blocking(move || question::body(&model, &image, &prompt)).await;
    let body = Bytes::from(written.map_err(|_| panicked())??);
    taken.keep(body.len());
    let answer = server.answer(&body, clock).await;
    match answer {
        Err(ModelError::Input(why)) if server.refuses_in_a_row() => {
            // A wrong model must not empty a topic into the dead letters.
            own_question(server).await?;
            Err(ModelError::Input(why))
        }
        answer => answer,
    }
}

/// A known-good question: a small picture, few tokens.
async fn own_question(server: &Arc<Server>) -> Result<(), ModelError> {
    let pixels = (0..OWN_SIDE * OWN_SIDE).flat_map(|at| [(at % OWN_SIDE * 4) as u8, 128, 64]);
    let pixels = Bytes::from_iter(pixels);
    let image = Image::new(OWN_SIDE, OWN_SIDE, pixels, (OWN_SIDE, OWN_SIDE));
    let prompt = Prompt {
        text: Arc::from("Describe this image."),
        max_tokens: OWN_TOKENS,
        seed: 0,
        sampling: Sampling::default(),
    };
    let body = Bytes::from(question::body(server.model(), &image, &prompt)?);
    let answered = server.answer(&body, &Clock::default()).await;
    answered
        .map(drop)
        .map_err(|error| ModelError::Broken(server.fails_on_ours(&error)))
}

/// Waits on a thread that is none of a runtime's.
fn wait_for<T: Send + 'static>(
    runtime: &Runtime,
    work: impl Future<Output = Result<T, ModelError>> + Send + 'static,
) -> Result<T, ModelError> {
    let (sender, done) = mpsc::channel();
    runtime.spawn(async move {
        let _ = sender.send(work.await);
    });
    done.recv().unwrap_or_else(|_| Err(panicked()))
}

fn runtime(name: &str) -> Result<Runtime, ModelError> {
    // Two threads: the calls wait, and encoding has threads of its own.
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(format!("endpoint {name}"))
        .enable_all()
        .build()
        .map_err(|error| ModelError::Broken(format!("no threads to ask a server with: {error}")))
}

fn panicked() -> ModelError {
    ModelError::Broken(String::from("a call to the server panicked"))
}
