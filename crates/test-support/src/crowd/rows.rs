//! The rows of a crowd, in PostgreSQL's text form for `COPY`.

use std::fmt::Write as _;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use contacts::search::tokens_of;
use contacts::{ContactStatus, NewContact, Notes, Tag};
use diesel_postgres::contacts::document_binding;
use futures_util::SinkExt as _;
use kernel::document::Document;
use kernel::text::{PersonName, fold};
use kernel::{ClinicId, KeyOwner, KeyPurpose, Keys};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::crowd::{Crowd, Dice, Person, run};

/// A contact with what became of it since.
#[derive(Debug, Clone, Copy)]
pub struct WrittenContact<'a> {
    /// As it was created.
    pub contact: &'a NewContact,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
    /// Whether it was put away then.
    pub is_archived: bool,
}

/// Rows of each table, waiting to be copied.
#[derive(Debug, Default)]
pub struct Rows {
    contacts: Lines,
    identities: Lines,
    tags: Lines,
    tokens: Lines,
    conversations: Lines,
    messages: Lines,
}

impl Rows {
    /// Adds a contact with its identities, tags and search tokens: what
    /// `PgContactStore::create` writes.
    pub fn contact(&mut self, clinic: ClinicId, written: &WrittenContact<'_>, keys: &dyn Keys) {
        let new = written.contact;
        let id = Uuid::from(new.id);
        let clinic_id = Uuid::from(clinic);
        let owner = KeyOwner::Clinic(clinic);
        let (mut sealed, mut mac) = (None, None);
        if let Some(document) = &new.document {
            let plain = document.as_str().as_bytes();
            let binding = document_binding(new.id);
            sealed = Some(hex(&keys.seal(
                owner,
                KeyPurpose::DocumentAtRest,
                &binding,
                plain,
            )));
            mac = Some(hex(&keys.mac(owner, KeyPurpose::DocumentLookup, plain)));
        }
        let status = if written.is_archived {
            ContactStatus::Archived
        } else {
            new.status
        };
        let before = written.is_archived.then(|| new.status.name());
        self.contacts
            .value(clinic_id)
            .value(id)
            .text(new.name.as_str())
            .text(&fold(new.name.as_str()))
            .text("person")
            .maybe_text(new.social_name.as_ref().map(PersonName::as_str))
            .maybe(new.birth_date)
            .maybe_text(new.document.as_ref().map(Document::kind))
            .maybe_text(sealed.as_deref())
            .maybe_text(mac.as_deref())
            .text(status.name())
            .maybe_text(before)
            .text(new.source.as_str())
            .maybe(new.owner.map(Uuid::from))
            .maybe_text(new.notes.as_ref().map(Notes::expose))
            .text(&array(new.tags.iter().map(Tag::as_str)))
            .maybe_text(new.phones.first().map(|entry| entry.phone.as_e164()))
            .maybe_text(new.emails.first().map(|entry| entry.email.as_str()))
            .text("true")
            .value(1)
            .instant(new.at)
            .instant(written.updated_at)
            .maybe(written.is_archived.then(|| written.updated_at.to_rfc3339()))
            .end();
        let phones = new.phones.iter().enumerate().map(|(rank, entry)| {
            let key = entry.phone.canonical_key().as_str().to_owned();
            ("phone", rank, key, entry.phone.as_e164(), &entry.label)
        });
        let emails = new.emails.iter().enumerate().map(|(rank, entry)| {
            let email = entry.email.as_str();
            ("email", rank, email.to_owned(), email, &entry.label)
        });
        for (kind, rank, key, value, label) in phones.chain(emails) {
            self.identities
                .value(clinic_id)
                .text(kind)
                .text(&key)
                .value(id)
                .text(value)
                .maybe_text(label.as_ref().map(contacts::Label::as_str))
                .value(rank)
                .instant(new.at)
                .end();
        }
        for tag in new.tags.iter() {
            self.tags
                .value(clinic_id)
                .text(tag.as_str())
                .value(id)
                .end();
        }
        let names = [Some(&new.name), new.social_name.as_ref()];
        let tokens = tokens_of(
            names.into_iter().flatten().map(PersonName::as_str),
            new.emails.iter().map(|entry| &entry.email),
            new.phones.iter().map(|entry| &entry.phone),
        );
        for token in tokens {
            self.tokens.value(clinic_id).text(&token).value(id).end();
        }
    }

