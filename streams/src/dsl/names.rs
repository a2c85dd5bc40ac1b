//! Prefixes of generated names: those that Kafka Streams uses.

pub(super) const SOURCE: &str = "KSTREAM-SOURCE-";
pub(super) const SINK: &str = "KSTREAM-SINK-";
pub(super) const FILTER: &str = "KSTREAM-FILTER-";
pub(super) const PEEK: &str = "KSTREAM-PEEK-";
pub(super) const FLATMAP: &str = "KSTREAM-FLATMAP-";
pub(super) const FLATMAPVALUES: &str = "KSTREAM-FLATMAPVALUES-";
pub(super) const MAP: &str = "KSTREAM-MAP-";
pub(super) const MAPVALUES: &str = "KSTREAM-MAPVALUES-";
pub(super) const PROCESSOR: &str = "KSTREAM-PROCESSOR-";
pub(super) const KEY_SELECT: &str = "KSTREAM-KEY-SELECT-";
pub(super) const FOREACH: &str = "KSTREAM-FOREACH-";
pub(super) const MERGE: &str = "KSTREAM-MERGE-";
pub(super) const BRANCH: &str = "KSTREAM-BRANCH-";
pub(super) const REPARTITION: &str = "KSTREAM-REPARTITION-";
pub(super) const JOIN: &str = "KSTREAM-JOIN-";
pub(super) const LEFTJOIN: &str = "KSTREAM-LEFTJOIN-";
pub(super) const AGGREGATE: &str = "KSTREAM-AGGREGATE-";
pub(super) const REDUCE: &str = "KSTREAM-REDUCE-";
pub(super) const TO_KTABLE: &str = "KSTREAM-TOTABLE-";
pub(super) const TABLE_SOURCE: &str = "KTABLE-SOURCE-";
pub(super) const TABLE_FILTER: &str = "KTABLE-FILTER-";
pub(super) const TABLE_MAPVALUES: &str = "KTABLE-MAPVALUES-";
pub(super) const TABLE_TOSTREAM: &str = "KTABLE-TOSTREAM-";

/// What follows the name of a table's `Consumed` in the name of its source.
pub(super) const TABLE_SOURCE_SUFFIX: &str = "-source";

/// Whether a repartition topic's prefix was generated: `KSTREAM.*-[0-9]{10}`.
pub(super) fn is_generated(prefix: &str) -> bool {
    let bytes = prefix.as_bytes();
    let digits = bytes.len().saturating_sub(10);
    prefix.starts_with("KSTREAM") && digits > 7 && bytes[digits..].iter().all(u8::is_ascii_digit) && bytes[digits - 1] == b'-'
}

#[cfg(test)]
mod tests {
    use super::is_generated;

    #[test]
    fn a_generated_prefix_ends_in_ten_digits() {
        assert!(is_generated("KSTREAM-AGGREGATE-STATE-STORE-0000000003"));
        assert!(!is_generated("counts"));
        assert!(!is_generated("KSTREAM-003"));
        assert!(!is_generated("KSTREAM0000000003"));
    }
}
