//! One message of a change.

use chrono::{DateTime, Utc};
use conversations::content::{
    Card, CardPhone, Choice, Content, Form, Location, Media, Notice, Referral,
};
use conversations::inbound::{Amend, Amendment, InboundMessage, NumberChange, Remote, Skipped};
use conversations::message::{MessageError, MessageKind, OrderKey};
use kernel::identity::{WhatsAppLid, WhatsAppUserId};
use kernel::phone::Phone;
use serde_json::Value;

use super::decode::error;
use crate::lenient::{content_digest, digest_id, id, instant, text};

/// What one element of `messages` or `message_echoes` is.
pub(super) enum Part {
    /// A message.
    Message(Box<InboundMessage>),
    /// A reaction: a message, and what it does to another.
    Reaction(Box<InboundMessage>, Box<Amendment>),
    /// A notice that somebody has another number now.
    Moved(Box<InboundMessage>, Box<NumberChange>),
    /// What is done to another message, and no message itself.
    Amendment(Box<Amendment>),
    /// No message of a contact.
    Skipped(Skipped),
}

/// An element of `contacts`: who somebody is.
pub(super) struct Person {
    wa_id: Option<String>,
    user_id: Option<String>,
    name: Option<String>,
}

impl Person {
    pub(super) fn of(value: &Value) -> Self {
        let profile = value.get("profile");
        let name = text(profile.and_then(|profile| profile.get("name")))
            .or_else(|| text(profile.and_then(|profile| profile.get("username"))))
            .or_else(|| text(value.get("username")));
        Self {
            wa_id: id(value.get("wa_id")),
            user_id: text(value.get("user_id")),
            name,
        }
    }
}

/// One message, whatever it is. `beside` is an error that stood beside the messages.
pub(super) fn decode(
    message: &Value,
    from_me: bool,
    people: &[Person],
    beside: Option<&MessageError>,
    received_at: DateTime<Utc>,
) -> Part {
    if !message.is_object() {
        return Part::Skipped(Skipped::Unreadable);
    }
    let remote = match remote(message, from_me, people) {
        Ok(remote) => remote,
        Err(skipped) => return Part::Skipped(skipped),
    };
    let order = OrderKey {
        sent_at: instant(message.get("timestamp"), received_at),
        provider_id: id(message.get("id"))
            .unwrap_or_else(|| format!("acolhe.sha256.{}", content_digest(message))),
    };
    let amend = |target: String, amend: Amend| {
        Box::new(Amendment {
            target,
            order: order.clone(),
            from_me,
            remote: remote.clone(),
            amend,
        })
    };
    let of_type = type_of(message);
    match of_type {
        "edit" => {
            let edit = message.get("edit");
            if let Some(target) = id(edit.and_then(|edit| edit.get("original_message_id"))) {
                let body = edit.and_then(|edit| edit.get("message")).and_then(words);
                return Part::Amendment(amend(target, Amend::Edit { body }));
            }
        }
        "revoke" => {
            let revoke = message.get("revoke");
            if let Some(target) = id(revoke.and_then(|it| it.get("original_message_id"))) {
                return Part::Amendment(amend(target, Amend::Revoke));
            }
        }
        _ => {}
    }
    let understood = understand(of_type, message);
    let is_understood = understood.is_some();
    let Understood {
        kind,
        body,
        mut content,
    } = understood.unwrap_or_else(|| Understood {
        kind: MessageKind::Unsupported,
        body: None,
        content: Content {
            raw: Some(message.clone()),
            ..Content::default()
        },
    });
    content.referral = referral(message.get("referral"));
    let context = message.get("context");
    let flag = |name: &str| {
        context
            .and_then(|context| context.get(name))
            .and_then(Value::as_bool)
            .unwrap_or(false)
    };
    content.frequently_forwarded = flag("frequently_forwarded");
    let target = (kind == MessageKind::Reaction)
        .then(|| id(message.get("reaction").and_then(|it| it.get("message_id"))))
        .flatten();
    let mut decoded = Box::new(InboundMessage {
        from_me,
        remote: remote.clone(),
        kind,
        body: body.clone(),
        content,
        reply_to: target
            .clone()
            .or_else(|| id(context.and_then(|context| context.get("id")))),
        forwarded: flag("forwarded") || flag("frequently_forwarded"),
        error: error(message.get("errors").and_then(|errors| errors.get(0)))
            .or_else(|| beside.filter(|_| !is_understood).cloned()),
        order: order.clone(),
    });
    if let Some(target) = target {
        return Part::Reaction(decoded, amend(target, Amend::React { emoji: body }));
    }
    if !from_me
        && kind == MessageKind::System
        && let Some(after) = moved_to(message, &remote)
    {
        // An answer goes to the new number.
        decoded.remote.jid.clone_from(&after.jid);
        let change = NumberChange {
            before: remote,
            after,
            order,
        };
        return Part::Moved(decoded, Box::new(change));
    }
    Part::Message(decoded)
}

