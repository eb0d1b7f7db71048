//! The proofs, and the people they make: for each identity the stronger one that it joins.

use std::collections::BTreeMap;

use super::{IdentityKey, IdentityKind, Proof, SeenAt};

/// All proofs that are known, each pair with its latest instant. Adding is commutative and adding
/// twice changes nothing, so it does not matter in which order proofs came.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    /// By the weaker identity.
    stronger: BTreeMap<IdentityKey, BTreeMap<IdentityKey, SeenAt>>,
    /// By the stronger one: which weaker ones name it.
    weaker: BTreeMap<IdentityKey, Vec<IdentityKey>>,
}

impl Evidence {
    /// Whether the proof is new, or later than the known one of this pair.
    pub(super) fn add(&mut self, proof: &Proof) -> bool {
        let pairs = self.stronger.entry(proof.weak.clone()).or_default();
        match pairs.get_mut(&proof.strong) {
            Some(seen) if *seen >= proof.seen => false,
            Some(seen) => {
                *seen = proof.seen.clone();
                true
            }
            None => {
                pairs.insert(proof.strong.clone(), proof.seen.clone());
                let weaker = self.weaker.entry(proof.strong.clone()).or_default();
                weaker.push(proof.weak.clone());
                true
            }
        }
    }

    /// Every identity that a proof names.
    pub(super) fn identities(&self) -> impl Iterator<Item = &IdentityKey> {
        self.stronger.keys().chain(self.weaker.keys())
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

    /// The strongest identity of the person to whom this one belongs.
    pub(super) fn root(&self, key: &IdentityKey) -> IdentityKey {
        let mut root = key;
        // Each step leads to a stronger kind, so there are at most three.
        while let Some(stronger) = self.joins(root) {
            root = stronger;
        }
        root.clone()
    }

    /// The stronger identity that this one joins.
    fn joins(&self, key: &IdentityKey) -> Option<&IdentityKey> {
        let present = self.stretches(key).pop().into_iter().flatten().min();
        if present.is_some() || key.kind != IdentityKind::WhatsAppLid {
            return present;
        }
        // A hidden id that was never proven with a user id: the one beside it on a phone.
        let phones = self.weaker.get(key).into_iter().flatten();
        phones
            .filter(|weak| weak.kind == IdentityKind::Phone)
            .filter_map(|phone| {
                let seen = self.stronger.get(phone)?.get(key)?;
                let stretch = self
                    .stretches(phone)
                    .into_iter()
                    .find(|stretch| stretch.contains(&key))?;
                let user = stretch
                    .into_iter()
                    .find(|other| other.kind == IdentityKind::WhatsAppUser)?;
                Some((seen, phone, user))
            })
            .max()
            .map(|(_, _, user)| user)
    }

    /// The stronger identities proven with this one, by the time of their latest proof, cut
    /// wherever one would be the second of its kind: each stretch is one holder.
    fn stretches(&self, weak: &IdentityKey) -> Vec<Vec<&IdentityKey>> {
        let mut timeline: Vec<(&SeenAt, &IdentityKey)> = self
            .stronger
            .get(weak)
            .into_iter()
            .flatten()
            .map(|(strong, seen)| (seen, strong))
            .collect();
        timeline.sort_unstable();
        let mut stretches: Vec<Vec<&IdentityKey>> = Vec::new();
        // What one message proved together is never torn apart.
        for moment in timeline.chunk_by(|one, next| one.0 == next.0) {
            let changed_hands = stretches.last().is_some_and(|stretch| {
                moment
                    .iter()
                    .any(|(_, strong)| has_kind(stretch, strong.kind))
            });
            if changed_hands {
                stretches.push(Vec::new());
            }
            for (_, strong) in moment {
                match stretches.last_mut() {
                    Some(stretch) if !has_kind(stretch, strong.kind) => stretch.push(strong),
                    _ => stretches.push(vec![strong]),
                }
            }
        }
        stretches
    }
}

fn has_kind(stretch: &[&IdentityKey], kind: IdentityKind) -> bool {
    stretch.iter().any(|identity| identity.kind == kind)
}
