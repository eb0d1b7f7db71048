//! The evidence: what messages said of identities, each saying with its latest instant. Who had
//! which number when is worked out of it.

use std::collections::BTreeMap;

use super::{IdentityKey, IdentityKind, Proof, SeenAt};

/// All that is known, each fact with its latest instant. Adding is commutative and adding twice
/// changes nothing, so it does not matter in which order facts came.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    /// By the weaker identity.
    stronger: BTreeMap<IdentityKey, BTreeMap<IdentityKey, SeenAt>>,
    /// By the stronger one: which weaker ones name it.
    weaker: BTreeMap<IdentityKey, Vec<IdentityKey>>,
    /// What took the place of what, of the same kind: the former one first.
    exchanges: BTreeMap<(IdentityKey, IdentityKey), SeenAt>,
    /// By phone: the latest message that named it.
    named: BTreeMap<IdentityKey, SeenAt>,
}

/// One holder of an identity, for a time.
#[derive(Debug, Default)]
pub(super) struct Stretch<'a> {
    /// The stronger identities proven with it then, at most one of each kind.
    pub(super) with: Vec<&'a IdentityKey>,
    /// The numbers that its holder had before, if it began with their change to this one.
    pub(super) came_from: Vec<&'a IdentityKey>,
    /// The numbers for which its holder gave it up, at the end.
    pub(super) left_for: Vec<&'a IdentityKey>,
    /// The last instant of it. Of the last stretch it is of no account.
    pub(super) until: Option<&'a SeenAt>,
}

impl<'a> Stretch<'a> {
    /// The strongest identity of the holder.
    pub(super) fn strongest(&self) -> Option<&'a IdentityKey> {
        self.with.iter().min().copied()
    }

    /// Whose it was till then, once another instant is not of it.
    pub(super) fn covers(&self, seen: &SeenAt) -> bool {
        self.until.is_some_and(|until| seen <= until)
    }

    fn has_kind(&self, kind: IdentityKind) -> bool {
        self.with.iter().any(|identity| identity.kind == kind)
    }
}

/// All that one message says of an identity, or all messages of one instant.
#[derive(Default)]
struct Moment<'a> {
    came_from: Vec<&'a IdentityKey>,
    with: Vec<&'a IdentityKey>,
    left_for: Vec<&'a IdentityKey>,
}

impl Evidence {
    /// Whether the proof is new, or later than the known one of this pair.
    pub(super) fn add(&mut self, proof: &Proof) -> bool {
        let Proof { weak, strong, seen } = proof;
        if weak.kind == strong.kind {
            return later(&mut self.exchanges, (weak.clone(), strong.clone()), seen);
        }
        let pairs = self.stronger.entry(weak.clone()).or_default();
        if !pairs.contains_key(strong) {
            let weaker = self.weaker.entry(strong.clone()).or_default();
            weaker.push(weak.clone());
        }
        later(pairs, strong.clone(), seen)
    }

    /// Notes that a message named an identity.
    pub(super) fn name(&mut self, key: &IdentityKey, seen: &SeenAt) {
        if key.kind == IdentityKind::Phone {
            later(&mut self.named, key.clone(), seen);
        }
    }

    /// Every identity of which something is proven.
    pub(super) fn identities(&self) -> impl Iterator<Item = &IdentityKey> {
        let exchanged = self.exchanges.keys().flat_map(|(one, other)| [one, other]);
        self.stronger
            .keys()
            .chain(self.weaker.keys())
            .chain(exchanged)
    }

    /// Whether the two were ever proven together.
    pub(super) fn has_pair(&self, one: &IdentityKey, other: &IdentityKey) -> bool {
        let proven = |weak, strong| {
            self.stronger
                .get(weak)
                .is_some_and(|pairs| pairs.contains_key(strong))
        };
        proven(one, other) || proven(other, one)
    }

    /// The ids that took the place of another one, which stays with a person for good.
    pub(super) fn exchanged_ids(&self) -> impl Iterator<Item = (&IdentityKey, &IdentityKey)> {
        let pairs = self.exchanges.keys().map(|(one, other)| (one, other));
        pairs.filter(|(one, _)| one.kind.is_strong())
    }

