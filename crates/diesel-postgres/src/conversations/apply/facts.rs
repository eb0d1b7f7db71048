//! Messages, receipts and amendments: what is new of a change, and what it makes of the messages.

use std::collections::{BTreeMap, BTreeSet};

use conversations::events;
use conversations::inbound::{Amend, Amendment, InboundMessage, Receipt};
use conversations::message::{Amended, AmendmentKind, Progress};
use conversations::status::{MessageStatus, ReceiptStatus};
use kernel::identity::IdentityKey;
use kernel::{AuditEntry, MessageId, Resource, StoreError, TypedId as _};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::Apply;
use super::people::Person;
use super::rows::{KnownAmendment, KnownMessage, KnownReceipt};
use super::statements::{
    InsertAmendment, InsertMessage, InsertMessageKey, PutReceipt, UpdateMessage,
};

/// All that is stored about the messages a change names, and then what the change adds.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) messages: Vec<KnownMessage>,
    pub(super) receipts: BTreeMap<(String, ReceiptStatus), KnownReceipt>,
    pub(super) amendments: Vec<KnownAmendment>,
    /// Messages about which something was added.
    pub(super) affected: BTreeSet<String>,
}

fn json<T: Serialize>(value: &T, column: &'static str) -> Result<Value, StoreError> {
    serde_json::to_value(value).map_err(|_| StoreError::Corrupt(column))
}

impl Facts {
    fn receipts_of(&self, provider_id: &str) -> Vec<conversations::message::StoredReceipt> {
        ReceiptStatus::ALL
            .iter()
            .filter_map(|status| self.receipts.get(&(provider_id.to_owned(), *status)))
            .map(KnownReceipt::stored)
            .collect()
    }

    fn amended(
        &self,
        provider_id: &str,
        from_me: bool,
        person: &IdentityKey,
        contact: Uuid,
    ) -> Amended {
        let amendments: Vec<_> = self
            .amendments
            .iter()
            .filter(|amendment| amendment.target == provider_id)
            .map(|amendment| amendment.for_message(person, contact))
            .collect();
        Amended::of(from_me, &amendments)
    }

    /// Whether this message is stored already. A provider's id may repeat in another chat.
    fn knows(&self, message: &InboundMessage, contact: Uuid) -> bool {
        self.messages.iter().any(|known| {
            known.provider_id == message.order.provider_id
                && known.from_me == message.from_me
                && (known.remote_jid == message.remote.jid || known.contact == contact)
        })
    }
}

impl Apply<'_, '_> {
    /// Keeps the receipts that are new or earlier than the known ones.
    pub(super) fn add_receipts(
        &self,
        facts: &mut Facts,
        receipts: &[Receipt],
    ) -> Result<(), StoreError> {
        for receipt in receipts {
            let new = KnownReceipt {
                status: receipt.status,
                at: receipt.at,
                error: match &receipt.error {
                    Some(error) => Some(json(error, "message_receipts.error")?),
                    None => None,
                },
                pricing: receipt.pricing.clone(),
            };
            let key = (receipt.provider_id.clone(), receipt.status);
            let known = facts.receipts.get(&key);
            if known.is_some_and(|known| !new.precedes(known)) {
                continue;
            }
            self.tx.at_commit(|batch| {
                batch.execute(PutReceipt {
                    clinic: self.clinic,
                    channel: self.channel,
                    provider_id: &receipt.provider_id,
                    status: new.status.name(),
                    at: new.at,
                    error: new.error.as_ref(),
                    pricing: new.pricing.as_ref(),
                    now: self.at,
                });
            });
            facts.affected.insert(receipt.provider_id.clone());
            facts.receipts.insert(key, new);
        }
        Ok(())
    }

    /// Keeps a person's amendments that are new.
    pub(super) fn add_amendments(&self, facts: &mut Facts, person: &Person<'_>, contact: Uuid) {
        for amendment in &person.amendments {
            let Amendment {
                target,
                order,
                from_me,
                remote,
                amend,
            } = amendment;
            let (kind, value) = match amend {
                Amend::Edit { body } => (AmendmentKind::Edit, body.clone()),
                Amend::Revoke => (AmendmentKind::Revoke, None),
                Amend::React { emoji } => (AmendmentKind::Reaction, emoji.clone()),
            };
            let is_known = facts.amendments.iter().any(|known| {
                (known.kind, known.from_me) == (kind, *from_me)
                    && known.target == *target
                    && known.order.provider_id == order.provider_id
            });
            if is_known {
                continue;
            }
            self.tx.at_commit(|batch| {
                batch.execute(InsertAmendment {
                    clinic: self.clinic,
                    channel: self.channel,
                    target,
                    kind: kind.name(),
                    provider_id: &order.provider_id,
                    from_me: *from_me,
                    remote_jid: &remote.jid,
                    person_kind: person.strongest.kind.as_str(),
                    person_key: &person.strongest.key,
                    at: order.sent_at,
                    value: value.as_deref(),
                    now: self.at,
                });
            });
            facts.affected.insert(target.clone());
            facts.amendments.push(KnownAmendment {
                target: target.clone(),
                kind,
                order: order.clone(),
                from_me: *from_me,
                value,
                person: person.strongest.clone(),
                holder: Some(contact),
            });
        }
    }

