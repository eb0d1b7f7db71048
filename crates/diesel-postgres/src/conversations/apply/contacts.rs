//! Whose a person's facts are: the matcher's resolution, carried out, and what contacts show of
//! their identities.

use std::collections::{BTreeMap, BTreeSet};

use conversations::events;
use kernel::identity::{
    Candidate, Claim, IdentityKey, IdentityKind, Known, Owner, Proof, Resolution, SeenAt, resolve,
};
use kernel::phone::Phone;
use kernel::text::name_key;
use kernel::{AuditEntry, ContactId, Resource, StoreError, TypedId as _};
use uuid::Uuid;

use super::people::Person;
use super::rows::{ContactStateRow, IdentityState, identity_key};
use super::statements::{
    FindHolders, FindProofs, InsertContact, InsertIdentities, LockContacts, MergeContact,
    MoveIdentity, PutName, PutProof, UpdateContact, UpdateIdentity,
};
use super::{Apply, Stopped, locks};
use crate::contacts::statements::{DropOtherTokens, InsertTokens};

/// The rank of an identity that has no place among its contact's yet.
const NEW_RANK: i16 = 1000;
/// What a contact is called whose messages bring neither a name nor a phone.
const NAMELESS: &str = "WhatsApp";

/// What became of one person's identities.
#[derive(Default)]
pub(super) struct Resolved {
    /// Whose the facts are.
    pub(super) contact: Uuid,
    /// Contacts that came to be.
    pub(super) created: BTreeSet<Uuid>,
    /// Contacts that went into another, each with that one.
    pub(super) merged: Vec<(Uuid, Uuid)>,
    /// Contacts that got or lost identities.
    pub(super) touched: BTreeSet<Uuid>,
    /// Identities that have another holder now.
    pub(super) moved: BTreeSet<IdentityKey>,
    /// Proofs to keep.
    pub(super) proofs: Vec<Proof>,
}

/// A contact, whether it is curated, and one of its identities.
pub(super) type HolderRow = (Uuid, bool, String, String);
/// The weak and the strong identity, the instant and the message that proved it.
pub(super) type ProofRow = (
    String,
    String,
    String,
    String,
    chrono::DateTime<chrono::Utc>,
    String,
);

fn columns(keys: &[IdentityKey]) -> (Vec<&'static str>, Vec<String>) {
    let kinds = keys.iter().map(|key| key.kind.as_str()).collect();
    (kinds, keys.iter().map(|key| key.key.clone()).collect())
}

/// The two look-ups around some identities.
pub(super) fn look_up(keys: &[IdentityKey]) -> (FindHolders, FindProofs) {
    let (kinds, texts) = columns(keys);
    let holders = FindHolders {
        kinds: kinds.clone(),
        keys: texts.clone(),
    };
    (holders, FindProofs { kinds, keys: texts })
}

/// What is known around a claim, and whether that is anything at all.
struct Around {
    known: Known,
    is_empty: bool,
}

impl Around {
    fn new() -> Self {
        Self {
            known: Known::default(),
            is_empty: true,
        }
    }

    fn add(
        &mut self,
        asked: Vec<IdentityKey>,
        holders: Vec<HolderRow>,
        proofs: Vec<ProofRow>,
    ) -> Result<(), StoreError> {
        self.is_empty &= holders.is_empty() && proofs.is_empty();
        let mut candidates: BTreeMap<Uuid, Candidate> = BTreeMap::new();
        for (id, curated, kind, key) in holders {
            let candidate = candidates.entry(id).or_insert_with(|| Candidate {
                id: id.into(),
                curated,
                identities: BTreeSet::new(),
            });
            candidate.identities.insert(identity_key(&kind, key)?);
        }
        // The look-up went on to all identities of whoever it found.
        let mut asked: BTreeSet<IdentityKey> = asked.into_iter().collect();
        for candidate in candidates.values() {
            asked.extend(candidate.identities.iter().cloned());
        }
        let proofs = proofs
            .into_iter()
            .map(
                |(weak_kind, weak_key, strong_kind, strong_key, at, order_key)| {
                    Ok(Proof {
                        weak: identity_key(&weak_kind, weak_key)?,
                        strong: identity_key(&strong_kind, strong_key)?,
                        seen: SeenAt { at, order_key },
                    })
                },
            )
            .collect::<Result<Vec<_>, StoreError>>()?;
        self.known.add(
            asked.into_iter().collect(),
            candidates.into_values(),
            proofs,
        );
        Ok(())
    }
}

