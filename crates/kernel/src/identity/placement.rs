//! Which contact stands for which person: the contacts as they are, and as they should be.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::Evidence;
use super::{Claim, IdentityKey, Known, Merge, Move, NewContact, Owner, Proof, Resolution};

/// A person: the strongest identity, and all of them.
type Person = (IdentityKey, BTreeSet<IdentityKey>);

/// One contact.
#[derive(Debug, Clone)]
struct Holder {
    curated: bool,
    identities: BTreeSet<IdentityKey>,
}

/// Who holds what.
#[derive(Debug, Clone)]
pub(super) struct Placement {
    holders: BTreeMap<Owner, Holder>,
}

/// Settling a person may free or bind another, which settles in the next round. Two rounds are
/// usual; more than this would be a mistake of ours, and a message must not hang on it.
const MOST_ROUNDS: usize = 16;

impl Placement {
    pub(super) fn of(known: &Known) -> Self {
        let holders = known.contacts.values().map(|contact| {
            let holder = Holder {
                curated: contact.curated,
                identities: contact.identities.clone(),
            };
            (Owner::Existing(contact.id), holder)
        });
        Self {
            holders: holders.collect(),
        }
    }

    /// Gives everybody's identities to the contact that stands for them.
    pub(super) fn settle(
        &mut self,
        own: &Person,
        others: &BTreeMap<IdentityKey, BTreeSet<IdentityKey>>,
        evidence: &Evidence,
    ) {
        for _ in 0..MOST_ROUNDS {
            let mut changed = self.settle_one(&own.0, &own.1, evidence);
            for (root, person) in others {
                changed |= self.settle_one(root, person, evidence);
            }
            if !changed {
                return;
            }
        }
    }

    /// The same for one person; whether anything changed.
    fn settle_one(
        &mut self,
        root: &IdentityKey,
        person: &BTreeSet<IdentityKey>,
        evidence: &Evidence,
    ) -> bool {
        let home = self.home(root, person).unwrap_or_else(|| {
            let made = |owner: &&Owner| matches!(owner, Owner::New(_));
            Owner::New(self.holders.keys().filter(made).count())
        });
        let mut changed = false;
        for key in person {
            let holder = self.holder(key);
            let stays = holder.is_some_and(|owner| {
                owner == home || self.holders[&owner].keeps(key, person, evidence)
            });
            if !stays {
                if let Some(holder) = holder.and_then(|owner| self.holders.get_mut(&owner)) {
                    holder.identities.remove(key);
                }
                let made = || Holder {
                    curated: false,
                    identities: BTreeSet::new(),
                };
                let holder = self.holders.entry(home).or_insert_with(made);
                changed |= holder.identities.insert(key.clone());
            }
        }
        changed
    }

    fn holder(&self, key: &IdentityKey) -> Option<Owner> {
        self.holders
            .iter()
            .find(|(_, holder)| holder.identities.contains(key))
            .map(|(owner, _)| *owner)
    }

    /// Of the contacts that may stand for a person, the one that stays: a curated one, the one with
    /// the strongest identity first, else the oldest.
    fn home(&self, root: &IdentityKey, person: &BTreeSet<IdentityKey>) -> Option<Owner> {
        let hosts = || {
            self.holders
                .iter()
                .filter(|(_, holder)| holder.hosts(root, person))
        };
        hosts()
            .filter(|(_, holder)| holder.curated)
            .min_by_key(|(_, holder)| holder.identities.intersection(person).next())
            .or_else(|| hosts().next())
            .map(|(owner, _)| *owner)
    }

    /// What has changed since `before`.
    pub(super) fn resolution(
        &self,
        before: &Self,
        claim: &Claim,
        own: &Person,
        proofs: Vec<Proof>,
    ) -> Resolution {
        let contact = self.holder(&claim.strongest).unwrap_or(Owner::New(0));
        let mut create = Vec::new();
        let mut moves = Vec::new();
        for (owner, holder) in &self.holders {
            let came = holder.identities.iter().filter_map(|key| {
                let from = before.holder(key);
                (from != Some(*owner)).then_some((key, from))
            });
            let came: Vec<Move> = came
                .map(|(key, from)| Move {
                    identity: key.clone(),
                    from: from.and_then(Owner::existing),
                    to: *owner,
                })
                .collect();
            if matches!(owner, Owner::New(_)) {
                let split_from = came.iter().find_map(|change| change.from);
                create.push(NewContact {
                    split_from: split_from.filter(|_| *owner != contact),
                });
            }
            moves.extend(came);
        }
        let emptied = before.holders.iter().filter(|(owner, holder)| {
            !holder.curated && self.holders[*owner].identities.is_empty()
        });
        let merges = emptied.filter_map(|(owner, holder)| {
            let heir = self.holder(holder.identities.first()?)?;
            Some(Merge {
                from: owner.existing()?,
                into: heir.existing()?,
            })
        });
        let same = self
            .holders
            .iter()
            .filter(|(owner, holder)| **owner != contact && !holder.identities.is_disjoint(&own.1));
        Resolution {
            contact,
            create,
            proofs,
            moves,
            merges: merges.collect(),
            possible_duplicates: same.filter_map(|(owner, _)| owner.existing()).collect(),
        }
    }
}

impl Owner {
    /// The contact, if it exists already.
    pub const fn existing(self) -> Option<crate::ContactId> {
        match self {
            Self::Existing(contact) => Some(contact),
            Self::New(_) => None,
        }
    }
}

impl Holder {
    /// Whether it may stand for the person.
    fn hosts(&self, root: &IdentityKey, person: &BTreeSet<IdentityKey>) -> bool {
        if self.curated {
            // Somebody may have made one contact of several people: it stands for them all.
            self.identities.contains(root)
                || !self.identities.is_disjoint(person) && self.others(person).next().is_none()
        } else {
            // For one person each: that of its strongest identity.
            let strongest = self.identities.first();
            strongest.is_some_and(|strongest| person.contains(strongest))
        }
    }

    /// Whether it keeps an identity of a person for whom another contact stands. A curated one
    /// does, unless it is somebody else's; and even then, what somebody wrote into it stays until
    /// messages prove that it has changed hands. Nobody writes WhatsApp ids.
    fn keeps(
        &self,
        key: &IdentityKey,
        person: &BTreeSet<IdentityKey>,
        evidence: &Evidence,
    ) -> bool {
        let mut others = self.others(person).peekable();
        self.curated
            && (others.peek().is_none()
                || !key.kind.is_strong() && !others.any(|other| evidence.has_pair(key, other)))
    }

    /// Its strong identities that are not this person's though the person has one of that kind: if
    /// there is any, the contact is somebody else's.
    fn others<'a>(
        &'a self,
        person: &'a BTreeSet<IdentityKey>,
    ) -> impl Iterator<Item = &'a IdentityKey> {
        self.identities.difference(person).filter(|foreign| {
            foreign.kind.is_strong() && person.iter().any(|own| own.kind == foreign.kind)
        })
    }
}
