//! What may become a password: [`NewPassword`].
//!
//! NIST SP 800-63B asks for length, forbids rules of composition, and wants those refused that
//! everybody tries first: common ones, repetitions, sequences, and words of the account itself.

use std::fmt;

use kernel::Sensitive;
use kernel::email::Email;
use kernel::text::fold;

/// Fewest characters.
const LEAST: usize = 12;
/// Most characters: hashing is slow on purpose, and nobody types more.
const MOST: usize = 256;

/// A password that may be set: 12 to 256 characters, whatever they are, and not one that is
/// guessed first.
pub struct NewPassword(Sensitive<String>);

/// Why a password may not be set. The text is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPassword {
    /// Too short or too long.
    #[error("must have 12 to 256 characters")]
    Length,
    /// Among the first that are tried: a common one, a repetition, a sequence.
    #[error("must not be a common password, a repetition or a sequence")]
    Common,
    /// The account's own address, or hardly more.
    #[error("must not be the e-mail address or made of it")]
    OfTheAccount,
}

impl InvalidPassword {
    /// The broken rule as a stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Common => "common",
            Self::OfTheAccount => "of-the-account",
        }
    }
}

impl NewPassword {
    /// Checks what can be told without knowing whose it is.
    pub fn parse(text: String) -> Result<Self, InvalidPassword> {
        if !(LEAST..=MOST).contains(&text.chars().count()) {
            return Err(InvalidPassword::Length);
        }
        if is_guessed_first(&fold(&text)) {
            return Err(InvalidPassword::Common);
        }
        Ok(Self(Sensitive::new(text)))
    }

    /// As [`Self::parse`], for the account of that address.
    pub fn parse_for(text: String, email: &Email) -> Result<Self, InvalidPassword> {
        let password = Self::parse(text)?;
        password.fits(email)?;
        Ok(password)
    }

    /// Whether it may be the password of the account of that address: not where all but a few
    /// of its letters are the address's.
    pub fn fits(&self, email: &Email) -> Result<(), InvalidPassword> {
        let text = bare(&fold(self.0.expose()));
        let address = fold(email.as_str());
        let (name, domain) = address.split_once('@').unwrap_or((&address, ""));
        let domain = domain.split('.').next().unwrap_or_default();
        let mut left = text;
        for word in [&bare(&address), &bare(name), &bare(domain)] {
            // Shorter ones are in many good passwords by chance.
            if word.chars().count() >= 4 {
                left = left.replace(word.as_str(), "");
            }
        }
        if left.chars().count() < 6 {
            return Err(InvalidPassword::OfTheAccount);
        }
        Ok(())
    }

    /// The password itself.
    pub fn into_inner(self) -> Sensitive<String> {
        self.0
    }
}

impl fmt::Debug for NewPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewPassword(***)")
    }
}

