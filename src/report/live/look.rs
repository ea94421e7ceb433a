//! The numbers of the page, each second.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::{Value, json};
use vila2_actors::{
    activity::{Activity, StageActivity},
    engine::EngineStats,
    stage::Stage,
};

use super::Shared;

/// Over how long rates are taken.
const WINDOW: Duration = Duration::from_secs(60);

/// A stage as the page draws it. The intake is counted with what waits for `fetch`.
#[derive(Debug, Serialize)]
pub(super) struct ShownStage {
    name: &'static str,
    does: &'static str,
    /// One of those that examine the caption.
    specialist: bool,
    /// As it is named in records.
    #[serde(skip)]
    stage: &'static str,
}

/// The stages that are shown, in path order.
pub(super) fn shown(facts: &Facts) -> Vec<ShownStage> {
    let fixed = |stage: Stage, does| ShownStage {
        name: match stage {
            Stage::Publish => "send",
            stage => stage.as_str(),
        },
        does,
        specialist: false,
        stage: stage.as_str(),
    };
    let asked = facts.stages.iter().map(|facts| ShownStage {
        name: facts.stage,
        does: match facts.kind {
            "caption" => "describes the picture",
            "ground" => "finds what is named, with boxes",
            "relate" => "says how the boxes stand to each other",
            "read_text" => "reads text in the picture",
            _ => "answers a question about the picture",
        },
        specialist: facts.kind != "caption",
        stage: facts.stage,
    });
    let before = [
        fixed(Stage::Fetch, "gets the file behind the URL"),
        fixed(Stage::Decode, "makes pixels of the file"),
    ];
    let after = [
        fixed(Stage::Merge, "makes one text of all"),
        fixed(
            Stage::Publish,
            "writes captions and dead letters to the broker",
        ),
    ];
    before.into_iter().chain(asked).chain(after).collect()
}

/// What does not change while the service runs.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// The input topic.
    pub images: String,
    /// The output topic.
    pub captions: String,
    /// The topic of dead letters.
    pub dead: String,
    /// The consumer group.
    pub group: String,
    /// `limits.records`.
    pub records: usize,
    /// `limits.image_bytes`.
    pub image_bytes: u64,
    /// Records in a row that may fail in a model before all models are asked.
    pub tolerated: u32,
    /// The stages that ask a model, or could.
    pub stages: Vec<StageFacts>,
}

/// Who answers a stage.
#[derive(Debug, Clone, Serialize)]
pub struct StageFacts {
    /// The stage.
    pub stage: &'static str,
    /// The engine's name; `None`: the stage is off.
    pub engine: Option<String>,
    /// `caption`, or the kind of the specialist.
    pub kind: &'static str,
}

/// One look at the service.
#[derive(Debug, Clone)]
pub struct Look {
    /// `None`: the models are being loaded.
    pub chain: Option<Running>,
    /// What keeps records from flowing, each thing in words.
    pub missing: Vec<String>,
    /// A shutdown was asked for.
    pub draining: bool,
    /// Why the process is about to end itself.
    pub broken: Option<String>,
}

/// A chain that runs.
#[derive(Debug, Clone)]
pub struct Running {
    /// What is where, and what was done.
    pub activity: Activity,
    /// Each engine.
    pub engines: Vec<EngineStats>,
    /// Records in the partitions held that are not settled; `None`: not known.
    pub behind: Option<u64>,
    /// Bytes of files, pixels and what models keep of them.
    pub image_bytes: u64,
    /// Age of the oldest record on its way.
    pub oldest: Option<Duration>,
}

impl Running {
    fn dead(&self) -> u64 {
        self.activity
            .dead_letters
            .iter()
            .map(|(_, dead)| dead)
            .sum()
    }

    fn settled(&self) -> u64 {
        self.activity.published + self.dead()
    }
}

/// The looks of the last minute, the newest last.
#[derive(Default)]
pub(super) struct History(Mutex<VecDeque<(Instant, Past)>>);

/// What is kept of a look.
#[derive(Clone)]
struct Past {
    published: u64,
    settled: u64,
    /// Each stage: records that it was done with, and the work on them.
    stages: Vec<(u64, Duration)>,
    tokens: Vec<(String, u64)>,
}

