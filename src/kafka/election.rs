//! Questions that a broker refuses only for as long as an election takes.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

/// Pause before the same question.
const PAUSE: Duration = Duration::from_millis(200);

/// Asks until the answer is not that a leader or a coordinator is being elected, for `limit` at
/// most; then that answer is the error. librdkafka refreshes what it knows of the cluster when it
/// meets such an answer, but leaves it to the caller to ask again.
pub(super) fn outlast<T>(
    limit: Duration,
    mut ask: impl FnMut() -> KafkaResult<T>,
) -> KafkaResult<T> {
    let deadline = Instant::now() + limit;
    loop {
        match ask() {
            Err(fault) if is_election(&fault) && Instant::now() + PAUSE < deadline => {
                tracing::debug!("{fault}; asking again");
                std::thread::sleep(PAUSE);
            }
            answer => return answer,
        }
    }
}

/// What brokers answer while leaders or coordinators change, or before a broker that came back
/// knows all of its partitions.
fn is_election(fault: &KafkaError) -> bool {
    matches!(
        fault.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::ReplicaNotAvailable
                | RDKafkaErrorCode::FencedLeaderEpoch
                | RDKafkaErrorCode::UnknownLeaderEpoch
                | RDKafkaErrorCode::OffsetNotAvailable
                | RDKafkaErrorCode::NotCoordinator
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::CoordinatorLoadInProgress
                | RDKafkaErrorCode::UnknownTopicOrPartition
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: RDKafkaErrorCode) -> KafkaResult<()> {
        Err(KafkaError::MetadataFetch(code))
    }

    #[test]
    fn an_election_is_outlasted() {
        let mut asked = 0;
        let answer = outlast(Duration::from_secs(10), || {
            asked += 1;
            if asked < 3 {
                return refused(RDKafkaErrorCode::NotLeaderForPartition);
            }
            Ok(())
        });
        assert_eq!((answer, asked), (Ok(()), 3));
    }

    #[test]
    fn an_election_without_an_end_is_the_answer() {
        let limit = Duration::from_millis(500);
        let answer = outlast(limit, || refused(RDKafkaErrorCode::LeaderNotAvailable));
        assert_eq!(answer, refused(RDKafkaErrorCode::LeaderNotAvailable));
    }

    #[test]
    fn every_other_refusal_is_the_answer_at_once() {
        let mut asked = 0;
        let answer = outlast(Duration::from_secs(10), || {
            asked += 1;
            refused(RDKafkaErrorCode::TopicAuthorizationFailed)
        });
        assert_eq!(asked, 1);
        assert_eq!(answer, refused(RDKafkaErrorCode::TopicAuthorizationFailed));
    }
}
