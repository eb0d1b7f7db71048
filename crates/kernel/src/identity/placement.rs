//! Which contact stands for which person: the contacts as they are, and as they should be.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::Evidence;
use super::people::People;
use super::{
    Claim, HandOver, IdentityKey, Known, Merge, Move, NewContact, Owner, Resolution, SeenAt,
};

/// A person: the strongest identity, and all of them.
type Person = (IdentityKey, BTreeSet<IdentityKey>);

/// What decides who stands for whom.
pub(super) struct Views<'a> {
    pub(super) claim: &'a Claim,
    pub(super) evidence: &'a Evidence,
    /// The people before the claim.
    pub(super) before: &'a People,
    /// The people now.
    pub(super) people: &'a People,
}

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
                identities: contact.identities.keys().cloned().collect(),
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
        views: &Views<'_>,
    ) {
        for _ in 0..MOST_ROUNDS {
            let mut changed = self.settle_one(&own.0, &own.1, views);
            for (root, person) in others {
                changed |= self.settle_one(root, person, views);
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
        views: &Views<'_>,
    ) -> bool {
        let home = self.home(root, person, views).unwrap_or_else(|| {
            let made = |owner: &&Owner| matches!(owner, Owner::New(_));
            Owner::New(self.holders.keys().filter(made).count())
        });
        let mut changed = false;
        for key in person {
            let holder = self.holder(key);
            if holder.is_none() && !views.claim.keys.contains(key) {
                // Somebody of the clinic took it from its contact: messages do not bring it back
                // unless they name it.
                continue;
            }
            let stays = holder.is_some_and(|owner| {
                owner == home || self.holders[&owner].keeps(key, person, views)
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

    pub(super) fn holder(&self, key: &IdentityKey) -> Option<Owner> {
        self.holders
            .iter()
            .find(|(_, holder)| holder.identities.contains(key))
            .map(|(owner, _)| *owner)
    }

    /// Of the contacts that may stand for a person, the one that stays: a curated one, the one with
    /// the strongest identity first, else the oldest.
    fn home(
        &self,
        root: &IdentityKey,
        person: &BTreeSet<IdentityKey>,
        views: &Views<'_>,
    ) -> Option<Owner> {
        let hosts = || {
            self.holders
                .iter()
                .filter(|(_, holder)| holder.hosts(root, person, views))
        };
        hosts()
            .filter(|(_, holder)| holder.curated)
            .min_by_key(|(_, holder)| holder.identities.intersection(person).next())
            .or_else(|| hosts().next())
            .map(|(owner, _)| *owner)
    }

    /// The contacts of who had an identity, and until when; the last has it now.
    fn history(&self, key: &IdentityKey, people: &People) -> Vec<(Option<SeenAt>, Owner)> {
        let holders = people.holders(key);
        let contact = |root: &IdentityKey| {
            // The present holder is whoever holds it, though it be not who stands for the person.
            let stands = (root != people.root(key)).then(|| self.holder(root));
            stands.flatten().or_else(|| self.holder(key))
        };
        let last = holders.len() - 1;
        holders
            .into_iter()
            .enumerate()
            .filter_map(|(place, (until, root))| {
                let until = until.filter(|_| place < last);
                Some((until.cloned(), contact(root)?))
            })
            .collect()
    }

    /// What has changed since `before`.
    pub(super) fn resolution(&self, before: &Self, own: &Person, views: &Views<'_>) -> Resolution {
        let strongest = &views.claim.strongest;
        // Another one has a number of former times now.
        let known_by = Some(&own.0)
            .filter(|root| !own.1.contains(strongest) && self.holder(root).is_some())
            .unwrap_or(strongest);
        let contact = self.holder(known_by).unwrap_or(Owner::New(0));
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
        let merges: Vec<Merge> = emptied
            .filter_map(|(owner, holder)| {
                let heir = self.holder(holder.strongest(views)?)?;
                Some(Merge {
                    from: owner.existing()?,
                    into: heir.existing()?,
                })
            })
            .collect();
        let same = self
            .holders
            .iter()
            .filter(|(owner, holder)| **owner != contact && !holder.identities.is_disjoint(&own.1));
        let named = views.claim.keys.iter();
        Resolution {
            contact,
            known_by: known_by.clone(),
            history: self.history(strongest, views.people),
            holders: named.filter_map(|key| self.holder(key)).collect(),
            create,
            proofs: Vec::new(),
            handed_over: self.handed_over(before, &merges, views),
            moves,
            merges,
            possible_duplicates: same.filter_map(|(owner, _)| owner.existing()).collect(),
        }
    }

    /// The identities whose messages are other contacts' than before.
    fn handed_over(&self, before: &Self, merges: &[Merge], views: &Views<'_>) -> Vec<HandOver> {
        let after_merges = |owner: Owner| {
            let gone = merges.iter().find(|it| owner == Owner::Existing(it.from));
            gone.map_or(owner, |it| Owner::Existing(it.into))
        };
        let keys = before.holders.values().flat_map(|it| &it.identities);
        keys.filter_map(|key| {
            let was = before.history(key, views.before).into_iter();
            let was = joined(was.map(|(until, owner)| (until, after_merges(owner))));
            let is = joined(self.history(key, views.people));
            (was != is).then(|| HandOver {
                identity: key.clone(),
                from: was
                    .into_iter()
                    .filter_map(|(_, owner)| owner.existing())
                    .collect(),
                holders: is,
            })
        })
        .collect()
    }
}

/// The same with one entry for what one contact had at a stretch.
fn joined(
    history: impl IntoIterator<Item = (Option<SeenAt>, Owner)>,
) -> Vec<(Option<SeenAt>, Owner)> {
    let mut joined: Vec<(Option<SeenAt>, Owner)> = Vec::new();
    for (until, owner) in history {
        if joined.last().is_some_and(|(_, known)| *known == owner) {
            joined.pop();
        }
        joined.push((until, owner));
    }
    joined
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
    /// The identity by which a contact that messages made stands for a person. Not a number that
    /// another one of its people gave up: the contact stays with who it was made for.
    fn strongest(&self, views: &Views<'_>) -> Option<&IdentityKey> {
        let mut identities = self.identities.iter();
        identities
            .find(|key| !self.lost(key, views.people))
            .or_else(|| self.identities.first())
    }

    /// Whether the number was of another one of this contact's people, who has it no more.
    fn lost(&self, number: &IdentityKey, people: &People) -> bool {
        let mut others = self.identities.iter().filter(|other| *other != number);
        others.any(|other| people.lost(number, people.root(other)))
    }

    /// Whether it is known only now that the number is lost: somebody of the clinic may have put
    /// together afterwards what the evidence had put asunder.
    fn loses(&self, number: &IdentityKey, views: &Views<'_>) -> bool {
        self.lost(number, views.people) && !self.lost(number, views.before)
    }

    /// Whether it may stand for the person.
    fn hosts(&self, root: &IdentityKey, person: &BTreeSet<IdentityKey>, views: &Views<'_>) -> bool {
        if self.curated {
            // Somebody may have made one contact of several people: it stands for them all.
            let mut theirs = self
                .identities
                .intersection(person)
                .filter(|key| !self.loses(key, views));
            let first = theirs.next();
            first.is_some()
                && (first == Some(root)
                    || theirs.any(|key| key == root)
                    || self.others(person).next().is_none())
        } else {
            // For one person each: that of its strongest identity.
            let strongest = self.strongest(views);
            strongest.is_some_and(|strongest| person.contains(strongest))
        }
    }

    /// Whether it keeps an identity of a person for whom another contact stands. A curated one
    /// does, unless it is somebody else's; and even then, what somebody wrote into it stays until
    /// messages prove that it has changed hands. Nobody writes WhatsApp ids.
    fn keeps(&self, key: &IdentityKey, person: &BTreeSet<IdentityKey>, views: &Views<'_>) -> bool {
        let mut others = self.others(person).peekable();
        self.curated
            && !self.loses(key, views)
            && (others.peek().is_none()
                || !key.kind.is_strong()
                    && !others.any(|other| views.evidence.has_pair(key, other)))
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
