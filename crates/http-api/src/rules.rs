//! Rules of bodies and queries that are checked after decoding.

use crate::catalogue::ProblemCode;
use crate::problem::Problem;

/// Gathers broken rules, so that all are told at once.
pub(crate) struct Rules {
    problem: Problem,
}

impl Rules {
    /// None is broken yet; `code` is the problem's, should one be.
    pub(crate) fn new(code: ProblemCode) -> Self {
        Self {
            problem: Problem::new(code),
        }
    }

    /// Notes a broken rule.
    pub(crate) fn broken(
        &mut self,
        name: impl Into<String>,
        code: &'static str,
        reason: impl Into<String>,
    ) {
        let problem = std::mem::replace(&mut self.problem, Problem::not_found());
        self.problem = problem.param(name.into(), code, reason.into());
    }

    /// The value, or the broken rule noted under `name`.
    pub(crate) fn keep<T, E: std::fmt::Display>(
        &mut self,
        name: impl Into<String>,
        code: &'static str,
        result: Result<T, E>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(rule) => {
                self.broken(name, code, rule.to_string());
                None
            }
        }
    }

    /// `value` when no rule was broken, otherwise all that were.
    pub(crate) fn done<T>(self, value: T) -> Result<T, Problem> {
        if self.problem.invalid_params().is_empty() {
            Ok(value)
        } else {
            Err(self.problem)
        }
    }

    /// The problem with the rules that were broken.
    pub(crate) fn into_problem(self) -> Problem {
        self.problem
    }
}
