//! VILA and NVILA: tars, `wids-meta.json`, and the new texts in a sidecar by URL.
//!
//! The loader takes the text of the tar, which is the original, unless it is given the sidecar's
//! folder (`recaption`), where every sample of the tar has its new text under its URL.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{
    Error, Reason, Sample, Sink,
    files::{self, NewTar},
    shards::{self, Shards},
    webdataset::members,
};

/// The folder of the texts.
const SIDECAR: &str = "recaption";

/// The writer.
pub(super) struct Vila {
    out: PathBuf,
    shards: Shards,
    open: Option<NewTar>,
    /// Texts of the open shard, by URL.
    texts: BTreeMap<String, String>,
}

impl Vila {
    pub(super) fn new(out: &Path, shards: Shards) -> Self {
        Self {
            out: out.to_owned(),
            shards,
            open: None,
            texts: BTreeMap::new(),
        }
    }
}

impl Sink for Vila {
    fn add(&mut self, sample: &Sample<'_>) -> Result<Result<(), Reason>, Error> {
        let (record, text) = (sample.record, &sample.composed.text);
        if (self.texts.get(&record.url)).is_some_and(|known| known != text) {
            return Ok(Err(Reason::SameUrl));
        }
        let tar = match &mut self.open {
            Some(tar) => tar,
            none => {
                let name = format!("{}.tar", self.shards.name()?);
                none.insert(NewTar::create(&self.out.join(name))?)
            }
        };
        let key = self.shards.key();
        tar.put(&format!("{key}.jpg"), sample.picture.unwrap_or_default())?;
        // Never empty: a loader without the sidecar gets some text.
        let own = record.original().unwrap_or(text);
        tar.put(&format!("{key}.txt"), own.as_bytes())?;
        let members = members(sample, &key).to_string();
        tar.put(&format!("{key}.json"), members.as_bytes())?;
        self.texts.insert(record.url.clone(), text.clone());
        self.shards.add();
        Ok(Ok(()))
    }

    fn end_shard(&mut self) -> Result<(), Error> {
        let Some(tar) = self.open.take() else {
            return Ok(());
        };
        let name = format!("{}.tar", self.shards.name()?);
        let texts = std::mem::take(&mut self.texts).into_iter();
        let texts: BTreeMap<_, _> = texts
            .map(|(url, text)| (url, json!({ "output": text })))
            .collect();
        let text = serde_json::to_vec(&texts).unwrap_or_default();
        // Before the tar: a tar without it would fall back to the originals in silence.
        let sidecar = self.out.join(SIDECAR).join(format!("{name}.json"));
        files::write(&sidecar, &text)?;
        let filesize = tar.finish()?;
        let part = json!({
            "url": name,
            "nsamples": self.shards.open(),
            "filesize": filesize,
        });
        self.shards.end(Some(part.to_string().as_bytes()))
    }

    fn shards(&self) -> &Shards {
        &self.shards
    }
}

/// `wids-meta.json`.
pub(super) fn index(out: &Path) -> Result<(), Error> {
    let mut shards = Vec::new();
    for part in shards::parts(out)? {
        shards.push(serde_json::from_str::<Value>(&part?).unwrap_or_default());
    }
    let meta = json!({
        "name": "vila2",
        "__kind__": "VILA-WebDataset",
        "wids_version": 1,
        "shardlist": shards,
    });
    let text = format!("{meta:#}\n");
    files::write(&out.join("wids-meta.json"), text.as_bytes())
}
