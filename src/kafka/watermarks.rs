//! First offset and end of a partition.

use std::time::Duration;

use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    topic_partition_list::Offset,
};

/// Asks a partition's leader for the first offset and the end (one above the last offset).
///
/// In two questions, each with an answer of its own: `rd_kafka_query_watermark_offsets` (librdkafka
/// 2.12) sends both at once, and where the first is refused and the second is not, it reports a
/// partition that is empty at its end. Whoever believes that takes records for deleted, or a topic
/// for settled.
///
/// # Errors
/// What the broker refuses, or no answer within `limit` for each.
pub(super) fn ask<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
    limit: Duration,
) -> KafkaResult<(i64, i64)> {
    let one = |place: Offset| {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, place)?;
        let list = consumer.offsets_for_times(list, limit)?;
        let found = list.find_partition(topic, partition);
        let nothing = KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition);
        let found = found.ok_or_else(|| nothing.clone())?;
        found.error()?;
        match found.offset() {
            Offset::Offset(offset) if offset >= 0 => Ok(offset),
            _ => Err(nothing),
        }
    };
    Ok((one(Offset::Beginning)?, one(Offset::End)?))
}