/// Letters and digits alone.
fn bare(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

/// Rows of a keyboard, the alphabet, the digits: whoever walks along one types a password that
/// is tried first.
const WALKS: &[&str] = &[
    "01234567890123456789",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertyuiop1234567890",
    "1q2w3e4r5t6y7u8i9o0p",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
    "q1w2e3r4t5y6u7i8o9p0",
    "zaq12wsxcde34rfvbgt56yhnmju78",
];

/// Words that passwords are made of when nobody thinks of one, here and elsewhere. What remains
/// of a password without them, its digits and its signs, must still be something.
const WORDS: &[&str] = &[
    "password",
    "passw0rd",
    "senha",
    "mudar",
    "trocar",
    "brasil",
    "flamengo",
    "corinthians",
    "palmeiras",
    "saopaulo",
    "vasco",
    "gremio",
    "admin",
    "administrator",
    "administrador",
    "welcome",
    "bemvindo",
    "letmein",
    "iloveyou",
    "teamo",
    "jesus",
    "deus",
    "clinica",
    "acolhe",
    "recepcao",
    "secretaria",
    "dentista",
    "doutor",
    "doutora",
    "qwerty",
    "abc",
    "dragon",
    "football",
    "futebol",
    "monkey",
    "sunshine",
    "princess",
    "princesa",
    "familia",
    "felicidade",
    "changeme",
    "default",
    "secret",
    "master",
    "superman",
    "batman",
    "pokemon",
    "whatsapp",
    "facebook",
    "google",
    "samsung",
    "internet",
    "computador",
    "teste",
    "test",
    "user",
    "usuario",
    "login",
    "root",
];

/// `folded`: without accents, in lower case.
fn is_guessed_first(folded: &str) -> bool {
    let mut different: Vec<char> = folded.chars().collect();
    different.sort_unstable();
    different.dedup();
    if different.len() < 4 {
        return true;
    }
    let text = bare(folded);
    let backwards: String = text.chars().rev().collect();
    let walked = |walk: &&str| {
        let walk = walk.repeat(2);
        !text.is_empty() && (walk.contains(&text) || walk.contains(&backwards))
    };
    if WALKS.iter().any(walked) || is_repetition(&text) {
        return true;
    }
    let mut left = text;
    for word in WORDS {
        left = left.replace(word, "");
    }
    left.chars().filter(|c| !c.is_numeric()).count() == 0
}

/// The same few characters over and over: `abcabcabcabc`.
fn is_repetition(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    (1..=4).any(|period| {
        chars.len() >= 2 * period
            && chars
                .iter()
                .zip(chars.iter().skip(period))
                .all(|(one, other)| one == other)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use proptest::prelude::*;

    use super::*;

    fn refused(text: &str) -> Option<InvalidPassword> {
        NewPassword::parse(text.to_owned()).err()
    }

    #[test]
    fn a_password_is_long_enough_and_never_shown() {
        assert_eq!(refused("onze letras"), Some(InvalidPassword::Length));
        assert_eq!(refused(&"xyzw".repeat(65)), Some(InvalidPassword::Length));
        let password = NewPassword::parse("doze letras!".to_owned()).unwrap();
        assert_eq!(format!("{password:?}"), "NewPassword(***)");
    }

    #[test]
    fn what_is_tried_first_is_refused() {
        for text in [
            "aaaaaaaaaaaaaaaa",
            "123456789012",
            "210987654321",
            "abcdefghijklmno",
            "qwertyuiop123",
            "1q2w3e4r5t6y",
            "abcabcabcabc",
            "Password1234",
            "SENHA-123456",
            "Senha@2026!!!",
            "Mudar123Mudar123",
            "Clínica2026!",
            "bem-vindo-2026",
            "acolhe-acolhe",
            "............",
        ] {
            assert_eq!(refused(text), Some(InvalidPassword::Common), "{text}");
        }
        for text in [
            "uma senha bem longa",
            "acolhe-demo-2026",
            "correct horse battery staple",
            "7fK#29vB!qLm",
            "ÁéÍóÚ çãõ êô",
        ] {
            assert_eq!(refused(text), None, "{text}");
        }
    }

    #[test]
    fn an_account_does_not_have_its_own_address_for_a_password() {
        let email = Email::parse("ana.lima@jardins.example").unwrap();
        for text in [
            "ana.lima@jardins.example",
            "AnaLima@Jardins",
            "analima-2026!",
            "jardins jardins",
        ] {
            let fitting = NewPassword::parse_for(text.to_owned(), &email);
            let error = fitting.err();
            assert_eq!(error, Some(InvalidPassword::OfTheAccount), "{text}");
        }
        let fine = "ana lima gosta de caju".to_owned();
        assert!(NewPassword::parse_for(fine, &email).is_ok());
        let short = Email::parse("al@x.com").unwrap();
        assert!(NewPassword::parse_for("balada alegre".to_owned(), &short).is_ok());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,300}", name in "[a-z.]{1,12}") {
            if let Ok(email) = Email::parse(&format!("{name}@example.com")) {
                let _ = NewPassword::parse_for(text, &email);
            }
        }

        #[test]
        fn what_chance_draws_is_taken(text in "[A-Za-z0-9+/]{22}") {
            prop_assert_eq!(refused(&text), None);
        }
    }
}
