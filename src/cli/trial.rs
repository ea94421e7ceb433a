//! A sample through the whole chain, into a folder of its own: for `preview` and `compare`.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

use super::{
    Failure,
    filling::{SETTINGS, fill},
};
use crate::{
    app::{
        captioning::{self, Job, Progress, Ran},
        gallery::Gallery,
    },
    config::{Config, Layers},
    dataset::{self, Folder, Request},
    inputs::{Inputs, Sample},
    records::RecordWriter,
    trial::{DeadLetter, Record, Sampled, Written},
};

/// Pictures shown in a page, at most.
pub(super) const SHOWN: u64 = 200;

/// What is tried, and on what.
pub(super) struct Trial<'a> {
    pub(super) config: &'a Config,
    pub(super) layers: &'a Layers,
    pub(super) inputs: &'a Arc<Inputs>,
    /// Inputs in all.
    pub(super) count: u64,
    pub(super) sample: &'a Sample,
    pub(super) seed: u64,
    /// What the bar says is done.
    pub(super) what: &'a str,
    /// Whether pictures are kept for the page, too.
    pub(super) keeps_pictures: bool,
}

/// What came of it.
pub(super) struct Tried {
    pub(super) sampled: Sampled,
    pub(super) folder: Folder,
}

impl Trial<'_> {
    /// Captions the sample into `out`, from its beginning.
    pub(super) fn run(&self, out: &Path) -> Result<Tried, Failure> {
        dataset::begin_trial(out).map_err(refused)?;
        let request = Request {
            inputs: self.inputs.known(),
            settings: self.layers.settings(&SETTINGS),
            sample: Some((self.sample.len(), self.seed)),
        };
        let mut folder = Folder::open(out, request, None).map_err(refused)?;
        folder.skipped(self.inputs.skipped());
        let gallery = self.gallery(&folder)?;
        let job = Job {
            inputs: Arc::clone(self.inputs),
            folder,
            sample: Some(self.sample.clone()),
            sidecars: None,
        };
        let mut answered = BTreeMap::new();
        let shared = Arc::clone(&gallery);
        let tell = |progress: Progress, since: Duration| {
            if self.sample.has(progress.ordinal) {
                answered.insert(progress.ordinal, since.as_secs_f64());
            }
        };
        let Ran { folder, result, .. } =
            fill(self.config, self.layers, job, shared, self.what, tell)?;
        result.map_err(stopped)?;
        let sampled = self.sampled(&folder, &gallery, answered)?;
        Ok(Tried { sampled, folder })
    }

    fn gallery(&self, folder: &Folder) -> Result<Arc<Gallery>, Failure> {
        let pictures = if self.keeps_pictures {
            self.sample.first(SHOWN)
        } else {
            Sample::default()
        };
        let gallery = Gallery::of_sample(&folder.gallery(), self.sample.clone(), pictures)?;
        Ok(Arc::new(gallery))
    }

    fn sampled(
        &self,
        folder: &Folder,
        gallery: &Gallery,
        answered: BTreeMap<u64, f64>,
    ) -> Result<Sampled, Failure> {
        let records = Gallery::records(&folder.gallery())?;
        let written = written(folder, &records)?;
        let mut captions = BTreeMap::new();
        for (ordinal, json) in records {
            let record = Record::read(&json)
                .map_err(|error| Failure::Failed(format!("a record cannot be read: {error}")))?;
            captions.insert(ordinal, record);
        }
        let dead = dataset::dead_letters(folder.path()).map_err(refused)?;
        let letter = |(ordinal, [input, reason, detail]): (u64, [String; 3])| {
            let letter = DeadLetter {
                input,
                reason,
                detail,
            };
            (ordinal, letter)
        };
        Ok(Sampled {
            inputs: self.count,
            asked: self.sample.len(),
            captions,
            dead: dead.into_iter().map(letter).collect(),
            seconds: answered.values().copied().fold(0.0, f64::max),
            answered,
            fetched: gallery.sizes(),
            written,
        })
    }
}

/// What rows weigh: a quarter, half and all of them are written once more.
fn written(folder: &Folder, records: &BTreeMap<u64, Vec<u8>>) -> Result<Written, Failure> {
    let path = folder.gallery().join("rows.tmp");
    let size = |rows: usize| -> Result<(u64, u64), Failure> {
        let failed = |error: crate::records::Error| Failure::Failed(error.to_string());
        let mut writer = RecordWriter::create(&path).map_err(failed)?;
        for record in records.values().take(rows) {
            writer.push(record).map_err(failed)?;
        }
        let rows = writer.len();
        writer.finish().map_err(failed)?;
        let bytes = fs::metadata(&path)?.len();
        fs::remove_file(&path)?;
        Ok((rows, bytes))
    };
    let all = records.len();
    Ok(Written::of(size(all / 4)?, size(all / 2)?, size(all)?))
}

fn refused(error: dataset::Error) -> Failure {
    match error {
        dataset::Error::Refused(problem) => Failure::Usage(problem),
        error => Failure::Failed(error.to_string()),
    }
}

fn stopped(error: captioning::Error) -> Failure {
    match error {
        captioning::Error::Chain(error) => error.into(),
        captioning::Error::Input(fault) => Failure::Failed(fault.to_string()),
        captioning::Error::Folder(error) => refused(error),
    }
}
