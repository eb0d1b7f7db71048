//! Who a change speaks of: its facts, by person.

use std::collections::{BTreeMap, BTreeSet};

use conversations::InboundChange;
use conversations::inbound::{Amendment, InboundMessage, Remote};
use conversations::message::OrderKey;
use kernel::identity::{Claim, Identity, IdentityKey, SeenAt, holder_at};
use kernel::text::PersonName;
use uuid::Uuid;

/// One person at the other end, as one set of identities names them.
pub(super) struct Person<'a> {
    /// What the latest fact proves.
    pub(super) claim: Claim,
    /// The strongest identity: whoever holds it is the person.
    pub(super) strongest: IdentityKey,
    /// The latest profile name.
    pub(super) name: Option<(SeenAt, PersonName)>,
    /// Their messages, and those to them.
    pub(super) messages: Vec<&'a InboundMessage>,
    /// Their amendments, and those to them.
    pub(super) amendments: Vec<&'a Amendment>,
}

impl Person<'_> {
    /// Somebody of whom nothing is said but this.
    fn of(claim: Claim) -> Self {
        Self {
            strongest: claim.strongest().clone(),
            claim,
            name: None,
            messages: Vec::new(),
            amendments: Vec::new(),
        }
    }

    /// The same by whose the facts are, where a number had several holders one after the other.
    /// Whose the claim is comes first.
    pub(super) fn by_holder(self, history: &[(Option<SeenAt>, Uuid)]) -> Vec<(Uuid, Self)> {
        let Some(now) = holder_at(history, self.claim.seen()) else {
            return Vec::new();
        };
        let mut own = Self::of(self.claim);
        own.name = self.name;
        let mut others: BTreeMap<Uuid, Self> = BTreeMap::new();
        for message in self.messages {
            let person = match holder_at(history, &seen(&message.order)) {
                Some(other) if other != now => others
                    .entry(other)
                    .or_insert_with(|| Self::of(own.claim.clone())),
                _ => &mut own,
            };
            person.messages.push(message);
        }
        for amendment in self.amendments {
            let person = match holder_at(history, &seen(&amendment.order)) {
                Some(other) if other != now => others
                    .entry(other)
                    .or_insert_with(|| Self::of(own.claim.clone())),
                _ => &mut own,
            };
            person.amendments.push(amendment);
        }
        std::iter::once((now, own)).chain(others).collect()
    }

    /// The identities that name them, now and from now on.
    pub(super) fn keys(&self) -> impl Iterator<Item = IdentityKey> + '_ {
        self.claim.keys().iter().cloned()
    }
}

pub(super) fn seen(order: &OrderKey) -> SeenAt {
    SeenAt {
        at: order.sent_at,
        order_key: order.provider_id.clone(),
    }
}

/// The people of a change, each with their facts. Who tells of another number comes by themselves:
/// the notice is a message of their own.
pub(super) fn of_change(change: &InboundChange) -> Vec<Person<'_>> {
    #[derive(Default)]
    struct Group<'a> {
        latest: Option<(SeenAt, Vec<Identity>)>,
        name: Option<(SeenAt, PersonName)>,
        messages: Vec<&'a InboundMessage>,
        amendments: Vec<&'a Amendment>,
    }

    impl Group<'_> {
        fn note(&mut self, identities: Vec<Identity>, remote: &Remote, order: &OrderKey) {
            let seen = seen(order);
            let name = remote.name.as_deref().and_then(PersonName::salvage);
            if let Some(name) = name {
                let name = (seen.clone(), name);
                if self.name.as_ref().is_none_or(|known| name > *known) {
                    self.name = Some(name);
                }
            }
            // Of the same instant, the greater writing: any order gives the same one.
            let writing = |identities: &[Identity]| -> Vec<String> {
                let values = identities.iter().map(Identity::value);
                values.map(str::to_owned).collect()
            };
            let is_later = self.latest.as_ref().is_none_or(|(known, theirs)| {
                (&seen, writing(&identities)) > (known, writing(theirs))
            });
            if is_later {
                self.latest = Some((seen, identities));
            }
        }
    }

    let mut groups: BTreeMap<BTreeSet<IdentityKey>, Group<'_>> = BTreeMap::new();
    let keys = |identities: &[Identity]| identities.iter().map(Identity::key).collect();
    for message in &change.messages {
        let identities = identities_of(&message.remote);
        let group = groups.entry(keys(&identities)).or_default();
        group.note(identities, &message.remote, &message.order);
        group.messages.push(message);
    }
    for amendment in &change.amendments {
        let identities = identities_of(&amendment.remote);
        let group = groups.entry(keys(&identities)).or_default();
        group.note(identities, &amendment.remote, &amendment.order);
        group.amendments.push(amendment);
    }
    let named = groups.into_values().filter_map(|group| {
        let (seen, identities) = group.latest?;
        let claim = Claim::new(identities, seen).ok()?;
        Some(Person {
            name: group.name,
            messages: group.messages,
            amendments: group.amendments,
            ..Person::of(claim)
        })
    });
    let moved = change.number_changes.iter().filter_map(|change| {
        let claim = Claim::new(identities_of(&change.before), seen(&change.order))
            .and_then(|claim| claim.moved_to(identities_of(&change.after)))
            .ok()?;
        Some(Person::of(claim))
    });
    named.chain(moved).collect()
}

/// The identities of somebody, at most one of each kind.
fn identities_of(remote: &Remote) -> Vec<Identity> {
    let user = remote.user_id.clone().map(Identity::WhatsAppUser);
    let lid = remote.lid.clone().map(Identity::WhatsAppLid);
    let phone = remote.phone.clone().map(Identity::Phone);
    user.into_iter().chain(lid).chain(phone).collect()
}
