//! An input in memory that grows.

use std::{sync::Arc, time::Duration};

use crate::{
    list::ListSource,
    testkit::{Harness, Publishing, World},
};

/// A chain whose source is an open list.
async fn open(world: World) -> (Harness, Arc<ListSource>) {
    let mut chain = world.start().await;
    chain.source = ListSource::open(chain.handle.intake(), "arguments");
    chain.topic = "arguments";
    let source = Arc::clone(&chain.source);
    chain.handle.set_source(Arc::clone(&source) as _);
    (chain, source)
}

#[tokio::test]
async fn an_open_list_waits_for_more_until_it_is_closed() {
    let (mut chain, source) = open(World::default()).await;
    let mut feeding = chain.feeding();
    for round in 1..=3 {
        chain.push(5);
        let handed_over = &chain.publisher.handed_over;
        chain
            .patiently("answers", handed_over.reaches(5 * round))
            .await;
        chain.patiently("all is home", chain.handle.idle()).await;
        let early = tokio::time::timeout(Duration::from_millis(20), &mut feeding).await;
        assert!(early.is_err(), "it does not end while it is open");
    }
    source.close();
    chain
        .patiently("the end", &mut feeding)
        .await
        .expect("no panic");
    assert_eq!(chain.captions().len(), 15);
    chain.finish().await;
}

#[tokio::test]
async fn an_open_list_that_is_closed_empty_ends() {
    let (chain, source) = open(World::default()).await;
    let feeding = chain.feeding();
    tokio::task::yield_now().await;
    source.close();
    chain.patiently("the end", feeding).await.expect("no panic");
    chain.finish().await;
}

#[tokio::test]
async fn what_is_settled_is_forgotten_from_the_first_that_is_not_on() {
    // The third write is held.
    let (mut chain, source) = open(World {
        publish: Arc::new(|outgoing| match outgoing.source.offset {
            2 => Publishing::Holds,
            _ => Publishing::Confirms,
        }),
        ..World::default()
    })
    .await;
    assert_eq!(source.kept(), (0, 0));
    chain.push(10);
    assert_eq!(source.kept(), (10, 10));
    let feeding = chain.feeding();
    let handed_over = &chain.publisher.handed_over;
    chain.patiently("answers", handed_over.reaches(10)).await;
    let settled = async {
        while source.kept() != (8, 0) || chain.ledger.in_flight() > 1 {
            tokio::task::yield_now().await;
        }
    };
    chain.patiently("two are forgotten", settled).await;
    assert_eq!(source.push("http://fake/10"), 10, "offsets go on");
    chain.publisher.release();
    source.close();
    chain.patiently("the end", feeding).await.expect("no panic");
    assert_eq!(source.kept(), (0, 0));
    assert_eq!(chain.captions().len(), 11);
    chain.handle.idle().await;
    chain.stop().await;
}

#[tokio::test]
async fn after_a_restart_a_list_gives_again_what_is_not_settled() {
    let (mut chain, source) = open(World::default()).await;
    let feeding = chain.feeding();
    chain.push(20);
    chain.push_value(r#"{"url": "http://fake/20", "meta": "panic once for lists"}"#);
    chain.push(20);
    chain
        .patiently("restarted", async {
            while chain.handle.restarts() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    chain.push(10);
    source.close();
    chain.patiently("the end", feeding).await.expect("no panic");
    assert_eq!(chain.captions().len(), 51);
    assert_eq!(source.kept(), (0, 0));
    chain.finish().await;
}
