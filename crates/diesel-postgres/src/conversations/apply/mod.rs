//! A stored change takes effect: [`ChangeStore`] on PostgreSQL.
//!
//! One transaction, in four steps:
//!
//! 1. Locks for every identity and every message that the change names, the end of the job (a
//!    lost lease ends it all), and what is known of the first person.
//! 2. Whose the facts are: the matcher decides, contacts are made, identities move, contacts
//!    and their threads are joined.
//! 3. What is stored about the named messages, their contacts and conversations, under locks.
//! 4. What is new is written, and whatever is worked out from it: messages from *all* their
//!    receipts and amendments, contacts from all their identities. With it go audit entries and
//!    events. A change that is known already writes nothing but the end of its job.
//!
//! Whoever finds that somebody else moved a contact meanwhile begins again.

mod around;
mod contacts;
mod facts;
mod locks;
mod people;
mod rows;
mod statements;
mod threads;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use conversations::ports::{Applied, ChangeStore, StoredChange};
use conversations::{InboundChange, events};
use kernel::identity::IdentityKey;
use kernel::job::{Lease, LeaseLost};
use kernel::{
    AuditEntry, ChannelId, ConversationId, Resource, StoreError, TenantContext, Toolkit,
    TypedId as _,
};
use uuid::Uuid;

use crate::{Database, QueryName, StoreErrorExt as _, Tx, jobs, query_name};
use around::{Claims, HolderRow, ProofRow, look_up};
use contacts::Resolved;
use facts::Facts;
use people::Person;
use rows::{
    ContactStateRow, ConversationState, IdentityState, IdentityStateRow, KnownAmendmentRow,
    KnownMessageRow, KnownReceipt, ReceiptRow,
};
use statements::{
    FindAmendedBy, FindAmendments, FindChange, FindIdentitiesOf, FindMessages, FindReceipts,
    LockContacts, LockConversationsOn,
};

const FIND: QueryName = query_name!("change.find", "SELECT", "webhook_inbox");
const APPLY: QueryName = query_name!("change.apply", "INSERT", "messages");

/// How often a change begins again at once; after that its job is tried again later.
const MOST_BEGINNINGS: u32 = 4;

/// Where stored changes take effect.
#[derive(Debug, Clone)]
pub struct PgChangeStore {
    db: Database,
    tools: Toolkit,
}

impl PgChangeStore {
    /// Lets changes take effect in `db`: the jobs' own connections.
    pub const fn new(db: Database, tools: Toolkit) -> Self {
        Self { db, tools }
    }
}

/// Why an application stopped half way; nothing was written.
#[derive(Debug)]
enum Stopped {
    LeaseLost,
    /// Somebody else changed what was decided upon.
    Restart,
    Store(StoreError),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        match error.constraint() {
            // Somebody of the clinic made a contact with this identity just now.
            Some("contact_identities_pk" | "conversations_contact_unique" | "message_keys_pk") => {
                Self::Restart
            }
            _ => Self::Store(error),
        }
    }
}

impl From<LeaseLost> for Stopped {
    fn from(_: LeaseLost) -> Self {
        Self::LeaseLost
    }
}

#[async_trait]
impl ChangeStore for PgChangeStore {
    async fn find_change(
        &self,
        cx: &TenantContext,
        lease: Lease,
    ) -> Result<Option<StoredChange>, StoreError> {
        let select = FindChange {
            job: lease.job.into(),
            token: lease.token,
        };
        let row: Option<(Uuid, Uuid, String, DateTime<Utc>, Vec<u8>)> =
            self.db.read_one(cx, FIND, select).await?;
        let Some((id, channel, provider, received_at, body)) = row else {
            return Ok(None);
        };
        Ok(Some(StoredChange {
            id: id.into(),
            channel: channel.into(),
            provider: provider
                .parse()
                .map_err(|_| StoreError::Corrupt("channels.provider"))?,
            received_at,
            body: Bytes::from(body),
        }))
    }

    async fn apply(
        &self,
        cx: &TenantContext,
        lease: Lease,
        channel: ChannelId,
        change: &InboundChange,
    ) -> Result<Applied, StoreError> {
        for _ in 0..MOST_BEGINNINGS {
            let done = self
                .db
                .unit(cx, APPLY, async |tx| {
                    let apply = Apply {
                        tx,
                        tools: &self.tools,
                        clinic: cx.clinic().into(),
                        channel: channel.into(),
                        at: self.tools.now(),
                    };
                    apply.change(lease, change).await
                })
                .await;
            match done {
                Ok(applied) => return Ok(applied),
                Err(Stopped::LeaseLost) => {
                    return Ok(Applied {
                        lease_lost: true,
                        ..Applied::default()
                    });
                }
                Err(Stopped::Restart | Stopped::Store(StoreError::Contention(_))) => {}
                Err(Stopped::Store(error)) => return Err(error),
            }
        }
        Err(StoreError::Contention(
            "a contact kept changing while its messages were stored".into(),
        ))
    }
}

