//! `vila2 caption`: the same chain in process.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use clap::Args;
use serde_json::json;
use url::Url;
use vila2_actors::annotation::EnrichedCaption;

use super::{Common, Failure, output, progress, runtime};
use crate::{
    app::local::{Answer, Local, file_url},
    requests::name_of,
    shutdown::Shutdown,
    telemetry::Traces,
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Images: paths of files, or URLs
    #[arg(required = true, value_name = "PATH|URL")]
    images: Vec<OsString>,
    /// One output record a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let (config, layers) = common.load_whole("warn")?;
    let images: Vec<_> = arguments
        .images
        .iter()
        .map(|name| Image::of(name))
        .collect();
    let files: Vec<PathBuf> = images
        .iter()
        .filter_map(|image| image.file.clone())
        .collect();
    // What is no file is reported in its place, not asked for.
    let (asked, requests): (Vec<usize>, Vec<Bytes>) = images
        .iter()
        .enumerate()
        .filter_map(|(index, image)| Some((index, image.request.clone()?)))
        .unzip();

    let mut printer = Printer::new(&images, arguments.json);
    for (index, image) in images.iter().enumerate() {
        if let Some(problem) = &image.problem {
            let answer = Answer::Dead {
                reason: "fetch_failed".to_owned(),
                detail: problem.clone(),
            };
            printer.take(index, answer);
        }
    }
    if !requests.is_empty() {
        let runtime = runtime()?;
        let result: Result<(), Failure> = runtime.block_on(async {
            let traces = Traces::start()?;
            let mut shutdown = Shutdown::listen()?;
            let spinner = progress::spinner("loading the models");
            let local = tokio::select! {
                local = Local::start(&config, &layers, &files) => local?,
                _ = shutdown.requested() => return Err(Failure::Interrupted),
            };
            spinner.finish_and_clear();
            let bar = progress::bar(requests.len() as u64, "images");
            let answered = local
                .answer(requests, &mut shutdown, |index, answer| {
                    bar.suspend(|| printer.take(asked[index], answer));
                    bar.inc(1);
                })
                .await;
            bar.finish_and_clear();
            let _ = tokio::task::spawn_blocking(move || traces.stop()).await;
            Ok(answered?)
        });
        runtime.shutdown_background();
        result?;
    }
    printer.finish()
}

/// One argument.
struct Image {
    name: String,
    file: Option<PathBuf>,
    request: Option<Bytes>,
    problem: Option<String>,
}

impl Image {
    fn of(argument: &OsStr) -> Self {
        let mut image = Self {
            name: name_of(argument),
            file: None,
            request: None,
            problem: None,
        };
        let Some(name) = argument.to_str() else {
            image.problem = Some("the name is no UTF-8; rename the file".to_owned());
            return image;
        };
        if name.contains("://") || name.starts_with("data:") {
            image.request = Some(request(name));
            return image;
        }
        let path = Path::new(name);
        match path.canonicalize() {
            Ok(file) if file.is_file() => {
                image.request = file_url(&file).map(|url| request(&url));
                image.file = Some(file);
            }
            Ok(_) => image.problem = Some("is no file; name the pictures in it".to_owned()),
            Err(error) => image.problem = Some(error.to_string()),
        }
        image
    }
}

/// As JSON, so that an argument is a URL and never a request of its own.
fn request(url: &str) -> Bytes {
    // The parser drops tabs and line ends in silence: the service is to refuse them.
    let parsed = Url::parse(url)
        .ok()
        .filter(|_| !url.contains(char::is_control));
    let url = parsed.map_or_else(|| url.to_owned(), String::from);
    json!({ "url": url }).to_string().into()
}

/// Prints answers in the order of the arguments, each as soon as those before it are there.
struct Printer<'a> {
    images: &'a [Image],
    json: bool,
    waiting: Vec<Option<Answer>>,
    next: usize,
    failed: usize,
    result: Result<(), Failure>,
}

impl<'a> Printer<'a> {
    fn new(images: &'a [Image], json: bool) -> Self {
        Self {
            images,
            json,
            waiting: vec![None; images.len()],
            next: 0,
            failed: 0,
            result: Ok(()),
        }
    }

    fn take(&mut self, index: usize, answer: Answer) {
        self.waiting[index] = Some(answer);
        while let Some(answer) = self.waiting.get_mut(self.next).and_then(Option::take) {
            let printed = self.print(&self.images[self.next].name, answer);
            self.next += 1;
            if self.result.is_ok() {
                self.result = printed;
            }
        }
    }

    fn print(&mut self, name: &str, answer: Answer) -> Result<(), Failure> {
        match answer {
            Answer::Dead { reason, detail } => {
                self.failed += 1;
                let [name, reason, detail] = [name, &reason, &detail].map(output::visible);
                output::note(&format!("{name}: {reason}: {detail}"));
                Ok(())
            }
            Answer::Captioned(record) if self.json => output::bytes(&record),
            Answer::Captioned(record) => {
                let record: EnrichedCaption = serde_json::from_slice(&record)
                    .map_err(|error| Failure::Failed(format!("{name}: {error}")))?;
                if self.images.len() > 1 {
                    output::line(&format!("{}: {}", output::visible(name), record.enriched))
                } else {
                    output::line(&record.enriched)
                }
            }
        }
    }

    fn finish(self) -> Result<(), Failure> {
        self.result?;
        match self.failed {
            0 => Ok(()),
            failed => Err(Failure::Failed(format!(
                "{failed} of {} images failed",
                self.images.len()
            ))),
        }
    }
}
