//! LLaVA: `data.json`, one list; `images/`; and `dataset_info.json` for LLaMA-Factory.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{
    Error, Numbering, Reason, Request, Sample, Sink, Written,
    files::{self, NewFile},
    webdataset::conversations,
};

/// The writer.
pub(super) struct Llava {
    out: PathBuf,
    shard_size: u64,
    next: Numbering,
    data: Option<NewFile>,
    samples: u64,
}

impl Llava {
    pub(super) fn new(out: &Path, request: &Request) -> Self {
        Self {
            out: out.to_owned(),
            shard_size: request.shard_size,
            next: Numbering::default(),
            data: None,
            samples: 0,
        }
    }

    fn data(&mut self) -> Result<&mut NewFile, Error> {
        match &mut self.data {
            Some(data) => Ok(data),
            none => Ok(none.insert(NewFile::create(&self.out.join("data.json"))?)),
        }
    }
}

impl Sink for Llava {
    fn add(&mut self, sample: &Sample<'_>) -> Result<Result<(), Reason>, Error> {
        let (folder, key) = (self.next.name()?, self.next.key());
        // Folders of a shard's size: a million files in one is more than many tools bear.
        let image = format!("images/{folder}/{key}.jpg");
        files::write(&self.out.join(&image), sample.picture.unwrap_or_default())?;
        let said: Value = serde_json::from_str(&conversations(sample, "<image>\n"))
            .expect("bug: the turns are JSON");
        let entry = json!({ "id": sample.record.id, "image": image, "conversations": said });
        let before = if self.samples == 0 { "[\n" } else { ",\n" };
        let data = self.data()?;
        data.put(before.as_bytes())?;
        data.put(entry.to_string().as_bytes())?;
        self.samples += 1;
        self.next.index += 1;
        if self.next.index == self.shard_size {
            self.next.next_shard();
        }
        Ok(Ok(()))
    }

    fn finish(&mut self) -> Result<Written, Error> {
        let end = if self.samples == 0 { "[]\n" } else { "\n]\n" };
        self.data()?.put(end.as_bytes())?;
        if let Some(data) = self.data.take() {
            data.finish()?;
        }
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
        files::write(&self.out.join("dataset_info.json"), text.as_bytes())?;
        Ok(Written {
            samples: self.samples,
            shards: 1,
        })
    }
}
