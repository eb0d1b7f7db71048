//! [`OneTimeToken`]: what a link in a mail proves. Only its keyed hash is ever stored, and what it
//! stands for (an invitation, a request for a new password) can be used once.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kernel::{KeyOwner, KeyPurpose, Toolkit};

/// 256 unpredictable bits. Shows nothing in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct OneTimeToken([u8; 32]);

/// The text is no token. Whoever tried it learns no more than of one that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a token")]
pub struct InvalidOneTimeToken;

impl OneTimeToken {
    /// A new one.
    pub fn draw(tools: &Toolkit) -> Self {
        Self(tools.random_bytes())
    }

    /// From the text of a link: 43 characters of base64url.
    pub fn parse(text: &str) -> Result<Self, InvalidOneTimeToken> {
        let mut bytes = [0; 32];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(32) => Ok(Self(bytes)),
            _ => Err(InvalidOneTimeToken),
        }
    }

    /// As it stands in a link.
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What it is known by at rest. Raising the version of look-up hashes ends all links.
    pub fn hash(&self, tools: &Toolkit) -> [u8; 32] {
        let keys = tools.keys();
        keys.mac(KeyOwner::Platform, KeyPurpose::OneTimeToken, &self.0)
    }
}

impl fmt::Debug for OneTimeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneTimeToken(***)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_is_read_as_it_was_written(bytes: [u8; 32]) {
            let token = OneTimeToken(bytes);
            let text = token.to_text();
            prop_assert_eq!(text.len(), 43);
            let shown = format!("{token:?}");
            prop_assert!(!shown.contains(&text));
            prop_assert_eq!(OneTimeToken::parse(&text), Ok(token));
        }

        #[test]
        fn no_other_text_is_one(text in ".{0,60}") {
            if let Ok(token) = OneTimeToken::parse(&text) {
                prop_assert_eq!(token.to_text(), text);
            }
        }
    }
}
