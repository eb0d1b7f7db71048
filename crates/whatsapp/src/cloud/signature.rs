//! Whether it is Meta who speaks.
//!
//! `X-Hub-Signature-256: sha256=` and the lower-case hex of HMAC-SHA256 over the raw body, keyed
//! by the app's secret. There is no time in it: a delivery can be repeated for ever, and only
//! deduplication keeps it from counting twice.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use conversations::channel::Secret;
use conversations::ports::Handshake;

const PREFIX: &[u8] = b"sha256=";
/// Longest challenge that is repeated: Meta's is a number.
const LONGEST_CHALLENGE: usize = 256;

/// Whether one of the secrets made this proof. All are tried, so that the time tells nothing
/// about which.
pub(super) fn is_authentic(proof: Option<&[u8]>, body: &[u8], secrets: &[Secret]) -> bool {
    let Some(tag) = proof.and_then(tag_of) else {
        return false;
    };
    secrets.iter().fold(false, |authentic, secret| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
        authentic | hmac::verify(&key, body, &tag).is_ok()
    })
}

/// The 32 bytes of a header of exactly the one form that Meta sends.
fn tag_of(proof: &[u8]) -> Option<[u8; 32]> {
    let digits = proof.strip_prefix(PREFIX)?;
    if digits.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let mut tag = [0; 32];
    hex::decode_to_slice(digits, &mut tag).ok()?;
    Some(tag)
}

/// The challenge, where the token is right.
pub(super) fn answer_handshake(handshake: Handshake<'_>, token: &Secret) -> Option<String> {
    let given = handshake.token.unwrap_or_default().as_bytes();
    // Digests have one length, so that the comparison tells nothing about the token's.
    let right = verify_slices_are_equal(
        digest(&SHA256, given).as_ref(),
        digest(&SHA256, token.expose()).as_ref(),
    )
    .is_ok();
    let challenge = handshake.challenge?;
    (right && handshake.mode == Some("subscribe") && challenge.len() <= LONGEST_CHALLENGE)
        .then(|| challenge.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text).unwrap()
    }

    fn sign(secret: &Secret, body: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
        format!("sha256={}", hex::encode(hmac::sign(&key, body)))
    }

    const BODY: &[u8] = br#"{"object":"whatsapp_business_account","entry":[]}"#;

    #[test]
    fn the_right_signature_is_accepted_and_so_is_the_older_secrets() {
        let (old, new) = (secret("old-secret-0001"), secret("new-secret-0002"));
        let both = [new.clone(), old.clone()];
        for signer in [&old, &new] {
            assert!(is_authentic(
                Some(sign(signer, BODY).as_bytes()),
                BODY,
                &both
            ));
        }
        assert!(!is_authentic(
            Some(sign(&old, BODY).as_bytes()),
            BODY,
            &[new]
        ));
        assert!(!is_authentic(Some(sign(&old, BODY).as_bytes()), BODY, &[]));
    }

    #[test]
    fn a_known_answer_is_reproduced() {
        // RFC 4231, test case 2, whose key is shorter than a secret of ours may be.
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
        let tag = hmac::sign(&key, b"what do ya want for nothing?");
        assert_eq!(
            hex::encode(tag),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn every_other_form_of_the_header_is_refused() {
        let key = secret("0123456789abcdef");
        let right = sign(&key, BODY);
        let digits = right.strip_prefix("sha256=").unwrap();
        let last = if digits.ends_with('0') { '1' } else { '0' };
        let forms = [
            String::new(),
            "sha256=".to_owned(),
            digits.to_owned(),
            format!("sha1={}", &digits[..40]),
            format!("SHA256={digits}"),
            format!("sha256={}", digits.to_uppercase()),
            format!("sha256= {digits}"),
            format!("sha256={digits} "),
            format!("sha256={}", &digits[..62]),
            format!("sha256={}", &digits[..13]),
            format!("sha256={digits}00"),
            format!("sha256={}{last}", &digits[..63]),
            format!("sha256={digits},sha256={digits}"),
            format!("sha256={}", "0".repeat(64)),
        ];
        for form in forms {
            let accepted = is_authentic(Some(form.as_bytes()), BODY, std::slice::from_ref(&key));
            // Hex of digits alone has no upper case; that form is then the right one.
            assert!(!accepted || form == right, "accepted: {form}");
        }
        assert!(!is_authentic(None, BODY, std::slice::from_ref(&key)));
        assert!(!is_authentic(Some(&[0xFF; 71]), BODY, &[key]));
    }

    proptest! {
        #[test]
        fn a_changed_body_is_never_authentic(
            body in proptest::collection::vec(any::<u8>(), 1..100),
            at in any::<prop::sample::Index>(),
            bit in 0_u32..8,
        ) {
            let key = secret("0123456789abcdef");
            let proof = sign(&key, &body);
            prop_assert!(is_authentic(Some(proof.as_bytes()), &body, std::slice::from_ref(&key)));
            let mut changed = body.clone();
            let at = at.index(changed.len());
            changed[at] ^= 1 << bit;
            prop_assert!(!is_authentic(Some(proof.as_bytes()), &changed, &[key]));
        }

        #[test]
        fn no_random_header_is_authentic(proof in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(!is_authentic(Some(&proof), BODY, &[secret("0123456789abcdef")]));
        }
    }

    #[test]
    fn a_handshake_is_answered_with_the_bare_challenge_and_only_for_the_token() {
        let token = secret("verify-me-please");
        let right = Handshake {
            mode: Some("subscribe"),
            token: Some("verify-me-please"),
            challenge: Some("1158201444"),
        };
        assert_eq!(
            answer_handshake(right, &token).as_deref(),
            Some("1158201444")
        );
        let wrong = [
            Handshake {
                token: None,
                ..right
            },
            Handshake {
                token: Some(""),
                ..right
            },
            Handshake {
                token: Some("verify-me-pleasf"),
                ..right
            },
            Handshake {
                mode: None,
                ..right
            },
            Handshake {
                mode: Some("unsubscribe"),
                ..right
            },
            Handshake {
                challenge: None,
                ..right
            },
        ];
        for handshake in wrong {
            assert_eq!(answer_handshake(handshake, &token), None);
        }
        let long = "1".repeat(257);
        let handshake = Handshake {
            challenge: Some(&long),
            ..right
        };
        assert_eq!(answer_handshake(handshake, &token), None);
    }
}
