//! Tokens made by hand, each wrong in one way.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::sync::Mutex;

use aws_lc_rs::hmac;
use chrono::{DateTime, TimeDelta, Utc};
use clinics::Revocations as _;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::SystemRandom;

struct TestClock(Mutex<DateTime<Utc>>);

impl Clock for TestClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
}

impl TestClock {
    fn advance(&self, seconds: i64) {
        *self.0.lock().unwrap() += TimeDelta::seconds(seconds);
    }
}

const SEED: [u8; 32] = [7; 32];
const OTHER_SEED: [u8; 32] = [8; 32];
const NOW: i64 = 1_795_000_000;

struct Setting {
    clock: Arc<TestClock>,
    tokens: JwtTokens,
}

fn key(seed: [u8; 32]) -> SigningKey {
    SigningKey::parse(&STANDARD.encode(seed)).unwrap()
}

fn setting_with(seed: [u8; 32], older: Vec<SigningKey>) -> Setting {
    let clock = Arc::new(TestClock(Mutex::new(
        DateTime::from_timestamp(NOW, 0).unwrap(),
    )));
    let tokens = JwtTokens::new(
        key(seed),
        older,
        "acolhe",
        "acolhe-api",
        Arc::<TestClock>::clone(&clock),
        Arc::new(SystemRandom),
    );
    Setting { clock, tokens }
}

fn setting() -> Setting {
    setting_with(SEED, vec![])
}

fn user() -> UserId {
    UserId::from(Uuid::from_u128(7))
}

fn session() -> SessionId {
    SessionId::from(Uuid::from_u128(9))
}

fn good_header() -> Value {
    json!({"alg": "EdDSA", "typ": "at+jwt", "kid": key(SEED).id()})
}

fn good_claims() -> Value {
    json!({
        "iss": "acolhe", "aud": "acolhe-api", "sub": Uuid::from_u128(7), "sid": Uuid::from_u128(9),
        "jti": Uuid::from_u128(1), "iat": NOW, "exp": NOW + 900,
    })
}

fn with(mut object: Value, field: &str, value: Value) -> Value {
    object[field] = value;
    object
}

fn without(mut object: Value, field: &str) -> Value {
    object.as_object_mut().unwrap().remove(field);
    object
}

fn signing_input(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

fn signed(header: &Value, claims: &Value, seed: [u8; 32]) -> String {
    let input = signing_input(header, claims);
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(input.as_bytes()).as_ref());
    format!("{input}.{signature}")
}

#[test]
fn an_issued_token_speaks_for_its_user_and_session() {
    let Setting { tokens, .. } = setting();
    let issued = tokens.issue(user(), session()).unwrap();
    assert_eq!(issued.expires_in, Duration::from_mins(15));
    let identity = tokens.verify(issued.token.expose()).unwrap();
    assert_eq!((identity.user, identity.session), (user(), session()));
    let again = tokens.issue(user(), session()).unwrap();
    assert_ne!(
        issued.token.expose(),
        again.token.expose(),
        "each has an id of its own"
    );
    assert!(issued.token.expose().len() < MAX_LENGTH / 2);
}

#[test]
fn a_token_ends_after_a_quarter_of_an_hour_also_when_it_is_remembered() {
    let Setting { tokens, clock } = setting();
    let token = tokens.issue(user(), session()).unwrap().token.into_inner();
    clock.advance(899);
    assert!(tokens.verify(&token).is_ok());
    clock.advance(1);
    assert_eq!(tokens.verify(&token), Err(InvalidToken), "remembered");
    let fresh = setting();
    fresh.clock.advance(900);
    assert_eq!(
        fresh.tokens.verify(&token),
        Err(InvalidToken),
        "seen for the first time"
    );
}

