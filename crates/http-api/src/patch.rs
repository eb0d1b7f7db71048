//! Fields of a partial change, where absent and null differ (RFC 7396).

use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer};

/// A field of a patch. Use with `#[serde(default)]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PatchField<T> {
    /// Not named: stays.
    #[default]
    Absent,
    /// Null: is emptied.
    Null,
    /// Gets this value.
    Value(T),
}

impl<T> PatchField<T> {
    /// The field with its value turned into something else, or why it cannot be.
    pub fn try_map<U, E>(self, map: impl FnOnce(T) -> Result<U, E>) -> Result<PatchField<U>, E> {
        Ok(match self {
            Self::Absent => PatchField::Absent,
            Self::Null => PatchField::Null,
            Self::Value(value) => PatchField::Value(map(value)?),
        })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for PatchField<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::Value))
    }
}

/// A field of a patch that cannot be emptied: null is refused as any other wrong type is. Use with
/// `#[serde(default, deserialize_with = "given")]`.
pub(crate) fn given<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let null = || D::Error::invalid_type(Unexpected::Unit, &"a value: null does not empty it");
    Option::deserialize(deserializer)?
        .ok_or_else(null)
        .map(Some)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may")]

    use super::*;

    #[derive(Deserialize)]
    struct Form {
        #[serde(default)]
        notes: PatchField<String>,
        #[serde(default, deserialize_with = "given")]
        name: Option<String>,
    }

    #[test]
    fn absent_null_and_a_value_are_told_apart() {
        let read = |json: &str| serde_json::from_str::<Form>(json).unwrap().notes;
        assert_eq!(read("{}"), PatchField::Absent);
        assert_eq!(read(r#"{"notes":null}"#), PatchField::Null);
        assert_eq!(read(r#"{"notes":"x"}"#), PatchField::Value("x".to_owned()));
    }

    #[test]
    fn null_does_not_pass_for_a_field_that_is_not_named() {
        let read = |json: &str| serde_json::from_str::<Form>(json).map(|form| form.name);
        assert_eq!(read("{}").unwrap(), None);
        assert_eq!(read(r#"{"name":"x"}"#).unwrap().as_deref(), Some("x"));
        assert!(read(r#"{"name":null}"#).is_err());
    }
}
