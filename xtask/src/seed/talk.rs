//! What patients write to a clinic, as WhatsApp delivers it.

use fastrand::Rng;
use serde_json::{Value, json};

use super::people::{Person, pick};

const OPENINGS: &[&str] = &[
    "Oi, bom dia! Gostaria de marcar uma consulta.",
    "Boa tarde, vocês atendem pelo convênio?",
    "Olá! Qual o valor da avaliação?",
    "Bom dia, preciso remarcar meu horário de quinta.",
    "Oi! Vi o perfil de vocês no Instagram e queria saber sobre clareamento.",
    "Boa noite, ainda tem vaga para essa semana?",
    "Olá, minha filha quebrou um dentinho, vocês atendem urgência?",
];

const FOLLOW_UPS: &[&str] = &[
    "Pode ser na parte da tarde",
    "Se tiver na quarta eu prefiro",
    "Qual o endereço de vocês?",
    "Tem estacionamento?",
    "Obrigada!",
    "Certo, fico no aguardo 🙏",
    "Posso pagar com Pix?",
    "Precisa levar algum exame?",
    "Combinado então",
    "É a primeira vez que vou aí",
];

/// The number of a clinic that messages are sent to.
#[derive(Debug, Clone)]
pub(crate) struct Number {
    /// The provider's id of it.
    pub(crate) phone_number_id: String,
    /// As people see it, digits only.
    pub(crate) display: String,
}

/// The webhook payloads of one conversation: one to six messages, oldest first, the last of them
/// `minutes_ago` before `now` (seconds since the epoch).
pub(crate) fn conversation(
    rng: &mut Rng,
    number: &Number,
    person: &Person,
    now: i64,
    minutes_ago: i64,
) -> Vec<Value> {
    let count = rng.i64(1..7);
    (0..count)
        .map(|index| {
            let at = now - minutes_ago * 60 - (count - 1 - index) * rng.i64(20..90);
            let content = match (index, rng.u8(..)) {
                (0, _) => text(pick(rng, OPENINGS)),
                (_, 0..15) => json!({ "type": "audio", "audio": {
                    "mime_type": "audio/ogg; codecs=opus", "sha256": "c2VlZA==",
                    "id": rng.u64(10_u64.pow(14)..10_u64.pow(15)).to_string(), "voice": true } }),
                (_, 15..30) => json!({ "type": "image", "image": {
                    "mime_type": "image/jpeg", "sha256": "c2VlZA==", "caption": "Segue a foto",
                    "id": rng.u64(10_u64.pow(14)..10_u64.pow(15)).to_string() } }),
                (_, 30..38) => json!({ "type": "location", "location": {
                    "latitude": -23.561_414, "longitude": -46.655_881 } }),
                _ => text(pick(rng, FOLLOW_UPS)),
            };
            delivery(number, person, &message_id(rng), at, content)
        })
        .collect()
}

/// A text message's part of the payload.
pub(crate) fn text(body: &str) -> Value {
    json!({ "type": "text", "text": { "body": body } })
}

/// An id in the provider's form.
pub(crate) fn message_id(rng: &mut Rng) -> String {
    let noise: String = (0..32)
        .map(|_| char::from_digit(rng.u32(0..16), 16).unwrap_or('0'))
        .collect();
    format!("wamid.{noise}")
}

/// A whole delivery with one message.
pub(crate) fn delivery(
    number: &Number,
    person: &Person,
    id: &str,
    at: i64,
    content: Value,
) -> Value {
    let mut message = json!({ "from": person.wa_id, "id": id, "timestamp": at.to_string() });
    if let (Some(message), Value::Object(content)) = (message.as_object_mut(), content) {
        message.extend(content);
    }
    json!({
        "object": "whatsapp_business_account",
        "entry": [{
            "id": "209999999999999",
            "changes": [{
                "field": "messages",
                "value": {
                    "messaging_product": "whatsapp",
                    "metadata": {
                        "display_phone_number": number.display,
                        "phone_number_id": number.phone_number_id,
                    },
                    "contacts": [{ "profile": { "name": person.name }, "wa_id": person.wa_id }],
                    "messages": [message],
                },
            }],
        }],
    })
}