/// Drops what the matcher would do for identities that somebody of the clinic took from their
/// contact: messages do not bring those back unless they name them.
fn resolve_named(claim: &Claim, known: &Known) -> Resolution {
    let mut resolution = resolve(claim, known);
    resolution
        .moves
        .retain(|it| it.from.is_some() || claim.identity(&it.identity).is_some());
    resolution
}

fn changes_nobody(resolution: &Resolution) -> bool {
    resolution.create.is_empty() && resolution.moves.is_empty() && resolution.merges.is_empty()
}

impl Apply<'_, '_> {
    /// Finds out whose the person's facts are, and makes it so. `first` is what the look-up of
    /// the person's own identities found, where it was made already.
    pub(super) async fn resolve_person(
        &self,
        person: &Person<'_>,
        first: Option<(Vec<HolderRow>, Vec<ProofRow>)>,
    ) -> Result<Resolved, Stopped> {
        let around = self.look_around(&person.claim, first).await?;
        let resolution = resolve_named(&person.claim, &around.known);
        if changes_nobody(&resolution) {
            return unchanged(&resolution);
        }
        if around.is_empty {
            // Nobody knows these identities, and their locks are held: nobody else can touch
            // what is made here.
            return self.carry_out(person, &resolution).await;
        }
        self.tx.execute(locks::of_structure(self.clinic)).await?;
        let around = self.look_around(&person.claim, None).await?;
        let resolution = resolve_named(&person.claim, &around.known);
        if changes_nobody(&resolution) {
            return unchanged(&resolution);
        }
        self.carry_out(person, &resolution).await
    }

    async fn look_around(
        &self,
        claim: &Claim,
        first: Option<(Vec<HolderRow>, Vec<ProofRow>)>,
    ) -> Result<Around, Stopped> {
        let mut around = Around::new();
        let mut missing = around.known.missing(claim);
        if let Some((holders, proofs)) = first {
            around.add(missing, holders, proofs)?;
            missing = around.known.missing(claim);
        }
        while !missing.is_empty() {
            let (holders, proofs) = look_up(&missing);
            let (holders, proofs) =
                futures_util::join!(self.tx.load(holders), self.tx.load(proofs));
            around.add(missing, holders?, proofs?)?;
            missing = around.known.missing(claim);
        }
        Ok(around)
    }

