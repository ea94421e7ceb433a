//! LLaVA: `data.json`, one list; `images/`; and `dataset_info.json` for LLaMA-Factory.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{
    Error, Reason, Sample, Sink,
    files::{self, NewFile},
    shards::{self, Shards},
    webdataset::conversations,
};

/// The writer.
pub(super) struct Llava {
    out: PathBuf,
    shards: Shards,
    /// The entries of the open shard.
    entries: String,
}

impl Llava {
    pub(super) fn new(out: &Path, shards: Shards) -> Self {
        Self {
            out: out.to_owned(),
            shards,
            entries: String::new(),
        }
    }
}

impl Sink for Llava {
    fn add(&mut self, sample: &Sample<'_>) -> Result<Result<(), Reason>, Error> {
        let (folder, key) = (self.shards.name()?, self.shards.key());
        // Folders of a shard's size: a million files in one is more than many tools bear.
        let image = format!("images/{folder}/{key}.jpg");
        files::write(&self.out.join(&image), sample.picture.unwrap_or_default())?;
        let said: Value = serde_json::from_str(&conversations(sample, "<image>\n"))
            .expect("bug: the turns are JSON");
        let entry = json!({ "id": sample.record.id, "image": image, "conversations": said });
        if !self.entries.is_empty() {
            self.entries.push_str(",\n");
        }
        self.entries.push_str(&entry.to_string());
        self.shards.add();
        Ok(Ok(()))
    }

    fn end_shard(&mut self) -> Result<(), Error> {
        let entries = std::mem::take(&mut self.entries);
        if !entries.is_empty() {
            self.shards.end(Some(entries.as_bytes()))?;
        }
        Ok(())
    }

    fn shards(&self) -> &Shards {
        &self.shards
    }
}

/// `data.json` and `dataset_info.json`.
pub(super) fn index(out: &Path) -> Result<(), Error> {
    let mut data = NewFile::create(&out.join("data.json"))?;
    let mut before = "[\n";
    for part in shards::parts(out)? {
        data.put(before.as_bytes())?;
        data.put(part?.as_bytes())?;
        before = ",\n";
    }
    let end = if before == "[\n" { "[]\n" } else { "\n]\n" };
    data.put(end.as_bytes())?;
    data.finish()?;
    let info = json!({
        "vila2": {
            "file_name": "data.json",
            "formatting": "sharegpt",
            "columns": { "messages": "conversations", "images": "image" },
            "tags": {
                "role_tag": "from",
                "content_tag": "value",
                "user_tag": "human",
                "assistant_tag": "gpt",
            },
        },
    });
    let text = format!("{info:#}\n");
    files::write(&out.join("dataset_info.json"), text.as_bytes())
}
