//! What the metrics page says of each metric.

use metrics::{describe_counter, describe_gauge, describe_histogram};
use vila2_actors::telemetry::{
    ABANDONED, BATCH, DEAD_LETTERS, DEGRADED, IMAGE_BYTES, IN_FLIGHT, LAG, OLDEST, QUEUE, RECORDS,
    RULES, TOKENS, WORK,
};

/// Tells the process's recorder.
pub(super) fn describe() {
    describe_counter!(RECORDS, "Records that ended, by outcome.");
    describe_counter!(DEAD_LETTERS, "Dead letters, by reason.");
    describe_counter!(
        DEGRADED,
        "Captions that went on without a specialist, by its stage."
    );
    describe_counter!(
        RULES,
        "Captions that tripped a rule, by the rule and what became of them: reject, retry, mark."
    );
    describe_histogram!(QUEUE, "How long records waited for a stage, in seconds.");
    describe_histogram!(WORK, "How long a stage worked on a record, in seconds.");
    describe_histogram!(BATCH, "Requests in one run or decode step of an engine.");
    describe_counter!(TOKENS, "Tokens that an engine generated.");
    describe_gauge!(
        IN_FLIGHT,
        "Records on their way, bounded by limits.records."
    );
    describe_gauge!(
        IMAGE_BYTES,
        "Bytes of bodies, pixels and what models keep of them, bounded by limits.image_bytes."
    );
    describe_gauge!(OLDEST, "Age of the oldest record on its way, in seconds.");
    describe_gauge!(
        LAG,
        "Records between what is settled without a gap and the end of a partition held."
    );
    describe_counter!(ABANDONED, "Deliveries dropped without an answer: bugs.");
}