    /// Creates, moves and merges as the resolution says.
    async fn carry_out(
        &self,
        person: &Person<'_>,
        resolution: &Resolution,
    ) -> Result<Resolved, Stopped> {
        let claim = &person.claim;
        let created: Vec<Uuid> = resolution
            .create
            .iter()
            .map(|_| self.tools.id::<ContactId>().as_uuid())
            .collect();
        let owner = |owner: Owner| match owner {
            Owner::Existing(id) => Some(id.as_uuid()),
            Owner::New(place) => created.get(place).copied(),
        };
        let contact = owner(resolution.contact).ok_or(Stopped::Restart)?;
        let mut resolved = Resolved {
            contact,
            created: created.iter().copied().collect(),
            proofs: resolution.proofs.clone(),
            ..Resolved::default()
        };
        let mut existing: BTreeSet<Uuid> = BTreeSet::new();
        for it in &resolution.moves {
            existing.extend(it.from.map(|id| id.as_uuid()));
            if let Owner::Existing(id) = it.to {
                existing.insert(id.as_uuid());
            }
        }
        for merge in &resolution.merges {
            existing.extend([merge.from.as_uuid(), merge.into.as_uuid()]);
        }
        if !existing.is_empty() {
            let ids = existing.iter().copied().collect();
            let locked: Vec<ContactStateRow> = self.tx.load(LockContacts { ids }).await?;
            if locked.len() != existing.len() || locked.iter().any(|it| it.merged_into.is_some()) {
                return Err(Stopped::Restart);
            }
        }

        let names: Vec<String> = created
            .iter()
            .map(|id| {
                let own = (*id == contact).then_some(person.name.as_ref()).flatten();
                let phones = resolution.moves.iter().filter(|it| {
                    owner(it.to) == Some(*id) && it.identity.kind == IdentityKind::Phone
                });
                own.map(|(_, name)| name.as_str().to_owned())
                    .or_else(|| phones.map(|it| it.identity.key.clone()).next())
                    .unwrap_or_else(|| NAMELESS.to_owned())
            })
            .collect();
        let (mut contacts, mut kinds, mut keys, mut values) = (vec![], vec![], vec![], vec![]);
        let mut moves = Vec::new();
        for it in &resolution.moves {
            let to = owner(it.to).ok_or(Stopped::Restart)?;
            resolved.touched.insert(to);
            if let Some(from) = it.from {
                resolved.touched.insert(from.as_uuid());
                resolved.moved.insert(it.identity.clone());
                moves.push((to, from.as_uuid(), &it.identity));
            } else if let Some(identity) = claim.identity(&it.identity) {
                contacts.push(to);
                kinds.push(it.identity.kind.as_str());
                keys.push(it.identity.key.as_str());
                values.push(identity.value());
            }
        }
        let counts = self
            .tx
            .pipeline(|batch| {
                for (to, from, identity) in &moves {
                    batch.execute(MoveIdentity {
                        to: *to,
                        rank: NEW_RANK,
                        kind: identity.kind.as_str(),
                        key: &identity.key,
                        from: *from,
                    });
                }
                for (id, name) in created.iter().zip(&names) {
                    batch.execute(InsertContact {
                        clinic: self.clinic,
                        id: *id,
                        name,
                        name_key: name_key(name),
                        at: self.at,
                        updated_at: self.at,
                    });
                }
                if !contacts.is_empty() {
                    batch.execute(InsertIdentities {
                        clinic: self.clinic,
                        at: self.at,
                        rank: NEW_RANK,
                        contacts,
                        kinds,
                        keys,
                        values,
                    });
                }
            })
            .await;
        let counts = counts.map_err(Stopped::from)?;
        if counts.iter().take(moves.len()).any(|count| *count != 1) {
            return Err(Stopped::Restart);
        }
        for merge in &resolution.merges {
            let (from, into) = (merge.from.as_uuid(), merge.into.as_uuid());
            self.merge_threads(from, into).await?;
            self.tx.at_commit(|batch| {
                batch.execute(MergeContact {
                    into,
                    at: self.at,
                    id: from,
                });
                batch.execute(DropOtherTokens {
                    contact: from,
                    tokens: Vec::new(),
                });
            });
            let resource = Resource::contact(merge.from);
            self.tx
                .audit(&AuditEntry::done(self.tools, "contact.merge", resource));
            self.tx
                .emit(&events::contact_merged(self.tools, merge.from, merge.into));
            resolved.merged.push((from, into));
        }
        for (to, from, identity) in moves {
            if !resolved.merged.contains(&(from, to)) {
                self.follow(identity, from, to).await?;
            }
        }
        Ok(resolved)
    }

