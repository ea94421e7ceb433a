//! Kafka: consumer, rebalance, commit, producer, codec, embedded broker.
