//! A branch: a place where a clinic works.

use chrono::{DateTime, Utc, Weekday};
use kernel::{BranchId, ChangedValue};
use serde::{Deserialize, Serialize};

use crate::values::{Name, TimeZone, WallTime};

/// A place of a clinic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Its id.
    pub id: BranchId,
    /// Its name; no two branches of a clinic share one, whatever the case of its letters.
    pub name: Name,
    /// Where its wall times are reckoned.
    pub time_zone: TimeZone,
    /// Where it is.
    pub address: Option<Address>,
    /// When it is open; `None` where nobody has said.
    pub opening_hours: Option<OpeningHours>,
    /// Whether it works.
    pub status: BranchStatus,
    /// Raised by one at each change, from 1.
    pub version: i64,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// Whether a branch works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BranchStatus {
    /// It does.
    Active,
    /// It does no longer; its past stays.
    Closed,
}

impl BranchStatus {
    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Closed => "closed",
        }
    }

    /// The status of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Active, Self::Closed]
            .into_iter()
            .find(|status| status.name() == name)
    }
}

/// A postal address in Brazil's form; every part may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Address {
    /// Street, avenue, square.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub street: Option<String>,
    /// Number in it; a text, for there are `12A` and `s/n`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// Floor, room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complement: Option<String>,
    /// Bairro.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub district: Option<String>,
    /// City.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// State: two letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// CEP: eight digits, without its hyphen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
}

/// What is wrong with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// A part is empty, too long or has control characters.
    #[error("each part must have 1 to 200 characters and no control characters")]
    Part,
    /// The state is not two letters.
    #[error("state must be two letters")]
    State,
    /// The CEP is not eight digits.
    #[error("postalCode must have eight digits")]
    PostalCode,
}

impl Address {
    /// Trims every part, writes the state in capitals and the CEP without its hyphen.
    pub fn validated(self) -> Result<Self, InvalidAddress> {
        let part = |text: Option<String>| {
            text.map(|text| Name::parse(&text).map(|part| part.as_str().to_owned()))
                .transpose()
                .map_err(|_| InvalidAddress::Part)
        };
        let state = part(self.state)?.map(|state| state.to_ascii_uppercase());
        if let Some(state) = &state
            && (state.len() != 2 || !state.bytes().all(|b| b.is_ascii_uppercase()))
        {
            return Err(InvalidAddress::State);
        }
        let postal_code = part(self.postal_code)?.map(|code| code.replacen('-', "", 1));
        if let Some(code) = &postal_code
            && (code.len() != 8 || !code.bytes().all(|b| b.is_ascii_digit()))
        {
            return Err(InvalidAddress::PostalCode);
        }
        Ok(Self {
            street: part(self.street)?,
            number: part(self.number)?,
            complement: part(self.complement)?,
            district: part(self.district)?,
            city: part(self.city)?,
            state,
            postal_code,
        })
    }
}

/// One stretch of a weekday, in the branch's wall time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpeningPeriod {
    /// The day.
    pub weekday: Weekday,
    /// First open minute.
    pub opens: WallTime,
    /// First minute that is no longer open; after `opens`. What goes past midnight is two
    /// periods, the first until 24:00.
    pub closes: WallTime,
}

/// The week of a branch: periods in order, none overlapping another.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<OpeningPeriod>", into = "Vec<OpeningPeriod>")]
pub struct OpeningHours(Vec<OpeningPeriod>);

/// What is wrong with opening hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOpeningHours {
    /// A period ends before it begins.
    #[error("closes must be after opens")]
    Backwards,
    /// Two periods of a day overlap.
    #[error("periods of a day must not overlap")]
    Overlap,
    /// More than fifty periods.
    #[error("must have at most 50 periods")]
    TooMany,
}

impl OpeningHours {
    /// Puts the periods in order and refuses overlaps.
    pub fn new(mut periods: Vec<OpeningPeriod>) -> Result<Self, InvalidOpeningHours> {
        if periods.len() > 50 {
            return Err(InvalidOpeningHours::TooMany);
        }
        if periods.iter().any(|period| period.closes <= period.opens) {
            return Err(InvalidOpeningHours::Backwards);
        }
        periods.sort_by_key(|period| (period.weekday.num_days_from_monday(), period.opens));
        let overlap = periods
            .windows(2)
            .any(|pair| pair[0].weekday == pair[1].weekday && pair[1].opens < pair[0].closes);
        if overlap {
            return Err(InvalidOpeningHours::Overlap);
        }
        Ok(Self(periods))
    }

    /// The periods, from Monday morning on.
    pub fn periods(&self) -> &[OpeningPeriod] {
        &self.0
    }
}

impl TryFrom<Vec<OpeningPeriod>> for OpeningHours {
    type Error = InvalidOpeningHours;
    fn try_from(periods: Vec<OpeningPeriod>) -> Result<Self, InvalidOpeningHours> {
        Self::new(periods)
    }
}

impl From<OpeningHours> for Vec<OpeningPeriod> {
    fn from(hours: OpeningHours) -> Self {
        hours.0
    }
}

/// A branch to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBranch {
    /// Its name.
    pub name: Name,
    /// Its zone; the clinic's where `None`.
    pub time_zone: Option<TimeZone>,
    /// Where it is.
    pub address: Option<Address>,
    /// When it is open.
    pub opening_hours: Option<OpeningHours>,
}

