//! The end of a partition, as the last answer to a fetch told it.

use std::ffi::CString;

use rdkafka::bindings::{rd_kafka_get_watermark_offsets, rd_kafka_resp_err_t};
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::super::clients::Plain;

/// The offset behind the last record, open transactions included; none: nothing was fetched yet.
#[allow(unsafe_code)] // The one call of librdkafka that its Rust wrapper lacks.
pub(super) fn last_told(consumer: &BaseConsumer<Plain>, topic: &str, partition: i32) -> Option<i64> {
    let topic = CString::new(topic).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the consumer is alive, and with it the handle; the name ends in a NUL and outlives the call; both numbers are ours.
    let answer = unsafe { rd_kafka_get_watermark_offsets(consumer.client().native_ptr(), topic.as_ptr(), partition, &mut low, &mut high) };
    (answer == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
}
