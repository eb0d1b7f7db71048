//! E-mail addresses.

use std::fmt;

use unicode_normalization::UnicodeNormalization as _;

/// An e-mail address, lower-cased: the domain's case never matters, and no provider that people
/// use tells the local part's case apart. At most 254 characters (RFC 5321 section 4.5.3.1.3).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(String);

/// The text is no e-mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an e-mail address such as ana@example.com")]
pub struct InvalidEmail;

impl Email {
    /// Longest address, in octets.
    pub const MAX: usize = 254;

    /// Trims, composes accents, lower-cases and checks the shape: dot-separated atoms of RFC 5322
    /// (letters of any script, as in RFC 6531) at a domain of two labels or more. Whether somebody
    /// receives mail there is only known by sending some.
    pub fn parse(text: &str) -> Result<Self, InvalidEmail> {
        let text = text.trim();
        // Composing never makes a text a quarter as long: more cannot become an address.
        if text.len() > Self::MAX * 4 {
            return Err(InvalidEmail);
        }
        // Again after lower-casing, which may leave a mark of its own.
        let text: String = text
            .nfc()
            .collect::<String>()
            .to_lowercase()
            .nfc()
            .collect();
        let (local, domain) = text.split_once('@').ok_or(InvalidEmail)?;
        let atom_fits = |atom: &str| {
            let fits = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
            !atom.is_empty() && atom.chars().all(fits)
        };
        let local_fits = local.len() <= 64 && local.split('.').all(atom_fits);
        let label_fits = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_alphanumeric() || c == '-')
        };
        let domain_fits = domain.contains('.') && domain.split('.').all(label_fits);
        if local_fits && domain_fits && text.len() <= Self::MAX {
            Ok(Self(text))
        } else {
            Err(InvalidEmail)
        }
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(***)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_lower_cased_and_trimmed() {
        assert_eq!(
            Email::parse("  Ana.Lima@Example.COM ").unwrap().as_str(),
            "ana.lima@example.com"
        );
    }

    #[test]
    fn accents_are_composed_so_that_equal_addresses_are_equal() {
        let composed = Email::parse("JOSÉ@São.com.br").unwrap();
        assert_eq!(composed.as_str(), "josé@são.com.br");
        assert_eq!(Email::parse("Jose\u{301}@Sa\u{303}o.com.br"), Ok(composed));
    }

    #[test]
    fn an_address_has_at_most_254_octets_and_64_before_the_at() {
        let domain = ["a".repeat(63), "b".repeat(63), "c".repeat(57)].join(".");
        let local = "a".repeat(64);
        assert!(Email::parse(&format!("{local}@{domain}.com")).is_ok());
        assert!(Email::parse(&format!("{local}@{domain}c.com")).is_err());
        assert!(Email::parse(&format!("{local}a@b.com")).is_err());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "@",
            "a@",
            "@b.com",
            "a b@c.com",
            "a@b",
            "a@b..com",
            "a@-b.com",
            "a@@b.com",
            ".a@b.com",
            "a..c@b.com",
            "a@b.com.",
            "a@localhost",
            "a@[127.0.0.1]",
            "\"a b\"@c.com",
            "Ana <a@b.com>",
            "a\0@b.com",
            // An invisible blank, as it comes along in a copy.
            "a\u{200B}@b.com",
            "a@b.com\r\nBcc: c@d.com",
        ] {
            assert_eq!(Email::parse(text), Err(InvalidEmail), "{text}");
        }
    }

    #[test]
    fn debug_does_not_show_the_address() {
        assert_eq!(
            format!("{:?}", Email::parse("ana@example.com").unwrap()),
            "Email(***)"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = Email::parse(&text);
        }

        #[test]
        fn an_address_parses_to_itself_again(text in "\\PC*@\\PC*") {
            if let Ok(email) = Email::parse(&text) {
                prop_assert_eq!(Email::parse(email.as_str()), Ok(email));
            }
        }
    }
}
