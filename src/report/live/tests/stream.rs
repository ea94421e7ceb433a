//! Who reads it, and for how long.

use super::*;

#[tokio::test]
async fn a_reconnect_goes_on_after_the_last_card_and_nothing_is_taken_where_nobody_reads() {
    let mut looked = Looked::start(World::default()).await;
    looked.chain.push(5);
    looked.chain.run().await;
    assert!(looked.live.shared.cards.after(0).is_empty(), "nobody reads");
    let mut stream = Stream::open(looked.address(), None).await;
    stream.until("state", |_| true).await;
    looked.chain.push(5);
    looked.chain.run().await;
    let first = stream.until("card", |_| true).await;
    drop(stream);
    let id = first.id.as_deref().expect("an id");
    // From the beginning, for one who comes anew or from another process.
    for last in [None, Some("12345-99"), Some("nonsense")] {
        let mut anew = Stream::open(looked.address(), last).await;
        let card = anew.until("card", |_| true).await;
        assert_eq!(card.data, first.data);
    }
    let mut again = Stream::open(looked.address(), Some(id)).await;
    again.until("state", |_| true).await;
    tokio::time::sleep(PICTURE_EVERY).await;
    looked.chain.push(5);
    looked.chain.run().await;
    let next = again.until("card", |_| true).await;
    assert_eq!(next.data["number"], 2, "{:?}", next.id);
    looked.chain.finish().await;
}

#[tokio::test]
async fn a_stalled_reader_holds_nobody_up_and_seats_are_bounded() {
    use tokio::io::AsyncWriteExt as _;
    let mut looked = Looked::start(World::default()).await;
    let mut stalled = Vec::new();
    for _ in 0..SEATS - 1 {
        let mut one = tokio::net::TcpStream::connect(looked.address())
            .await
            .expect("a port");
        let request = b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
        one.write_all(request).await.expect("written");
        stalled.push(one);
    }
    let taken = async {
        while looked
            .live
            .shared
            .seats
            .load(std::sync::atomic::Ordering::Acquire)
            < SEATS - 1
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, taken).await.expect("seats");
    let mut stream = Stream::open(looked.address(), None).await;
    let refused = reqwest::get(format!("http://{}/events", looked.address())).await;
    let refused = refused.expect("an answer");
    assert_eq!(refused.status(), 503);
    assert!(refused.text().await.expect("text").contains("16 browsers"));
    looked.chain.push(200);
    looked.chain.run().await;
    let all = |state: &Value| state["records"]["captions"] == 200;
    stream.until("state", all).await;
    stalled.clear();
    drop(stream);
    // A seat comes free where its browser has gone.
    let free = async {
        loop {
            let answer = reqwest::get(format!("http://{}/events", looked.address())).await;
            if answer.expect("an answer").status() == 200 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, free).await.expect("a seat");
    looked.chain.finish().await;
}

#[tokio::test]
async fn the_end_of_the_page_ends_open_streams_at_once() {
    let looked = Looked::start(World::default()).await;
    let mut stream = Stream::open(looked.address(), None).await;
    stream.until("state", |_| true).await;
    let address = looked.address();
    let Looked {
        chain,
        live,
        served,
    } = looked;
    drop((live, served));
    let ended = async { while stream.next().await.is_some() {} };
    let limit = Duration::from_secs(5);
    (tokio::time::timeout(limit, ended).await).expect("an end without waiting for the reader");
    assert!(reqwest::get(format!("http://{address}/")).await.is_err());
    chain.finish().await;
}

#[tokio::test]
async fn the_policy_lets_the_pages_own_script_and_style_run_and_nothing_else() {
    let looked = Looked::start(World::default()).await;
    let answer = reqwest::get(format!("http://{}/", looked.address())).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), 200);
    let policy = answer.headers()["content-security-policy"]
        .to_str()
        .expect("text")
        .to_owned();
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    let html = answer.text().await.expect("text");
    for (element, directive) in [("script", "script-src"), ("style", "style-src")] {
        let inside = html.split(&format!("<{element}>")).nth(1).expect("one");
        let inside = inside
            .split(&format!("</{element}>"))
            .next()
            .expect("its end");
        let hash = STANDARD.encode(Sha256::digest(inside));
        assert!(
            policy.contains(&format!("{directive} 'sha256-{hash}';")),
            "{policy}"
        );
        assert_eq!(html.matches(&format!("<{element}")).count(), 1);
    }
    assert!(
        policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"),
        "{policy}"
    );
    for foreign in ["style=", "onclick", "http://", "https://", "src=\"/"] {
        assert!(!html.contains(foreign), "{foreign} in the page");
    }
    looked.chain.finish().await;
}

#[tokio::test]
async fn a_page_nobody_asked_for_is_read_under_a_name_of_this_machine_alone() {
    let looked = Looked::start(World::default()).await;
    let port = looked.address().port();
    let ask = |live: SocketAddr, host: String| async move {
        let request = reqwest::Client::new().get(format!("http://{live}/"));
        let answer = request.header("Host", host).send().await;
        answer.expect("an answer").status().as_u16()
    };
    for (host, status) in [
        ("localhost", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1", 200),
        ("[::1]", 200),
        ("rebound.example.org", 403),
        ("127.0.0.1.example.org", 403),
        ("", 403),
    ] {
        let host = format!("{host}:{port}");
        assert_eq!(ask(looked.address(), host.clone()).await, status, "{host}");
    }
    let shared = &looked.live.shared;
    let live = Live::new(facts(), Readers::Everyone, Arc::clone(&shared.ask)).expect("a page");
    let open = serve(Some(live.router())).await;
    assert_eq!(
        ask(open.address(), "vila2.example.org".to_owned()).await,
        200
    );
    looked.chain.finish().await;
}
