//! What is known around somebody's identities: who holds them and what was proven of them, in the
//! store and by the change itself.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use kernel::StoreError;
use kernel::identity::{Candidate, Claim, IdentityKey, Known, Proof, SeenAt};
use uuid::Uuid;

use super::rows::identity_key;
use super::statements::{FindHolders, FindProofs};
use super::{Apply, Stopped};

/// A contact, whether it is curated, one of its identities, and the latest message that named it.
pub(super) type HolderRow = (
    Uuid,
    bool,
    String,
    String,
    Option<DateTime<Utc>>,
    Option<String>,
);
/// The weak and the strong identity, the instant and the message that proved it.
pub(super) type ProofRow = (String, String, String, String, DateTime<Utc>, String);

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

/// Claims of this change that took effect, though their proofs are kept only at its end.
#[derive(Default)]
pub(super) struct Claims<'a>(BTreeMap<&'a IdentityKey, Vec<&'a Claim>>);

impl<'a> Claims<'a> {
    pub(super) fn add(&mut self, claim: &'a Claim) {
        for key in claim.keys() {
            self.0.entry(key).or_default().push(claim);
        }
    }

    /// Adds those that play a part in what is known around a claim.
    fn tell(&self, claim: &Claim, around: &mut Around) {
        if self.0.is_empty() {
            return;
        }
        let mut told: BTreeSet<IdentityKey> = BTreeSet::new();
        loop {
            let mentioned = around.known.mentioned(claim);
            let news: Vec<_> = mentioned.difference(&told).cloned().collect();
            if news.is_empty() {
                return;
            }
            for other in news.iter().filter_map(|key| self.0.get(key)).flatten() {
                around.known.add_claim(other);
                around.is_empty = false;
            }
            told.extend(news);
        }
    }
}

/// What is known around a claim, and whether that is anything at all.
pub(super) struct Around {
    /// For the matcher.
    pub(super) known: Known,
    /// Whether nothing is known.
    pub(super) is_empty: bool,
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
        for (id, curated, kind, key, at, order_key) in holders {
            let candidate = candidates.entry(id).or_insert_with(|| Candidate {
                id: id.into(),
                curated,
                identities: BTreeMap::new(),
            });
            let named = at.zip(order_key);
            let named = named.map(|(at, order_key)| SeenAt { at, order_key });
            candidate
                .identities
                .insert(identity_key(&kind, key)?, named);
        }
        // The look-up went on to all identities of whoever it found.
        let mut asked: BTreeSet<IdentityKey> = asked.into_iter().collect();
        for candidate in candidates.values() {
            asked.extend(candidate.identities.keys().cloned());
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

impl Apply<'_, '_> {
    /// Looks up whatever is known of a claim's identities, and of those that it leads to. `first` is
    /// what was found for its own already.
    pub(super) async fn look_around(
        &self,
        claim: &Claim,
        others: &Claims<'_>,
        first: Option<(Vec<HolderRow>, Vec<ProofRow>)>,
    ) -> Result<Around, Stopped> {
        let mut around = Around::new();
        others.tell(claim, &mut around);
        let mut missing = around.known.missing(claim);
        if let Some((holders, proofs)) = first {
            around.add(missing, holders, proofs)?;
            others.tell(claim, &mut around);
            missing = around.known.missing(claim);
        }
        while !missing.is_empty() {
            let (holders, proofs) = look_up(&missing);
            let (holders, proofs) =
                futures_util::join!(self.tx.load(holders), self.tx.load(proofs));
            around.add(missing, holders?, proofs?)?;
            others.tell(claim, &mut around);
            missing = around.known.missing(claim);
        }
        Ok(around)
    }
}