    /// Brings a contact's identities up to what the person's claim proves, and what the contact
    /// shows up to its identities. Answers whether anything that is shown changed.
    pub(super) fn refresh_contact(
        &self,
        state: &ContactStateRow,
        before: &[IdentityState],
        people: &[(&Person<'_>, &Resolved)],
    ) -> Result<bool, StoreError> {
        let mut after = before.to_vec();
        for (person, _) in people.iter().filter(|(_, it)| it.contact == state.id) {
            for identity in &mut after {
                self.prove(identity, person, state.curated);
            }
        }
        place(&mut after, state.curated);
        for (now, was) in after.iter().zip(before) {
            if (&now.value, now.rank, &now.proven) != (&was.value, was.rank, &was.proven) {
                self.tx.at_commit(|batch| {
                    batch.execute(UpdateIdentity {
                        value: &now.value,
                        rank: now.rank,
                        proven_at: now.proven.as_ref().map(|seen| seen.at),
                        proven_order: now.proven.as_ref().map(|seen| &*seen.order_key),
                        kind: now.key.kind.as_str(),
                        key: &now.key.key,
                    });
                });
            }
        }

        let phone = primary_phone(&after);
        let latest = after.iter().filter_map(|it| it.name.as_ref()).max();
        let name = match latest {
            _ if state.is_named() => state.name.as_str(),
            Some((_, name)) => name.as_str(),
            None => phone.unwrap_or(NAMELESS),
        };
        let is_new = people.iter().any(|(_, it)| it.created.contains(&state.id));
        let is_touched = people.iter().any(|(_, it)| it.touched.contains(&state.id));
        let shown_before = (state.name.as_str(), state.primary_phone.as_deref());
        let is_changed = is_touched || shown_before != (name, phone);
        if !is_changed {
            return Ok(false);
        }
        let phones = after
            .iter()
            .filter(|it| it.key.kind == IdentityKind::Phone)
            .map(|it| Phone::from_e164(&it.value))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| StoreError::Corrupt("contact_identities.value of a phone"))?;
        let names = (!state.is_named()).then_some(name);
        let tokens = contacts::search::tokens_of(names, &[], &phones);
        let name_key = name_key(name);
        self.tx.at_commit(|batch| {
            batch.execute(UpdateContact {
                name,
                name_key,
                primary_phone: phone,
                at: self.at,
                raise: i16::from(!is_new),
                id: state.id,
            });
            // What a person wrote has tokens of its own, and keeps them.
            if !state.curated {
                batch.execute(DropOtherTokens {
                    contact: state.id,
                    tokens: tokens.clone(),
                });
            }
            batch.execute(InsertTokens {
                clinic: self.clinic,
                contact: state.id,
                tokens,
            });
        });
        let id = ContactId::from(state.id);
        let (action, event) = if is_new {
            ("contact.create", events::CONTACT_CREATED)
        } else {
            ("contact.update", events::CONTACT_UPDATED)
        };
        self.tx
            .audit(&AuditEntry::done(self.tools, action, Resource::contact(id)));
        self.tx.emit(&events::contact(self.tools, event, id));
        Ok(true)
    }

    /// Notes on one identity what a person's claim says of it.
    fn prove(&self, identity: &mut IdentityState, person: &Person<'_>, curated: bool) {
        let Some(named) = person.claim.identity(&identity.key) else {
            return;
        };
        let seen = person.claim.seen();
        if identity.proven.as_ref().is_none_or(|known| seen > known) {
            identity.proven = Some(seen.clone());
            // What a person wrote stays as they wrote it.
            if !curated {
                named.value().clone_into(&mut identity.value);
            }
        }
        if identity.key == person.strongest
            && let Some((seen, name)) = &person.name
        {
            let name = (seen.clone(), name.as_str().to_owned());
            if identity.name.as_ref().is_none_or(|known| name > *known) {
                self.keep_name(&person.strongest, seen, &name.1);
                identity.name = Some(name);
            }
        }
    }

    fn keep_name(&self, key: &IdentityKey, seen: &SeenAt, name: &str) {
        self.tx.at_commit(|batch| {
            batch.execute(PutName {
                clinic: self.clinic,
                kind: key.kind.as_str(),
                key: &key.key,
                name,
                at: seen.at,
                order: &seen.order_key,
            });
        });
    }

    pub(super) fn keep_proofs(&self, proofs: &[Proof]) {
        self.tx.at_commit(|batch| {
            for proof in proofs {
                batch.execute(PutProof {
                    clinic: self.clinic,
                    weak_kind: proof.weak.kind.as_str(),
                    weak_key: &proof.weak.key,
                    strong_kind: proof.strong.kind.as_str(),
                    strong_key: &proof.strong.key,
                    at: proof.seen.at,
                    order: &proof.seen.order_key,
                });
            }
        });
    }
}

/// A resolution that moves nobody.
fn unchanged(resolution: &Resolution) -> Result<Resolved, Stopped> {
    let Owner::Existing(contact) = resolution.contact else {
        return Err(Stopped::Restart);
    };
    Ok(Resolved {
        contact: contact.as_uuid(),
        proofs: resolution.proofs.clone(),
        ..Resolved::default()
    })
}

/// Puts the identities of each kind in order. Of a contact that messages made, the one that was
/// proven last comes first; of one that a person wrote, those that messages added come last.
fn place(identities: &mut [IdentityState], curated: bool) {
    let kinds: BTreeSet<IdentityKind> = identities.iter().map(|it| it.key.kind).collect();
    for kind in kinds {
        let mut of_kind: Vec<&mut IdentityState> = identities
            .iter_mut()
            .filter(|it| it.key.kind == kind)
            .collect();
        of_kind.sort_by(|a, b| b.proven.cmp(&a.proven).then_with(|| a.key.cmp(&b.key)));
        if curated {
            let placed = of_kind.iter().filter(|it| it.rank < NEW_RANK);
            let next = placed.map(|it| it.rank + 1).max().unwrap_or(0);
            let new = of_kind.iter_mut().filter(|it| it.rank >= NEW_RANK);
            for (rank, identity) in (next..).zip(new) {
                identity.rank = rank;
            }
        } else {
            for (rank, identity) in (0_i16..).zip(of_kind) {
                identity.rank = rank;
            }
        }
    }
}

fn primary_phone(identities: &[IdentityState]) -> Option<&str> {
    identities
        .iter()
        .filter(|it| it.key.kind == IdentityKind::Phone)
        .min_by_key(|it| (it.rank, &it.key))
        .map(|it| it.value.as_str())
}