/// What to change of a branch; `None` leaves a field as it is, `Some(None)` empties it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BranchPatch {
    /// A new name.
    pub name: Option<Name>,
    /// A new zone.
    pub time_zone: Option<TimeZone>,
    /// A new address, or none.
    pub address: Option<Option<Address>>,
    /// New opening hours, or none.
    pub opening_hours: Option<Option<OpeningHours>>,
    /// Closes or reopens it.
    pub status: Option<BranchStatus>,
}

impl Branch {
    /// What a new branch holds, for the audit.
    pub(crate) fn created_values(&self) -> Vec<ChangedValue> {
        let mut values = vec![
            ChangedValue::set("name", self.name.as_str()),
            ChangedValue::set("timeZone", self.time_zone.name()),
            ChangedValue::set("status", self.status.name()),
        ];
        let address = self.address.as_ref().map(bytes_of);
        values.extend(address.map(|bytes| ChangedValue::set("address", bytes)));
        let hours = self.opening_hours.as_ref().map(bytes_of);
        values.extend(hours.map(|bytes| ChangedValue::set("openingHours", bytes)));
        values
    }

    /// Applies `patch`; answers the fields that differ now, by their names in the API.
    pub(crate) fn apply(&mut self, patch: BranchPatch) -> Vec<ChangedValue> {
        let mut changed = Vec::new();
        let text = |text: &str| Some(text.as_bytes().to_vec());
        let mut note = |field, before, after| changed.push(ChangedValue::new(field, before, after));
        if let Some(name) = patch.name
            && name != self.name
        {
            note("name", text(self.name.as_str()), text(name.as_str()));
            self.name = name;
        }
        if let Some(zone) = patch.time_zone
            && zone != self.time_zone
        {
            note("timeZone", text(self.time_zone.name()), text(zone.name()));
            self.time_zone = zone;
        }
        if let Some(address) = patch.address
            && address != self.address
        {
            let before = self.address.as_ref().map(bytes_of);
            note("address", before, address.as_ref().map(bytes_of));
            self.address = address;
        }
        if let Some(hours) = patch.opening_hours
            && hours != self.opening_hours
        {
            let before = self.opening_hours.as_ref().map(bytes_of);
            note("openingHours", before, hours.as_ref().map(bytes_of));
            self.opening_hours = hours;
        }
        if let Some(status) = patch.status
            && status != self.status
        {
            note("status", text(self.status.name()), text(status.name()));
            self.status = status;
        }
        changed
    }
}

pub(crate) fn bytes_of<T: Serialize>(value: &T) -> Vec<u8> {
    // Texts and times: nothing in them can fail to be JSON.
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use proptest::prelude::*;

    use super::*;

    fn period(weekday: Weekday, opens: u16, closes: u16) -> OpeningPeriod {
        let at = |hour: u16| WallTime::from_minutes(hour * 60).unwrap();
        OpeningPeriod {
            weekday,
            opens: at(opens),
            closes: at(closes),
        }
    }

    #[test]
    fn opening_hours_are_ordered_and_do_not_overlap() {
        let week = OpeningHours::new(vec![
            period(Weekday::Tue, 8, 12),
            period(Weekday::Mon, 13, 18),
            period(Weekday::Mon, 8, 13),
        ])
        .unwrap();
        assert_eq!(week.periods()[0], period(Weekday::Mon, 8, 13));
        assert_eq!(week.periods()[2], period(Weekday::Tue, 8, 12));
        assert_eq!(
            OpeningHours::new(vec![
                period(Weekday::Mon, 8, 13),
                period(Weekday::Mon, 12, 18)
            ]),
            Err(InvalidOpeningHours::Overlap)
        );
        assert_eq!(
            OpeningHours::new(vec![period(Weekday::Mon, 13, 8)]),
            Err(InvalidOpeningHours::Backwards)
        );
        let read: Result<OpeningHours, _> = serde_json::from_value(
            serde_json::json!([{"weekday": "Mon", "opens": "09:00", "closes": "08:00"}]),
        );
        assert!(read.is_err(), "stored hours are checked as well");
    }

    #[test]
    fn an_address_is_put_into_one_form() {
        let address = Address {
            street: Some(" Rua das Acácias ".to_owned()),
            state: Some("sp".to_owned()),
            postal_code: Some("01310-100".to_owned()),
            ..Address::default()
        };
        let address = address.validated().unwrap();
        assert_eq!(address.street.as_deref(), Some("Rua das Acácias"));
        assert_eq!(address.state.as_deref(), Some("SP"));
        assert_eq!(address.postal_code.as_deref(), Some("01310100"));
        let wrong = |address: Address| address.validated().unwrap_err();
        assert_eq!(
            wrong(Address {
                state: Some("S1".to_owned()),
                ..Address::default()
            }),
            InvalidAddress::State
        );
        assert_eq!(
            wrong(Address {
                postal_code: Some("0131".to_owned()),
                ..Address::default()
            }),
            InvalidAddress::PostalCode
        );
        assert_eq!(
            wrong(Address {
                city: Some(String::new()),
                ..Address::default()
            }),
            InvalidAddress::Part
        );
    }

    proptest! {
        #[test]
        fn a_valid_address_stays_as_it_is(state in "[A-Z]{2}", code in "[0-9]{8}", city in "\\PC{1,50}") {
            let address = Address { state: Some(state), postal_code: Some(code), city: Some(city), ..Address::default() };
            if let Ok(valid) = address.validated() {
                prop_assert_eq!(valid.clone().validated(), Ok(valid));
            }
        }
    }
}
