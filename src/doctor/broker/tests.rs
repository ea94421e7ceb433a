use super::*;
use crate::doctor::Level;

fn needs() -> Needs {
    Needs {
        producer: 1_000_000,
        requests: BROKER_DEFAULT,
        record: Duration::from_secs(600),
    }
}

fn facts() -> TopicFacts {
    TopicFacts {
        partitions: 3,
        leaderless: 0,
        replicas: 1,
        in_sync: 1,
        settings: Ok(TopicSettings {
            retention: Some(Duration::from_secs(7 * 86_400)),
            retention_bytes: None,
            max_message_bytes: Some(BROKER_DEFAULT),
            compacted: false,
            deleted: true,
            min_in_sync: Some(1),
        }),
    }
}

fn with(role: Role, change: impl FnOnce(&mut TopicSettings)) -> Vec<Finding> {
    let mut facts = facts();
    if let Ok(settings) = &mut facts.settings {
        change(settings);
    }
    topic("t", role, &facts, &needs())
}

fn only(findings: Vec<Finding>) -> Finding {
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings.into_iter().next().unwrap_or_else(|| panic!())
}

#[test]
fn topics_as_apache_kafka_makes_them_are_right() {
    for role in [Role::Images, Role::Captions, Role::Dead] {
        let finding = only(with(role, |_| {}));
        assert_eq!(finding.level, Level::Ok, "{finding:?}");
        let said = "3 partitions, 1 replica; keeps records for 7 days, takes records of 1.00 MiB";
        assert_eq!(finding.found, said);
    }
}

#[test]
fn records_must_be_kept_longer_than_one_may_be_under_way() {
    let seconds = |s| move |t: &mut TopicSettings| t.retention = Some(Duration::from_secs(s));
    let fault = only(with(Role::Images, seconds(300)));
    assert_eq!(fault.level, Level::Fault);
    assert!(fault.found.contains("limits.record_ms"), "{fault:?}");
    let warning = only(with(Role::Images, seconds(3_600)));
    assert_eq!(warning.level, Level::Warning);
    assert!(
        warning.found.contains("after 60 min: those not read"),
        "{warning:?}"
    );
    assert!(warning.advice.contains("43200000"), "{warning:?}");
    let forever = only(with(Role::Captions, |t| t.retention = None));
    assert!(forever.found.contains("without end"), "{forever:?}");
}

#[test]
fn what_is_written_must_fit() {
    let bytes = |b| move |t: &mut TopicSettings| t.max_message_bytes = Some(b);
    let small = only(with(Role::Captions, bytes(10_000)));
    assert_eq!(small.level, Level::Warning);
    assert!(small.found.contains("output_too_large"), "{small:?}");
    let between = only(with(Role::Captions, bytes(900_000)));
    assert!(
        between.advice.contains("\"message.max.bytes\" to 900000"),
        "{between:?}"
    );
    let dead = only(with(Role::Dead, bytes(500_000)));
    assert!(dead.found.contains("lose their value"), "{dead:?}");
    assert_eq!(only(with(Role::Images, bytes(10_000))).level, Level::Ok);
}

#[test]
fn a_topic_that_confirms_no_write_is_a_fault() {
    let fault = only(with(Role::Dead, |t| t.min_in_sync = Some(2)));
    assert_eq!(fault.level, Level::Fault);
    assert!(
        fault.found.contains("min.insync.replicas is 2"),
        "{fault:?}"
    );
    let mut facts = facts();
    facts.leaderless = 2;
    let fault = topic("t", Role::Images, &facts, &needs());
    assert_eq!(fault[0].level, Level::Fault);
}

#[test]
fn compaction_loses_requests_and_dead_letters_but_no_captions() {
    let compacted = |t: &mut TopicSettings| (t.compacted, t.deleted) = (true, false);
    assert_eq!(only(with(Role::Images, compacted)).level, Level::Warning);
    assert_eq!(only(with(Role::Dead, compacted)).level, Level::Warning);
    assert_eq!(only(with(Role::Captions, compacted)).level, Level::Ok);
}

#[test]
fn where_the_broker_does_not_tell_that_is_said() {
    let mut facts = facts();
    facts.settings = Err("not supported".to_owned());
    let finding = only(topic("t", Role::Images, &facts, &needs()));
    assert_eq!(finding.level, Level::Warning);
    assert!(finding.found.contains("(not supported)"), "{finding:?}");
}

#[test]
fn a_group_that_lost_records_or_its_place_is_told() {
    let facts = GroupFacts {
        known: true,
        behind: 3,
        missed: 1,
        beyond: vec![],
    };
    let lost = group("g".to_owned(), &facts);
    assert_eq!(lost.level, Level::Warning);
    assert!(
        lost.found.contains("3 records behind; 1 record deleted"),
        "{lost:?}"
    );
    let beyond = GroupFacts {
        beyond: vec![2],
        ..facts
    };
    assert_eq!(group("g".to_owned(), &beyond).level, Level::Fault);
    let fresh = group("g".to_owned(), &GroupFacts::default());
    assert!(fresh.found.contains("has read nothing yet"), "{fresh:?}");
}
