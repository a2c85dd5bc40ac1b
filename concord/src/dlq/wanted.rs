//! Which dead letters are meant.

use super::{
    letter::{Letter, Place, SUFFIX},
    marks::Mark,
};
use std::cmp::Ordering;
use streams::TopicPartition;

/// How the topics of a log of Concord's begin, but for those that it keeps for itself.
const OURS: [&str; 3] = ["customers.", "links.", "requests."];

/// What a listing is narrowed to. Nothing: all that are not dealt with.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The queue, or the topic that it is of.
    pub topic: Option<String>,
    /// Records of this time or later, in milliseconds since the Unix epoch.
    pub since: Option<i64>,
    /// In the error's class or message, in any case.
    pub error: Option<String>,
    /// Those that are dealt with, too.
    pub dealt_with: bool,
    /// Only what comes after this one.
    pub after: Option<Place>,
}

impl Wanted {
    /// Whether a topic is a dead letter queue that is meant.
    pub fn takes_topic(&self, topic: &str) -> bool {
        let Some(of) = topic.strip_suffix(SUFFIX) else { return false };
        // Brokers may have other programs' queues, too; and marks are kept in `_concord.dlq`.
        OURS.iter().any(|prefix| topic.starts_with(prefix)) && self.topic.as_ref().is_none_or(|wanted| wanted == topic || wanted == of)
    }

    /// Where a partition is to be read from: nothing before it is wanted.
    pub fn begin(&self, tp: &TopicPartition) -> i64 {
        let Some(after) = &self.after else { return 0 };
        match (&*tp.topic, tp.partition).cmp(&(after.topic.as_str(), after.partition)) {
            Ordering::Less => i64::MAX,
            Ordering::Equal => after.offset + 1,
            Ordering::Greater => 0,
        }
    }

    pub fn takes(&self, letter: &Letter, mark: Option<&Mark>) -> bool {
        let text = |text: &str| text.to_lowercase();
        (self.dealt_with || mark.is_none())
            && self.since.is_none_or(|since| letter.0.timestamp >= since)
            && self.error.as_ref().is_none_or(|error| [letter.class(), letter.message()].iter().any(|of| text(of).contains(&text(error))))
            && self.after.as_ref().is_none_or(|after| letter.place() > *after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dlq::{letter::tests::letter, marks::Outcome};

    #[test]
    fn a_queue_is_named_by_itself_or_by_its_topic() {
        let of = |topic: &str| Wanted { topic: Some(topic.into()), ..Wanted::default() };
        assert!(Wanted::default().takes_topic("customers.crm.dlq"));
        for wanted in ["customers.crm", "customers.crm.dlq"] {
            assert!(of(wanted).takes_topic("customers.crm.dlq"));
            assert!(!of(wanted).takes_topic("customers.stripe.dlq"));
        }
        for none in ["customers.crm", "_concord.dlq", "orders.dlq"] {
            assert!(!Wanted::default().takes_topic(none) && !of("customers.crm").takes_topic(none), "{none}");
        }
    }

    #[test]
    fn the_next_page_begins_behind_the_last_one() {
        let after = |tp: &TopicPartition| Wanted { after: "b.dlq/1/17".parse().ok(), ..Wanted::default() }.begin(tp);
        let begins: Vec<i64> = [("a.dlq", 2), ("b.dlq", 0), ("b.dlq", 1), ("b.dlq", 2), ("c.dlq", 0)]
            .map(|(topic, n)| after(&TopicPartition::new(topic, n)))
            .into();
        assert_eq!(begins, [i64::MAX, i64::MAX, 18, 0, 0]);
    }

    #[test]
    fn each_filter_narrows() {
        let letter = letter(1, 17, 1_000, "CONCORD-T004", "customers.crm: no Value");
        let mark = Mark { outcome: Outcome::Retried, at: 1, reason: None };
        let wanted = |change: fn(&mut Wanted)| {
            let mut wanted = Wanted::default();
            change(&mut wanted);
            (wanted.takes(&letter, None), wanted.takes(&letter, Some(&mark)))
        };
        assert_eq!(wanted(|_| {}), (true, false));
        assert_eq!(wanted(|w| w.dealt_with = true), (true, true));
        assert_eq!(wanted(|w| w.since = Some(1_000)), (true, false));
        assert_eq!(wanted(|w| w.since = Some(1_001)), (false, false));
        assert_eq!(wanted(|w| w.error = Some("concord-t004".into())), (true, false));
        assert_eq!(wanted(|w| w.error = Some("no value".into())), (true, false));
        assert_eq!(wanted(|w| w.error = Some("CONCORD-T001".into())), (false, false));
        assert_eq!(wanted(|w| w.after = "customers.crm.dlq/1/16".parse().ok()), (true, false));
        assert_eq!(wanted(|w| w.after = "customers.crm.dlq/1/17".parse().ok()), (false, false));
        assert_eq!(wanted(|w| w.after = "customers.crm.dlq/2/3".parse().ok()), (false, false));
    }
}
