//! The punctuators of a task.

use crate::processor::{PunctuationType, ScheduleId};

#[derive(Debug, Clone, Copy)]
struct Schedule {
    id: ScheduleId,
    node: usize,
    kind: PunctuationType,
    at: i64,
    interval: i64,
    /// Counts scheduling and rescheduling: first come, first served where times are equal.
    turn: u64,
}

/// What is due is called in order of time, then of (re)scheduling.
#[derive(Debug, Default)]
pub(crate) struct Schedules {
    list: Vec<Schedule>,
    made: u64,
    turns: u64,
}

impl Schedules {
    pub(crate) fn add(&mut self, node: usize, kind: PunctuationType, first: i64, interval: i64) -> ScheduleId {
        let id = ScheduleId(self.made);
        self.made += 1;
        self.turns += 1;
        self.list.push(Schedule { id, node, kind, at: first, interval: interval.max(1), turn: self.turns });
        id
    }

    pub(crate) fn cancel(&mut self, id: ScheduleId) {
        self.list.retain(|schedule| schedule.id != id);
    }

    pub(crate) fn next(&self, kind: PunctuationType) -> Option<i64> {
        self.list.iter().filter(|schedule| schedule.kind == kind).map(|schedule| schedule.at).min()
    }

    /// The node and id of the first schedule that is due; it is moved to its next time, past `now` (what was missed is made up for by one call).
    pub(crate) fn due(&mut self, kind: PunctuationType, now: i64) -> Option<(usize, ScheduleId)> {
        let due = self.list.iter_mut().filter(|schedule| schedule.kind == kind && schedule.at <= now);
        let schedule = due.min_by_key(|schedule| (schedule.at, schedule.turn))?;
        self.turns += 1;
        schedule.turn = self.turns;
        schedule.at += ((now - schedule.at) / schedule.interval + 1) * schedule.interval;
        Some((schedule.node, schedule.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_call_is_made_up_for_once_and_the_grid_stays() {
        let mut schedules = Schedules::default();
        let id = schedules.add(3, PunctuationType::StreamTime, 0, 10);
        assert_eq!(schedules.due(PunctuationType::StreamTime, 35), Some((3, id)));
        assert_eq!(schedules.due(PunctuationType::StreamTime, 39), None);
        assert_eq!(schedules.due(PunctuationType::StreamTime, 40), Some((3, id)));
        assert_eq!(schedules.due(PunctuationType::WallClockTime, 1_000), None);
    }
}
