//! What `limits.image_bytes` bounds, by the chain's own account. The resident memory of the same
//! work: `benches/memory.rs`.

#![allow(clippy::unwrap_used)] // a test ends where it must not go on

mod support;

use std::time::Duration;

use support::flood::{Flood, PIXELS};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_small_files_of_twelve_megabytes_decoded_stay_within_the_limit() {
    let limit = 160 << 20;
    let flood = Flood::start(1_000, limit, Duration::from_millis(1)).await;
    assert_eq!(flood.run(300).await, (300, 0));
    let most = flood.chain.most_image_bytes();
    assert!(most <= limit, "{most} of {limit}");
    assert!(
        most >= 5 * PIXELS,
        "only {most}: nothing was in flight together"
    );
    assert_eq!(flood.chain.drain(Duration::from_secs(60)).await.left, 0);
    assert_eq!(flood.chain.image_bytes(), 0);
    flood.chain.stop().await;
}