/// The message's type; where none is named, the part that is there.
fn type_of(message: &Value) -> &str {
    const TYPES: [&str; 15] = [
        "text",
        "image",
        "audio",
        "video",
        "document",
        "sticker",
        "location",
        "contacts",
        "interactive",
        "button",
        "reaction",
        "system",
        "edit",
        "revoke",
        "order",
    ];
    message
        .get("type")
        .and_then(Value::as_str)
        .or_else(|| TYPES.into_iter().find(|name| message.get(name).is_some()))
        .unwrap_or("unsupported")
}

/// Who is at the other end: the sender, or of an echo the recipient.
fn remote(message: &Value, from_me: bool, people: &[Person]) -> Result<Remote, Skipped> {
    let (address, user_id) = if from_me {
        ("to", "to_user_id")
    } else {
        ("from", "from_user_id")
    };
    let mut address = id(message.get(address));
    let mut user_id = text(message.get(user_id));
    let is_group = message.get("group_id").is_some()
        || address
            .as_deref()
            .is_some_and(|address| address.ends_with("@g.us") || address.ends_with("@broadcast"));
    if is_group {
        return Err(Skipped::Group);
    }
    let person = if address.is_none() && user_id.is_none() {
        // Nobody is named in the message: the only one beside it is meant.
        match people {
            [person] if !from_me => Some(person),
            _ => None,
        }
    } else {
        people.iter().find(|person| {
            let same = |a: &Option<String>, b: &Option<String>| a.is_some() && a == b;
            same(&person.wa_id, &address) || same(&person.user_id, &user_id)
        })
    };
    if let Some(person) = person {
        address = address.or_else(|| person.wa_id.clone());
        user_id = user_id.or_else(|| person.user_id.clone());
    }
    let known = address.as_deref().map(Address::of);
    let user_id = user_id
        .as_deref()
        .and_then(user_id_of)
        .or_else(|| match &known {
            Some(Address::User(id)) => Some(id.clone()),
            _ => None,
        });
    let (phone, lid) = match known {
        Some(Address::Phone(phone)) => (Some(phone), None),
        Some(Address::Lid(lid)) => (None, Some(lid)),
        _ => (None, None),
    };
    let jid = jid_of(phone.as_ref(), user_id.as_ref())
        .or(address)
        .filter(|_| phone.is_some() || user_id.is_some() || lid.is_some())
        .ok_or(Skipped::NobodyNamed)?;
    Ok(Remote {
        jid,
        phone,
        user_id,
        lid,
        name: person.and_then(|person| person.name.clone()),
    })
}

/// Where an answer goes: the phone where there is one, else the user id.
fn jid_of(phone: Option<&Phone>, user_id: Option<&WhatsAppUserId>) -> Option<String> {
    phone
        .map(|phone| phone.as_digits().to_owned())
        .or_else(|| user_id.map(|id| id.as_str().to_owned()))
}

