//! Any bytes as a signature header, a handshake and a body: never a panic, never accepted.

#![no_main]

use conversations::channel::Secret;
use conversations::ports::{Handshake, WebhookDecoder as _};
use libfuzzer_sys::fuzz_target;
use whatsapp::CloudDecoder;

fuzz_target!(|data: (&[u8], &[u8], &str)| {
    let (proof, body, text) = data;
    let Ok(secret) = Secret::new("a-secret-that-no-fuzzer-knows") else {
        return;
    };
    assert!(!CloudDecoder.is_authentic(Some(proof), body, std::slice::from_ref(&secret)));
    let handshake = Handshake {
        mode: Some("subscribe"),
        token: Some(text),
        challenge: Some(text),
    };
    let answer = CloudDecoder.answer_handshake(handshake, &secret);
    assert!(answer.is_none() || text.as_bytes() == secret.expose());
});
