//! E-mail addresses.

use std::fmt;

/// An e-mail address, lower-cased: the domain's case never matters, and no provider that people
/// use tells the local part's case apart. At most 254 characters (RFC 5321 section 4.5.3.1.3).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(String);

/// The text is no e-mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an e-mail address such as ana@example.com")]
pub struct InvalidEmail;

impl Email {
    /// Trims, lower-cases and checks the shape. Whether somebody receives mail there is only
    /// known by sending some.
    pub fn parse(text: &str) -> Result<Self, InvalidEmail> {
        let text = text.trim();
        if text.len() > 254 || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(InvalidEmail);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(InvalidEmail)?;
        let local_fits = !local.is_empty()
            && local.len() <= 64
            && !local.contains(['@', '<', '>', '"', '(', ')', ',', ';', ':', '\\'])
            && !local.starts_with('.')
            && !local.ends_with('.');
        let label_fits = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_alphanumeric() || c == '-')
        };
        let domain_fits = domain.contains('.') && domain.split('.').all(label_fits);
        let text = text.to_lowercase();
        if local_fits && domain_fits && text.len() <= 254 {
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
        fn an_address_parses_to_itself_again(text in "\\PC*@\\PC*") {
            if let Ok(email) = Email::parse(&text) {
                prop_assert_eq!(Email::parse(email.as_str()), Ok(email));
            }
        }
    }
}
