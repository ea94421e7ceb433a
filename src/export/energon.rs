//! Megatron Energon: tars and `.nv-meta/dataset.yaml`, `split.yaml`. The rest of `.nv-meta` is made
//! by `energon prepare`.
//!
//! Keys are where the record stands in its source, so that exports of the same source with other
//! texts or filters have the same keys and can be joined. Without pictures they are those of the
//! tars the pictures came from, for a join with these. Of `qa`, every question is a sample.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use super::{
    Error, Reason, Request, Sample, Sink, Text,
    files::{self, NewTar},
    shards::{self, Shards},
    webdataset::members,
};

/// The writer.
pub(super) struct Energon {
    out: PathBuf,
    images: bool,
    is_qa: bool,
    shards: Shards,
    open: Option<NewTar>,
    /// Keys that are not ours, which may come twice.
    keys: HashSet<String>,
}

impl Energon {
    pub(super) fn new(out: &Path, request: &Request, shards: Shards) -> Self {
        Self {
            out: out.to_owned(),
            images: request.images,
            is_qa: request.text == Text::Qa,
            shards,
            open: None,
            keys: HashSet::new(),
        }
    }

    /// `turn`: which question this sample is of, where each is one.
    fn put(&mut self, sample: &Sample<'_>, key: &str, turn: Option<usize>) -> Result<(), Error> {
        let tar = match &mut self.open {
            Some(tar) => tar,
            none => {
                let name = format!("{}.tar", self.shards.name()?);
                none.insert(NewTar::create(&self.out.join(name))?)
            }
        };
        let turn = turn.map(|number| &sample.composed.turns[number]);
        let mut members = members(sample, key);
        if let Some(turn) = turn {
            members["context"] = turn.question.as_str().into();
            members["answers"] = vec![turn.answer.as_str()].into();
        }
        let text = turn.map_or(&sample.composed.text, |turn| &turn.answer);
        if let Some(picture) = sample.picture {
            tar.put(&format!("{key}.jpg"), picture)?;
        }
        tar.put(&format!("{key}.txt"), text.as_bytes())?;
        tar.put(&format!("{key}.json"), members.to_string().as_bytes())?;
        self.shards.add();
        Ok(())
    }
}

impl Sink for Energon {
    fn add(&mut self, sample: &Sample<'_>) -> Result<Result<(), Reason>, Error> {
        let key = format!("{:09}", sample.ordinal);
        if self.is_qa {
            for number in 0..sample.composed.turns.len() {
                self.put(sample, &format!("{key}{number:03}"), Some(number))?;
            }
            return Ok(Ok(()));
        }
        let key = match sample.source_key {
            Some(own) if !self.images => {
                if !self.keys.insert(own.to_owned()) {
                    return Ok(Err(Reason::SameKey));
                }
                own.to_owned()
            }
            _ => key,
        };
        self.put(sample, &key, None).map(Ok)
    }

    fn end_shard(&mut self) -> Result<(), Error> {
        if let Some(tar) = self.open.take() {
            let name = format!("{}.tar", self.shards.name()?);
            tar.finish()?;
            self.shards.end(Some(name.as_bytes()))?;
        }
        Ok(())
    }

    fn shards(&self) -> &Shards {
        &self.shards
    }
}

/// `.nv-meta/`.
pub(super) fn index(out: &Path, request: &Request) -> Result<(), Error> {
    let (class, fields) = match (request.text == Text::Qa, request.images) {
        (true, _) => (
            "VQASample",
            "  image: jpg\n  context: json[context]\n  answers: json[answers]\n",
        ),
        (false, true) => ("CaptioningSample", "  image: jpg\n  caption: txt\n"),
        // What a picture is joined to.
        (false, false) => ("TextSample", "  text: txt\n"),
    };
    let dataset = format!(
        "sample_type:\n  __module__: megatron.energon\n  __class__: {class}\nfield_map:\n{fields}"
    );
    let mut train = String::new();
    for name in shards::parts(out)? {
        train.push_str(&format!("\n  - {}", name?));
    }
    if train.is_empty() {
        train.push_str(" []");
    }
    let split = format!("exclude: []\nsplit_parts:\n  train:{train}\n  val: []\n  test: []\n");
    let meta = out.join(".nv-meta");
    if !request.images {
        // The sample that a join makes; its picture is replaced by that of the other tars.
        let join = "sample_type:\n  __module__: megatron.energon\n  __class__: CaptioningSample\n\
                    field_map:\n  image: txt\n  caption: txt\n";
        files::write(&meta.join("join.yaml"), join.as_bytes())?;
    }
    files::write(&meta.join("split.yaml"), split.as_bytes())?;
    files::write(&meta.join("dataset.yaml"), dataset.as_bytes())
}
