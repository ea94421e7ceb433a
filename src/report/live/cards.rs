//! The last captions with their pictures.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use image::{ExtendedColorType, RgbImage, codecs::jpeg::JpegEncoder, imageops};
use minijinja::{Environment, context};
use tokio::runtime::Handle;
use url::Url;
use vila2_actors::{
    annotation::EnrichedCaption, image::Image, ports::Outgoing, record::RecordId,
    telemetry::redacted,
};

use super::{super::card, CARD, now_ms, shortened};

/// Captions that are kept, the newest ones.
pub const CARDS: usize = 12;
/// The longest side of their pictures, in pixels.
pub const SIDE: u32 = 320;
/// The most bytes of one card, its picture included; a longer one is left out.
pub const CARD_BYTES: usize = 512 << 10;

/// Of JPEG, 1 to 100.
const QUALITY: u8 = 80;
/// The longest record that becomes a card, in bytes.
const RECORD_BYTES: usize = 256 << 10;
/// Characters of one text on a card, and how many boxes, lines or clauses it shows.
const CHARACTERS: usize = 2_000;
const PARTS: usize = 100;

/// The cards, and the pictures that wait for their captions.
pub(super) struct Cards {
    /// How often a picture is taken, at most.
    every: Duration,
    state: Mutex<State>,
    /// Pictures in `state.waiting`: a caption that nobody took a picture for costs one look at it.
    waiting: AtomicUsize,
    encoding: AtomicBool,
    template: Environment<'static>,
}

#[derive(Default)]
struct State {
    taken: Option<Instant>,
    waiting: VecDeque<Waiting>,
    /// The newest last.
    kept: VecDeque<Kept>,
    made: u64,
}

/// A picture that was taken, or its caption: whichever comes second makes the card.
struct Waiting {
    record: RecordId,
    jpeg: Option<Vec<u8>>,
    caption: Option<Bytes>,
}

/// A card.
#[derive(Clone)]
pub(super) struct Kept {
    /// 1 for the first of this process.
    pub(super) number: u64,
    /// When its caption was confirmed, in milliseconds since the Unix epoch.
    pub(super) at: u64,
    pub(super) html: Arc<str>,
}

impl Cards {
    pub(super) fn new(every: Duration) -> Result<Self, minijinja::Error> {
        let mut template = Environment::new();
        template.add_template("card.html", CARD)?;
        Ok(Self {
            every,
            state: Mutex::default(),
            waiting: AtomicUsize::new(0),
            encoding: AtomicBool::new(false),
            template,
        })
    }