/// One application of a change.
struct Apply<'t, 'c> {
    tx: &'t Tx<'c>,
    tools: &'t Toolkit,
    clinic: Uuid,
    channel: Uuid,
    /// When it takes effect.
    at: DateTime<Utc>,
}

impl Apply<'_, '_> {
    async fn change(&self, lease: Lease, change: &InboundChange) -> Result<Applied, Stopped> {
        let people = people::of_change(change);
        let named: BTreeSet<&str> = change
            .messages
            .iter()
            .map(|message| message.order.provider_id.as_str())
            .chain(change.receipts.iter().map(|it| it.provider_id.as_str()))
            .chain(change.amendments.iter().map(|it| it.target.as_str()))
            .collect();
        let keys: BTreeSet<IdentityKey> = people.iter().flat_map(Person::keys).collect();
        let first: Vec<IdentityKey> = people.first().into_iter().flat_map(Person::keys).collect();

        let lock = locks::of_change(
            self.clinic,
            self.channel,
            keys.iter(),
            named.iter().copied(),
        );
        let (holders, proofs) = look_up(&first);
        let (locked, ended, holders, proofs) = futures_util::join!(
            self.tx.execute(lock),
            jobs::complete_in::<Stopped>(self.tx, lease, self.at),
            self.tx.load::<HolderRow, _, _>(holders),
            self.tx.load::<ProofRow, _, _>(proofs),
        );
        locked?;
        ended?;
        let mut found = Some((holders?, proofs?));

        let resolved = self.resolve_people(&people, found.take()).await?;
        let mut by_contact: Vec<(Person<'_>, Resolved)> = Vec::with_capacity(people.len());
        for (person, it) in people.into_iter().zip(resolved) {
            if it.history.len() < 2 {
                by_contact.push((person, it));
                continue;
            }
            let mut of_claim = Some(it);
            let history = of_claim
                .as_ref()
                .map_or_else(Vec::new, |it| it.history.clone());
            for (contact, theirs) in person.by_holder(&history) {
                let it = of_claim.take();
                let it = it.unwrap_or_else(|| Resolved::of_holder(contact));
                by_contact.push((theirs, it));
            }
        }
        let people: Vec<(&Person<'_>, &Resolved)> =
            by_contact.iter().map(|(person, it)| (person, it)).collect();

        let mut named: BTreeSet<String> = named.into_iter().map(str::to_owned).collect();
        let amended = self.amended_by(&people).await?;
        named.extend(amended.iter().cloned());
        let mut stored = self.look_up_stored(&named, &people).await?;
        stored.facts.affected.extend(amended);
        self.write(change, &people, stored)
    }

    /// Finds out whose each person's facts are, one after the other, and looks at them again if
    /// what one of them proved may have changed whose another one's are.
    async fn resolve_people(
        &self,
        people: &[Person<'_>],
        mut found: Option<(Vec<HolderRow>, Vec<ProofRow>)>,
    ) -> Result<Vec<Resolved>, Stopped> {
        let mut resolved: Vec<Resolved> = Vec::with_capacity(people.len());
        let mut claims = Claims::default();
        for person in people {
            let it = self.resolve_person(person, &claims, found.take()).await?;
            resolved.push(it);
            if people.len() > 1 {
                claims.add(&person.claim);
            }
        }
        if people.len() > 1 && resolved.iter().any(|it| it.changed_people) {
            for (person, it) in people.iter().zip(&mut resolved) {
                it.again(self.resolve_person(person, &claims, None).await?);
            }
        }
        Ok(resolved)
    }

    /// The messages on this channel that were amended by a contact that got or lost identities:
    /// what counted for another's may count now.
    async fn amended_by(
        &self,
        people: &[(&Person<'_>, &Resolved)],
    ) -> Result<Vec<String>, Stopped> {
        let resolved = || people.iter().map(|(_, it)| *it);
        let got = |it: &&Resolved| !it.moved.is_empty() || !it.merged.is_empty();
        let moved = resolved().filter(got).flat_map(|it| &it.touched);
        let regrouped = resolved().flat_map(|it| &it.regrouped);
        let contacts: BTreeSet<Uuid> = moved.chain(regrouped).copied().collect();
        if contacts.is_empty() {
            return Ok(Vec::new());
        }
        let contacts = contacts.into_iter().collect();
        let channel = self.channel;
        let targets = self.tx.load(FindAmendedBy { contacts, channel });
        Ok(targets.await?)
    }

    /// Locks the contacts and conversations of the change, and reads all that is stored about
    /// what it names.
    async fn look_up_stored(
        &self,
        named: &BTreeSet<String>,
        people: &[(&Person<'_>, &Resolved)],
    ) -> Result<Stored, Stopped> {
        let mut contacts: BTreeSet<Uuid> = BTreeSet::new();
        for (_, it) in people {
            contacts.insert(it.contact);
            contacts.extend(&it.touched);
            contacts.extend(&it.created);
            contacts.extend(&it.holders);
        }
        for (_, it) in people {
            for (from, _) in &it.merged {
                contacts.remove(from);
            }
        }
        let contacts: Vec<Uuid> = contacts.into_iter().collect();
        let ids: Vec<&str> = named.iter().map(String::as_str).collect();
        let channel = self.channel;
        let (locked, identities, conversations, messages, receipts, amendments) = futures_util::join!(
            self.tx.load::<ContactStateRow, _, _>(LockContacts {
                ids: contacts.clone()
            }),
            self.tx.load::<IdentityStateRow, _, _>(FindIdentitiesOf {
                ids: contacts.clone()
            }),
            self.tx
                .load::<ConversationState, _, _>(LockConversationsOn {
                    channel,
                    contacts: contacts.clone(),
                }),
            self.tx.load::<KnownMessageRow, _, _>(FindMessages {
                ids: ids.clone(),
                channel
            }),
            self.tx.load::<ReceiptRow, _, _>(FindReceipts {
                ids: ids.clone(),
                channel
            }),
            self.tx
                .load::<KnownAmendmentRow, _, _>(FindAmendments { ids, channel }),
        );
        let locked = locked?;
        if locked.len() != contacts.len() || locked.iter().any(|it| it.merged_into.is_some()) {
            return Err(Stopped::Restart);
        }
        let identities = identities?
            .into_iter()
            .map(IdentityState::try_from)
            .collect::<Result<Vec<_>, _>>()?;
        for (_, it) in people {
            // Moved between the look-up and the lock.
            let holds = |key: &IdentityKey| {
                let mut states = identities.iter();
                states.any(|state| state.key == *key && state.contact == it.contact)
            };
            if !it.known_by.as_ref().is_none_or(holds) {
                return Err(Stopped::Restart);
            }
        }
        let mut facts = Facts::default();
        for row in messages? {
            facts.messages.push(row.try_into()?);
        }
        for row in receipts? {
            let (provider_id, receipt) = KnownReceipt::of_row(row)?;
            facts
                .receipts
                .insert((provider_id, receipt.status), receipt);
        }
        for row in amendments? {
            facts.amendments.push(row.try_into()?);
        }
        Ok(Stored {
            contacts: locked,
            identities,
            conversations: conversations?
                .into_iter()
                .map(|it| (it.contact, it))
                .collect(),
            facts,
        })
    }

    fn write(
        &self,
        change: &InboundChange,
        people: &[(&Person<'_>, &Resolved)],
        stored: Stored,
    ) -> Result<Applied, Stopped> {
        let Stored {
            contacts,
            identities,
            mut conversations,
            mut facts,
        } = stored;
        let mut applied = Applied::default();
        for (person, it) in people {
            self.keep_proofs(&it.proofs);
            self.keep_name(person, &identities);
            applied.contacts += count(it.created.len());
            applied.merged += count(it.merged.len());
        }
        for state in &contacts {
            let own: Vec<IdentityState> = identities
                .iter()
                .filter(|it| it.contact == state.id)
                .cloned()
                .collect();
            self.refresh_contact(state, &own, people)?;
        }

        self.add_receipts(&mut facts, &change.receipts)?;
        for (person, it) in people {
            self.add_amendments(&mut facts, person, it.contact);
        }
        let mut new: BTreeSet<Uuid> = BTreeSet::new();
        let mut threads: BTreeMap<Uuid, (bool, ConversationState)> = BTreeMap::new();
        for (person, it) in people {
            let mut messages = Self::new_messages(&facts, person, it.contact);
            messages.sort_by(|a, b| a.order.cmp(&b.order));
            for message in messages {
                let (_, thread) = threads.entry(it.contact).or_insert_with(|| {
                    let known = conversations.remove(&it.contact);
                    let is_new = known.is_none();
                    let thread = known.unwrap_or_else(|| {
                        let id = self.tools.id::<ConversationId>().as_uuid();
                        let (channel, contact) = (self.channel, it.contact);
                        ConversationState::begun_by(id, channel, contact, message, self.at)
                    });
                    let event = if is_new {
                        events::CONVERSATION_CREATED
                    } else {
                        events::CONVERSATION_UPDATED
                    };
                    self.emit_conversation(event, &thread);
                    (is_new, thread)
                });
                let id = self.insert_message(
                    &mut facts,
                    message,
                    &person.strongest,
                    it.contact,
                    thread.id,
                )?;
                thread.add(id, message);
                new.insert(id);
            }
        }
        for (is_new, thread) in threads.values() {
            self.tx.at_commit(|batch| {
                if *is_new {
                    batch.execute(self.insert_row(thread));
                } else {
                    batch.execute(self.update_conversation(thread));
                }
            });
            let resource = Resource::one("conversation", ConversationId::from(thread.id))
                .about(thread.contact.into());
            self.tx
                .audit(&AuditEntry::done(self.tools, "message.receive", resource));
        }
        applied.messages = count(new.len());
        applied.changed = self.update_messages(&facts, &new)?;
        Ok(applied)
    }
}

/// What is stored about a change's people and messages.
struct Stored {
    contacts: Vec<ContactStateRow>,
    identities: Vec<IdentityState>,
    conversations: BTreeMap<Uuid, ConversationState>,
    facts: Facts,
}

fn count(many: usize) -> u32 {
    u32::try_from(many).unwrap_or(u32::MAX)
}
