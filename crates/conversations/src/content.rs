//! What a message brings beside its words, in one shape for all providers.
//!
//! Every part is optional, because a message may have several (a picture that answers an
//! advertisement) and a provider may leave out any. Stored as JSON; fields are only ever added.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The parts of a message beside its words. Medical: never in a log.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Content {
    /// The file, for image, audio, video, document and sticker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media: Option<Media>,
    /// The place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// The contact cards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<Card>,
    /// What was chosen of buttons or a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice: Option<Choice>,
    /// The filled form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<Form>,
    /// The advertisement or post that led here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referral: Option<Referral>,
    /// The provider's notice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
    /// Whether the answered message was of a product or forwarded often.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub frequently_forwarded: bool,
    /// The message as the provider sent it, where its kind is not understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<Value>,
}

impl Content {
    /// Whether there is nothing beside the words.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Content(***)")
    }
}

/// A reference to a file that the provider holds.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Media {
    /// The provider's id of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// SHA-256 of its bytes, in the provider's notation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The name it was sent with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// Where the provider offers it for a few minutes. Untrusted: never fetched without the
    /// checks against requests to inner addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether a recording is a voice note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voice: Option<bool>,
    /// Whether a sticker moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub animated: Option<bool>,
}

/// A place.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Location {
    /// Degrees north.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latitude: Option<f64>,
    /// Degrees east.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longitude: Option<f64>,
    /// Its name, for a chosen place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its address, for a chosen place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its page, for a chosen place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// A contact card.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Card {
    /// The name as shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The numbers, as written on the card.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phones: Vec<CardPhone>,
    /// The addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub emails: Vec<String>,
    /// The organisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
}

/// A number on a contact card.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CardPhone {
    /// The number as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// The WhatsApp number behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wa_id: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// What was chosen of buttons or a list.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Choice {
    /// Among what: `button`, `list` or `template-button`.
    pub among: String,
    /// The id or payload that the clinic gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What the person saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The smaller text beneath.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A filled form (a *flow* of the provider).
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Form {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The answers, where they could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<Value>,
    /// The answers as they came, where they could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread_answers: Option<String>,
}

/// The advertisement or post that led here.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Referral {
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_id: Option<String>,
    /// `ad` or `post`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_type: Option<String>,
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_url: Option<String>,
    /// Its headline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headline: Option<String>,
    /// Its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// What the advertiser's measurement needs to know the click again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub click_id: Option<String>,
}

/// A notice of the provider.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Notice {
    /// What it is about, in the provider's word, such as `user_changed_number`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The number it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wa_id: Option<String>,
}

macro_rules! hide {
    ($($type:ident),+) => {$(
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($type), "(***)"))
            }
        }
    )+};
}
hide!(
    Media, Location, Card, CardPhone, Choice, Form, Referral, Notice
);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_there_is_written_and_anything_missing_is_read() {
        assert_eq!(serde_json::to_value(Content::default()).unwrap(), json!({}));
        let content: Content =
            serde_json::from_value(json!({"media": {"id": "1"}, "later": true})).unwrap();
        assert_eq!(content.media.unwrap().id.as_deref(), Some("1"));
    }
}
