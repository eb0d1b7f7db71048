//! Any bytes as a delivery: splitting and decoding answer, lose no element, and give the database
//! no NUL and no id that its indexes refuse.

#![no_main]

use bytes::Bytes;
use chrono::DateTime;
use conversations::channel::Provider;
use conversations::ports::{StoredChange, WebhookDecoder as _};
use libfuzzer_sys::fuzz_target;
use whatsapp::CloudDecoder;

fuzz_target!(|data: &[u8]| {
    let body = Bytes::copy_from_slice(data);
    let changes = CloudDecoder.split(&body);
    assert!(!changes.is_empty());
    let whole = changes.iter().map(|raw| raw.body.clone()).chain([body]);
    for body in whole {
        let change = CloudDecoder.decode(&StoredChange {
            id: uuid::Uuid::nil().into(),
            channel: uuid::Uuid::nil().into(),
            provider: Provider::WhatsappCloud,
            received_at: DateTime::from_timestamp(1_790_000_000, 0).unwrap_or_default(),
            body,
        });
        for message in &change.messages {
            assert!((1..=255).contains(&message.order.provider_id.len()));
            assert!((1..=255).contains(&message.remote.jid.len()));
            let written = format!(
                "{}{}{}{}",
                message.order.provider_id,
                message.remote.jid,
                message.body.as_deref().unwrap_or_default(),
                serde_json::to_string(&message.content).unwrap_or_default(),
            );
            assert!(!written.contains('\0') && !written.contains("\\u0000"));
        }
        for receipt in &change.receipts {
            assert!((1..=255).contains(&receipt.provider_id.len()));
        }
        for amendment in &change.amendments {
            assert!((1..=255).contains(&amendment.target.len()));
        }
    }
});
