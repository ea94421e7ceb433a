//! Room for bodies: found before anything is asked for, and never waited for with a response open.

use super::*;

const MIB: u64 = 1 << 20;
/// More than the buffers of a connection on loopback hold.
const BODY: u64 = 12 * MIB;
/// Bodies have a quarter of it, and at first three quarters of that: 12 MiB.
const BUDGET: u64 = 64 * MIB;
/// How long the server waits for a client that does not read.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends the same body to everybody, and hangs up on who does not read.
async fn impatient(head: String) -> (Raw, Arc<AtomicUsize>) {
    let hung_up = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&hung_up);
    let server = Raw::start("127.0.0.1", 0, move |mut stream, _| {
        let (head, count) = (head.clone(), Arc::clone(&count));
        async move {
            stream.write_all(head.as_bytes()).await?;
            let body = vec![b'x'; BODY as usize];
            let mut sent = 0;
            while sent < body.len() {
                match tokio::time::timeout(PATIENCE, stream.write(&body[sent..])).await {
                    Ok(written) => sent += written?,
                    Err(_) => {
                        count.fetch_add(1, Ordering::SeqCst);
                        return Ok(());
                    }
                }
            }
            Ok(())
        }
    })
    .await;
    (server, hung_up)
}

fn heads() -> [String; 2] {
    [
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {BODY}\r\n\r\n"),
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_owned(),
    ]
}

fn patient_settings() -> FetchSettings {
    FetchSettings {
        timeout: Duration::from_secs(30),
        max_bytes: BODY + MIB,
        ..settings(&["127.0.0.1"])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_budget_makes_requests_wait_and_not_responses() {
    for head in heads() {
        let (server, hung_up) = impatient(head).await;
        let fetcher = Arc::new(fetcher(&patient_settings()));
        let budget = ByteBudget::new(BUDGET);
        let mut full = budget.credit();
        full.reserve(BUDGET).await.expect("the whole budget");
        let mut fetches = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (fetcher, url, mut credit) = (fetcher.clone(), server.url(), budget.credit());
            fetches.spawn(async move {
                let fetched = fetcher.fetch(&url, &mut credit).await?;
                assert_eq!(credit.held(), BODY);
                Ok::<_, FetchError>(fetched.body.len() as u64)
            });
        }
        let early = tokio::time::timeout(PATIENCE * 2, fetches.join_next()).await;
        assert!(early.is_err(), "{early:?}");
        assert_eq!(server.connections(), 0, "asked without room");
        drop(full);
        while let Some(fetched) = fetches.join_next().await {
            assert_eq!(fetched.expect("no panic").expect("a body"), BODY);
        }
        assert_eq!(hung_up.load(Ordering::SeqCst), 0);
        assert!(budget.most_used() <= BUDGET);
        assert_eq!(budget.used(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_does_not_fit_is_let_go_at_once_and_asked_for_again_once_it_does() {
    for head in heads() {
        let (server, hung_up) = impatient(head).await;
        let fetcher = Arc::new(fetcher(&patient_settings()));
        let budget = ByteBudget::new(BUDGET);
        // Room for what is expected of a body, and not for this one.
        let mut others = budget.credit();
        others.reserve(10 * MIB).await.expect("below the limit");
        let (url, mut credit) = (server.url(), budget.credit());
        let fetch = tokio::spawn(async move {
            let fetched = fetcher.fetch(&url, &mut credit).await?;
            Ok::<_, FetchError>((fetched.body.len() as u64, credit.held()))
        });
        // Once it was asked for and let go, only the others hold credit.
        while server.connections() == 0 || budget.used() != 10 * MIB {
            tokio::task::yield_now().await;
        }
        drop(others);
        let fetched = fetch.await.expect("no panic").expect("a body");
        assert_eq!(fetched, (BODY, BODY));
        assert_eq!(
            (server.connections(), hung_up.load(Ordering::SeqCst)),
            (2, 0)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_made_room_before_hears_at_once_that_it_is_not_enough() {
    let [head, _] = heads();
    let (server, _) = impatient(head).await;
    let budget = ByteBudget::new(BUDGET);
    let (mut others, mut credit) = (budget.credit(), budget.credit());
    others.reserve(10 * MIB).await.expect("below the limit");
    credit.reserve_expected(EXPECTED_BYTES).await;
    let refused = fetcher(&patient_settings())
        .fetch(&server.url(), &mut credit)
        .await;
    assert!(
        matches!(refused, Err(FetchError::NoRoom { bytes: BODY })),
        "{refused:?}"
    );
    assert_eq!(credit.held(), EXPECTED_BYTES);
}
