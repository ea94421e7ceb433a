//! Small files that decode to 12 MB each, through the real fetcher and decoder, faster than a model
//! takes them: what is in memory then is the chain's own.

use std::{
    collections::{BTreeMap, VecDeque},
    io::Cursor,
    sync::Arc,
    time::Duration,
};

use axum::{Router, routing::get};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use image::{ImageFormat, RgbImage};
use tokio::{net::TcpListener, sync::watch};
use vila2::{
    decode::{DecodeSettings, FileDecoder},
    fetch::{FetchSettings, HttpFetcher},
    merge::SentenceMerger,
};
use vila2_actors::{
    annotation::{Finish, ModelFacts},
    config::{ChainConfig, Mode},
    error::{ModelError, PublishError},
    image::Image,
    ledger::Ledger,
    list::ListSource,
    pipeline::{Pipeline, PipelineHandle, Ports},
    ports::{
        Destination, Generated, Generator, Load, Outgoing, Prompt, Publisher, RequestId, Source,
    },
};

/// Side of a picture, in pixels.
const SIDE: u32 = 2000;
/// Bytes of its pixels.
pub const PIXELS: u64 = 3 * SIDE as u64 * SIDE as u64;

/// The chain with its server.
pub struct Flood {
    pub chain: PipelineHandle,
    source: Arc<ListSource>,
    url: String,
    captions: watch::Receiver<(usize, usize)>,
}

impl Flood {
    /// `pace`: what the model takes for one picture.
    pub async fn start(records: usize, image_bytes: u64, pace: Duration) -> Self {
        let mut file = Cursor::new(Vec::new());
        RgbImage::from_pixel(SIDE, SIDE, image::Rgb([30, 90, 200]))
            .write_to(&mut file, ImageFormat::Png)
            .expect("a picture");
        let file = Bytes::from(file.into_inner());
        let app = Router::new().route("/{name}", get(move || std::future::ready(file.clone())));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, app).await });

        let mut config = ChainConfig::default();
        config.limits.records = records;
        config.limits.image_bytes = image_bytes;
        config.limits.decoders = 2;
        for specialist in &mut config.specialists {
            specialist.mode = Mode::Off;
        }
        let (sender, captions) = watch::channel((0, 0));
        let load: Load<dyn Generator> = Arc::new(move || {
            let running = VecDeque::new();
            Ok(Box::new(Paced { pace, running }))
        });
        let fetcher = HttpFetcher::new(&FetchSettings {
            allow_addresses: vec!["127.0.0.1".to_owned()],
            ..FetchSettings::default()
        });
        let ports = Ports {
            ledger: Arc::new(Ledger::new()),
            fetcher: Arc::new(fetcher.expect("right settings")),
            decoder: Arc::new(FileDecoder::new(DecodeSettings::default())),
            merger: Arc::new(SentenceMerger),
            publisher: Arc::new(Counter(sender)),
            source: None,
            repeats: None,
            generators: BTreeMap::from([(config.caption.engine.clone(), load)]),
            text_readers: BTreeMap::new(),
            relaters: BTreeMap::new(),
        };
        let chain = Pipeline::start(config, ports).await.expect("it starts");
        let source = ListSource::new(chain.intake(), "flood");
        chain.set_source(Arc::clone(&source) as Arc<dyn Source>);
        Self {
            chain,
            source,
            url: format!("http://{address}"),
            captions,
        }
    }

    /// Sends `files` through it; returns captions and dead letters so far.
    pub async fn run(&self, files: usize) -> (usize, usize) {
        for number in 0..files {
            self.source.push(format!("{}/{number}.png", self.url));
        }
        self.source.run().await;
        *self.captions.borrow()
    }
}

/// Answers one picture after the other, in order.
struct Paced {
    pace: Duration,
    running: VecDeque<RequestId>,
}

impl Generator for Paced {
    fn free_slots(&self) -> usize {
        16 - self.running.len()
    }

    fn admit(&mut self, request: RequestId, _: Arc<Image>, _: &Prompt) -> Result<(), ModelError> {
        self.running.push_back(request);
        Ok(())
    }

    fn step(&mut self) -> Result<Vec<(RequestId, Result<Generated, ModelError>)>, ModelError> {
        std::thread::sleep(self.pace);
        let generated = Generated {
            text: "A blue picture.".to_owned(),
            tokens: 4,
            finish: Finish::Stop,
            certainty: vila2_actors::certainty::Certainty::default(),
            placed: None,
        };
        let ended = self.running.pop_front();
        Ok(ended.map(|id| (id, Ok(generated))).into_iter().collect())
    }

    fn cancel(&mut self, request: RequestId) {
        self.running.retain(|running| *running != request);
    }

    fn self_check(&mut self) -> Result<(), ModelError> {
        Ok(())
    }

    fn facts(&self) -> ModelFacts {
        ModelFacts {
            model: "paced".to_owned(),
            revision: "0123456789ab".to_owned(),
            prompt: None,
        }
    }
}

/// Counts captions and dead letters.
struct Counter(watch::Sender<(usize, usize)>);

impl Publisher for Counter {
    fn publish(&self, outgoing: Outgoing) -> BoxFuture<'static, Result<(), PublishError>> {
        self.0
            .send_modify(|(captions, dead)| match outgoing.destination {
                Destination::Captions => *captions += 1,
                Destination::Dead => *dead += 1,
            });
        Box::pin(std::future::ready(Ok(())))
    }
}
