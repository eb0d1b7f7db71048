//! Search by words, e-mail addresses, phones or document.
//!
//! Words are matched from their beginning, without regard to case and accents; every word must
//! match. An e-mail address is one word, its `@` and dots included: it finds its own contact, and
//! the beginning of it, typed as far as the `@` at least, whoever's begins so. A phone is found by
//! its beginning, with or without country and area code, and by its end. A whole CPF or CNPJ is looked up exactly, by keyed hash. Eleven digits may be a CPF and a
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
            None => words_of(text),
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

/// The words of a text, in the order they stand, an address whole.
fn words_of(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for part in text.split_whitespace() {
        let found = match address(part) {
            Some(address) => vec![address],
            None => text::tokens(part),
        };
        for word in found {
            if !words.contains(&word) {
                words.push(word);
            }
        }
    }
    words
}

/// An e-mail address, or what is typed so far of one, as its token begins. As it comes in a
/// message's head, it may stand in brackets or before a comma.
fn address(part: &str) -> Option<String> {
    let part = part.trim_matches(|c: char| "<>()[]\"',;:".contains(c));
    let (local, domain) = part.split_once('@')?;
    if local.is_empty() || domain.contains('@') {
        return None;
    }
    let token = address_token(part);
    (token.chars().count() >= text::MIN_TOKEN).then_some(token)
}

/// An address folded. Folding may write one letter as eighteen: what an index has no room for is cut.
fn address_token(address: &str) -> String {
    text::fold(address).chars().take(Email::MAX).collect()
}

/// The tokens under which a contact is found: words of its names, its e-mails whole and in words,
/// and beginnings and endings of its phones.
pub fn tokens_of<'a>(
    names: impl IntoIterator<Item = &'a str>,
    emails: impl IntoIterator<Item = &'a Email>,
    phones: impl IntoIterator<Item = &'a Phone>,
) -> Vec<String> {
    let mut tokens: Vec<String> = names.into_iter().flat_map(text::tokens).collect();
    for email in emails {
        tokens.push(address_token(email.as_str()));
        tokens.extend(text::tokens(email.as_str()));
    }
    for phone in phones {
        tokens.extend(phone.search_tokens());
    }
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn finds(typed: &str, names: &[&str], emails: &[&str], phones: &[&str]) -> bool {
        let emails: Vec<Email> = emails.iter().map(|e| Email::parse(e).unwrap()).collect();
        let phones: Vec<Phone> = phones.iter().map(|p| Phone::parse(p).unwrap()).collect();
        let tokens = tokens_of(names.iter().copied(), &emails, &phones);
        let begun = |word: &String| tokens.iter().any(|token| token.starts_with(word.as_str()));
        Search::parse(typed).unwrap().words.iter().all(begun)
    }

    #[test]
    fn an_address_is_one_word() {
        let words = |text| Search::parse(text).unwrap().words;
        assert_eq!(words("Otavio.ZZ@Example.com"), ["otavio.zz@example.com"]);
        assert_eq!(
            words("Lima <otavio@exa>,"),
            ["lima".to_owned(), "otavio@exa".to_owned()]
        );
        assert_eq!(words("@example.com"), ["example", "com"]);
        assert_eq!(words("ana@b@example"), ["ana", "example"]);
        assert_eq!(Search::parse("a@"), Err(NothingToSearch));
    }

    #[test]
    fn an_address_finds_none_that_only_resembles_it() {
        let (one, other) = (["otavio.zz@example.com"], ["otavio@zz.example.com"]);
        assert!(finds("otavio.zz@example.com", &[], &one, &[]));
        assert!(!finds("otavio.zz@example.com", &["Otávio"], &other, &[]));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            if let Ok(search) = Search::parse(&text) {
                prop_assert!((1..=MAX_WORDS).contains(&search.words.len()));
                for word in search.words {
                    prop_assert!((text::MIN_TOKEN..=Email::MAX).contains(&word.chars().count()));
                }
            }
        }

        #[test]
        fn an_address_is_found_by_its_beginning_in_any_case(
            local in "[a-zà-ö0-9]{1,8}([.+_-][a-z0-9]{1,8}){0,2}",
            domain in "[a-z0-9]{1,10}(\\.[a-z]{2,6}){1,2}",
            more in 0_usize..40,
            shout in any::<bool>(),
        ) {
            let address = format!("{local}@{domain}");
            let typed: String = address.chars().take(local.chars().count() + 1 + more).collect();
            let typed = if shout { typed.to_uppercase() } else { typed };
            if Search::parse(&typed).is_ok() {
                prop_assert!(finds(&typed, &[], &[&address], &[]), "{} by {}", address, typed);
            }
        }

        #[test]
        fn a_token_of_any_address_fits_into_an_index(text in "\\PC{1,60}@\\PC{1,60}\\.\\PC{1,9}") {
            if let Ok(email) = Email::parse(&text) {
                for token in tokens_of([], [&email], []) {
                    prop_assert!(token.len() <= 4 * Email::MAX);
                }
            }
        }

        #[test]
        fn a_mobile_is_found_by_what_is_typed_of_either_form(
            area in "(11|21|55)",
            subscriber in "[6-9][0-9]{7}",
            long in any::<bool>(),
            form in 0_usize..6,
            typed in 3_usize..20,
        ) {
            let ninth = if long { "9" } else { "" };
            let phone = format!("+55{area}{ninth}{subscriber}");
            let (a, b) = subscriber.split_at(4);
            let form = [
                format!("+55 {area} {a}-{b}"),
                format!("+55 ({area}) 9{a}-{b}"),
                format!("({area}) {a}-{b}"),
                format!("{area}9{a}{b}"),
                format!("{a}-{b}"),
                format!("9{a}-{b}"),
            ][form].chars().take(typed).collect::<String>();
            if Search::parse(&form).is_ok() {
                prop_assert!(finds(&form, &[], &[], &[&phone]), "{} by {}", phone, form);
            }
        }
    }
}
