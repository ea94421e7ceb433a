//! Time and bytes: what a server sends too much of, too little of, or never ends.

use super::*;

#[tokio::test]
async fn content_length_is_heeded_but_not_trusted() {
    let body = |claimed: u64, sent: usize| {
        let mut answer =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {claimed}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + sent, b'x');
        answer
    };
    // more than allowed is refused from the head alone, whatever follows
    let server = Raw::saying(body(CAP + 1, 0)).await;
    let error = refusal(&loopback(), &server.url()).await;
    assert!(
        matches!(error, FetchError::TooLarge { limit: CAP, .. }),
        "{error:?}"
    );
    // more than claimed is not read
    let server = Raw::saying(body(10, 5000)).await;
    assert_eq!(
        get(&loopback(), &server.url())
            .await
            .expect("ten")
            .body
            .len(),
        10
    );
    // less than claimed is a broken connection, and may be whole next time
    let server = Raw::saying(body(5000, 10)).await;
    let error = refusal(&loopback(), &server.url()).await;
    assert!(matches!(error, FetchError::Connection(_)), "{error:?}");
}

#[tokio::test]
async fn a_body_of_the_cap_is_taken_and_one_byte_more_is_not() {
    for (size, good) in [(CAP, true), (CAP + 1, false)] {
        let mut answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
        answer.resize(answer.len() + size as usize, b'x');
        let server = Raw::saying(answer).await;
        assert_eq!(
            get(&loopback(), &server.url()).await.is_ok(),
            good,
            "{size}"
        );
    }
}

#[tokio::test]
async fn a_body_above_the_whole_budget_is_too_large() {
    let server = ImageServer::start(".").await.expect("a port");
    let url = format!("{}/good.jpg", server.base_url());
    let budget = ByteBudget::new(1000);
    let error = loopback()
        .fetch(&url, &mut budget.credit())
        .await
        .expect_err("too large");
    assert!(
        matches!(error, FetchError::TooLarge { limit: 1000, .. }),
        "{error:?}"
    );
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn headers_that_never_end_meet_the_deadline() {
    let server = Raw::start("127.0.0.1", 0, |mut stream, _| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            stream.write_all(b"x").await?;
        }
    })
    .await;
    let mut settings = settings(&["127.0.0.1"]);
    settings.timeout = Duration::from_millis(300);
    let started = Instant::now();
    let error = refusal(&fetcher(&settings), &server.url()).await;
    assert!(matches!(error, FetchError::Timeout(_)), "{error:?}");
    assert!(started.elapsed() >= settings.timeout);
    assert!(started.elapsed() < settings.timeout + Duration::from_secs(1));
}

#[tokio::test]
async fn headers_without_bound_are_refused() {
    let server = Raw::start("127.0.0.1", 0, |mut stream, _| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
        loop {
            stream.write_all(b"a: b\r\n").await?;
        }
    })
    .await;
    let error = refusal(&loopback(), &server.url()).await;
    assert!(matches!(error, FetchError::Protocol(_)), "{error:?}");
}
