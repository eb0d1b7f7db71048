//! Search by words, phone endings or document.
//!
//! Words are matched from their beginning, without regard to case and accents; every word must
//! match. A whole CPF or CNPJ is looked up exactly, by keyed hash. Eleven digits may be a CPF and a
//! mobile at once (one mobile in a hundred has the check digits of a CPF): both are found.

use kernel::document::Document;
use kernel::email::Email;
use kernel::phone::{self, Phone};
use kernel::text;

/// Most words of a search that are looked at.
pub const MAX_WORDS: usize = 6;

/// What is searched for: contacts that match every word, or that have the document.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    /// Contacts with a token beginning with each of these. At least one; each is folded and has at
    /// least three characters.
    pub words: Vec<String>,
    /// The contact with this document, too.
    pub document: Option<Document>,
}

/// The search has no word of three characters or more, and is no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have a word of at least 3 letters or digits")]
pub struct NothingToSearch;

impl Search {
    /// Reads what a person typed.
    pub fn parse(text: &str) -> Result<Self, NothingToSearch> {
        // "(11) 99999-0000" is one number, whatever stands between its digits.
        let mut words = match phone::search_digits(text) {
            Some(digits) => vec![digits],
            None => text::tokens(text),
        };
        words.truncate(MAX_WORDS);
        if words.is_empty() {
            return Err(NothingToSearch);
        }
        let document = Document::parse(text).ok();
        Ok(Self { words, document })
    }

    /// A canonical form, for binding a cursor to it.
    pub fn canonical(&self) -> String {
        // The document follows from the same text as the words.
        self.words.join(" ")
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
