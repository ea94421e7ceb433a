//! How far publishing has come, kept in a small file, so that the next run goes on there.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Fault, Input, Position};

const SCHEMA: &str = "vila2.publish/1";

/// What a resume file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    schema: String,
    topic: String,
    files: BTreeMap<String, Progress>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    bytes: u64,
    position: Position,
    done: bool,
}

/// The positions of the inputs in a file that is replaced as a whole, so that a crash leaves the
/// old one or the new one.
#[derive(Debug)]
pub struct Resume {
    path: PathBuf,
    state: State,
}

impl Resume {
    /// Reads the file where there is one, and compares it with the inputs.
    ///
    /// # Errors
    /// Every fault: a file that is none of ours, another topic, an input that changed its size
    /// since or cannot be resumed (stdin, pipes).
    pub fn open(path: &Path, topic: &str, inputs: &[Input]) -> Result<Self, Vec<Fault>> {
        let name = path.display().to_string();
        let state = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => State {
                schema: SCHEMA.to_owned(),
                topic: topic.to_owned(),
                files: BTreeMap::new(),
            },
            Err(error) => return Err(vec![Fault::new(&name, error)]),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .ok()
                .filter(|state: &State| state.schema == SCHEMA)
                .ok_or_else(|| {
                    let problem = "is no resume file of `vila2 publish`; name another";
                    vec![Fault::new(&name, problem)]
                })?,
        };
        let mut faults = Vec::new();
        if state.topic != topic {
            let problem = format!(
                "is about the topic `{}`, not `{topic}`; name another file",
                state.topic
            );
            faults.push(Fault::new(&name, problem));
        }
        for input in inputs {
            let known = state.files.get(&input.name);
            match (input.bytes, known) {
                (None, _) => {
                    faults.push(Fault::new(&input.name, "no file, so it cannot be resumed"))
                }
                (Some(bytes), Some(known)) if bytes != known.bytes => {
                    faults.push(Fault::new(
                        &input.name,
                        format!(
                            "has changed since {name} was written: {bytes} bytes, not {}; to publish \
                             it from its beginning, name another resume file",
                            known.bytes
                        ),
                    ));
                }
                _ => {}
            }
        }
        if faults.is_empty() {
            Ok(Self {
                path: path.to_owned(),
                state,
            })
        } else {
            Err(faults)
        }
    }

    /// Where an input goes on; `None`: it is done.
    #[must_use]
    pub fn position(&self, input: &Input) -> Option<Position> {
        match self.state.files.get(&input.name) {
            None => Some(Position::default()),
            Some(progress) => (!progress.done).then_some(progress.position),
        }
    }

    /// Notes that everything of an input before `position` is confirmed.
    pub fn note(&mut self, input: &Input, position: Position, done: bool) {
        let progress = Progress {
            bytes: input.bytes.unwrap_or_default(),
            position,
            done,
        };
        self.state.files.insert(input.name.clone(), progress);
    }

    /// Writes the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self) -> Result<(), Fault> {
        let write = || -> io::Result<()> {
            let mut beside = self.path.clone().into_os_string();
            beside.push(".new");
            let mut file = fs::File::create(&beside)?;
            serde_json::to_writer_pretty(&mut file, &self.state)?;
            file.write_all(b"\n")?;
            file.sync_data()?;
            fs::rename(&beside, &self.path)
        };
        write().map_err(|error| Fault::new(&self.path.display().to_string(), error))
    }
}
