//! Composition root: the only file that names Kafka and models together.
