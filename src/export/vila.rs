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
    Error, Numbering, Reason, Request, Sample, Sink, Written,
    files::{self, NewTar},
    webdataset::members,
};

/// The folder of the texts.
const SIDECAR: &str = "recaption";

/// The writer.
pub(super) struct Vila {
    out: PathBuf,
    shard_size: u64,
    next: Numbering,
    open: Option<NewTar>,
    /// Texts of the open shard, by URL.
    texts: BTreeMap<String, String>,
    shards: Vec<Value>,
    samples: u64,
}

impl Vila {
    pub(super) fn new(out: &Path, request: &Request) -> Self {
        Self {
            out: out.to_owned(),
            shard_size: request.shard_size,
            next: Numbering::default(),
            open: None,
            texts: BTreeMap::new(),
            shards: Vec::new(),
            samples: 0,
        }
    }

    fn end_shard(&mut self) -> Result<(), Error> {
        let Some(tar) = self.open.take() else {
            return Ok(());
        };
        let name = format!("{}.tar", self.next.name()?);
        let texts = std::mem::take(&mut self.texts).into_iter();
        let texts: BTreeMap<_, _> = texts
            .map(|(url, text)| (url, json!({ "output": text })))
            .collect();
        let text = serde_json::to_vec(&texts).unwrap_or_default();
        // Before the tar: a tar without it would fall back to the originals in silence.
        let sidecar = self.out.join(SIDECAR).join(format!("{name}.json"));
        files::write(&sidecar, &text)?;
        let filesize = tar.finish()?;
        self.shards.push(json!({
            "url": name,
            "nsamples": self.next.index,
            "filesize": filesize,
        }));
        self.next.next_shard();
        Ok(())
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
                let name = format!("{}.tar", self.next.name()?);
                none.insert(NewTar::create(&self.out.join(name))?)
            }
        };
        let key = self.next.key();
        tar.put(&format!("{key}.jpg"), sample.picture.unwrap_or_default())?;
        // Never empty: a loader without the sidecar gets some text.
        let own = record.original().unwrap_or(text);
        tar.put(&format!("{key}.txt"), own.as_bytes())?;
        let members = members(sample, &key).to_string();
        tar.put(&format!("{key}.json"), members.as_bytes())?;
        self.texts.insert(record.url.clone(), text.clone());
        self.samples += 1;
        self.next.index += 1;
        if self.next.index == self.shard_size {
            self.end_shard()?;
        }
        Ok(Ok(()))
    }

    fn finish(&mut self) -> Result<Written, Error> {
        self.end_shard()?;
        let meta = json!({
            "name": "vila2",
            "__kind__": "VILA-WebDataset",
            "wids_version": 1,
            "shardlist": self.shards,
        });
        let text = format!("{meta:#}\n");
        files::write(&self.out.join("wids-meta.json"), text.as_bytes())?;
        Ok(Written {
            samples: self.samples,
            shards: self.shards.len() as u64,
        })
    }
}