    /// The user id that a hidden id joins: the latest one it was proven with, else the one beside
    /// it on a phone.
    pub(super) fn user_of<'a>(&'a self, lid: &IdentityKey) -> Option<&'a IdentityKey> {
        let proven = self.stronger.get(lid).into_iter().flatten();
        let latest = proven.max_by_key(|(user, seen)| (*seen, *user));
        latest
            .map(|(user, _)| user)
            .or_else(|| self.user_beside(lid))
    }

    fn user_beside<'a>(&'a self, lid: &IdentityKey) -> Option<&'a IdentityKey> {
        let phones = self.weaker.get(lid).into_iter().flatten();
        phones
            .filter(|weak| weak.kind == IdentityKind::Phone)
            .filter_map(|phone| {
                let seen = self.stronger.get(phone)?.get(lid)?;
                let stretch = self
                    .stretches(phone)
                    .into_iter()
                    .find(|stretch| stretch.with.contains(&lid))?;
                let user = stretch
                    .with
                    .into_iter()
                    .find(|other| other.kind == IdentityKind::WhatsAppUser)?;
                Some((seen, phone, user))
            })
            .max()
            .map(|(_, _, user)| user)
    }

    /// Who had a phone or an e-mail, one after the other: never empty.
    ///
    /// The stronger identities proven with it are put in the order of their latest proof, and cut
    /// wherever one would be the second of its kind. A change *from* this number ends a stretch, a
    /// change *to* it begins one.
    pub(super) fn stretches(&self, weak: &IdentityKey) -> Vec<Stretch<'_>> {
        let mut stretches: Vec<Stretch<'_>> = Vec::new();
        for (seen, moment) in self.timeline(weak) {
            if let Some(last) = stretches.last_mut() {
                let left = !last.left_for.is_empty();
                let comes = !moment.came_from.is_empty();
                let clash = moment.with.iter().any(|strong| last.has_kind(strong.kind));
                if comes && !left {
                    // It was the former holder's until the new one came.
                    last.until = Some(seen);
                }
                if left || comes || clash {
                    stretches.push(Stretch::default());
                }
            } else {
                stretches.push(Stretch::default());
            }
            let mut place = stretches.len() - 1;
            stretches[place].came_from.extend(moment.came_from);
            for strong in moment.with {
                if stretches[place].has_kind(strong.kind) {
                    // Two of a kind at once: the order of their writing decides.
                    stretches[place].until = Some(seen);
                    stretches.push(Stretch::default());
                    place += 1;
                }
                stretches[place].with.push(strong);
            }
            stretches[place].left_for.extend(moment.left_for);
            stretches[place].until = Some(seen);
        }
        // Whoever is known by a number that was given up is somebody else; a number of which
        // nobody speaks any more is a former one of its last holder.
        let is_somebodys = stretches.last().is_none_or(|last| {
            let named = self.named.get(weak);
            !last.left_for.is_empty() && named.is_some_and(|named| !last.covers(named))
        });
        if is_somebodys {
            stretches.push(Stretch::default());
        }
        stretches
    }

    fn timeline(&self, weak: &IdentityKey) -> BTreeMap<&SeenAt, Moment<'_>> {
        let mut timeline: BTreeMap<&SeenAt, Moment<'_>> = BTreeMap::new();
        for (strong, seen) in self.stronger.get(weak).into_iter().flatten() {
            timeline.entry(seen).or_default().with.push(strong);
        }
        for ((former, new), seen) in &self.exchanges {
            if former == weak {
                timeline.entry(seen).or_default().left_for.push(new);
            }
            if new == weak {
                timeline.entry(seen).or_default().came_from.push(former);
            }
        }
        timeline
    }
}

/// Keeps the later of two instants; whether the given one is.
fn later<K: Ord>(known: &mut BTreeMap<K, SeenAt>, key: K, seen: &SeenAt) -> bool {
    if known.get(&key).is_some_and(|known| known >= seen) {
        return false;
    }
    known.insert(key, seen.clone());
    true
}
