//! One stored change, as facts.

use chrono::{DateTime, Utc};
use conversations::InboundChange;
use conversations::inbound::{Receipt, Skipped};
use conversations::message::MessageError;
use conversations::status::ReceiptStatus;
use serde_json::Value;

use super::message::{self, Part, Person};
use crate::lenient::{Fields, id, instant, integer, mend, text, value_of};

/// Fields of a change that speak of messages. A change without a field does too.
const MESSAGE_FIELDS: [&str; 2] = ["messages", "smb_message_echoes"];

/// The facts of a stored change: an entry with its change.
pub(super) fn decode(body: &[u8], received_at: DateTime<Utc>) -> InboundChange {
    let mut facts = InboundChange::default();
    let mended = mend(body);
    match Fields::of(&mended) {
        Some(entry) => match entry.array("changes") {
            Some(changes) => {
                for change in changes {
                    decode_change(Fields::of(change.get()), received_at, &mut facts);
                }
            }
            None => decode_change(Some(entry), received_at, &mut facts),
        },
        None => facts.skipped.push(Skipped::Unreadable),
    }
    facts
}

fn decode_change(
    change: Option<Fields<'_>>,
    received_at: DateTime<Utc>,
    facts: &mut InboundChange,
) {
    let Some(change) = change else {
        facts.skipped.push(Skipped::Unreadable);
        return;
    };
    let of_messages = change
        .text("field")
        .is_none_or(|field| MESSAGE_FIELDS.contains(&field.as_str()));
    let Some(value) = change.object("value").filter(|_| of_messages) else {
        facts.skipped.push(Skipped::OtherField);
        return;
    };
    let values = |name: &str| -> Option<Vec<Value>> {
        let items = value.array(name)?;
        Some(items.into_iter().map(value_of).collect())
    };
    let messages = values("messages");
    let echoes = values("message_echoes");
    let statuses = values("statuses");
    let errors = values("errors").unwrap_or_default();
    if messages.is_none() && echoes.is_none() && statuses.is_none() {
        facts.skipped.push(if errors.is_empty() {
            Skipped::OtherField
        } else {
            Skipped::ProviderError
        });
        return;
    }
    let people: Vec<Person> = values("contacts")
        .unwrap_or_default()
        .iter()
        .map(Person::of)
        .collect();
    // An error beside the messages says why one of them came without its content.
    let beside = error(errors.first());
    let sides = [(messages, false), (echoes, true)];
    for (items, from_me) in sides {
        for item in items.unwrap_or_default() {
            let part = message::decode(&item, from_me, &people, beside.as_ref(), received_at);
            keep(part, facts);
        }
    }
    for status in statuses.unwrap_or_default() {
        match receipt(&status, received_at) {
            Ok(receipt) => facts.receipts.push(receipt),
            Err(skipped) => facts.skipped.push(skipped),
        }
    }
}

fn keep(part: Part, facts: &mut InboundChange) {
    match part {
        Part::Message(message) => facts.messages.push(*message),
        Part::Reaction(message, amendment) => {
            facts.messages.push(*message);
            facts.amendments.push(*amendment);
        }
        Part::Moved(message, change) => {
            facts.messages.push(*message);
            facts.number_changes.push(*change);
        }
        Part::Amendment(amendment) => facts.amendments.push(*amendment),
        Part::Skipped(skipped) => facts.skipped.push(skipped),
    }
}

fn receipt(status: &Value, received_at: DateTime<Utc>) -> Result<Receipt, Skipped> {
    let of_a_group = status.get("recipient_type").and_then(Value::as_str) == Some("group")
        || status.get("recipient_participant_id").is_some();
    if of_a_group {
        return Err(Skipped::Group);
    }
    let provider_id = id(status.get("id")).ok_or(Skipped::UnknownReceipt)?;
    let known: ReceiptStatus = text(status.get("status"))
        .and_then(|name| name.parse().ok())
        .ok_or(Skipped::UnknownReceipt)?;
    let errors = status.get("errors").and_then(Value::as_array);
    Ok(Receipt {
        provider_id,
        status: known,
        at: instant(status.get("timestamp"), received_at),
        error: error(errors.and_then(|errors| errors.first())),
        pricing: status
            .get("pricing")
            .filter(|pricing| pricing.is_object())
            .cloned(),
    })
}

/// Meta's error object. `error_data.details` is what it means here; `code` is what to act on.
pub(super) fn error(value: Option<&Value>) -> Option<MessageError> {
    let value = value.filter(|value| value.is_object())?;
    let details = value.get("error_data").and_then(|data| data.get("details"));
    Some(MessageError {
        code: integer(value.get("code")),
        title: text(value.get("title")),
        details: text(details).or_else(|| text(value.get("message"))),
    })
}