/// What an address is.
enum Address {
    Phone(Phone),
    Lid(WhatsAppLid),
    User(WhatsAppUserId),
    Nothing,
}

impl Address {
    fn of(address: &str) -> Self {
        if address.ends_with("@lid")
            && let Ok(lid) = WhatsAppLid::parse(address)
        {
            return Self::Lid(lid);
        }
        let bare = address.strip_suffix("@s.whatsapp.net").unwrap_or(address);
        let digits = bare.strip_prefix('+').unwrap_or(bare);
        if let Ok(phone) = Phone::from_wa_id(digits) {
            return Self::Phone(phone);
        }
        user_id_of(address).map_or(Self::Nothing, Self::User)
    }
}

/// A user id; one of a shape that is not known stands for itself by its digest, so that its
/// message is kept.
fn user_id_of(text: &str) -> Option<WhatsAppUserId> {
    WhatsAppUserId::parse(text)
        .or_else(|_| WhatsAppUserId::parse(&digest_id(text)))
        .ok()
}

struct Understood {
    kind: MessageKind,
    body: Option<String>,
    content: Content,
}

/// `None` when the type is not known here, or its part is missing.
fn understand(of_type: &str, message: &Value) -> Option<Understood> {
    let part = message.get(of_type);
    let object = part.filter(|part| part.is_object());
    let understood = |kind, body, content| {
        Some(Understood {
            kind,
            body,
            content,
        })
    };
    match of_type {
        "text" => {
            let body = text(object?.get("body"))?;
            understood(MessageKind::Text, Some(body), Content::default())
        }
        "image" => of_media(MessageKind::Image, object?),
        "audio" | "voice" => of_media(MessageKind::Audio, object?),
        "video" => of_media(MessageKind::Video, object?),
        "document" => of_media(MessageKind::Document, object?),
        "sticker" => of_media(MessageKind::Sticker, object?),
        "location" => {
            let place = object?;
            let location = Location {
                latitude: place.get("latitude").and_then(Value::as_f64),
                longitude: place.get("longitude").and_then(Value::as_f64),
                name: text(place.get("name")),
                address: text(place.get("address")),
                url: text(place.get("url")),
            };
            let content = Content {
                location: Some(location),
                ..Content::default()
            };
            understood(MessageKind::Location, None, content)
        }
        "contacts" => {
            let content = Content {
                contacts: part?.as_array()?.iter().map(card).collect(),
                ..Content::default()
            };
            understood(MessageKind::Contacts, None, content)
        }
        "interactive" => interactive(object?),
        "button" => {
            let button = object?;
            let title = text(button.get("text"));
            let choice = Choice {
                among: "template-button".to_owned(),
                id: text(button.get("payload")),
                title: title.clone(),
                description: None,
            };
            let content = Content {
                choice: Some(choice),
                ..Content::default()
            };
            understood(MessageKind::Button, title, content)
        }
        "reaction" => {
            let emoji = text(object?.get("emoji"));
            understood(MessageKind::Reaction, emoji, Content::default())
        }
        "system" => {
            let system = object?;
            let notice = Notice {
                about: text(system.get("type")),
                wa_id: text(system.get("wa_id")).or_else(|| text(system.get("new_wa_id"))),
            };
            let content = Content {
                notice: Some(notice),
                ..Content::default()
            };
            understood(MessageKind::System, text(system.get("body")), content)
        }
        _ => None,
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "an arm of `understand`, whose other arms may answer nothing"
)]
fn of_media(kind: MessageKind, media: &Value) -> Option<Understood> {
    Some(Understood {
        kind,
        body: text(media.get("caption")),
        content: Content {
            media: Some(Media {
                id: text(media.get("id")),
                mime_type: text(media.get("mime_type")),
                sha256: text(media.get("sha256")),
                file_name: text(media.get("filename")),
                url: text(media.get("url")),
                voice: media.get("voice").and_then(Value::as_bool),
                animated: media.get("animated").and_then(Value::as_bool),
            }),
            ..Content::default()
        },
    })
}