#[test]
fn a_token_made_by_hand_is_accepted_only_when_everything_is_right() {
    let Setting { tokens, .. } = setting();
    assert!(
        tokens
            .verify(&signed(&good_header(), &good_claims(), SEED))
            .is_ok()
    );

    let refused = |what: &str, token: &str| {
        assert_eq!(tokens.verify(token), Err(InvalidToken), "{what}");
    };
    for (field, value) in [
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("alg", json!("ES256")),
        ("alg", json!("eddsa")),
        ("typ", json!("JWT")),
        ("typ", json!("AT+JWT ")),
        ("kid", json!("another")),
        ("kid", json!("")),
        ("crit", json!(["exp"])),
    ] {
        let header = with(good_header(), field, value.clone());
        refused(
            &format!("{field} {value}"),
            &signed(&header, &good_claims(), SEED),
        );
    }
    for field in ["alg", "typ", "kid"] {
        refused(
            field,
            &signed(&without(good_header(), field), &good_claims(), SEED),
        );
    }
    for (field, value) in [
        ("iss", json!("somebody")),
        ("aud", json!("another-api")),
        ("sub", json!("7")),
        ("sid", json!(null)),
        ("exp", json!(NOW)),
        ("exp", json!("tomorrow")),
        ("exp", json!(-1)),
    ] {
        let claims = with(good_claims(), field, value.clone());
        refused(
            &format!("{field} {value}"),
            &signed(&good_header(), &claims, SEED),
        );
    }
    for field in ["iss", "aud", "sub", "sid", "jti", "iat", "exp"] {
        refused(
            field,
            &signed(&good_header(), &without(good_claims(), field), SEED),
        );
    }
    refused(
        "another key",
        &signed(&good_header(), &good_claims(), OTHER_SEED),
    );
}

#[test]
fn a_token_without_a_signature_is_refused() {
    let Setting { tokens, .. } = setting();
    for algorithm in ["none", "None", "EdDSA"] {
        let header = with(good_header(), "alg", json!(algorithm));
        let input = signing_input(&header, &good_claims());
        assert_eq!(tokens.verify(&format!("{input}.")), Err(InvalidToken));
        assert_eq!(tokens.verify(&input), Err(InvalidToken));
    }
}

#[test]
fn the_public_key_is_no_hmac_secret() {
    let Setting { tokens, .. } = setting();
    let pair = Ed25519KeyPair::from_seed_unchecked(&SEED).unwrap();
    let header = with(good_header(), "alg", json!("HS256"));
    let input = signing_input(&header, &good_claims());
    let secret = hmac::Key::new(hmac::HMAC_SHA256, pair.public_key().as_ref());
    let tag = URL_SAFE_NO_PAD.encode(hmac::sign(&secret, input.as_bytes()));
    assert_eq!(tokens.verify(&format!("{input}.{tag}")), Err(InvalidToken));
}

#[test]
fn a_key_that_the_token_brings_along_is_not_used() {
    let Setting { tokens, .. } = setting();
    let theirs = Ed25519KeyPair::from_seed_unchecked(&OTHER_SEED).unwrap();
    let jwk = json!({
        "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(theirs.public_key().as_ref()),
    });
    let header = with(good_header(), "jwk", jwk);
    assert_eq!(
        tokens.verify(&signed(&header, &good_claims(), OTHER_SEED)),
        Err(InvalidToken)
    );
}

#[test]
fn tokens_of_an_older_key_are_valid_while_it_is_kept() {
    let old = setting()
        .tokens
        .issue(user(), session())
        .unwrap()
        .token
        .into_inner();
    let rotated = setting_with(OTHER_SEED, vec![key(SEED)]);
    assert!(rotated.tokens.verify(&old).is_ok());
    let dropped = setting_with(OTHER_SEED, vec![]);
    assert_eq!(dropped.tokens.verify(&old), Err(InvalidToken));
    let new = rotated.tokens.issue(user(), session()).unwrap();
    assert!(
        dropped.tokens.verify(new.token.expose()).is_ok(),
        "the newest signs"
    );
}

