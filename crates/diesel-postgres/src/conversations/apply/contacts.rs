//! Whose a person's facts are: the matcher's resolution, carried out, and what contacts show of
//! their identities.

use std::collections::BTreeSet;

use conversations::events;
use kernel::identity::{IdentityKey, IdentityKind, Owner, Proof, Resolution, SeenAt, resolve};
use kernel::phone::Phone;
use kernel::text::name_key;
use kernel::{AuditEntry, ContactId, Resource, StoreError, TypedId};
use uuid::Uuid;

use super::around::{Claims, HolderRow, ProofRow};
use super::people::Person;
use super::rows::{ContactStateRow, IdentityState};
use super::statements::{
    InsertContact, InsertIdentities, LockContacts, MergeContact, MoveIdentity, PutName, PutProof,
    UpdateContact, UpdateIdentity,
};
use super::{Apply, Stopped, locks};
use crate::contacts::statements::{DropOtherTokens, InsertTokens};

/// The rank of an identity that has no place among its contact's yet.
const NEW_RANK: i16 = 1000;
/// What a contact is called whose messages bring neither a name nor a phone.
const NAMELESS: &str = "WhatsApp";

/// What became of one person's identities.
pub(super) struct Resolved {
    /// Whose the facts are.
    pub(super) contact: Uuid,
    /// The identity by which that is known: the contact holds it. `None` where the lock of
    /// structures says so.
    pub(super) known_by: Option<IdentityKey>,
    /// Whose other facts are by the same number, if it had several holders one after the other.
    pub(super) history: Vec<(Option<SeenAt>, Uuid)>,
    /// Who holds what the claim names.
    pub(super) holders: BTreeSet<Uuid>,
    /// Whether somebody is, or was once, somebody else than before.
    pub(super) changed_people: bool,
    /// Contacts that came to be.
    pub(super) created: BTreeSet<Uuid>,
    /// Contacts that went into another, each with that one.
    pub(super) merged: Vec<(Uuid, Uuid)>,
    /// Contacts that got or lost identities.
    pub(super) touched: BTreeSet<Uuid>,
    /// Identities that have another holder now.
    pub(super) moved: BTreeSet<IdentityKey>,
    /// Contacts whose messages are others than before.
    pub(super) regrouped: BTreeSet<Uuid>,
    /// Proofs to keep.
    pub(super) proofs: Vec<Proof>,
}

impl Resolved {
    fn of(resolution: &Resolution, owner: impl Fn(Owner) -> Option<Uuid>) -> Result<Self, Stopped> {
        let history = resolution.history.iter();
        let history = history
            .map(|(until, holder)| Some((until.clone(), owner(*holder)?)))
            .collect::<Option<_>>();
        let holders = resolution.holders.iter().map(|it| owner(*it));
        Ok(Self {
            contact: owner(resolution.contact).ok_or(Stopped::Restart)?,
            known_by: Some(resolution.known_by.clone()),
            history: history.ok_or(Stopped::Restart)?,
            holders: holders.collect::<Option<_>>().ok_or(Stopped::Restart)?,
            changed_people: false,
            created: BTreeSet::new(),
            merged: Vec::new(),
            touched: BTreeSet::new(),
            moved: BTreeSet::new(),
            regrouped: BTreeSet::new(),
            proofs: resolution.proofs.clone(),
        })
    }

    /// Facts of a contact that had the number in their time.
    pub(super) fn of_holder(contact: Uuid) -> Self {
        Self {
            contact,
            known_by: None,
            history: Vec::new(),
            holders: BTreeSet::new(),
            changed_people: false,
            created: BTreeSet::new(),
            merged: Vec::new(),
            touched: BTreeSet::new(),
            moved: BTreeSet::new(),
            regrouped: BTreeSet::new(),
            proofs: Vec::new(),
        }
    }

    /// The same, looked at again once all is done that the change brings.
    pub(super) fn again(&mut self, now: Self) {
        self.contact = now.contact;
        self.known_by = now.known_by;
        self.history = now.history;
        self.holders = now.holders;
        self.created.extend(now.created);
        self.merged.extend(now.merged);
        self.touched.extend(now.touched);
        self.moved.extend(now.moved);
        self.regrouped.extend(now.regrouped);
        self.proofs.extend(now.proofs);
    }
}

