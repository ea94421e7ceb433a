//! What the page says.

use super::*;

fn whole(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no count"))
}

/// What the numbers of one state must be to each other.
fn adds_up(state: &Value) {
    let stages = state["stages"].as_array().expect("stages");
    let names: Vec<_> = stages
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    let order = [
        "fetch",
        "decode",
        "caption",
        "ground",
        "relate",
        "read_text",
        "merge",
        "send",
    ];
    assert_eq!(names, order);
    let at_stages: u64 = (stages.iter())
        .map(|one| whole(&one["waiting"]) + whole(&one["working"]))
        .sum();
    let records = &state["records"];
    assert_eq!(whole(&records["in_flight"]), at_stages);
    let dead = state["dead"].as_array().expect("reasons");
    let by_reason: u64 = dead.iter().map(|one| whole(&one["count"])).sum();
    assert_eq!(whole(&records["dead_letters"]), by_reason);
    assert!(whole(&stages[0]["done"]) >= whole(&stages[1]["done"]));
}

#[tokio::test]
async fn events_arrive_and_their_numbers_add_up() {
    let mut looked = Looked::start(World {
        fetch: Arc::new(|(number, _)| match number % 5 {
            4 => Fetching::Fails(FetchError::Status {
                status: 404,
                retry_after: None,
            }),
            _ => Fetching::Body,
        }),
        ..World::default()
    })
    .await;
    looked.chain.push(50);
    looked.chain.push_value("no url");
    let mut stream = Stream::open(looked.address(), None).await;
    let first = stream.until("state", |_| true).await.data;
    adds_up(&first);
    assert_eq!(first["records"]["captions"], 0);
    looked.chain.run().await;
    let all = |state: &Value| {
        let records = &state["records"];
        whole(&records["captions"]) + whole(&records["dead_letters"]) == 51
            && records["in_flight"] == 0
            && !state["rates"]["images_per_second"].is_null()
    };
    let state = stream.until("state", all).await.data;
    adds_up(&state);
    assert_eq!(state["records"]["captions"], 40);
    assert_eq!(state["dead"][0]["reason"], "fetch_status");
    assert_eq!(state["dead"][0]["count"], 10);
    assert_eq!(state["dead"][1]["reason"], "bad_request");
    let newest = &state["dead"][0]["newest"];
    let url = newest["url"].as_str().expect("a URL");
    assert!(
        url.starts_with("http://fake/") && url.ends_with(['4', '9']),
        "{url}"
    );
    assert_eq!(newest["stage"], "fetch");
    assert_eq!(newest["detail"], "the server answered 404");
    assert!(newest["id"].as_str().is_some_and(|id| id.len() == 64));
    let stages = &state["stages"];
    assert_eq!(
        (&stages[0]["done"], &stages[1]["done"]),
        (&50.into(), &40.into())
    );
    let engine = &state["engines"][0];
    assert_eq!(engine["name"], "captioner");
    assert_eq!(engine["stages"], serde_json::json!(["caption", "ground"]));
    assert_eq!(
        (&engine["slots"], &engine["running"]),
        (&4.into(), &0.into())
    );
    let mean = engine["mean"].as_f64().expect("a mean");
    assert!((1.0..=4.0).contains(&mean), "{mean}");
    // All were settled in the window: its rate times its length is their number.
    let rates = &state["rates"];
    let (rate, over) = (&rates["images_per_second"], &rates["over_s"]);
    let settled = rate.as_f64().expect("a rate") * over.as_f64().expect("seconds");
    assert!(settled > 0.0 && settled < 51.5, "{settled}");
    let each = rates["settled_each_second"].as_array().expect("seconds");
    assert!(each.iter().map(whole).sum::<u64>() <= 51);
    assert_eq!(state["condition"]["kind"], "idle");
    looked.chain.finish().await;
}

#[tokio::test]
async fn what_waits_and_what_is_worked_on_is_told_apart() {
    let mut looked = Looked::start(World {
        generate: Arc::new(|_| Generating::Never),
        ..World::default()
    })
    .await;
    looked.chain.push(10);
    let feeding = looked.chain.feeding();
    let mut stream = Stream::open(looked.address(), None).await;
    let at_caption = |state: &Value| state["stages"][2]["waiting"] == 6;
    let state = stream.until("state", at_caption).await.data;
    adds_up(&state);
    assert_eq!(state["stages"][2]["working"], 4);
    assert_eq!(state["records"]["in_flight"], 10);
    assert_eq!(state["engines"][0]["running"], 4);
    assert_eq!(state["condition"]["kind"], "running");
    assert!(
        state["records"]["oldest_s"]
            .as_f64()
            .is_some_and(|age| age > 0.0)
    );
    feeding.abort();
    looked.chain.handle.stop().await;
}

#[tokio::test]
async fn before_anything_runs_the_page_says_why_in_words() {
    let missing = "the consumer has no connection to 127.0.0.1:1";
    let chain = World::default().start().await;
    let idle = running(&chain.handle);
    let look = |chain: &Running| Look {
        chain: Some(chain.clone()),
        missing: Vec::new(),
        draining: false,
        broken: None,
    };
    let with = |change: fn(&mut Look)| {
        let mut look = look(&idle);
        look.missing = vec![missing.to_owned()];
        change(&mut look);
        look
    };
    let asking = |look: &mut Look| {
        look.missing.clear();
        let running = look.chain.as_mut().expect("a chain");
        running.activity.breaker.asking = true;
    };
    for (look, kind, words) in [
        (
            with(|look| look.chain = None),
            "loading",
            "Loads the models",
        ),
        (with(|_| {}), "waiting", missing),
        (with(|look| look.draining = true), "draining", "Shuts down"),
        (
            with(|look| look.broken = Some("it hangs".to_owned())),
            "failed",
            "Gives up: it hangs",
        ),
        (with(asking), "asking", "asks every model"),
        (look(&idle), "idle", "nothing to do"),
    ] {
        let ask: Ask = Arc::new(move || look.clone());
        let live = Live::new(facts(), Readers::ThisMachine, ask).expect("a page");
        let served = serve(Some(live.router())).await;
        let mut stream = Stream::open(served.address(), None).await;
        let state = stream.until("state", |_| true).await.data;
        assert_eq!(state["condition"]["kind"], kind);
        let said = state["condition"]["words"].as_str().expect("words");
        assert!(said.contains(words), "{said}");
    }
    chain.finish().await;
}