impl From<&Running> for Past {
    fn from(running: &Running) -> Self {
        let stages = running.activity.stages.iter();
        let engines = running.engines.iter();
        Self {
            published: running.activity.published,
            settled: running.settled(),
            stages: stages.map(|stage| (stage.done, stage.work)).collect(),
            tokens: (engines.map(|engine| (engine.name.clone(), engine.tokens))).collect(),
        }
    }
}

impl History {
    pub(super) fn note(&self, running: &Running) {
        let now = Instant::now();
        let mut history = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        history.push_back((now, running.into()));
        while history.len() > 2 && now.duration_since(history[0].0) > WINDOW {
            history.pop_front();
        }
    }

    /// The oldest look of the window and the seconds since, where that is one at least; and what
    /// was settled from each look to the next.
    fn window(&self) -> (Option<(Past, f64)>, Vec<u64>) {
        let history = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = history.front().map(|(at, past)| {
            let seconds = at.elapsed().as_secs_f64();
            (past.clone(), seconds)
        });
        let pairs = history.iter().zip(history.iter().skip(1));
        let each = pairs.map(|((_, one), (_, next))| next.settled.saturating_sub(one.settled));
        (
            oldest.filter(|(_, seconds)| *seconds >= 1.0),
            each.collect(),
        )
    }
}

impl Shared {
    /// Everything but the cards, as JSON.
    pub(super) fn state(&self) -> Value {
        let look = (self.ask)();
        let (kind, words) = condition(&look);
        let head = json!({
            "boot": self.boot,
            "at_ms": super::now_ms(),
            "uptime_s": self.born.elapsed().as_secs(),
            "condition": {"kind": kind, "words": words},
        });
        let (Value::Object(mut state), Some(running)) = (head.clone(), look.chain) else {
            return head;
        };
        let (window, each) = self.history.window();
        let rate = |now: u64, before: fn(&Past) -> u64| {
            let (past, seconds) = window.as_ref()?;
            Some(now.saturating_sub(before(past)) as f64 / seconds)
        };
        let images = rate(running.settled(), |past| past.settled);
        let stages = self.stages(&running, window.as_ref());
        let count = |key: &str| -> u64 { stages.iter().filter_map(|one| one[key].as_u64()).sum() };
        let to_go = running.behind.zip(images).filter(|(_, rate)| *rate > 0.0);
        state.insert(
            "rates".to_owned(),
            json!({
                "images_per_second": images,
                "captions_per_second": rate(running.activity.published, |past| past.published),
                "over_s": window.as_ref().map(|(_, seconds)| seconds),
                "settled_each_second": each,
            }),
        );
        state.insert(
            "records".to_owned(),
            json!({
                "captions": running.activity.published,
                "dead_letters": running.dead(),
                "in_flight": count("waiting") + count("working"),
                "in_flight_limit": self.facts.records,
                "behind": running.behind,
                "to_go_s": to_go.map(|(behind, rate)| behind as f64 / rate),
                "oldest_s": running.oldest.map(|age| age.as_secs_f64()),
                "degraded": count("degraded"),
            }),
        );
        state.insert(
            "image_bytes".to_owned(),
            json!({
                "now": running.image_bytes,
                "limit": self.facts.image_bytes,
            }),
        );
        state.insert("stages".to_owned(), stages.into());
        state.insert(
            "engines".to_owned(),
            self.engines(&running, window.as_ref()).into(),
        );
        state.insert("dead".to_owned(), self.dead_letters(&running).into());
        let breaker = running.activity.breaker;
        state.insert(
            "breaker".to_owned(),
            json!({
                "state": if breaker.asking { "asking the models" } else { "closed" },
                "failed_in_a_row": breaker.in_a_row,
                "tolerated_in_a_row": self.facts.tolerated,
                "failed": breaker.failed,
                "of_last": breaker.of_last,
                "restarts": running.activity.restarts,
            }),
        );
        Value::Object(state)
    }