fn changes_nobody(resolution: &Resolution) -> bool {
    resolution.create.is_empty()
        && resolution.moves.is_empty()
        && resolution.merges.is_empty()
        && resolution.handed_over.is_empty()
}

impl Apply<'_, '_> {
    /// Finds out whose the person's facts are, and makes it so. `first` is what the look-up of
    /// the person's own identities found, where it was made already; `others` are the claims of
    /// this change that took effect before.
    pub(super) async fn resolve_person(
        &self,
        person: &Person<'_>,
        others: &Claims<'_>,
        first: Option<(Vec<HolderRow>, Vec<ProofRow>)>,
    ) -> Result<Resolved, Stopped> {
        let around = self.look_around(&person.claim, others, first).await?;
        let resolution = resolve(&person.claim, &around.known);
        // A number that several people had: only the lock tells that it stays so.
        if changes_nobody(&resolution) && resolution.history.len() < 2 {
            return unchanged(&resolution);
        }
        if around.is_empty {
            // Nobody knows these identities, and their locks are held: nobody else can touch
            // what is made here.
            return self.carry_out(person, &resolution).await;
        }
        self.tx.execute(locks::of_structure(self.clinic)).await?;
        let around = self.look_around(&person.claim, others, None).await?;
        let resolution = resolve(&person.claim, &around.known);
        if changes_nobody(&resolution) {
            return unchanged(&resolution);
        }
        self.carry_out(person, &resolution).await
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
        let mut resolved = Resolved::of(resolution, owner)?;
        resolved.changed_people = true;
        let contact = resolved.contact;
        resolved.created.extend(&created);
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
        for it in &resolution.handed_over {
            existing.extend(it.from.iter().map(TypedId::as_uuid));
            let holders = it.holders.iter().filter_map(|(_, owner)| owner.existing());
            existing.extend(holders.map(|id| id.as_uuid()));
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
                for (to, from, identity) in &moves {
                    batch.execute(MoveIdentity {
                        to: *to,
                        rank: NEW_RANK,
                        kind: identity.kind.as_str(),
                        key: &identity.key,
                        from: *from,
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
        let moved = counts.iter().skip(created.len()).take(moves.len());
        if moved.into_iter().any(|count| *count != 1) {
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
        for it in &resolution.handed_over {
            let holders = it.holders.iter();
            let holders: Option<Vec<(Option<SeenAt>, Uuid)>> = holders
                .map(|(until, holder)| Some((until.clone(), owner(*holder)?)))
                .collect();
            let holders = holders.ok_or(Stopped::Restart)?;
            let regrouped = self.hand_over(&it.identity, &it.from, &holders).await?;
            resolved.regrouped.extend(regrouped);
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
        for (person, _) in people {
            for identity in &mut after {
                prove(identity, person, state.curated);
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

    /// Keeps the name that came with a person's strongest identity, if it is later than the one
    /// that is known.
    pub(super) fn keep_name(&self, person: &Person<'_>, identities: &[IdentityState]) {
        let Some((seen, name)) = &person.name else {
            return;
        };
        let known = identities
            .iter()
            .find(|it| it.key == person.strongest)
            .and_then(|it| it.name.as_ref());
        if known.is_some_and(|known| (&known.0, known.1.as_str()) >= (seen, name.as_str())) {
            return;
        }
        self.tx.at_commit(|batch| {
            batch.execute(PutName {
                clinic: self.clinic,
                kind: person.strongest.kind.as_str(),
                key: &person.strongest.key,
                name: name.as_str(),
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

/// Notes on one identity what a person's claim says of it.
fn prove(identity: &mut IdentityState, person: &Person<'_>, curated: bool) {
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
            identity.name = Some(name);
        }
    }
}

/// A resolution that moves nobody.
fn unchanged(resolution: &Resolution) -> Result<Resolved, Stopped> {
    Resolved::of(resolution, |it| it.existing().map(|id| id.as_uuid()))
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
