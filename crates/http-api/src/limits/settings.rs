//! What is configured of all limits.

use std::time::Duration;

use super::Limit;

/// Limits as configured: units a minute, but for the last ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitSettings {
    /// Whether rates are limited at all.
    pub enabled: bool,
    /// Of one user.
    pub user: u32,
    /// Of one clinic whose plan says nothing else.
    pub clinic: u32,
    /// Without a good token, of one address.
    pub address: u32,
    /// Tries of passwords and one-time links, of one address.
    pub login: u32,
    /// Searches, of one user.
    pub search: u32,
    /// Exports, of one user.
    pub export: u32,
    /// Deliveries to one webhook endpoint.
    pub webhook: u32,
    /// How many nodes share the load: each takes its part while there are no shared counters.
    pub nodes: u32,
    /// Distinct users who may be active within five minutes in this process; 0 is any number.
    pub max_active_users: usize,
    /// Requests in progress at most; 0 is any number.
    pub max_in_flight: usize,
    /// The mean time of a request above which fewer are let in.
    pub latency_target: Duration,
}

impl LimitSettings {
    /// Nothing is limited.
    pub const fn off() -> Self {
        Self {
            enabled: false,
            user: 1_000,
            clinic: 20_000,
            address: 300,
            login: 30,
            search: 120,
            export: 10,
            webhook: 60_000,
            nodes: 1,
            max_active_users: 0,
            max_in_flight: 0,
            latency_target: Duration::from_millis(250),
        }
    }

    pub(super) const fn units(&self, limit: Limit) -> u32 {
        match limit {
            Limit::User => self.user,
            Limit::Clinic => self.clinic,
            Limit::Address => self.address,
            Limit::Login => self.login,
            Limit::Search => self.search,
            Limit::Export => self.export,
            Limit::Webhook => self.webhook,
        }
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self::off()
    }
}