fn interactive(interactive: &Value) -> Option<Understood> {
    let chosen = |among: &str, part: &Value| {
        let title = text(part.get("title"));
        Understood {
            kind: MessageKind::Interactive,
            body: title.clone(),
            content: Content {
                choice: Some(Choice {
                    among: among.to_owned(),
                    id: text(part.get("id")),
                    title,
                    description: text(part.get("description")),
                }),
                ..Content::default()
            },
        }
    };
    if let Some(part) = interactive.get("button_reply") {
        return Some(chosen("button", part));
    }
    if let Some(part) = interactive.get("list_reply") {
        return Some(chosen("list", part));
    }
    let form = interactive.get("nfm_reply")?;
    // The answers are JSON inside a text, and not always good JSON.
    let written = form.get("response_json").and_then(Value::as_str);
    let answers: Option<Value> = written
        .and_then(|written| serde_json::from_str(&crate::lenient::mend(written.as_bytes())).ok());
    Some(Understood {
        kind: MessageKind::Interactive,
        body: text(form.get("body")),
        content: Content {
            form: Some(Form {
                name: text(form.get("name")),
                unread_answers: written.filter(|_| answers.is_none()).map(str::to_owned),
                answers,
            }),
            ..Content::default()
        },
    })
}

fn card(card: &Value) -> Card {
    let list = |name: &str| {
        card.get(name)
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice)
    };
    let name = card.get("name");
    let part = |part: &str| text(name.and_then(|name| name.get(part)));
    Card {
        name: part("formatted_name").or_else(|| part("first_name")),
        phones: list("phones")
            .iter()
            .map(|phone| CardPhone {
                phone: text(phone.get("phone")),
                wa_id: text(phone.get("wa_id")),
                label: text(phone.get("type")),
            })
            .collect(),
        emails: list("emails")
            .iter()
            .filter_map(|email| text(email.get("email")))
            .collect(),
        organisation: text(card.get("org").and_then(|org| org.get("company"))),
    }
}

fn referral(value: Option<&Value>) -> Option<Referral> {
    let value = value.filter(|value| value.is_object())?;
    Some(Referral {
        source_id: text(value.get("source_id")),
        source_type: text(value.get("source_type")),
        source_url: text(value.get("source_url")),
        headline: text(value.get("headline")),
        body: text(value.get("body")),
        click_id: text(value.get("ctwa_clid")),
    })
}

/// The words of the message inside an edit: its text or its caption.
fn words(message: &Value) -> Option<String> {
    understand(type_of(message), message).and_then(|understood| understood.body)
}

/// Who somebody is after a change of number or of user id; `None` when the notice is of another
/// matter or names nobody new.
fn moved_to(message: &Value, before: &Remote) -> Option<Remote> {
    let system = message.get("system")?;
    let about = text(system.get("type"))?;
    if !matches!(
        about.as_str(),
        "user_changed_number" | "customer_changed_number" | "user_changed_user_id"
    ) {
        return None;
    }
    let address = id(system.get("wa_id")).or_else(|| id(system.get("new_wa_id")));
    let phone = address.and_then(|address| match Address::of(&address) {
        Address::Phone(phone) => Some(phone),
        _ => None,
    });
    let user_id = text(system.get("user_id")).and_then(|id| user_id_of(&id));
    let jid = jid_of(phone.as_ref(), user_id.as_ref())?;
    let is_new = (phone.is_some() && phone != before.phone)
        || (user_id.is_some() && user_id != before.user_id);
    is_new.then_some(Remote {
        jid,
        phone,
        user_id,
        lid: None,
        name: None,
    })
}
