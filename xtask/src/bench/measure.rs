//! Interleaved rounds: each contender in turn, the order reversed every second time, so that what
//! the machine does beside us falls on all of them alike.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::machine::Cpu;
use crate::{interrupt, terminal};

/// How much is measured.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Rounds {
    pub(crate) count: usize,
    pub(crate) time: Duration,
    /// Before each round, unmeasured.
    pub(crate) warm: Duration,
}

/// What one round of one contender gave.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) requests: f64,
    pub(crate) seconds: f64,
    /// Milliseconds. Nothing where the contender tells no single times.
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) slowest: Option<f64>,
    /// Of the whole round.
    pub(crate) cpu: Cpu,
    /// Wrong or missing answers.
    pub(crate) failed: u64,
    /// The first of them.
    pub(crate) faults: Vec<String>,
}

impl Outcome {
    pub(crate) fn rate(&self) -> f64 {
        self.requests / self.seconds
    }

    /// Microseconds of one request.
    pub(crate) fn cpu_each(&self) -> Cpu {
        self.cpu.per(self.requests.max(1.0))
    }
}

/// Something whose rounds are held against another's.
pub(crate) trait Contender {
    /// For the table.
    fn name(&self) -> String;
    fn round(&mut self, rounds: Rounds) -> anyhow::Result<Outcome>;
}

/// All rounds of one contender.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) outcomes: Vec<Outcome>,
}

/// Runs them all, and says how far it is.
pub(crate) fn interleave(
    what: &str,
    contenders: &mut [Box<dyn Contender + '_>],
    rounds: Rounds,
) -> anyhow::Result<Vec<Series>> {
    let mut all: Vec<Series> = contenders
        .iter()
        .map(|contender| Series {
            name: contender.name(),
            outcomes: Vec::new(),
        })
        .collect();
    for round in 0..rounds.count {
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            interrupt::check()?;
            let outcome = contenders[index].round(rounds)?;
            let cpu = outcome.cpu_each();
            terminal::note(format!(
                "  {what}, round {} of {}, {}: {:.0}/s, CPU {:.0} + {:.0} µs{}{}",
                round + 1,
                rounds.count,
                all[index].name,
                outcome.rate(),
                cpu.program,
                cpu.postgres,
                outcome
                    .p99
                    .map_or_else(String::new, |p99| format!(", p99 {p99:.1} ms")),
                match outcome.failed {
                    0 => String::new(),
                    failed => format!(", {failed} FAILED"),
                }
            ));
            all[index].outcomes.push(outcome);
        }
    }
    Ok(all)
}

impl Series {
    pub(crate) fn median(&self, of: impl Fn(&Outcome) -> f64) -> f64 {
        median(self.outcomes.iter().map(of).collect())
    }

    pub(crate) fn rate(&self) -> f64 {
        self.median(Outcome::rate)
    }

    pub(crate) fn program_cpu(&self) -> f64 {
        self.median(|outcome| outcome.cpu_each().program)
    }

    pub(crate) fn postgres_cpu(&self) -> f64 {
        self.median(|outcome| outcome.cpu_each().postgres)
    }

    pub(crate) fn redis_cpu(&self) -> f64 {
        self.median(|outcome| outcome.cpu_each().redis)
    }

    /// Milliseconds.
    pub(crate) fn p50(&self) -> f64 {
        self.median(|outcome| outcome.p50.unwrap_or_default())
    }

    /// Milliseconds: the median of the rounds.
    pub(crate) fn p99(&self) -> f64 {
        self.median(|outcome| outcome.p99.unwrap_or_default())
    }

    /// Milliseconds: the worst round's.
    pub(crate) fn worst_p99(&self) -> f64 {
        self.outcomes
            .iter()
            .filter_map(|outcome| outcome.p99)
            .fold(0.0, f64::max)
    }

    pub(crate) fn failed(&self) -> u64 {
        self.outcomes.iter().map(|outcome| outcome.failed).sum()
    }

    pub(crate) fn first_fault(&self) -> Option<&str> {
        let mut faults = self.outcomes.iter().flat_map(|outcome| &outcome.faults);
        faults.next().map(String::as_str)
    }

    /// Ours by the limit's, round by round.
    pub(crate) fn ratio(&self, limit: &Self, of: impl Fn(&Outcome) -> f64) -> Ratio {
        let each: Vec<f64> = self
            .outcomes
            .iter()
            .zip(&limit.outcomes)
            .map(|(ours, theirs)| of(ours) / of(theirs))
            .collect();
        Ratio {
            median: median(each.clone()),
            least: each.iter().copied().fold(f64::INFINITY, f64::min),
            most: each.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

/// One round's figure by another's of the same round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Noted<'a> {
        name: &'static str,
        order: &'a std::cell::RefCell<Vec<&'static str>>,
    }

    impl Contender for Noted<'_> {
        fn name(&self) -> String {
            self.name.to_owned()
        }

        fn round(&mut self, _: Rounds) -> anyhow::Result<Outcome> {
            self.order.borrow_mut().push(self.name);
            Ok(Outcome {
                requests: 10.0,
                seconds: 2.0,
                ..Outcome::default()
            })
        }
    }

    #[test]
    fn the_order_is_reversed_every_second_round() {
        let order = std::cell::RefCell::default();
        let one = |name| {
            Box::new(Noted {
                name,
                order: &order,
            }) as Box<dyn Contender>
        };
        let rounds = Rounds {
            count: 3,
            time: Duration::ZERO,
            warm: Duration::ZERO,
        };
        let series = interleave("x", &mut [one("a"), one("b")], rounds).unwrap();
        assert_eq!(*order.borrow(), ["a", "b", "b", "a", "a", "b"]);
        assert!((series[0].rate() - 5.0).abs() < 1e-9);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let series = |rates: &[f64]| Series {
            name: String::new(),
            outcomes: rates
                .iter()
                .map(|rate| Outcome {
                    requests: *rate,
                    seconds: 1.0,
                    ..Outcome::default()
                })
                .collect(),
        };
        // The machine was busy in the second round: both were halved.
        let ratio =
            series(&[50.0, 24.0, 60.0]).ratio(&series(&[100.0, 50.0, 100.0]), Outcome::rate);
        assert!((ratio.median - 0.5).abs() < 1e-9);
        assert!((ratio.least - 0.48).abs() < 1e-9);
        assert!((ratio.most - 0.6).abs() < 1e-9);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert!((median(vec![4.0, 1.0, 3.0, 2.0]) - 2.5).abs() < 1e-9);
        assert!((median(vec![9.0, 1.0, 3.0]) - 3.0).abs() < 1e-9);
        assert!(median(Vec::new()).is_nan());
    }
}