    /// The person's messages that are not stored yet, each once.
    pub(super) fn new_messages<'a>(
        facts: &Facts,
        person: &Person<'a>,
        contact: Uuid,
    ) -> Vec<&'a InboundMessage> {
        let mut seen: BTreeSet<(&str, bool)> = BTreeSet::new();
        person
            .messages
            .iter()
            .copied()
            .filter(|message| {
                !facts.knows(message, contact)
                    && seen.insert((&message.order.provider_id, message.from_me))
            })
            .collect()
    }

    /// Stores a new message, as all receipts and amendments that were waiting make it.
    pub(super) fn insert_message(
        &self,
        facts: &mut Facts,
        message: &InboundMessage,
        person: &IdentityKey,
        contact: Uuid,
        conversation: Uuid,
    ) -> Result<Uuid, StoreError> {
        let id = self.tools.id::<MessageId>().as_uuid();
        let provider_id = &message.order.provider_id;
        let base = if message.from_me {
            // An echo: the clinic's phone sent it already.
            MessageStatus::Sent
        } else {
            MessageStatus::Received
        };
        let progress = Progress::of(base, &facts.receipts_of(provider_id));
        let amended = facts.amended(provider_id, message.from_me, person, contact);
        let error = progress.error.clone().or_else(|| message.error.clone());
        let known = KnownMessage {
            provider_id: provider_id.clone(),
            from_me: message.from_me,
            remote_jid: message.remote.jid.clone(),
            id,
            conversation,
            contact,
            person: person.clone(),
            status: progress.status,
            times: progress.times,
            error,
            amended,
        };
        let content = if message.content.is_empty() {
            None
        } else {
            Some(json(&message.content, "messages.content")?)
        };
        let columns = Columns::of(&known)?;
        self.tx.at_commit(|batch| {
            batch.execute(InsertMessageKey {
                clinic: self.clinic,
                channel: self.channel,
                provider_id,
                from_me: message.from_me,
                remote_jid: &message.remote.jid,
                message: id,
                conversation,
            });
            batch.execute(InsertMessage {
                clinic: self.clinic,
                id,
                conversation,
                channel: self.channel,
                remote_jid: &message.remote.jid,
                person_kind: person.kind.as_str(),
                person_key: &person.key,
                provider_id,
                from_me: message.from_me,
                kind: message.kind.name(),
                body: message.body.as_deref(),
                content,
                reply_to: message.reply_to.as_deref(),
                forwarded: message.forwarded,
                sent_at: message.order.sent_at,
                order_key: provider_id,
                status: known.status.name(),
                status_times: columns.times,
                error: columns.error,
                edited_at: known.amended.edited_at,
                edited_body: known.amended.edited_body.as_deref(),
                revoked_at: known.amended.revoked_at,
                reactions: columns.reactions,
                at: self.at,
            });
        });
        self.tx.emit(&events::message_created(
            self.tools,
            id.into(),
            conversation.into(),
            message.from_me,
            message.kind,
        ));
        facts.messages.push(known);
        Ok(id)
    }

    /// Works the stored messages out again about which something was added. Answers how many
    /// changed. `new` are those that were stored just now, with all that is known.
    pub(super) fn update_messages(
        &self,
        facts: &Facts,
        new: &BTreeSet<Uuid>,
    ) -> Result<u32, StoreError> {
        let mut changed = 0;
        for known in &facts.messages {
            if new.contains(&known.id) || !facts.affected.contains(&known.provider_id) {
                continue;
            }
            let receipts = facts.receipts_of(&known.provider_id);
            let mut progress = Progress::of(known.status, &receipts);
            for (stage, at) in &known.times {
                progress
                    .times
                    .entry(stage.clone())
                    .and_modify(|now| *now = (*now).min(*at))
                    .or_insert(*at);
            }
            let amended = facts.amended(
                &known.provider_id,
                known.from_me,
                &known.person,
                known.contact,
            );
            // An inbound message's error says why it cannot be shown; no receipt clears it.
            let error = if known.from_me {
                progress.error
            } else {
                known.error.clone()
            };
            let is_moved = progress.status != known.status;
            let is_amended = amended != known.amended;
            let is_told = progress.times != known.times || error != known.error;
            if !(is_moved || is_amended || is_told) {
                continue;
            }
            let now = KnownMessage {
                provider_id: known.provider_id.clone(),
                from_me: known.from_me,
                remote_jid: known.remote_jid.clone(),
                id: known.id,
                conversation: known.conversation,
                contact: known.contact,
                person: known.person.clone(),
                status: progress.status,
                times: progress.times,
                error,
                amended,
            };
            let columns = Columns::of(&now)?;
            self.tx.at_commit(|batch| {
                batch.execute(UpdateMessage {
                    status: now.status.name(),
                    status_times: columns.times,
                    error: columns.error,
                    edited_at: now.amended.edited_at,
                    edited_body: now.amended.edited_body.as_deref(),
                    revoked_at: now.amended.revoked_at,
                    reactions: columns.reactions,
                    id: now.id,
                });
            });
            let resource =
                Resource::one("message", MessageId::from(now.id)).about(now.contact.into());
            self.tx
                .audit(&AuditEntry::done(self.tools, "message.update", resource));
            let (id, conversation) = (now.id.into(), now.conversation.into());
            if is_moved || is_told {
                self.tx.emit(&events::message_status_changed(
                    self.tools,
                    id,
                    conversation,
                    now.status,
                ));
            }
            if is_amended {
                self.tx
                    .emit(&events::message_amended(self.tools, id, conversation));
            }
            changed += 1;
        }
        Ok(changed)
    }
}

/// The parts of a message that are kept as JSON.
struct Columns {
    times: Value,
    error: Option<Value>,
    reactions: Value,
}

impl Columns {
    fn of(message: &KnownMessage) -> Result<Self, StoreError> {
        Ok(Self {
            times: json(&message.times, "messages.status_times")?,
            error: match &message.error {
                Some(error) => Some(json(error, "messages.error")?),
                None => None,
            },
            reactions: json(&message.amended.reactions, "messages.reactions")?,
        })
    }
}
