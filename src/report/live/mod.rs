//! The page of a running service: what waits and works where, and the last captions with their
//! pictures, live by server-sent events. It shows and changes nothing.
//!
//! What it costs: a look at the counters each second. Pictures are only taken while a browser reads
//! the events: one at most every second, scaled down to [`SIDE`] pixels at most. The
//! last [`CARDS`] captions are kept as HTML, each of [`CARD_BYTES`] at most, and as many small
//! pictures wait for their captions. While one is scaled down its pixels are held beyond
//! `limits.image_bytes`, for a few milliseconds. Of dead letters the newest of each reason is kept. A reader
//! that is slow gets fewer events, and [`SEATS`] may read at the same time.

mod cards;
mod dead;
mod look;
mod stream;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize},
    },
    time::{Duration, Instant},
};

use axum::Router;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use minijinja::{Environment, context};
use sha2::{Digest, Sha256};
use tokio::{sync::watch, task::JoinHandle};
use vila2_actors::{
    image::Image,
    ports::{Destination, Observer, Outgoing},
    record::RecordId,
};

pub use cards::{CARD_BYTES, CARDS, SIDE};
pub use look::{Facts, Look, Running, StageFacts};
pub use stream::{Readers, SEATS};

use super::page::{CARD, CARD_SCRIPT, STYLE};
use cards::Cards;
use dead::DeadLetters;
use look::{History, shown};

/// How often the numbers are read and sent.
const EVERY: Duration = Duration::from_secs(1);

/// How often a picture is taken, at most.
const PICTURE_EVERY: Duration = Duration::from_secs(1);

/// Asks the service how it goes; called once a second, and once more for each reader.
pub type Ask = Arc<dyn Fn() -> Look + Send + Sync>;

/// The page, until it is dropped: then open streams end.
pub struct Live {
    shared: Arc<Shared>,
    _open: watch::Sender<()>,
    sampling: JoinHandle<()>,
}

/// What handlers, observer and sampling share.
struct Shared {
    /// Tells this process from the next one on the same address.
    boot: String,
    born: Instant,
    ask: Ask,
    facts: Facts,
    history: History,
    cards: Arc<Cards>,
    dead: DeadLetters,
    html: String,
    policy: String,
    readers: Readers,
    seats: Arc<AtomicUsize>,
    /// Milliseconds after `born` at which a reader last took events.
    read: AtomicU64,
    /// Ends with the page.
    open: watch::Receiver<()>,
}

impl Live {
    /// Sets the page up, inside a tokio runtime.
    ///
    /// # Errors
    /// The template is wrong: a bug.
    pub fn new(facts: Facts, readers: Readers, ask: Ask) -> Result<Self, minijinja::Error> {
        let (sender, open) = watch::channel(());
        let (html, policy) = page(&facts)?;
        let shared = Arc::new(Shared {
            boot: format!("{:x}", now_ms()),
            born: Instant::now(),
            ask,
            facts,
            history: History::default(),
            cards: Arc::new(Cards::new(PICTURE_EVERY)?),
            dead: DeadLetters::default(),
            html,
            policy,
            readers,
            seats: Arc::default(),
            read: AtomicU64::new(0),
            open,
        });
        let sampled = Arc::clone(&shared);
        let sampling = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            loop {
                ticks.tick().await;
                if let Some(running) = (sampled.ask)().chain {
                    sampled.history.note(&running);
                }
            }
        });
        Ok(Self {
            shared,
            _open: sender,
            sampling,
        })
    }

    /// What the chain shows the page.
    #[must_use]
    pub fn observer(&self) -> Box<dyn Observer> {
        Box::new(Onlooker(Arc::clone(&self.shared)))
    }

    /// `/` and `/events`.
    pub fn router(&self) -> Router {
        stream::router(Arc::clone(&self.shared))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.sampling.abort();
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

/// Takes what the chain shows.
struct Onlooker(Arc<Shared>);

impl Observer for Onlooker {
    fn seen(&self, record: &RecordId, image: &Arc<Image>) {
        if self.0.is_read() {
            self.0.cards.seen(record, image);
        }
    }

    fn written(&self, outgoing: &Outgoing) {
        match outgoing.destination {
            Destination::Captions => self.0.cards.written(outgoing),
            Destination::Dead => self.0.dead.written(outgoing),
        }
    }
}

impl fmt::Debug for Onlooker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Onlooker").finish_non_exhaustive()
    }
}

/// The page itself, and the policy that lets exactly its own style and script run.
fn page(facts: &Facts) -> Result<(String, String), minijinja::Error> {
    let style = format!("{STYLE}{}", include_str!("live.css"));
    let script = format!("{CARD_SCRIPT}{}", include_str!("live.js"));
    let mut environment = Environment::new();
    environment.add_template("live.html", include_str!("live.html"))?;
    let html = environment.get_template("live.html")?.render(context! {
        style,
        script,
        facts,
        shown => shown(facts),
        most => CARDS,
        side => SIDE,
        version => env!("CARGO_PKG_VERSION"),
    })?;
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(&script),
        hash(&style)
    );
    Ok((html, policy))
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// At most so many characters of a stranger's text, with a mark where it was longer.
fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
