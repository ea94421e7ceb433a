//! Specialists of one's own beside the built-in three.

use std::sync::Arc;

use crate::{
    annotation::{Finish, Relation, SpatialRelation, Status},
    config::{Asking, Mode, SpecialistConfig, Task},
    sampling::Sampling,
    stage::Stage,
    testkit::{Answering, Generating, World},
};

fn asking(prompts: &[&str]) -> Asking {
    Asking {
        engine: String::from("captioner"),
        prompts: prompts.iter().map(|prompt| Arc::from(*prompt)).collect(),
        max_tokens: 20,
        sampling: Sampling::default(),
    }
}

/// With a second one that grounds, and two that answer.
fn world() -> World {
    let mut world = World::default();
    let specialists = &mut world.config.specialists;
    let boxes = SpecialistConfig::new("boxes", Task::Ground(asking(&["ground"])));
    specialists.insert(1, boxes);
    for (name, prompts) in [("style", &["Style?"][..]), ("mood", &["Glad?", "Sad?"])] {
        specialists.push(SpecialistConfig::new(name, Task::Answer(asking(prompts))));
    }
    world
}

#[tokio::test]
async fn answers_stand_in_the_record_under_ids_that_are_unique() {
    let mut chain = World {
        relate: Arc::new(|_| Answering::With(Vec::new())),
        ..world()
    }
    .start()
    .await;
    chain.push(8);
    chain.run().await;
    let mut moods = std::collections::BTreeSet::new();
    for (offset, record) in chain.captions() {
        let ids: Vec<_> = record.grounding.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, ["g0", "g1", "g2", "g3"], "two of each");
        let [style, mood] = &record.answers[..] else {
            panic!("{:?}", record.answers);
        };
        assert_eq!(
            (style.id.as_str(), style.specialist.as_str()),
            ("a0", "style")
        );
        assert_eq!((mood.id.as_str(), mood.specialist.as_str()), ("a1", "mood"));
        assert_eq!(style.question, "Style?");
        assert_eq!(style.text, format!("image {offset}"));
        assert_eq!((style.tokens > 0, style.finish), (true, Finish::Stop));
        assert_eq!(record.models["style"].prompt.as_deref(), Some("Style?"));
        assert_eq!(record.models["mood"].prompt.as_ref(), Some(&mood.question));
        moods.insert(mood.question.clone());
        for stage in ["boxes", "style", "mood"] {
            assert!(record.timings_ms.contains_key(stage), "{stage}");
            assert!(record.queue_ms.contains_key(stage), "{stage}");
        }
        assert_eq!(record.status, Status::Complete);
    }
    assert_eq!(moods.len(), 2, "prompts are chosen per image: {moods:?}");
    let activity = chain.handle.activity();
    let done = |stage: Stage| {
        let mut stages = activity.stages.iter();
        stages.find(|one| one.stage == stage).map(|one| one.done)
    };
    let names: Vec<_> = activity
        .stages
        .iter()
        .map(|one| one.stage.as_str())
        .collect();
    let expected = [
        "caption",
        "ground",
        "boxes",
        "relate",
        "read_text",
        "style",
        "mood",
        "merge",
    ];
    assert_eq!(names[3..11], expected);
    assert_eq!(done(activity.stages[8].stage), Some(8));
    chain.finish().await;
}

#[tokio::test]
async fn a_specialist_that_fails_is_named_and_the_others_answer() {
    let fails = |(number, prompt): (u64, crate::ports::Prompt)| match &*prompt.text {
        "Style?" => Generating::Refuses,
        _ => World::generated(number, &prompt),
    };
    let mut chain = World {
        generate: Arc::new(fails),
        ..world()
    }
    .start()
    .await;
    chain.push(1);
    chain.run().await;
    let record = &chain.captions()[&0];
    assert_eq!(record.status, Status::Degraded);
    assert_eq!(record.degraded[0].stage, "style");
    assert_eq!(record.answers.len(), 1);
    assert_eq!(record.answers[0].id, "a0");
    chain.finish().await;

    let mut required = World {
        generate: Arc::new(fails),
        ..world()
    };
    required.config.specialist_mut("style").mode = Mode::Required;
    let mut chain = required.start().await;
    chain.push(1);
    chain.run().await;
    let dead = chain.dead();
    let stage = crate::testkit::header(&dead[&0], "vila2-stage");
    assert_eq!(stage, "style");
    chain.finish().await;
}

#[tokio::test]
async fn a_chain_without_specialists_captions() {
    let mut alone = World::default();
    alone.config.specialists.clear();
    let mut chain = alone.start().await;
    chain.push(3);
    chain.run().await;
    for record in chain.captions().values() {
        assert_eq!(record.status, Status::Complete);
        assert!(record.grounding.is_empty() && record.answers.is_empty());
    }
    chain.finish().await;
}

#[tokio::test]
async fn a_generator_relates_what_has_boxes_and_adds_to_what_is_known() {
    let known = |_: u64| {
        let relation = SpatialRelation {
            id: String::new(),
            subject: "g0".into(),
            relation: Relation::LeftOf,
            object: "g1".into(),
            score: 0.9,
        };
        Answering::With(vec![relation])
    };
    let says = |(number, prompt): (u64, crate::ports::Prompt)| {
        let asked = format!("How do the thing {number}, the mat stand in image {number}?");
        if *prompt.text == asked {
            let text = format!(
                "The thing {number} is on the mat. The mat is right of the thing {number}. The thing \
                 {number} is behind the mat. The mat is behind the thing {number}. Who knows."
            );
            return Generating::Text(text, 9);
        }
        World::generated(number, &prompt)
    };
    let mut world = World {
        generate: Arc::new(says),
        relate: Arc::new(known),
        ..World::default()
    };
    let places = Task::State(asking(&["How do {things} stand in {caption}?"]));
    let places = SpecialistConfig::new("places", places);
    world.config.specialists.insert(2, places);
    let mut chain = world.start().await;
    chain.push(3);
    chain.run().await;
    for record in chain.captions().values() {
        let [thing, mat] = [&record.grounding[0].id, &record.grounding[1].id];
        let spatial: Vec<_> = (record.spatial.iter())
            .map(|one| (one.id.as_str(), &one.subject, one.relation, &one.object))
            .collect();
        // Not: that the mat is right of it, which is known, nor that the mat is behind it as well.
        let wanted = [
            ("s0", thing, Relation::LeftOf, mat),
            ("s1", thing, Relation::On, mat),
            ("s2", thing, Relation::Behind, mat),
        ];
        assert_eq!(spatial, wanted);
        assert_eq!(record.spatial[1].score, 0.5, "a fake has no probabilities");
        let prompt = record.models["places"].prompt.as_deref();
        assert_eq!(prompt, Some("How do {things} stand in {caption}?"));
        assert_eq!(record.status, Status::Complete);
    }
    chain.finish().await;
}
