//! Search by words, phone endings or document.
//!
//! Words are matched from their beginning, without regard to case and accents; every word must
//! match. A whole CPF or CNPJ is looked up exactly, by keyed hash.

use kernel::document::Document;
use kernel::email::Email;
use kernel::phone::{self, Phone};
use kernel::text;

/// Most words of a search that are looked at.
pub const MAX_WORDS: usize = 6;

/// What is searched for.
#[derive(Debug, Clone, PartialEq)]
pub enum Search {
    /// Contacts with a token beginning with each of these words. At least one word; each is
    /// folded and has at least three characters.
    Words(Vec<String>),
    /// The contact with this document.
    Document(Document),
}

/// The search has no word of three characters or more, and is no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have a word of at least 3 letters or digits")]
pub struct NothingToSearch;

impl Search {
    /// Reads what a person typed.
    pub fn parse(text: &str) -> Result<Self, NothingToSearch> {
        if let Ok(document) = Document::parse(text) {
            return Ok(Self::Document(document));
        }
        // "(11) 99999-0000" is one number, whatever stands between its digits.
        let mut words = match phone::search_digits(text) {
            Some(digits) => vec![digits],
            None => text::tokens(text),
        };
        words.truncate(MAX_WORDS);
        if words.is_empty() {
            Err(NothingToSearch)
        } else {
            Ok(Self::Words(words))
        }
    }

    /// A canonical form, for binding a cursor to it.
    pub fn canonical(&self) -> String {
        match self {
            Self::Words(words) => words.join(" "),
            Self::Document(document) => format!("document {}", document.as_str()),
        }
    }
}

/// The tokens under which a contact is found: words of its names, its e-mails whole and in words,
/// and the endings of its phones.
pub fn tokens_of<'a>(
    names: impl IntoIterator<Item = &'a str>,
    emails: impl IntoIterator<Item = &'a Email>,
    phones: impl IntoIterator<Item = &'a Phone>,
) -> Vec<String> {
    let mut tokens: Vec<String> = names.into_iter().flat_map(text::tokens).collect();
    for email in emails {
        tokens.extend(text::tokens(email.as_str()));
    }
    for phone in phones {
        tokens.extend(phone.search_tokens());
    }
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}
