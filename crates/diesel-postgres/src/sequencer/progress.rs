//! What a sequencer remembers between two batches. Pure: no connection, no clock.
//!
//! Ids of the outbox are drawn when a row is inserted and become visible when its transaction
//! commits, so they become visible out of order, and those of a rolled back transaction never do.
//! [`Progress`] knows up to which id it has looked ("high") and which ids below that were missing
//! then ("gaps"). A gap is forgotten only when no transaction can fill it any more.

use std::collections::BTreeMap;

/// How many gaps are asked for by name. Beyond it (an hour-long transaction holds every gap open
/// that a rollback leaves) the oldest are left to the full sweeps, which find them a second late.
const MOST_GAPS: usize = 10_000;

/// What the next batch looks for: the arguments of `sec.sequence_events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Ids above this one.
    pub high: i64,
    /// And these.
    pub gaps: Vec<i64>,
    /// Whether this is a full sweep: everything that can be seen.
    pub sweep: bool,
}

/// What a batch answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Ids that were moved, in any order.
    pub ids: Vec<i64>,
    /// The batch's own transaction id; `None` when nothing was moved.
    pub xid: Option<i64>,
    /// The oldest transaction that was running when the batch looked
    /// (`pg_snapshot_xmin`): all older ones had ended, and were seen if they had committed.
    pub xmin: i64,
}

/// See the module's text.
#[derive(Debug)]
pub struct Progress {
    high: i64,
    /// Missing id → transaction id of the batch that missed it.
    gaps: BTreeMap<i64, i64>,
    /// While transactions may run that drew their ids before this sequencer began: its first
    /// transaction id. Until then no gap is known, so each batch is a sweep.
    beginning: Option<i64>,
    /// Most ids above `high` in one batch.
    most: usize,
}

impl Progress {
    /// A new sequencer. `last_id` is the highest id that was ever drawn, read *before*
    /// `own_xid` was; `most` is the limit that each batch is asked with.
    pub const fn begin(last_id: i64, own_xid: i64, most: usize) -> Self {
        Self {
            high: last_id,
            gaps: BTreeMap::new(),
            beginning: Some(own_xid),
            most,
        }
    }

    /// What to look for next; everything if a full sweep is due.
    pub fn ask(&self, sweep_due: bool) -> Ask {
        let sweep = sweep_due || self.beginning.is_some();
        if sweep {
            Ask {
                high: 0,
                gaps: Vec::new(),
                sweep,
            }
        } else {
            Ask {
                high: self.high,
                gaps: self.gaps.keys().copied().collect(),
                sweep,
            }
        }
    }

    /// Takes note of a batch; answers whether there is more to move at once.
    pub fn note(&mut self, ask: &Ask, batch: &Batch) -> bool {
        for id in &batch.ids {
            self.gaps.remove(id);
        }
        self.raise(batch);
        let full = batch.ids.len() >= self.most;
        // A full sweep stopped somewhere: of what lies behind, nothing is known. Otherwise each
        // gap was asked for in this very snapshot, so one whose transaction had ended by then was
        // either moved just now or rolled back.
        if !(ask.sweep && full) {
            self.gaps.retain(|_, missed_by| batch.xmin <= *missed_by);
            if self.beginning.is_some_and(|own| batch.xmin > own) {
                self.beginning = None;
            }
        }
        while self.gaps.len() > MOST_GAPS {
            self.gaps.pop_first();
        }
        full
    }

    /// How many ids are missing that may still come.
    pub fn open_gaps(&self) -> usize {
        self.gaps.len()
    }

    /// Whether transactions from before the beginning may still be running.
    pub const fn is_beginning(&self) -> bool {
        self.beginning.is_some()
    }

    fn raise(&mut self, batch: &Batch) {
        let (Some(&top), Some(xid)) = (batch.ids.iter().max(), batch.xid) else {
            return;
        };
        if top <= self.high {
            return;
        }
        let mut seen: Vec<i64> = batch.ids.clone();
        seen.sort_unstable();
        let missing = (self.high + 1..top)
            .rev()
            .filter(|id| seen.binary_search(id).is_err())
            .take(MOST_GAPS);
        self.gaps.extend(missing.map(|id| (id, xid)));
        self.high = top;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(ids: &[i64], xid: i64, xmin: i64) -> Batch {
        Batch {
            ids: ids.to_vec(),
            xid: (!ids.is_empty()).then_some(xid),
            xmin,
        }
    }

    /// A sequencer past its beginning that has looked up to `high`.
    fn at(high: i64) -> Progress {
        let mut progress = Progress::begin(high, 1, 100);
        let ask = progress.ask(false);
        progress.note(&ask, &batch(&[], 0, 2));
        progress
    }

    #[test]
    fn a_missing_id_is_asked_for_until_the_snapshot_has_passed_the_batch_that_missed_it() {
        let mut progress = at(10);
        let ask = progress.ask(false);
        progress.note(&ask, &batch(&[11, 13], 50, 40));
        for xmin in [40, 49, 50] {
            let ask = progress.ask(false);
            assert_eq!((ask.high, ask.gaps.as_slice()), (13, &[12][..]), "{xmin}");
            progress.note(&ask, &batch(&[], 0, xmin));
        }
        let ask = progress.ask(false);
        assert_eq!(ask.gaps, [12]);
        progress.note(&ask, &batch(&[], 0, 51));
        assert_eq!(progress.open_gaps(), 0);
    }

    #[test]
    fn a_gap_that_is_filled_is_asked_for_no_more() {
        let mut progress = at(0);
        let ask = progress.ask(false);
        progress.note(&ask, &batch(&[2], 50, 40));
        let ask = progress.ask(false);
        progress.note(&ask, &batch(&[1], 52, 41));
        assert_eq!(progress.ask(false).gaps, [0_i64; 0]);
    }

    #[test]
    fn every_batch_sweeps_until_whoever_ran_at_the_beginning_has_ended() {
        let mut progress = Progress::begin(7, 100, 3);
        for (ids, xmin) in [(&[3, 5][..], 90), (&[], 100)] {
            let ask = progress.ask(false);
            assert_eq!((ask.high, ask.sweep), (0, true));
            progress.note(&ask, &batch(ids, 120, xmin));
        }
        // The snapshot has passed the beginning, but the sweep was cut short.
        let ask = progress.ask(false);
        assert!(progress.note(&ask, &batch(&[1, 2, 4], 121, 101)));
        let ask = progress.ask(false);
        assert!(ask.sweep);
        assert!(!progress.note(&ask, &batch(&[6], 122, 101)));
        let ask = progress.ask(false);
        assert_eq!((ask.high, ask.sweep), (7, false));
    }

    #[test]
    fn a_sweep_that_was_cut_short_forgets_no_gap() {
        let mut progress = Progress::begin(0, 1, 2);
        let ask = progress.ask(false);
        progress.note(&ask, &batch(&[], 0, 2));
        let ask = progress.ask(false);
        progress.note(&ask, &batch(&[4], 50, 40));
        let ask = progress.ask(true);
        progress.note(&ask, &batch(&[1, 2], 60, 55));
        assert_eq!(progress.ask(false).gaps, [3]);
    }

    #[test]
    fn a_leap_of_the_sequence_costs_no_memory() {
        let mut progress = at(0);
        let ask = progress.ask(false);
        progress.note(&ask, &batch(&[i64::MAX / 2], 50, 40));
        assert_eq!(progress.open_gaps(), MOST_GAPS);
    }
}
