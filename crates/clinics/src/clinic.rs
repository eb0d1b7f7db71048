//! A clinic and its settings.

use chrono::{DateTime, Utc};
use kernel::{ChangedValue, ClinicId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::values::{Locale, Name, TimeZone, WallTime};

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clinic {
    /// Its id.
    pub id: ClinicId,
    /// As its members know it.
    pub name: Name,
    /// Where its local dates are reckoned, unless a branch says otherwise.
    pub time_zone: TimeZone,
    /// The language its patients are written to in.
    pub locale: Locale,
    /// Everything else that it may choose.
    pub settings: Settings,
    /// Whether it may be used.
    pub status: ClinicStatus,
    /// Raised by one at each change, from 1.
    pub version: i64,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// Whether a clinic may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClinicStatus {
    /// It may.
    Active,
    /// Nobody gets in; its webhooks are still kept.
    Suspended,
}

impl ClinicStatus {
    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }

    /// The status of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Active, Self::Suspended]
            .into_iter()
            .find(|status| status.name() == name)
    }
}

/// What a clinic may choose, beside its name, zone and locale. Kept as JSON with a version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// When no message goes out by itself, in the clinic's wall time. `None`: at no hour is
    /// that forbidden.
    pub quiet_hours: Option<QuietHours>,
}

/// From one wall time until before another; past midnight where `until` is not after `from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietHours {
    /// First quiet minute.
    pub from: WallTime,
    /// First minute that is no longer quiet.
    pub until: WallTime,
}

impl QuietHours {
    /// Whether `time` is quiet. Equal bounds are the whole day.
    pub fn cover(&self, time: WallTime) -> bool {
        if self.from < self.until {
            self.from <= time && time < self.until
        } else {
            time >= self.from || time < self.until
        }
    }
}

/// Stored settings cannot be read: of a version that this program does not know, or broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stored settings cannot be read")]
pub struct UnreadableSettings;

/// The stored shape. A field may be added with a default; a change of meaning is a new version.
#[derive(Serialize, Deserialize)]
#[serde(tag = "version")]
enum Stored {
    #[serde(rename = "1", rename_all = "camelCase")]
    V1 {
        #[serde(default)]
        quiet_hours: Option<QuietHours>,
    },
}

impl Settings {
    /// As JSON to be stored.
    pub fn to_stored(&self) -> Value {
        let stored = Stored::V1 {
            quiet_hours: self.quiet_hours,
        };
        // Two times and a text: nothing in it can fail to be JSON.
        serde_json::to_value(stored).unwrap_or_default()
    }

    /// From stored JSON of any known version.
    pub fn from_stored(stored: Value) -> Result<Self, UnreadableSettings> {
        match serde_json::from_value(stored) {
            Ok(Stored::V1 { quiet_hours }) => Ok(Self { quiet_hours }),
            Err(_) => Err(UnreadableSettings),
        }
    }
}

/// What to change of a clinic; `None` leaves a field as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClinicPatch {
    /// A new name.
    pub name: Option<Name>,
    /// A new zone.
    pub time_zone: Option<TimeZone>,
    /// A new locale.
    pub locale: Option<Locale>,
    /// New quiet hours, or none at all.
    pub quiet_hours: Option<Option<QuietHours>>,
}

impl Clinic {
    /// Applies `patch`; answers the fields that differ now, by their names in the API.
    pub(crate) fn apply(&mut self, patch: ClinicPatch) -> Vec<ChangedValue> {
        let mut changed = Vec::new();
        let mut note = |field, before: &str, after: &str| {
            changed.push(ChangedValue::new(
                field,
                Some(before.into()),
                Some(after.into()),
            ));
        };
        if let Some(name) = patch.name
            && name != self.name
        {
            note("name", self.name.as_str(), name.as_str());
            self.name = name;
        }
        if let Some(zone) = patch.time_zone
            && zone != self.time_zone
        {
            note("timeZone", self.time_zone.name(), zone.name());
            self.time_zone = zone;
        }
        if let Some(locale) = patch.locale
            && locale != self.locale
        {
            note("locale", self.locale.as_str(), locale.as_str());
            self.locale = locale;
        }
        if let Some(quiet_hours) = patch.quiet_hours
            && quiet_hours != self.settings.quiet_hours
        {
            let before = self.settings.to_stored().to_string();
            self.settings.quiet_hours = quiet_hours;
            let after = self.settings.to_stored().to_string();
            note("settings.quietHours", &before, &after);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use super::*;

    fn at(hour: u16, minute: u16) -> WallTime {
        WallTime::from_minutes(hour * 60 + minute).unwrap()
    }

    #[test]
    fn quiet_hours_may_cross_midnight() {
        let night = QuietHours {
            from: at(21, 0),
            until: at(8, 0),
        };
        assert!(night.cover(at(21, 0)) && night.cover(at(3, 0)) && night.cover(at(7, 59)));
        assert!(!night.cover(at(8, 0)) && !night.cover(at(20, 59)));
        let lunch = QuietHours {
            from: at(12, 0),
            until: at(13, 0),
        };
        assert!(lunch.cover(at(12, 30)) && !lunch.cover(at(13, 0)) && !lunch.cover(at(0, 0)));
    }

    #[test]
    fn settings_are_stored_with_a_version_and_read_back() {
        let settings = Settings {
            quiet_hours: Some(QuietHours {
                from: at(21, 0),
                until: at(8, 0),
            }),
        };
        let stored = settings.to_stored();
        assert_eq!(stored["version"], "1");
        assert_eq!(Settings::from_stored(stored), Ok(settings));
        assert_eq!(
            Settings::from_stored(serde_json::json!({"version": "1"})),
            Ok(Settings::default())
        );
        for unreadable in [
            serde_json::json!({}),
            serde_json::json!({"version": "2"}),
            Value::Null,
        ] {
            assert_eq!(Settings::from_stored(unreadable), Err(UnreadableSettings));
        }
    }
}
