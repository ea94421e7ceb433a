//! Answers as they come, one a line, before they become rows.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use vila2_actors::ports::QuestionId;

use super::{Caption, Dead, Error, Spot, dead_line, lines};

/// The file of one shard.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// Tells it from the one before, whose lines are in the files.
    number: u64,
    /// The Parquet file that its captions become.
    shard: u32,
    length: u64,
    lines: u64,
    /// Where the lines of captions begin, and how long they are.
    captions: Vec<(u64, u32)>,
}

/// What a line says.
#[derive(Debug)]
pub(super) enum Line {
    Caption {
        ordinal: u64,
        question: Option<QuestionId>,
        spot: Spot,
        repeat: bool,
    },
    Dead {
        ordinal: u64,
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    ordinal: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    question: Option<String>,
    #[serde(default)]
    repeat: bool,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    record: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    dead: Option<&'a RawValue>,
    /// How long the work took that the state does not count yet.
    #[serde(default)]
    seconds: f64,
}

#[derive(Deserialize)]
struct StoredDead {
    reason: String,
}

impl Journal {
    /// Opens it for appending; a last line that is not whole is cut off. Where it belongs to
    /// another number it is left over from before the state was last written, and is emptied.
    pub(super) fn open(path: &Path, shard: u32, number: u64) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(Error::file(path))?;
        let mut journal = Self {
            path: path.to_owned(),
            file,
            number,
            shard,
            length: 0,
            lines: 0,
            captions: Vec::new(),
        };
        let head = journal.head();
        let mut text = vec![0; head.len()];
        let is_ours = journal.file.read_exact_at(&mut text, 0).is_ok() && text == head;
        if is_ours {
            journal.length = head.len() as u64;
        } else {
            journal.renew(shard, number)?;
        }
        Ok(journal)
    }

    /// The first line: which journal it is.
    fn head(&self) -> Vec<u8> {
        format!("{{\"journal\":{}}}\n", self.number).into_bytes()
    }

    /// Empties it, for what becomes the next files.
    pub(super) fn renew(&mut self, shard: u32, number: u64) -> Result<(), Error> {
        (self.shard, self.number) = (shard, number);
        let head = self.head();
        let work = || -> io::Result<()> {
            self.file.set_len(0)?;
            self.file.write_all_at(&head, 0)?;
            self.file.sync_data()
        };
        work().map_err(Error::file(&self.path))?;
        self.length = head.len() as u64;
        self.lines = 0;
        self.captions.clear();
        Ok(())
    }

    /// Lines since it was empty.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// Captions among them.
    pub(super) fn captions(&self) -> usize {
        self.captions.len()
    }

    pub(super) fn caption(
        &mut self,
        ordinal: u64,
        caption: &Caption<'_>,
        seconds: f64,
    ) -> Result<Spot, Error> {
        let record = serde_json::from_slice(caption.record).ok();
        let stored = Stored {
            ordinal,
            question: caption.question.map(hex),
            repeat: caption.repeat,
            record,
            dead: None,
            seconds,
        };
        let spot = self.spot();
        let (at, length) = self.write(&stored)?;
        self.captions.push((at, length));
        Ok(spot)
    }

    pub(super) fn dead(
        &mut self,
        ordinal: u64,
        dead: &Dead<'_>,
        seconds: f64,
    ) -> Result<(), Error> {
        let line = dead_line(dead);
        let stored = Stored {
            ordinal,
            question: None,
            repeat: false,
            record: None,
            dead: serde_json::from_slice(&line).ok(),
            seconds,
        };
        self.write(&stored).map(|_| ())
    }

    fn spot(&self) -> Spot {
        Spot {
            shard: self.shard,
            row: self.captions.len() as u32,
        }
    }

    fn write(&mut self, stored: &Stored<'_>) -> Result<(u64, u32), Error> {
        let mut line = serde_json::to_vec(stored).unwrap_or_default();
        line.push(b'\n');
        let at = self.length;
        // In one piece: a crash leaves a whole line or one that is cut off.
        self.file
            .write_all_at(&line, at)
            .map_err(Error::file(&self.path))?;
        self.length += line.len() as u64;
        self.lines += 1;
        Ok((at, line.len() as u32))
    }

