//! Small values of clinics and branches: names, time zones, locales. One that exists is valid.

use std::fmt;
use std::str::FromStr;

use chrono_tz::Tz;

/// A name of a clinic, a branch or a user: 1 to 200 characters, without surrounding blanks or
/// control characters.
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
        let text = text.trim();
        let fits = !text.is_empty() && text.chars().count() <= Self::MAX_CHARS;
        if fits && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName)
        }
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

/// A language and, where it matters, its country, such as `pt-BR` (BCP 47).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Locale(String);

/// Not a locale of the form that is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a language and a country, such as pt-BR")]
pub struct InvalidLocale;

impl Locale {
    /// A language of two or three lower-case letters, with a country of two upper-case letters
    /// or without.
    pub fn parse(text: &str) -> Result<Self, InvalidLocale> {
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
    fn a_locale_is_a_language_and_perhaps_a_country() {
        for right in ["pt-BR", "pt", "en-US"] {
            assert_eq!(Locale::parse(right).unwrap().as_str(), right);
        }
        for wrong in ["", "PT", "pt-br", "pt_BR", "pt-BR-x", "portuguese", "pt-"] {
            assert!(Locale::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_without_a_panic(text in ".{0,300}") {
            let _ = Locale::parse(&text);
            let _ = TimeZone::parse(&text);
            if let Ok(name) = Name::parse(&text) {
                prop_assert_eq!(Name::parse(name.as_str()), Ok(name));
            }
        }
    }
}