    fn stages(&self, running: &Running, window: Option<&(Past, f64)>) -> Vec<Value> {
        let all = &running.activity.stages;
        let at = |stage: &str| all.iter().position(|one| one.stage.as_str() == stage);
        let intake = at(Stage::Intake.as_str()).map_or(0, |at| all[at].waiting + all[at].working);
        let one = |shown: &ShownStage| {
            let at = at(shown.stage)?;
            let StageActivity {
                waiting,
                working,
                done,
                work,
                degraded,
                ..
            } = all[at];
            let before = window.and_then(|(past, _)| past.stages.get(at).copied());
            let (done_before, work_before) = before.unwrap_or_default();
            let (new, spent) = (
                done.saturating_sub(done_before),
                work.saturating_sub(work_before),
            );
            let first = shown.stage == Stage::Fetch.as_str();
            let facts = self.facts.stages.iter();
            let off =
                (facts.clone()).any(|facts| facts.stage == shown.stage && facts.engine.is_none());
            Some(json!({
                "name": shown.name,
                "off": off,
                "waiting": waiting + if first { intake } else { 0 },
                "working": working,
                "done": done,
                "work_ms": (new > 0).then(|| spent.as_secs_f64() * 1_000.0 / new as f64),
                "degraded": degraded,
            }))
        };
        shown(&self.facts).iter().filter_map(one).collect()
    }

    fn engines(&self, running: &Running, window: Option<&(Past, f64)>) -> Vec<Value> {
        let one = |engine: &EngineStats| {
            let asks = (self.facts.stages.iter())
                .filter(|facts| facts.engine.as_deref() == Some(&engine.name))
                .map(|facts| facts.stage);
            let tokens = window.and_then(|(past, seconds)| {
                let (_, before) = (past.tokens.iter()).find(|(name, _)| *name == engine.name)?;
                Some(engine.tokens.saturating_sub(*before) as f64 / seconds)
            });
            json!({
                "name": engine.name,
                "model": engine.model.model,
                "revision": engine.model.revision,
                "stages": asks.collect::<Vec<_>>(),
                "running": engine.running,
                "mean": (engine.steps > 0).then_some(engine.batch_mean),
                "slots": engine.slots,
                "tokens_per_second": tokens,
                "rebuilds": engine.rebuilds,
            })
        };
        running.engines.iter().map(one).collect()
    }

    fn dead_letters(&self, running: &Running) -> Vec<Value> {
        let there = running.activity.dead_letters.iter();
        let mut there: Vec<_> = there.filter(|(_, count)| *count > 0).collect();
        there.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let one = |(reason, count): &(_, u64)| {
            let reason: &vila2_actors::error::Reason = reason;
            let newest = self.dead.newest(reason.as_str());
            json!({"reason": reason.as_str(), "count": count, "newest": newest})
        };
        there.into_iter().map(one).collect()
    }
}

/// How it goes, as one word for the style and in words for a person.
fn condition(look: &Look) -> (&'static str, String) {
    let Some(running) = &look.chain else {
        let words = "Loads the models. Nothing is read from the topic before they are there.";
        return ("loading", words.to_owned());
    };
    if let Some(why) = &look.broken {
        let words = format!(
            "Gives up: {why}. The process ends itself; what is in flight is read again by the next."
        );
        return ("failed", words);
    }
    let stages = running.activity.stages.iter();
    let in_flight: usize = stages.map(|stage| stage.waiting + stage.working).sum();
    if look.draining {
        let words = match in_flight {
            0 => "Shuts down: everything it had read is settled.".to_owned(),
            _ => format!(
                "Shuts down: reads nothing new and finishes the {in_flight} records in flight."
            ),
        };
        return ("draining", words);
    }
    if !look.missing.is_empty() {
        let what = look.missing.join("; ");
        return (
            "waiting",
            format!("Waits: {what}. Nothing is lost, and it goes on by itself."),
        );
    }
    if running.activity.breaker.asking {
        let words = "Too many records in a row failed in a model: asks every model a question that \
                     it must be able to answer. Failed records are held until then.";
        return ("asking", words.to_owned());
    }
    match (in_flight, running.behind) {
        (0, Some(0)) => (
            "idle",
            "Runs, and has nothing to do: every record of the topic is settled.".to_owned(),
        ),
        (0, None) => (
            "idle",
            "Runs, and holds no partition: the group has given it none (yet).".to_owned(),
        ),
        _ => ("running", running_words(&running.activity)),
    }
}

/// What most records wait for, where some do.
fn running_words(activity: &Activity) -> String {
    let stages = activity
        .stages
        .iter()
        .filter(|one| one.stage != Stage::Intake);
    match stages.max_by_key(|one| one.waiting) {
        Some(longest) if longest.waiting > 1 => format!(
            "Runs. The longest queue is that of {}: {} records wait for it.",
            longest.stage.as_str(),
            longest.waiting
        ),
        _ => "Runs. Nothing waits for long.".to_owned(),
    }
}
