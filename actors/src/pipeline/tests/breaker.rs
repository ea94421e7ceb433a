//! A wrong model stops the process, a run of bad records does not.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
    mpsc,
};

use crate::{
    config::Mode,
    error::ModelError,
    testkit::{Answering, Generating, Harness, Seen, World},
};

/// Captions that the model fails on are those of the numbers `bad` says.
fn failing(bad: impl Fn(u64) -> bool + Send + Sync + 'static) -> World {
    World {
        generate: Arc::new(move |(number, prompt)| {
            if bad(number) {
                Generating::Fails
            } else {
                World::generated(number, &prompt)
            }
        }),
        ..World::default()
    }
}

/// Counts how often the captioner is asked its own question, and passes.
fn counted(world: &mut World) -> Arc<AtomicUsize> {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    world.check = Arc::new(move |()| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    asked
}

async fn gives_up(chain: &Harness) -> String {
    let reason = tokio::select! {
        reason = chain.handle.failed() => reason,
        () = chain.run() => panic!("settled what it must not"),
    };
    chain.handle.idle().await;
    reason
}

async fn end(chain: Harness) {
    chain.handle.stop().await;
    assert_eq!(chain.handle.in_flight(), 0);
}

#[tokio::test]
async fn a_wrong_model_does_not_empty_the_topic_into_the_dead_letters() {
    let mut world = failing(|_| true);
    world.check = Arc::new(|()| Err(ModelError::Broken(String::from("all logits are NaN"))));
    world.config.tolerance.model_failed_run = 7;
    let mut chain = world.start().await;
    chain.push(100);
    let reason = gives_up(&chain).await;
    assert!(reason.contains("in a row failed in a model"), "{reason}");
    assert!(
        reason.contains("engine `captioner`: all logits are NaN"),
        "{reason}"
    );
    assert!(reason.contains("bad row"), "{reason}");
    assert_eq!(chain.dead().len(), 7);
    end(chain).await;
}

#[tokio::test]
async fn a_run_of_bad_records_goes_through_where_the_model_passes_its_self_check() {
    let mut world = failing(|number| number < 45);
    let asked = counted(&mut world);
    let mut chain = world.start().await;
    chain.push(45);
    chain.run().await;
    assert_eq!(chain.dead().len(), 45);
    assert_eq!(asked.load(Ordering::Relaxed), 2, "after 20 and after 40");
    chain.push(15);
    chain.run().await;
    assert_eq!(chain.captions().len(), 15);
    assert!(!chain.handle.has_failed());
    chain.finish().await;
}

#[tokio::test]
async fn nothing_more_becomes_a_dead_letter_while_the_model_answers_its_own_question() {
    let mut world = failing(|number| number < 60);
    world.config.tolerance.model_failed_run = 7;
    let (asked, (go, gone)) = (Seen::default(), mpsc::channel::<()>());
    let (seen, gone) = (asked.clone(), Mutex::new(gone));
    world.check = Arc::new(move |()| {
        seen.add();
        // Ends at once where the test no longer holds its end.
        let _ = gone.lock().expect("not poisoned").recv();
        Ok(())
    });
    let mut chain = world.start().await;
    chain.push(80);
    let feeding = chain.feeding();
    chain
        .patiently("the model is asked", asked.reaches(1))
        .await;
    assert_eq!(chain.dead().len(), 7);
    drop(go);
    chain
        .patiently("all are settled", feeding)
        .await
        .expect("fed");
    assert_eq!(chain.dead().len(), 60);
    assert_eq!(chain.captions().len(), 20);
    chain.finish().await;
}

#[tokio::test]
async fn when_nine_in_ten_fail_it_stops_although_the_model_passes_and_names_the_faults() {
    // Never more than ten in a row.
    let mut world = failing(|number| number % 11 != 0);
    world.generate = {
        let generate = Arc::clone(&world.generate);
        Arc::new(move |(number, prompt)| match generate((number, prompt)) {
            Generating::Fails if number % 2 == 0 => Generating::FailsTheStep,
            other => other,
        })
    };
    world.config.attempts = 1;
    world.slots = 1;
    let asked = counted(&mut world);
    let mut chain = world.start().await;
    chain.push(1_000);
    let reason = gives_up(&chain).await;
    assert!(
        reason.contains("of the last 200 records that reached a model failed"),
        "{reason}"
    );
    assert!(reason.contains("although every model passes"), "{reason}");
    assert!(
        reason.contains("bad row") && reason.contains("NaN"),
        "{reason}"
    );
    assert!(
        asked.load(Ordering::Relaxed) >= 1,
        "it asks before it stops"
    );
    assert!(chain.dead().len() < 200, "{}", chain.dead().len());
    end(chain).await;
}

#[tokio::test]
async fn when_fewer_than_nine_in_ten_fail_the_work_goes_on() {
    // Six in seven are 86 %.
    let mut chain = failing(|number| number % 7 != 0).start().await;
    chain.push(490);
    chain.run().await;
    assert_eq!(chain.dead().len(), 420);
    assert_eq!(chain.captions().len(), 70);
    chain.finish().await;
}

#[tokio::test]
async fn successes_that_wait_in_a_later_stage_count_from_the_moment_the_captioner_answered() {
    // Nothing is read before 200 questions have failed, each twice: published ones alone would be
    // no success at all until then, and 40 failures in a row would ask the models.
    let (mut world, failed) = (failing(|_| false), Arc::new(AtomicUsize::new(0)));
    let (count, wait) = (Arc::clone(&failed), Arc::clone(&failed));
    world.generate = Arc::new(move |(number, prompt)| {
        // Numbers that one step answers: a longer answer would let more failures pass by.
        if number % 7 == 0 {
            return World::generated(number, &prompt);
        }
        count.fetch_add(1, Ordering::Relaxed);
        Generating::Fails
    });
    let read = Arc::clone(&world.read_text);
    world.read_text = Arc::new(move |number| {
        while wait.load(Ordering::Relaxed) < 400 {
            std::thread::yield_now();
        }
        read(number)
    });
    let asked = counted(&mut world);
    let mut chain = world.start().await;
    chain.push(490);
    chain.run().await;
    assert_eq!(chain.dead().len(), 420);
    assert_eq!(chain.captions().len(), 70);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    chain.finish().await;
}

#[tokio::test]
async fn a_required_specialist_that_always_fails_is_named() {
    let mut world = World {
        read_text: Arc::new(|_| Answering::Fails),
        check_reader: Arc::new(|()| Err(ModelError::Run(String::from("no such device")))),
        ..World::default()
    };
    world.config.specialist_mut("read_text").mode = Mode::Required;
    let mut chain = world.start().await;
    chain.push(100);
    let reason = gives_up(&chain).await;
    assert!(
        reason.contains("engine `read_text`: no such device"),
        "{reason}"
    );
    assert!(!reason.contains("captioner"), "{reason}");
    assert_eq!(chain.dead().len(), 20);
    end(chain).await;
}

#[tokio::test]
async fn a_self_check_that_panics_has_failed() {
    let mut world = failing(|_| true);
    world.check = Arc::new(|()| panic!("the model has a bug"));
    let mut chain = world.start().await;
    chain.push(100);
    let reason = gives_up(&chain).await;
    assert!(
        reason.contains("engine `captioner`: panicked: the model has a bug"),
        "{reason}"
    );
    end(chain).await;
}

#[tokio::test]
async fn requests_that_are_at_fault_themselves_never_count_and_never_end_a_run() {
    let mut world = World {
        generate: Arc::new(|_| Generating::Refuses),
        ..World::default()
    };
    let asked = counted(&mut world);
    let mut chain = world.start().await;
    chain.push(300);
    chain.run().await;
    let reasons = chain.reasons();
    assert_eq!(reasons.len(), 300);
    assert!(reasons.iter().all(|(_, reason)| reason == "bad_request"));
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    chain.finish().await;

    // Eight failures, a refusal after each: the eighth is one too many.
    let mut world = World {
        generate: Arc::new(|(number, _)| match number % 2 {
            0 => Generating::Fails,
            _ => Generating::Refuses,
        }),
        ..World::default()
    };
    world.config.tolerance.model_failed_run = 7;
    let asked = counted(&mut world);
    let mut chain = world.start().await;
    chain.push(16);
    chain.run().await;
    assert_eq!(chain.dead().len(), 16);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    chain.finish().await;
}

#[tokio::test]
async fn a_partition_that_goes_while_the_model_is_asked_takes_what_is_held_with_it() {
    let mut world = failing(|_| true);
    let (asked, (go, gone)) = (Seen::default(), mpsc::channel::<()>());
    let (seen, gone) = (asked.clone(), Mutex::new(gone));
    world.check = Arc::new(move |()| {
        seen.add();
        let _ = gone.lock().expect("not poisoned").recv();
        Ok(())
    });
    let mut chain = world.start().await;
    chain.push(60);
    let feeding = chain.feeding();
    chain
        .patiently("the model is asked", asked.reaches(1))
        .await;
    chain.ledger.revoke("images", 0);
    drop(go);
    chain.patiently("all let go", chain.handle.idle()).await;
    assert_eq!(chain.dead().len(), 20);
    chain.patiently("stopped", chain.handle.stop()).await;
    assert!(!chain.handle.has_failed());
    feeding.abort();
}

#[tokio::test]
async fn a_row_that_fails_runs_again_once_and_alone() {
    let runs = Arc::new(AtomicUsize::new(0));
    let mut world = failing(|_| false);
    let count = Arc::clone(&runs);
    world.generate = Arc::new(move |(number, prompt)| {
        if number == 3 {
            count.fetch_add(1, Ordering::Relaxed);
            return Generating::Fails;
        }
        World::generated(number, &prompt)
    });
    let mut chain = world.start().await;
    chain.push(8);
    chain.run().await;
    assert_eq!(chain.reasons(), [(3, String::from("model_failed"))]);
    let attempts = ("vila2-attempts", String::from("2"));
    assert!(chain.dead()[&3].headers.contains(&attempts));
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    assert_eq!(chain.captions().len(), 7);
    chain.finish().await;
}