    pub(super) fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(Error::file(&self.path))
    }

    /// Reads what is there, once after opening; and how long that took to be answered.
    pub(super) fn replay(&mut self) -> Result<(Vec<Line>, f64), Error> {
        let (mut text, mut seconds) = (Vec::new(), 0.0);
        let mut found = Vec::new();
        let start = self.length;
        let read =
            (self.file.seek(SeekFrom::Start(start))).and_then(|_| self.file.read_to_end(&mut text));
        read.map_err(Error::file(&self.path))?;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let Some(whole) = line.strip_suffix(b"\n") else {
                break;
            };
            let Ok(stored) = serde_json::from_slice::<Stored<'_>>(whole) else {
                break;
            };
            seconds = stored.seconds.max(seconds);
            let spot = self.spot();
            if stored.record.is_some() {
                self.captions.push((self.length, line.len() as u32));
                found.push(Line::Caption {
                    ordinal: stored.ordinal,
                    question: stored.question.as_deref().and_then(unhex),
                    spot,
                    repeat: stored.repeat,
                });
            } else if let Some(dead) = stored.dead {
                let StoredDead { reason } =
                    serde_json::from_str(dead.get()).unwrap_or(StoredDead {
                        reason: String::new(),
                    });
                found.push(Line::Dead {
                    ordinal: stored.ordinal,
                    reason,
                });
            }
            self.length += line.len() as u64;
            self.lines += 1;
        }
        (self.file.set_len(self.length)).map_err(Error::file(&self.path))?;
        Ok((found, seconds))
    }

    /// The record of a row.
    pub(super) fn record(&self, row: u32) -> Result<Vec<u8>, Error> {
        let Some(&(at, length)) = self.captions.get(row as usize) else {
            return Ok(Vec::new());
        };
        let mut line = vec![0; length as usize];
        (self.file.read_exact_at(&mut line, at)).map_err(Error::file(&self.path))?;
        let stored: Option<Stored<'_>> = serde_json::from_slice(&line).ok();
        let record = stored.and_then(|stored| stored.record);
        Ok(record
            .map(|record| record.get().as_bytes().to_vec())
            .unwrap_or_default())
    }

    /// Every record, in order.
    pub(super) fn records(
        &self,
        mut each: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for line in lines(&self.path)? {
            let line = line.map_err(Error::file(&self.path))?;
            if let Ok(Stored {
                record: Some(record),
                ..
            }) = serde_json::from_slice(&line)
            {
                each(record.get().as_bytes())?;
            }
        }
        Ok(())
    }

    /// Every dead letter as a line of `dead.jsonl`, with the ordinal of its input.
    pub(super) fn each_dead(
        &self,
        each: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.each(&mut |stored, _| match stored.dead {
            Some(dead) => each(stored.ordinal, format!("{}\n", dead.get()).as_bytes()),
            None => Ok(()),
        })
    }

    /// Writes the question of every answer that is no repeat, with its spot.
    pub(super) fn each_question(&self, out: &mut impl io::Write) -> io::Result<()> {
        self.each(&mut |stored, row| {
            let question = stored.question.as_deref().and_then(unhex);
            match question {
                Some(question) if !stored.repeat => {
                    let spot = Spot {
                        shard: self.shard,
                        row,
                    };
                    out.write_all(&spot.entry(question))
                }
                _ => Ok(()),
            }
        })
    }

    /// Every line, with the number of captions before it.
    fn each(&self, each: &mut dyn FnMut(&Stored<'_>, u32) -> io::Result<()>) -> io::Result<()> {
        let mut row = 0;
        let file = io::BufReader::new(File::open(&self.path)?);
        for line in io::BufRead::split(file, b'\n').skip(1) {
            let line = line?;
            let Ok(stored) = serde_json::from_slice::<Stored<'_>>(&line) else {
                continue;
            };
            each(&stored, row)?;
            row += u32::from(stored.record.is_some());
        }
        Ok(())
    }
}

/// Whether there is no journal, or one without a line.
pub(super) fn is_blank(path: &Path) -> bool {
    lines(path).is_ok_and(|lines| lines.take(2).count() < 2) || !path.exists()
}

fn hex(question: QuestionId) -> String {
    vila2_actors::request::hex(&question.0)
}

fn unhex(text: &str) -> Option<QuestionId> {
    let number = u128::from_str_radix(text, 16).ok()?;
    (text.len() == 32).then(|| QuestionId(number.to_be_bytes()))
}
