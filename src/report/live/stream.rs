//! The page and its events over HTTP.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response, Sse, sse::Event},
    routing::get,
};
use futures_util::{Stream, stream};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Interval, MissedTickBehavior},
};

use super::{EVERY, Shared};

/// How many may read the events at the same time.
pub const SEATS: usize = 16;
/// Without a reader for so long, no pictures are taken. A reader that has stopped reading is none.
const UNREAD: Duration = Duration::from_secs(3);
/// When a browser that lost its connection comes back.
const RETRY: Duration = Duration::from_secs(2);

/// Who may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Whoever names this machine as `localhost` or by an address. For a page that nobody asked
    /// for: a website whose name leads to 127.0.0.1 must not read it in the browser that visits it.
    ThisMachine,
    /// Everyone who reaches the port.
    Everyone,
}

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let routes = Router::new()
        .route("/", get(index))
        .route("/events", get(events));
    let guarded = middleware::from_fn_with_state(Arc::clone(&shared), guard);
    routes.layer(guarded).with_state(shared)
}

/// Refuses whom it must, and says what browsers may do with the answer.
async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if shared.readers == Readers::ThisMachine && !names_this_machine(request.headers()) {
        let why = "The page is only for localhost and addresses as the host's name; http.page = \
                   true opens it for every name.\n";
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    let mut answer = next.run(request).await;
    let policy = HeaderValue::try_from(&shared.policy);
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    let headers = answer.headers_mut();
    if let Ok(policy) = policy {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// Whether the host is `localhost` or an address. One without a host is no browser.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let host = host.to_str().unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

async fn index(State(shared): State<Arc<Shared>>) -> Html<String> {
    Html(shared.html.clone())
}

async fn events(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let Some(seat) = Seat::take(&shared.seats) else {
        let why = format!("{SEATS} browsers read this page already; close one.\n");
        return (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    };
    let last = headers.get("last-event-id");
    let last = last.and_then(|id| id.to_str().ok()?.split_once('-'));
    // A number of an earlier process says nothing of this one.
    let last = last.filter(|(boot, _)| *boot == shared.boot);
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let reader = Reader {
        open: shared.open.clone(),
        shown: last.map_or(0, |(_, number)| number.parse().unwrap_or(0)),
        first: true,
        ready: VecDeque::new(),
        ticks,
        shared,
        _seat: seat,
    };
    Sse::new(reader.events()).into_response()
}

/// A place among those who read.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(taken: &Arc<AtomicUsize>) -> Option<Self> {
        let one_more = |taken: usize| (taken < SEATS).then_some(taken + 1);
        let seat = taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        seat.ok().map(|_| Self(Arc::clone(taken)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One open stream. It makes an event when the connection has room for one, so whoever reads
/// slowly gets fewer.
struct Reader {
    shared: Arc<Shared>,
    open: watch::Receiver<()>,
    /// Number of the last card that was sent.
    shown: u64,
    first: bool,
    ready: VecDeque<Event>,
    ticks: Interval,
    _seat: Seat,
}

impl Reader {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut reader| async move {
            if reader.ready.is_empty() {
                tokio::select! {
                    _ = reader.ticks.tick() => {}
                    // Its sender goes with the page.
                    _ = reader.open.changed() => return None,
                }
                reader.shared.note_reader();
                reader.look();
            }
            let event = reader.ready.pop_front()?;
            Some((Ok(event), reader))
        })
    }

    fn look(&mut self) {
        let mut state = Event::default()
            .event("state")
            .data(text(&self.shared.state()));
        if std::mem::take(&mut self.first) {
            state = state.retry(RETRY);
        }
        self.ready.push_back(state);
        for card in self.shared.cards.after(self.shown) {
            self.shown = card.number;
            let value = json!({"number": card.number, "at_ms": card.at, "html": &*card.html});
            let event = Event::default()
                .event("card")
                .id(format!("{}-{}", self.shared.boot, card.number))
                .data(text(&value));
            self.ready.push_back(event);
        }
    }
}

impl Shared {
    fn note_reader(&self) {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        // 0 is nobody.
        self.read.store(now.max(1), Ordering::Relaxed);
    }

    /// Whether somebody has read events of late.
    pub(super) fn is_read(&self) -> bool {
        let read = self.read.load(Ordering::Relaxed);
        read > 0 && self.born.elapsed() < Duration::from_millis(read) + UNREAD
    }
}

/// JSON in which nothing looks like markup, whoever reads it.
fn text(value: &Value) -> String {
    let mut text = value.to_string();
    for (mark, escaped) in [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026")] {
        text = text.replace(mark, escaped);
    }
    text
}