    /// Adds a conversation with the person, of one message.
    pub fn conversation(&mut self, clinic: usize, person: &Person, dice: &mut Dice) {
        // Within 2026, where there are partitions for messages.
        let days = TimeDelta::seconds(i64::try_from(dice.below(300 * 86_400)).unwrap_or(0));
        let at = DateTime::from_timestamp(1_767_225_600, 0).unwrap_or_default() + days;
        let (clinic_id, channel) = (Uuid::from(Crowd::clinic(clinic)), Crowd::channel(clinic));
        let contact = Uuid::from(person.contact.id);
        let (conversation, message) = (dice.id(at), dice.id(at));
        let phone = person
            .contact
            .phones
            .first()
            .map_or("0", |entry| entry.phone.as_digits());
        let jid = format!("{phone}@s.whatsapp.net");
        let order = message.simple().to_string();
        let unread = u64::from(dice.one_in(20));
        let status = match dice.below(20) {
            0..2 => "open",
            2 => "pending",
            3 => "snoozed",
            _ => "resolved",
        };
        self.conversations
            .value(clinic_id)
            .value(conversation)
            .value(channel)
            .value(contact)
            .text(&jid)
            .text(status)
            .text("false")
            .value(unread)
            .instant(at)
            .instant(at)
            .text(&order)
            .value(message)
            .value(1)
            .instant(at)
            .instant(at)
            .end();
        self.messages
            .value(clinic_id)
            .value(message)
            .value(conversation)
            .value(channel)
            .text(&jid)
            .text("phone")
            .text(phone)
            .text(&order)
            .text("false")
            .text("text")
            .text("Bom dia! Tem horário para esta semana?")
            .text("false")
            .instant(at)
            .text(&order)
            .text("received")
            .text("{}")
            .text("[]")
            .instant(at)
            .end();
    }

    /// Writes them all.
    ///
    /// # Panics
    ///
    /// When the database refuses.
    pub async fn copy(self, client: &Client) {
        run(client, "BEGIN").await;
        for (table, lines) in [
            (
                "app.contacts (clinic_id, id, name, name_key, name_source, social_name, birth_date,
                 document_kind, document_sealed, document_mac, status, status_before_archive, source,
                 owner_id, notes, tags, primary_phone, primary_email, curated, row_version,
                 created_at, updated_at, archived_at)",
                self.contacts,
            ),
            (
                "app.contact_identities (clinic_id, kind, key, contact_id, value, label, rank,
                 created_at)",
                self.identities,
            ),
            ("app.contact_tags (clinic_id, tag, contact_id)", self.tags),
            (
                "app.contact_tokens (clinic_id, token, contact_id)",
                self.tokens,
            ),
            (
                "app.conversations (clinic_id, id, channel_id, contact_id, remote_jid, status,
                 is_paused, unread_count, last_inbound_at, last_message_at, last_message_order,
                 last_message_id, row_version, created_at, updated_at)",
                self.conversations,
            ),
            (
                "app.messages (clinic_id, id, conversation_id, channel_id, remote_jid, person_kind,
                 person_key, provider_id, from_me, kind, body, forwarded, sent_at, order_key,
                 status, status_times, reactions, created_at)",
                self.messages,
            ),
        ] {
            lines.copy(client, table).await;
        }
        run(client, "COMMIT").await;
    }
}

/// Lines of `COPY`'s text format.
#[derive(Debug, Default)]
struct Lines {
    text: String,
    begun: bool,
}

impl Lines {
    /// What needs no escaping: numbers, ids, dates.
    fn value(&mut self, value: impl std::fmt::Display) -> &mut Self {
        self.separate();
        let _ = write!(self.text, "{value}");
        self
    }

    fn instant(&mut self, at: DateTime<Utc>) -> &mut Self {
        self.value(at.to_rfc3339())
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.separate();
        for c in text.chars() {
            match c {
                '\\' => self.text.push_str("\\\\"),
                '\t' => self.text.push_str("\\t"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                c => self.text.push(c),
            }
        }
        self
    }

    fn maybe(&mut self, value: Option<impl std::fmt::Display>) -> &mut Self {
        match value {
            Some(value) => self.value(value),
            None => self.value("\\N"),
        }
    }

    fn maybe_text(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(text),
            None => self.value("\\N"),
        }
    }

    fn separate(&mut self) {
        if self.begun {
            self.text.push('\t');
        }
        self.begun = true;
    }

    fn end(&mut self) {
        self.text.push('\n');
        self.begun = false;
    }

    async fn copy(self, client: &Client, table: &str) {
        let sink = client
            .copy_in::<_, Bytes>(&format!("COPY {table} FROM STDIN"))
            .await
            .expect("rows can be copied");
        let mut sink = Box::pin(sink);
        sink.send(Bytes::from(self.text))
            .await
            .expect("rows are taken");
        if let Err(error) = sink.as_mut().finish().await {
            panic!("{table}: {:?}", error.as_db_error());
        }
    }
}

/// `bytea` in its text form.
fn hex(bytes: &[u8]) -> String {
    format!("\\x{}", hex::encode(bytes))
}

/// An array in its text form.
fn array<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = texts
        .map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    format!("{{{}}}", quoted.join(","))
}
