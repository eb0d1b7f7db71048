//! Small values of clinics and branches: names, time zones, wall times, locales. One that exists
//! is valid.

use std::fmt;
use std::str::FromStr;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

/// A name of a clinic, a branch or a user: 1 to 200 characters on one line, something of it
/// visible, without surrounding blanks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(String);

/// Not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to 200 characters and no control characters")]
pub struct InvalidName;

impl Name {
    /// Longest name, in characters.
    pub const MAX_CHARS: usize = 200;

    /// Blanks around it are dropped.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        kernel::text::line(text, Self::MAX_CHARS)
            .map(Self)
            .ok_or(InvalidName)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A zone of the IANA time zone database, such as `America/Sao_Paulo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeZone(Tz);

/// Not a known zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a zone of the IANA time zone database")]
pub struct InvalidTimeZone;

impl TimeZone {
    /// By its exact name.
    pub fn parse(name: &str) -> Result<Self, InvalidTimeZone> {
        Tz::from_str(name).map(Self).map_err(|_| InvalidTimeZone)
    }

    /// The zone's name.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// The zone itself, to reckon with.
    pub const fn zone(self) -> Tz {
        self.0
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A minute of a day by the clock on the wall, from 00:00 to 24:00, which ends the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WallTime(u16);

/// Not a wall time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a time from 00:00 to 24:00")]
pub struct InvalidWallTime;

impl WallTime {
    /// Minutes from the day's beginning, 0 to 1440.
    pub fn from_minutes(minutes: u16) -> Result<Self, InvalidWallTime> {
        if minutes <= 24 * 60 {
            Ok(Self(minutes))
        } else {
            Err(InvalidWallTime)
        }
    }

    /// From `HH:MM`.
    pub fn parse(text: &str) -> Result<Self, InvalidWallTime> {
        let [a, b, b':', c, d] = *text.as_bytes() else {
            return Err(InvalidWallTime);
        };
        if ![a, b, c, d].iter().all(u8::is_ascii_digit) {
            return Err(InvalidWallTime);
        }
        let number = |tens: u8, ones: u8| u16::from(tens - b'0') * 10 + u16::from(ones - b'0');
        let (hours, minutes) = (number(a, b), number(c, d));
        if minutes < 60 {
            Self::from_minutes(hours * 60 + minutes)
        } else {
            Err(InvalidWallTime)
        }
    }

    /// Minutes from the day's beginning, 0 to 1440.
    pub const fn minutes(self) -> u16 {
        self.0
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl TryFrom<String> for WallTime {
    type Error = InvalidWallTime;
    fn try_from(text: String) -> Result<Self, InvalidWallTime> {
        Self::parse(&text)
    }
}

impl From<WallTime> for String {
    fn from(time: WallTime) -> Self {
        time.to_string()
    }
}

/// A language and, where it matters, its country, such as `pt-BR` (BCP 47): one of
/// [`Locale::KNOWN`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Locale(String);

/// Not one of the locales that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be one of {}", Locale::KNOWN.join(", "))]
pub struct InvalidLocale;

impl Locale {
    /// Every locale a clinic may choose: the languages of Brazil and its neighbours, and English.
    pub const KNOWN: &[&str] = &[
        "pt-BR", "pt-PT", "pt", "en-US", "en-GB", "en", "es-AR", "es-BO", "es-CL", "es-CO",
        "es-EC", "es-ES", "es-MX", "es-PE", "es-PY", "es-UY", "es-VE", "es",
    ];

    /// One of [`Locale::KNOWN`], written as there.
    pub fn parse(text: &str) -> Result<Self, InvalidLocale> {
        if Self::KNOWN.contains(&text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidLocale)
        }
    }

    /// As it was stored: also one that could be chosen once, of the same form, so that its clinic
    /// stays readable.
    pub fn from_stored(text: &str) -> Result<Self, InvalidLocale> {
        let (language, country) = match text.split_once('-') {
            Some((language, country)) => (language, Some(country)),
            None => (text, None),
        };
        let language_fits =
            matches!(language.len(), 2 | 3) && language.bytes().all(|b| b.is_ascii_lowercase());
        let country_fits = country
            .is_none_or(|code| code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase()));
        if language_fits && country_fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidLocale)
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Locale {
    /// Brazilian Portuguese.
    fn default() -> Self {
        Self("pt-BR".to_owned())
    }
}

impl fmt::Display for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_trimmed_and_bounded() {
        assert_eq!(
            Name::parse("  Clínica Ipê ").unwrap().as_str(),
            "Clínica Ipê"
        );
        assert!(Name::parse(" \t").is_err());
        assert!(Name::parse("a\nb").is_err());
        assert!(Name::parse(&"é".repeat(200)).is_ok());
        assert!(Name::parse(&"é".repeat(201)).is_err());
    }

    #[test]
    fn only_zones_of_the_database_are_zones() {
        assert_eq!(
            TimeZone::parse("America/Sao_Paulo").unwrap().name(),
            "America/Sao_Paulo"
        );
        for wrong in [
            "",
            "America/São_Paulo",
            "GMT-3 ",
            "america/sao_paulo",
            "BRT",
        ] {
            assert!(TimeZone::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_locale_is_one_of_those_known_and_the_others_are_told_which() {
        for right in Locale::KNOWN {
            let locale = Locale::parse(right).unwrap();
            assert_eq!(locale.as_str(), *right);
            assert_eq!(Locale::from_stored(right), Ok(locale));
        }
        assert_eq!(Locale::parse("pt-BR"), Ok(Locale::default()));
        for wrong in [
            "", "xx", "xx-BR", "pt-US", "PT", "pt-br", "pt_BR", " pt-BR", "pt-BR-x", "pt-",
        ] {
            let refusal = Locale::parse(wrong).unwrap_err().to_string();
            assert!(refusal.starts_with("must be one of pt-BR, pt-PT, "));
            assert!(refusal.ends_with(", es"), "{refusal}");
        }
    }

    #[test]
    fn a_locale_that_was_stored_once_stays_readable() {
        for stored in ["fr-FR", "xx"] {
            assert_eq!(Locale::from_stored(stored).unwrap().as_str(), stored);
        }
        for corrupt in ["", "pt_BR", "PT", "pt-BR-x", "portuguese"] {
            assert!(Locale::from_stored(corrupt).is_err(), "{corrupt}");
        }
    }

    #[test]
    fn a_wall_time_is_a_minute_of_a_day() {
        assert_eq!(WallTime::parse("08:30").unwrap().minutes(), 510);
        assert_eq!(WallTime::parse("24:00").unwrap().minutes(), 1440);
        for wrong in [
            "", "8:30", "08:60", "24:01", "99:00", "08:30:00", "0830", "+8:30", "é8:3",
        ] {
            assert_eq!(WallTime::parse(wrong), Err(InvalidWallTime), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_wall_time_is_read_as_it_is_written(minutes in 0_u16..=1440) {
            let time = WallTime::from_minutes(minutes).unwrap();
            prop_assert_eq!(WallTime::parse(&time.to_string()), Ok(time));
        }

        #[test]
        fn any_text_is_parsed_without_a_panic(text in ".{0,300}") {
            let _ = Locale::parse(&text);
            let _ = Locale::from_stored(&text);
            let _ = TimeZone::parse(&text);
            let _ = WallTime::parse(&text);
            if let Ok(name) = Name::parse(&text) {
                prop_assert_eq!(Name::parse(name.as_str()), Ok(name));
            }
        }
    }
}
