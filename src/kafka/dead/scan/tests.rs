use bytes::Bytes;

use super::*;

fn letter(offset: i64, source: &str, reason: &str, value: &str) -> Received {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Received {
        partition: 0,
        offset,
        timestamp_ms: Some(1_000 + offset),
        key: None,
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: vec![
            header("vila2-reason", reason),
            header("vila2-source", source),
            header(
                "traceparent",
                &format!("00-{:032x}-00f067aa0ba902b7-00", value.len()),
            ),
        ],
    }
}

fn scan(letters: &[Received]) -> Scan {
    let mut scan = Scan::default();
    for letter in letters {
        scan.take(letter, "images");
    }
    scan
}

#[test]
fn a_letter_written_twice_waits_once() {
    let scan = scan(&[
        letter(4, "images/0/7", "fetch_status", "u"),
        letter(5, "images/0/7", "fetch_timeout", "u"),
        letter(6, "images/0/8", "fetch_status", "v"),
    ]);
    let waiting: Vec<_> = scan.waiting(&BTreeMap::new()).into_iter().collect();
    assert_eq!(
        waiting,
        [((0, 4), "fetch_status"), ((0, 6), "fetch_status")]
    );
    assert_eq!(scan.copies, 1);
}

fn given_back(to: i64) -> BTreeMap<i32, Positions> {
    let mut positions = Positions::default();
    classes().for_each(|class| positions.advance(class, to));
    BTreeMap::from([(0, positions)])
}

fn places(scan: &Scan, at: &BTreeMap<i32, Positions>) -> Vec<i64> {
    scan.waiting(at)
        .into_keys()
        .map(|(_, offset)| offset)
        .collect()
}

#[test]
fn a_letter_of_another_request_at_the_same_source_is_a_letter_of_its_own() {
    // The input topic was made anew, and another request stands at the same place.
    let scan = scan(&[
        letter(4, "images/0/7", "fetch_status", "old"),
        letter(9, "images/0/7", "fetch_status", "new"),
    ]);
    assert_eq!((places(&scan, &given_back(5)), scan.copies), (vec![9], 0));
}

#[test]
fn a_letter_like_one_that_was_given_back_is_a_copy_only_where_the_request_is_older_than_both() {
    let value = hash_of(b"same");
    let request = |at_ms| Occupant::Request { at_ms, value };
    let other = Occupant::Request {
        at_ms: 1_006,
        value: 0,
    };
    for (occupant, waiting) in [
        (request(1_000), vec![]),
        (request(1_006), vec![9]),
        (Occupant::Nothing, vec![9]),
        (other, vec![]),
    ] {
        let mut scan = scan(&[
            letter(4, "images/0/7", "fetch_status", "same"),
            letter(5, "images/0/8", "fetch_status", "beside"),
            letter(9, "images/0/7", "fetch_status", "same"),
            letter(10, "images/0/7", "stuck", "same"),
        ]);
        let at = given_back(6);
        assert_eq!(scan.doubtful(&at), BTreeSet::from([(0, 7)]));
        scan.tell_apart(&at, &HashMap::from([((0, 7), occupant)]));
        assert_eq!(places(&scan, &at), waiting, "{occupant:?}");
        let letters = &scan.by_reason(&at)[0].1;
        let (waits, given) = (letters.waiting as usize, letters.redriven);
        assert_eq!((waits, given), (waiting.len(), 2), "{occupant:?}");
        assert_eq!(scan.copies, 2 - waiting.len() as u64);
    }
}

#[test]
fn what_is_behind_its_reasons_position_does_not_wait() {
    let scan = scan(&[
        letter(0, "images/0/1", "fetch_status", "a"),
        letter(1, "images/0/2", "stuck", "b"),
        letter(2, "images/0/3", "fetch_status", "c"),
    ]);
    let mut positions = Positions::default();
    positions.advance("fetch_status", 2);
    let positions = BTreeMap::from([(0, positions)]);
    let waiting: Vec<_> = scan.waiting(&positions).into_keys().collect();
    assert_eq!(waiting, [(0, 1), (0, 2)]);
    let reasons = scan.by_reason(&positions);
    let (reason, letters) = &reasons[0];
    assert_eq!(*reason, "fetch_status");
    assert_eq!(
        (letters.waiting, letters.redriven, letters.total()),
        (1, 1, 2)
    );
    assert_eq!(
        (letters.oldest_ms, letters.newest_ms),
        (Some(1_000), Some(1_002))
    );
    assert_eq!(letters.example.source, "images/0/3");
}

#[test]
fn what_died_again_after_three_returns_is_given_up() {
    let letters: Vec<_> = (0..5)
        .map(|n| letter(n, &format!("images/0/{n}"), "fetch_status", "same"))
        .collect();
    let scan = scan(&letters);
    let waiting = scan.waiting(&BTreeMap::new());
    let given_up = waiting.iter().filter(|(_, class)| **class == GIVEN_UP);
    assert_eq!(
        given_up.map(|(place, _)| place.1).collect::<Vec<_>>(),
        [3, 4]
    );
    assert_eq!(scan.by_reason(&BTreeMap::new())[0].1.given_up, 2);
}

#[test]
fn the_same_value_under_other_traces_is_not_the_same_record() {
    let mut letters: Vec<_> = (0..5)
        .map(|n| letter(n, &format!("images/0/{n}"), "fetch_status", "same"))
        .collect();
    for (n, letter) in letters.iter_mut().enumerate() {
        letter.headers[2].1 = format!("00-{n:032x}-00f067aa0ba902b7-00");
    }
    let waiting = scan(&letters).waiting(&BTreeMap::new());
    assert!(waiting.values().all(|class| *class == "fetch_status"));
}

#[test]
fn letters_without_a_value_or_of_another_topic_stay() {
    let mut empty = letter(0, "images/0/1", "bad_request", "");
    empty.value = None;
    let other = letter(1, "pictures/0/1", "bad_request", "x");
    let scan = scan(&[empty, other]);
    assert!(scan.waiting(&BTreeMap::new()).is_empty());
    assert_eq!(scan.by_reason(&BTreeMap::new())[0].1.kept, 2);
}
