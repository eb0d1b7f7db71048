//! The people that the evidence makes: which identities are one person's, and who had a number
//! when.

use std::collections::BTreeMap;

use super::evidence::{Evidence, Stretch};
use super::{IdentityKey, IdentityKind, SeenAt};

/// Everybody of whom something is proven, each by the strongest identity they have now: their
/// root. A function of the evidence alone.
#[derive(Debug, Default)]
pub(super) struct People {
    roots: BTreeMap<IdentityKey, IdentityKey>,
    /// By phone or e-mail: the roots of who had it, and until when; the last has it now.
    holders: BTreeMap<IdentityKey, Vec<(Option<SeenAt>, IdentityKey)>>,
}

/// The stretches of a number, each with its place in the [`Groups`].
type Stretches<'a> = Vec<(usize, Stretch<'a>)>;

impl People {
    pub(super) fn of(evidence: &Evidence) -> Self {
        let mut groups = Groups::default();
        let mut ids: BTreeMap<&IdentityKey, usize> = BTreeMap::new();
        let mut numbers: BTreeMap<&IdentityKey, Stretches<'_>> = BTreeMap::new();
        for key in evidence.identities() {
            if key.kind.is_strong() {
                ids.entry(key).or_insert_with(|| groups.add());
            } else {
                numbers.entry(key).or_insert_with(|| {
                    let stretches = evidence.stretches(key).into_iter();
                    stretches.map(|it| (groups.add(), it)).collect()
                });
            }
        }
        let of_id = |key: &IdentityKey| ids.get(key).copied();

        for (id, place) in &ids {
            let user = (id.kind == IdentityKind::WhatsAppLid)
                .then(|| evidence.user_of(id))
                .flatten();
            if let Some(user) = user.and_then(of_id) {
                groups.join(*place, user);
            }
        }
        for (former, new) in evidence.exchanged_ids() {
            if let (Some(former), Some(new)) = (of_id(former), of_id(new)) {
                groups.join(former, new);
            }
        }
        let now = |number: &IdentityKey| Some(numbers.get(number)?.last()?.0);
        for (number, stretches) in &numbers {
            for (place, stretch) in stretches {
                let strongest = stretch.strongest();
                if let Some(strongest) = strongest.and_then(|key| of_id(key).or_else(|| now(key))) {
                    groups.join(*place, strongest);
                }
                for new in &stretch.left_for {
                    let began = numbers.get(*new).into_iter().flatten();
                    let mut began = began.filter(|(_, it)| it.came_from.contains(number));
                    if let Some((with_it, _)) = began.next() {
                        groups.join(*place, *with_it);
                    }
                }
            }
        }
        Self::named(&groups, &ids, &numbers)
    }

    fn named(
        groups: &Groups,
        ids: &BTreeMap<&IdentityKey, usize>,
        numbers: &BTreeMap<&IdentityKey, Stretches<'_>>,
    ) -> Self {
        let present = numbers
            .iter()
            .filter_map(|(key, stretches)| Some((*key, stretches.last()?.0)));
        let present: Vec<(&IdentityKey, usize)> = ids
            .iter()
            .map(|(key, place)| (*key, *place))
            .chain(present)
            .collect();
        let mut names: BTreeMap<usize, &IdentityKey> = BTreeMap::new();
        for (key, place) in &present {
            let name = names.entry(groups.of(*place)).or_insert(key);
            *name = (*name).min(key);
        }
        let name = |place: usize| names.get(&groups.of(place)).copied();
        let roots = present
            .iter()
            .filter_map(|(key, place)| Some(((*key).clone(), name(*place)?.clone())));
        let holders = numbers.iter().map(|(key, stretches)| {
            let mut holders: Vec<(Option<SeenAt>, IdentityKey)> = Vec::new();
            // Somebody of whom nothing is left but that they had the number once cannot be told
            // from who had it next.
            for (place, stretch) in stretches {
                if let Some(root) = name(*place) {
                    holders.push((stretch.until.cloned(), root.clone()));
                }
            }
            ((*key).clone(), holders)
        });
        Self {
            roots: roots.collect(),
            holders: holders.collect(),
        }
    }

    /// The strongest identity of whom this one belongs to now.
    pub(super) fn root<'a>(&'a self, key: &'a IdentityKey) -> &'a IdentityKey {
        self.roots.get(key).unwrap_or(key)
    }

    /// The roots of who had this identity, and until when; the last has it now. Never empty.
    pub(super) fn holders<'a>(
        &'a self,
        key: &'a IdentityKey,
    ) -> Vec<(Option<&'a SeenAt>, &'a IdentityKey)> {
        match self.holders.get(key) {
            Some(holders) if !holders.is_empty() => holders
                .iter()
                .map(|(until, root)| (until.as_ref(), root))
                .collect(),
            _ => vec![(None, self.root(key))],
        }
    }

    /// The strongest identity of whom this one belonged to at an instant.
    pub(super) fn root_at<'a>(&'a self, key: &'a IdentityKey, seen: &SeenAt) -> &'a IdentityKey {
        let holders = self.holders.get(key);
        let holder = holders
            .into_iter()
            .flatten()
            .find(|(until, _)| until.as_ref().is_none_or(|until| seen <= until));
        holder.map_or_else(|| self.root(key), |(_, root)| root)
    }

    /// Whether the person of `root` had this number once and another one has it now.
    pub(super) fn lost(&self, number: &IdentityKey, root: &IdentityKey) -> bool {
        let now = self.root(number);
        let had = |(_, holder): &(Option<SeenAt>, IdentityKey)| holder == root;
        root != now
            && self
                .holders
                .get(number)
                .is_some_and(|it| it.iter().any(had))
    }
}

/// Places that are joined.
#[derive(Debug, Default)]
struct Groups(Vec<usize>);

impl Groups {
    fn add(&mut self) -> usize {
        self.0.push(self.0.len());
        self.0.len() - 1
    }

    fn of(&self, mut place: usize) -> usize {
        while self.0[place] != place {
            place = self.0[place];
        }
        place
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.of(one), self.of(other));
        self.0[one.max(other)] = one.min(other);
    }
}
