use std::sync::atomic::{AtomicUsize, Ordering};

use vila2_actors::{
    annotation::ModelFacts,
    error::ModelError,
    image::Image,
    ports::{Generated, Generator, Prompt, RequestId},
};

use super::*;
use crate::{
    config::Sources,
    demo::server::ImageServer,
    kafka::{Embedded, feeder::Feeder},
};

/// A model that breaks with the first picture it is given.
struct Breaks;

impl Generator for Breaks {
    fn free_slots(&self) -> usize {
        1
    }

    fn admit(&mut self, _: RequestId, _: Arc<Image>, _: &Prompt) -> Result<(), ModelError> {
        Err(ModelError::Broken(String::from("the device is gone")))
    }

    fn step(&mut self) -> Result<Vec<(RequestId, Result<Generated, ModelError>)>, ModelError> {
        Ok(Vec::new())
    }

    fn cancel(&mut self, _: RequestId) {}

    fn self_check(&mut self) -> Result<(), ModelError> {
        Err(ModelError::Broken(String::from("the device is gone")))
    }

    fn facts(&self) -> ModelFacts {
        ModelFacts {
            model: String::from("breaks"),
            revision: String::new(),
            prompt: None,
        }
    }
}

/// A service whose captioner breaks and cannot be built again, and which commits by itself only
/// once an hour.
async fn breaking(broker: &Embedded, server: &ImageServer) -> (Service, KafkaSettings) {
    let sets = [
        format!("kafka.brokers='{}'", broker.brokers()),
        format!("fetch.allow_addresses=['{}']", server.allow_entry()),
        String::from("fetch.retries=0"),
        String::from("http.listen='off'"),
        String::from("stages.ground.mode='off'"),
        String::from("stages.relate.mode='off'"),
        String::from("stages.read_text.mode='off'"),
    ];
    let sources = Sources {
        file: None,
        environment: Vec::new(),
        sets: sets.to_vec(),
    };
    let (config, layers) = crate::app::load(&sources).expect("a configuration");
    let mut kafka = settings::kafka(&config);
    kafka.commit_every = Duration::from_secs(3_600);
    for (name, value) in [
        ("heartbeat.interval.ms", "300"),
        ("session.timeout.ms", "6000"),
    ] {
        kafka.options.insert(name.to_owned(), value.to_owned());
    }
    let service = Service::start_on(&config, &layers, None, kafka.clone(), |ports| {
        for load in ports.generators.values_mut() {
            let built = AtomicUsize::new(0);
            *load = Arc::new(move || match built.fetch_add(1, Ordering::Relaxed) {
                0 => Ok(Box::new(Breaks)),
                _ => Err(ModelError::Broken(String::from("the device is gone"))),
            });
        }
    });
    (service.await.expect("a service"), kafka)
}

fn publish(kafka: &KafkaSettings, urls: &[String]) {
    let mut feeder = Feeder::new(kafka, &kafka.topics.images).expect("a topic");
    for url in urls {
        (feeder.send(None, Some(url.as_bytes()), &[])).expect("room");
    }
    (feeder.finish(Duration::from_secs(30), |_| {})).expect("confirmations");
}

fn dead_letters(kafka: &KafkaSettings) -> i64 {
    let ends = bounds(kafka, &kafka.topics.dead).expect("a topic");
    ends.values().map(|(_, end)| end).sum()
}

fn committed(kafka: &KafkaSettings) -> i64 {
    let offsets = committed_offsets(kafka, &kafka.topics.images).expect("a topic");
    offsets.values().sum()
}

async fn gives_up(service: Service) {
    let (_sender, mut shutdown) = Shutdown::by_hand();
    let worked = service.work(&mut shutdown, false);
    let worked = tokio::time::timeout(Duration::from_secs(60), worked).await;
    let error = worked.expect("an end").expect_err("no signal came");
    assert!(matches!(error, Error::GaveUp(_)), "{error}");
    service.stop_after_fault().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_before_a_service_gives_up_is_committed_and_not_answered_again() {
    let broker = Embedded::start().expect("a broker");
    let folder = tempfile::tempdir().expect("a folder");
    let server = ImageServer::start(folder.path()).await.expect("a port");
    let (service, kafka) = breaking(&broker, &server).await;
    broker.create_topics(&kafka.topics, 1).expect("topics");
    let missing: Vec<_> = (0..30)
        .map(|n| server.image_url(&format!("missing-{n}.png")))
        .collect();
    publish(&kafka, &missing);
    let all_dead = async {
        while dead_letters(&kafka) < 30 || service.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
    };
    (tokio::time::timeout(Duration::from_secs(60), all_dead).await).expect("dead letters");
    assert_eq!(committed(&kafka), 0, "not by itself");
    publish(&kafka, &[format!("{}/good.jpg", server.base_url())]);
    gives_up(service).await;
    assert_eq!(committed(&kafka), 30);

    // The next one finds the picture alone, and gives up over it without a word on the others.
    let (again, _) = breaking(&broker, &server).await;
    gives_up(again).await;
    assert_eq!((dead_letters(&kafka), committed(&kafka)), (30, 30));
}
