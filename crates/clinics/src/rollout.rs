//! What operators set for the installation and for single clinics: feature flags ([`Flag`]), and
//! how often a clinic's plan lets it ask. So that a change reaches clinic after clinic, and may be
//! taken back at once.
//!
//! A flag is on for a clinic by the clinic's own word, or else for a percentage of all clinics, or
//! else by its default. Which clinics a percentage means is decided by a keyed hash of flag and
//! clinic: always the same ones, more of them as it grows, and others for each flag. Every node
//! holds all of it in memory ([`Flags`]) and asks twice a second whether it changed.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};
use kernel::{
    Action, AuditEntry, AuditId, ChangedValue, ClinicId, Denied, Gate, KeyOwner, KeyPurpose,
    Origin, Resource, StoreError, SystemContext, SystemPurpose, TenantContext, Toolkit,
    TypedId as _,
};

use crate::administration::operator;
use crate::error::RolloutError;
use crate::ports::RolloutStore;

macro_rules! flags {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $default:literal;)+) => {
        /// What may be switched. The catalogue is closed: a flag is made where its use is, and goes
        /// with it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Flag { $($(#[doc = $doc])+ $variant),+ }

        impl Flag {
            /// Every flag.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name in commands, answers and the database.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What it switches.
            pub fn description(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii()),+ }
            }

            /// Whether it is on where nobody said anything.
            pub const fn default_is_on(self) -> bool {
                match self { $(Self::$variant => $default),+ }
            }
        }
    };
}

flags! {
    /// Answers to this clinic's members are compressed, where their callers accept it.
    CompressedAnswers = "compressed-answers", true;
}

/// No flag has that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no flag has that name: `acolhe-server admin list-flags` lists them")]
pub struct UnknownFlag;

impl FromStr for Flag {
    type Err = UnknownFlag;

    fn from_str(name: &str) -> Result<Self, UnknownFlag> {
        let mut flags = Self::ALL.iter().copied();
        flags.find(|flag| flag.name() == name).ok_or(UnknownFlag)
    }
}

/// A share of clinics, 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percentage(u8);

/// The text is no whole number from 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number from 0 to 100")]
pub struct NotAPercentage;

impl Percentage {
    /// From 0 to 100.
    pub const fn new(value: u8) -> Option<Self> {
        if value <= 100 {
            Some(Self(value))
        } else {
            None
        }
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl FromStr for Percentage {
    type Err = NotAPercentage;

    fn from_str(text: &str) -> Result<Self, NotAPercentage> {
        text.parse().ok().and_then(Self::new).ok_or(NotAPercentage)
    }
}

/// Why an operator does something: 3 to 500 characters, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(String);

/// The reason is too short or too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have from 3 to 500 characters")]
pub struct NoReason;

impl Reason {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Reason {
    type Err = NoReason;

    fn from_str(text: &str) -> Result<Self, NoReason> {
        let text = text.trim();
        let right = (3..=500).contains(&text.chars().count());
        let right = right && !text.chars().any(char::is_control);
        if right {
            Ok(Self(text.to_owned()))
        } else {
            Err(NoReason)
        }
    }
}

/// Everything that is set, as of a revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rollout {
    /// Which state of it this is; 0 is none yet.
    pub revision: i64,
    /// The share of clinics for which a flag is on.
    pub rules: HashMap<Flag, Percentage>,
    /// Clinics' own words.
    pub clinics: HashMap<(ClinicId, Flag), bool>,
    /// Requests a minute of clinics whose plan is not the default one.
    pub plans: HashMap<ClinicId, u32>,
}

/// A change of an operator's, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutChange {
    /// When.
    pub at: DateTime<Utc>,
    /// Of its entry in the platform's security log.
    pub log_id: uuid::Uuid,
    /// Why.
    pub reason: Reason,
}

/// What is switched on where: asked by whoever has something to switch. Cheap to clone.
#[derive(Clone)]
pub struct Flags {
    store: Arc<dyn RolloutStore>,
    gate: Gate,
    tools: Toolkit,
    present: Arc<RwLock<Arc<Rollout>>>,
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flags")
    }
}

impl Flags {
    /// Every flag at its default, until [`Self::refresh`].
    pub fn new(store: Arc<dyn RolloutStore>, gate: Gate, tools: Toolkit) -> Self {
        Self {
            store,
            gate,
            tools,
            present: Arc::default(),
        }
    }

    /// Whether the flag is on for the context's clinic.
    pub fn is_on(&self, cx: &TenantContext, flag: Flag) -> bool {
        self.is_on_for(cx.clinic(), flag)
    }

    /// Whether the flag is on for a clinic. Without I/O.
    pub fn is_on_for(&self, clinic: ClinicId, flag: Flag) -> bool {
        let present = self.present();
        if let Some(own) = present.clinics.get(&(clinic, flag)) {
            return *own;
        }
        match present.rules.get(&flag) {
            None => flag.default_is_on(),
            Some(Percentage(0)) => false,
            Some(Percentage(100)) => true,
            Some(Percentage(share)) => self.bucket(clinic, flag) < u64::from(*share) * 100,
        }
    }