#[test]
fn no_more_tokens_are_remembered_than_there_is_room_for() {
    let Setting { tokens, clock } = setting();
    let verified = tokens
        .decode(tokens.issue(user(), session()).unwrap().token.expose())
        .unwrap();
    for number in 0..=REMEMBERED {
        tokens.remember(&number.to_string(), verified, 0, NOW);
        assert!(tokens.shared.remembered.read().unwrap().len() <= REMEMBERED);
    }
    clock.advance(1);
    assert!(
        tokens
            .verify(tokens.issue(user(), session()).unwrap().token.expose())
            .is_ok()
    );
}

#[test]
fn a_signing_key_is_a_pem_or_a_seed_and_shows_nothing() {
    // Made by `openssl genpkey -algorithm ed25519`.
    let pem = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH
-----END PRIVATE KEY-----";
    let from_pem = SigningKey::parse(pem).unwrap();
    assert_eq!(from_pem.id(), key(SEED).id(), "one key in both forms");
    assert!(!format!("{from_pem:?}").contains("BwcH"));
    let generated = SigningKey::generate(&SystemRandom);
    assert!(SigningKey::parse(&generated).is_ok());
    for wrong in [
        "",
        "AAAA",
        "-----BEGIN PRIVATE KEY-----",
        "not base64 at all!",
    ] {
        assert_eq!(
            SigningKey::parse(wrong).unwrap_err(),
            InvalidSigningKey,
            "{wrong}"
        );
    }
}

#[test]
fn a_token_of_a_revoked_session_is_refused_whether_or_not_it_is_remembered() {
    let Setting { tokens, .. } = setting();
    let issue = |session: u128| {
        let session = SessionId::from(Uuid::from_u128(session));
        tokens.issue(user(), session).unwrap().token.into_inner()
    };
    let (seen, unseen, other) = (issue(1), issue(1), issue(2));
    assert!(tokens.verify(&seen).is_ok() && tokens.verify(&other).is_ok());
    tokens.revocations().note(&[Uuid::from_u128(1)]);
    assert_eq!(tokens.verify(&seen), Err(InvalidToken), "remembered");
    assert_eq!(tokens.verify(&unseen), Err(InvalidToken), "seen first");
    for _ in 0..2 {
        assert!(tokens.verify(&other).is_ok(), "another session's");
    }
    tokens.revocations().note(&[Uuid::from_u128(2)]);
    assert_eq!(tokens.verify(&other), Err(InvalidToken));
}

#[test]
fn recalling_a_token_costs_a_small_part_of_verifying_it() {
    let Setting { tokens, .. } = setting();
    let token = tokens.issue(user(), session()).unwrap().token.into_inner();
    tokens.verify(&token).unwrap();
    let of = |work: &dyn Fn()| {
        let began = std::time::Instant::now();
        (0..200).for_each(|_| work());
        began.elapsed()
    };
    let decoding = of(&|| assert!(tokens.decode(&token).is_some()));
    let recalling = of(&|| assert!(tokens.verify(&token).is_ok()));
    assert!(recalling * 5 < decoding, "{recalling:?}, {decoding:?}");
}

proptest! {
    #[test]
    fn any_text_is_refused_without_a_panic(text in "[A-Za-z0-9._-]{0,200}|\\PC{0,100}") {
        prop_assert_eq!(setting().tokens.verify(&text), Err(InvalidToken));
    }

    #[test]
    fn one_changed_character_is_noticed(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_-]") {
        let Setting { tokens, .. } = setting();
        let token = tokens.issue(user(), session()).unwrap().token.into_inner();
        let at = at.index(token.len());
        let mut changed = token.clone();
        changed.replace_range(at..=at, &to);
        // The last character of the signature holds two bits that no byte has.
        prop_assume!(changed != token && at + 1 != token.len());
        prop_assert_eq!(tokens.verify(&changed), Err(InvalidToken));
    }
}