    /// Takes a picture, where it is time for one and the last one is done.
    pub(super) fn seen(self: &Arc<Self>, record: &RecordId, image: &Arc<Image>) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        {
            let mut state = self.lock();
            let due = state
                .taken
                .is_none_or(|taken| taken.elapsed() >= self.every);
            if !due || self.encoding.swap(true, Ordering::AcqRel) {
                return;
            }
            state.taken = Some(Instant::now());
            state.waiting.push_back(Waiting {
                record: record.clone(),
                jpeg: None,
                caption: None,
            });
            // One whose caption never came: it became a dead letter, or belongs to another now.
            if state.waiting.len() > CARDS {
                state.waiting.pop_front();
            }
            self.count(&state);
        }
        let (cards, record, image) = (Arc::clone(self), record.clone(), Arc::clone(image));
        runtime.spawn_blocking(move || {
            let _done = Done(&cards.encoding);
            let jpeg = jpeg(&image);
            drop(image);
            cards.come(&record, |waiting| waiting.jpeg = jpeg);
        });
    }

    /// Takes a caption, where it belongs to a picture that was taken.
    pub(super) fn written(self: &Arc<Self>, outgoing: &Outgoing) {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return;
        }
        let (Some(value), Ok(runtime)) = (&outgoing.value, Handle::try_current()) else {
            return;
        };
        let state = self.lock();
        if !(state.waiting.iter()).any(|waiting| waiting.record == outgoing.source) {
            return;
        }
        drop(state);
        let (cards, record) = (Arc::clone(self), outgoing.source.clone());
        let value = value.clone();
        runtime.spawn_blocking(move || {
            cards.come(&record, |waiting| waiting.caption = Some(value));
        });
    }

    /// The cards after `number`, the oldest first.
    pub(super) fn after(&self, number: u64) -> Vec<Kept> {
        let state = self.lock();
        let newer = state.kept.iter().filter(|card| card.number > number);
        newer.cloned().collect()
    }

    /// Picture or caption has come: with both it is a card.
    fn come(&self, record: &RecordId, note: impl FnOnce(&mut Waiting)) {
        let mut state = self.lock();
        let Some(at) = (state.waiting.iter()).position(|waiting| waiting.record == *record) else {
            return;
        };
        note(&mut state.waiting[at]);
        let waiting = &state.waiting[at];
        if waiting.jpeg.is_none() || waiting.caption.is_none() {
            return;
        }
        let whole = state.waiting.remove(at);
        self.count(&state);
        drop(state);
        let Some(Waiting {
            jpeg: Some(jpeg),
            caption: Some(caption),
            ..
        }) = whole
        else {
            return;
        };
        let Some(html) = self.html(&caption, &jpeg) else {
            return;
        };
        let mut state = self.lock();
        state.made += 1;
        let kept = Kept {
            number: state.made,
            at: now_ms(),
            html: html.into(),
        };
        state.kept.push_back(kept);
        if state.kept.len() > CARDS {
            state.kept.pop_front();
        }
    }

    fn html(&self, caption: &[u8], jpeg: &[u8]) -> Option<String> {
        if caption.len() > RECORD_BYTES {
            return None;
        }
        let record = fit_to_show(serde_json::from_slice(caption).ok()?);
        let card = card::card(&record, |_| Some(card::embedded(jpeg, "jpeg")));
        let template = self.template.get_template("card.html").ok()?;
        let html = template.render(context! { card }).ok()?;
        (html.len() <= CARD_BYTES).then_some(html)
    }

    fn count(&self, state: &State) {
        self.waiting.store(state.waiting.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Cards {
    pub(super) fn is_encoding(&self) -> bool {
        self.encoding.load(Ordering::Acquire)
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    pub(super) fn made(&self) -> u64 {
        self.lock().made
    }
}

/// One encoding at a time, however it ends.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The picture as JPEG, its longest side [`SIDE`] pixels at most.
fn jpeg(image: &Image) -> Option<Vec<u8>> {
    let longest = image.width.max(image.height).max(1);
    let scaled = |side: u32| {
        let side = u64::from(side) * u64::from(SIDE.min(longest)) / u64::from(longest);
        u32::try_from(side.max(1)).unwrap_or(SIDE)
    };
    let pixels = image::FlatSamples {
        samples: &image.pixels[..],
        layout: image::flat::SampleLayout::row_major_packed(3, image.width, image.height),
        color_hint: None,
    };
    let view = pixels.as_view::<image::Rgb<u8>>().ok()?;
    let small: RgbImage = imageops::thumbnail(&view, scaled(image.width), scaled(image.height));
    let mut jpeg = Vec::new();
    let (width, height) = small.dimensions();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
        .encode(&small, width, height, ExtendedColorType::Rgb8)
        .ok()?;
    Some(jpeg)
}

/// The record as it may be shown: no secrets in its URL, nothing of it endless.
fn fit_to_show(mut record: EnrichedCaption) -> EnrichedCaption {
    let cut = |text: &mut String| *text = shortened(text, CHARACTERS);
    record.url = shortened(&redacted(&record.url), CHARACTERS);
    cut(&mut record.caption.text);
    cut(&mut record.enriched);
    record.original_caption.iter_mut().for_each(cut);
    record.grounding.truncate(PARTS);
    record.text.truncate(PARTS);
    record.clauses.truncate(PARTS);
    (record.grounding.iter_mut()).for_each(|found| cut(&mut found.phrase));
    record.text.iter_mut().for_each(|line| cut(&mut line.text));
    for clause in &mut record.clauses {
        cut(&mut clause.text);
        clause.evidence.truncate(PARTS);
    }
    (record.degraded.iter_mut()).for_each(|missing| cut(&mut missing.reason));
    record
}

/// An id, which may be a URL.
pub(super) fn shown_id(id: &str) -> String {
    let is_url = Url::parse(id).is_ok_and(|url| url.has_host());
    let shown = if is_url { redacted(id) } else { id.to_owned() };
    shortened(&shown, 200)
}