    /// Every flag with whether it is on for the context's clinic.
    pub async fn list(&self, cx: &TenantContext) -> Result<Vec<(Flag, bool)>, Denied> {
        let resource = Resource::one("clinic", cx.clinic());
        self.gate
            .authorize(cx, Action::ClinicRead, resource)
            .await?;
        let all = Flag::ALL.iter();
        Ok(all.map(|flag| (*flag, self.is_on(cx, *flag))).collect())
    }

    /// What is set, as this process knows it.
    pub fn present(&self) -> Arc<Rollout> {
        let present = self.present.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&present)
    }

    /// Asks for what changed. Answers whether anything did.
    pub async fn refresh(&self) -> Result<bool, StoreError> {
        let origin = Origin::internal(self.tools.id());
        let sys = SystemContext::new(SystemPurpose::Rollout, origin);
        let known = self.present().revision;
        let Some(new) = self.store.read(&sys, known).await? else {
            return Ok(false);
        };
        *self.present.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        Ok(true)
    }

    /// Where the clinic stands among all, in hundredths of a percent.
    fn bucket(&self, clinic: ClinicId, flag: Flag) -> u64 {
        let mut data = flag.name().as_bytes().to_vec();
        data.push(0);
        data.extend_from_slice(clinic.as_uuid().as_bytes());
        let keys = self.tools.keys();
        let mac = keys.mac(KeyOwner::Platform, KeyPurpose::FeatureFlag, &data);
        let first = mac.first_chunk().copied().unwrap_or_default();
        u64::from_be_bytes(first) % 10_000
    }
}

/// What operators do with flags and plans, from the command line alone. Every act has a reason in
/// the platform's security log, and one about a clinic an entry in that clinic's audit.
#[derive(Clone)]
pub struct RolloutAdministration {
    store: Arc<dyn RolloutStore>,
    tools: Toolkit,
}

impl fmt::Debug for RolloutAdministration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RolloutAdministration")
    }
}

impl RolloutAdministration {
    /// Wires the service.
    pub fn new(store: Arc<dyn RolloutStore>, tools: Toolkit) -> Self {
        Self { store, tools }
    }

    /// Everything that is set.
    pub async fn read(&self, origin: Origin) -> Result<Rollout, StoreError> {
        let sys = SystemContext::new(SystemPurpose::Administration, origin);
        Ok(self.store.read(&sys, 0).await?.unwrap_or_default())
    }

    /// Switches a flag on for a share of the clinics that have no word of their own; without a share,
    /// back to its default.
    pub async fn set_flag(
        &self,
        origin: Origin,
        flag: Flag,
        share: Option<Percentage>,
        reason: Reason,
    ) -> Result<(), StoreError> {
        let sys = SystemContext::new(SystemPurpose::Administration, origin);
        let change = self.change(reason);
        self.store.set_flag(&sys, flag, share, &change).await
    }

    /// A clinic's own word on a flag; `None` takes it back.
    pub async fn set_clinic_flag(
        &self,
        origin: Origin,
        clinic: ClinicId,
        flag: Flag,
        is_on: Option<bool>,
        reason: Reason,
    ) -> Result<(), RolloutError> {
        let cx = operator(clinic, origin);
        let change = self.change(reason);
        let word = match is_on {
            Some(true) => "on",
            Some(false) => "off",
            None => "default",
        };
        let resource = Resource::any("feature-flag");
        let entry = AuditEntry::done(&self.tools, "feature-flag.set", resource).changed(
            &cx,
            self.tools.keys(),
            [ChangedValue::set(flag.name(), word)],
        );
        let written = self.store.set_clinic_flag(&cx, flag, is_on, &change, entry);
        written.await
    }

    /// How often a clinic may ask in a minute; `None` is as the default plan says.
    pub async fn set_plan(
        &self,
        origin: Origin,
        clinic: ClinicId,
        requests_per_minute: Option<u32>,
        reason: Reason,
    ) -> Result<(), RolloutError> {
        let cx = operator(clinic, origin);
        let change = self.change(reason);
        let after = requests_per_minute.map(|requests| requests.to_be_bytes().to_vec());
        let entry = AuditEntry::done(&self.tools, "plan.set", Resource::any("plan")).changed(
            &cx,
            self.tools.keys(),
            [ChangedValue::new("requestsPerMinute", None, after)],
        );
        let written = self
            .store
            .set_plan(&cx, requests_per_minute, &change, entry);
        written.await
    }

    fn change(&self, reason: Reason) -> RolloutChange {
        RolloutChange {
            at: self.tools.now(),
            log_id: self.tools.id::<AuditId>().as_uuid(),
            reason,
        }
    }
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
