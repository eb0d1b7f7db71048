//! The matcher against a store in memory: scenes as they happen at a clinic, then claims in random
//! orders, doubled.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use proptest::prelude::*;
use proptest::sample::subsequence;
use uuid::Uuid;

use super::*;

/// What an adapter does, in memory.
#[derive(Debug, Clone, Default)]
struct Store {
    contacts: BTreeMap<ContactId, (bool, BTreeSet<IdentityKey>)>,
    proofs: BTreeMap<(IdentityKey, IdentityKey), SeenAt>,
    named: BTreeMap<IdentityKey, SeenAt>,
    /// Each message by its strongest identity and its instant, and whose it is.
    messages: BTreeMap<(IdentityKey, SeenAt), ContactId>,
    made: u128,
}

/// People by their identities, written as in [`claim`].
type People = BTreeSet<String>;

impl Store {
    fn candidates(&self, which: impl Fn(&IdentityKey) -> bool) -> Vec<Candidate> {
        let found = self
            .contacts
            .iter()
            .filter(|(_, (_, held))| held.iter().any(&which));
        found
            .map(|(id, (curated, identities))| Candidate {
                id: *id,
                curated: *curated,
                identities: identities
                    .iter()
                    .map(|key| (key.clone(), self.named.get(key).cloned()))
                    .collect(),
            })
            .collect()
    }

    fn proofs(&self, which: impl Fn(&IdentityKey) -> bool) -> Vec<Proof> {
        let found = self
            .proofs
            .iter()
            .filter(|((weak, strong), _)| which(weak) || which(strong));
        found
            .map(|((weak, strong), seen)| Proof {
                weak: weak.clone(),
                strong: strong.clone(),
                seen: seen.clone(),
            })
            .collect()
    }

    fn known(&self, claim: &Claim) -> Known {
        let mut known = Known::default();
        loop {
            let missing = known.missing(claim);
            if missing.is_empty() {
                return known;
            }
            let (contacts, proofs) = (
                self.candidates(|key| missing.contains(key)),
                self.proofs(|key| missing.contains(key)),
            );
            known.add(missing, contacts, proofs);
        }
    }

    fn everything(&self) -> Known {
        let mut known = Known::default();
        let all = self.contacts.values().flat_map(|(_, held)| held.clone());
        known.add(
            all.collect(),
            self.candidates(|_| true),
            self.proofs(|_| true),
        );
        known
    }

    fn make(&mut self, curated: bool, held: BTreeSet<IdentityKey>) -> ContactId {
        self.made += 1;
        let id = ContactId::from(Uuid::from_u128(self.made));
        self.contacts.insert(id, (curated, held));
        id
    }

    fn apply(&mut self, claim: &Claim) -> (ContactId, Resolution) {
        let resolution = resolve(claim, &self.known(claim));
        let made: Vec<ContactId> = resolution
            .create
            .iter()
            .map(|_| self.make(false, BTreeSet::new()))
            .collect();
        let owner = |owner: Owner| match owner {
            Owner::Existing(id) => id,
            Owner::New(place) => made[place],
        };
        for proof in &resolution.proofs {
            let pair = (proof.weak.clone(), proof.strong.clone());
            let before = self.proofs.insert(pair, proof.seen.clone());
            assert!(before.is_none_or(|before| before < proof.seen));
        }
        for change in &resolution.moves {
            if let Some(from) = change.from {
                assert!(
                    self.contacts
                        .get_mut(&from)
                        .unwrap()
                        .1
                        .remove(&change.identity)
                );
            } else {
                assert!(claim.identity(&change.identity).is_some());
            }
            let to = self.contacts.get_mut(&owner(change.to)).unwrap();
            assert!(to.1.insert(change.identity.clone()));
        }
        for merge in &resolution.merges {
            let (curated, left) = self.contacts.remove(&merge.from).unwrap();
            assert!(!curated && left.is_empty());
            assert!(self.contacts.contains_key(&merge.into));
            let followers = self.messages.values_mut();
            followers
                .filter(|whose| **whose == merge.from)
                .for_each(|whose| *whose = merge.into);
        }
        for hand_over in &resolution.handed_over {
            for ((key, seen), whose) in &mut self.messages {
                if *key == hand_over.identity {
                    assert!(hand_over.from.contains(whose));
                    *whose = owner(holder_at(&hand_over.holders, seen).unwrap());
                }
            }
        }
        for key in &claim.keys {
            let named = self.named.entry(key.clone()).or_insert(claim.seen.clone());
            *named = claim.seen.clone().max(named.clone());
        }
        let contact = owner(resolution.contact);
        assert!(self.contacts[&contact].1.contains(&resolution.known_by));
        let by_history = holder_at(&resolution.history, &claim.seen).map(owner);
        assert_eq!(by_history, Some(contact));
        let message = (claim.strongest.clone(), claim.seen.clone());
        self.messages.insert(message, contact);
        // Whoever looks at a message by itself comes to the same.
        let held = resolution.holders.iter().map(|it| owner(*it));
        for holder in held {
            assert!(!self.contacts[&holder].1.is_disjoint(&claim.keys));
        }
        // Each identity has one owner, and nobody made from messages is left without any.
        let held: Vec<_> = self.contacts.values().flat_map(|(_, held)| held).collect();
        assert_eq!(held.iter().collect::<BTreeSet<_>>().len(), held.len());
        assert!(
            self.contacts
                .values()
                .all(|(curated, held)| *curated || !held.is_empty())
        );
        (contact, resolution)
    }

    /// Each message and the identities of whom it belongs to.
    fn whose(&self) -> BTreeMap<(IdentityKey, SeenAt), String> {
        let messages = self.messages.iter();
        messages
            .map(|(message, whose)| (message.clone(), self.of(*whose)))
            .collect()
    }

    fn work(&mut self, contact: ContactId, desk: Desk) {
        let others = || self.contacts.iter().filter(|(id, _)| **id != contact);
        let gained = match desk {
            Desk::Nothing => return,
            Desk::Change => BTreeSet::new(),
            Desk::WritePhone(number) => {
                let phone = keys(&format!("P{number}"));
                if others().any(|(_, (_, held))| !held.is_disjoint(&phone)) {
                    return;
                }
                phone
            }
            Desk::MergeWithTheNext => match others().next().map(|(id, _)| *id) {
                Some(other) => {
                    let theirs = self.messages.values_mut().filter(|it| **it == other);
                    theirs.for_each(|whose| *whose = contact);
                    self.contacts.remove(&other).unwrap().1
                }
                None => return,
            },
        };
        let contact = self.contacts.get_mut(&contact).unwrap();
        contact.0 = true;
        contact.1.extend(gained);
    }

    fn people(&self) -> People {
        let held = self.contacts.values().map(|(_, held)| held);
        held.map(names).collect()
    }

    fn of(&self, contact: ContactId) -> String {
        names(&self.contacts[&contact].1)
    }
}

/// The universe: users `U0`…, hidden ids `L0`…, phones `P0`…, e-mails `E0`….
fn identity(name: &str) -> Identity {
    let number = &name[1..];
    match &name[..1] {
        "U" => Identity::WhatsAppUser(WhatsAppUserId::parse(&format!("BR.{number}")).unwrap()),
        "L" => Identity::WhatsAppLid(WhatsAppLid::parse(&format!("{number}@lid")).unwrap()),
        "P" => Identity::Phone(Phone::from_wa_id(&format!("551199999000{number}")).unwrap()),
        _ => Identity::Email(Email::parse(&format!("{number}@example.com")).unwrap()),
    }
}

fn names(held: &BTreeSet<IdentityKey>) -> String {
    let all = ["U", "L", "P", "E"]
        .iter()
        .flat_map(|kind| (0..4).map(move |number| format!("{kind}{number}")));
    all.filter(|name| held.contains(&identity(name).key()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// `"U0 P1"` at a second; `"P0 > P1"`: who has the one has the other instead from now on.
fn claim(names: &str, second: i64) -> Claim {
    let seen = SeenAt {
        at: DateTime::from_timestamp(second, 0).unwrap(),
        order_key: format!("wamid.{second}"),
    };
    let (names, successors) = names.split_once(" > ").unwrap_or((names, ""));
    let all = |names: &str| {
        names
            .split(' ')
            .filter(|it| !it.is_empty())
            .map(identity)
            .collect()
    };
    Claim::new(all(names), seen)
        .and_then(|claim| claim.moved_to(all(successors)))
        .unwrap()
}

fn keys(names: &str) -> BTreeSet<IdentityKey> {
    names.split(' ').map(|name| identity(name).key()).collect()
}

/// The claims in every order; all must come to the same people.
fn people_of(claims: &[(&str, i64)]) -> People {
    let all: Vec<Claim> = claims
        .iter()
        .map(|(names, second)| claim(names, *second))
        .collect();
    let mut orders = vec![Vec::new()];
    for _ in &all {
        let longer = orders.iter().flat_map(|order: &Vec<usize>| {
            (0..all.len())
                .filter(|place| !order.contains(place))
                .map(|place| [order.clone(), vec![place]].concat())
        });
        orders = longer.collect();
    }
    let mut outcomes = orders.into_iter().map(|order| {
        let mut store = Store::default();
        for place in &order {
            store.apply(&all[*place]);
        }
        (order, store.people())
    });
    let (_, first) = outcomes.next().unwrap();
    for (order, people) in outcomes {
        assert_eq!(people, first, "in the order {order:?}");
    }
    first
}

#[test]
fn claims_come_to_the_same_people_in_every_order() {
    for (scene, claims, people) in [
        ("one phone", &[("P0", 1)][..], &["P0"][..]),
        ("two phones", &[("P0", 1), ("P1", 2)], &["P0", "P1"]),
        (
            "known by the user id alone, then by the phone too",
            &[("U0", 1), ("U0 P0", 2)],
            &["U0 P0"],
        ),
        (
            "a phone contact and a user contact prove to be one",
            &[("P0", 1), ("U0", 2), ("U0 P0", 3)],
            &["U0 P0"],
        ),
        (
            "a number was given up and sold again",
            &[("U0 P0", 1), ("U1 P0", 9)],
            &["U0", "U1 P0"],
        ),
        (
            "and its first holder writes with the new number",
            &[("U0 P0", 1), ("U1 P0", 9), ("U0 P1", 10)],
            &["U0 P1", "U1 P0"],
        ),
        (
            "a message without a user id changes no owner",
            &[("U0 P0", 1), ("U1 P0", 5), ("P0", 9)],
            &["U0", "U1 P0"],
        ),
        (
            "one user with two numbers",
            &[("U0 P0", 1), ("U0 P1", 2)],
            &["U0 P0 P1"],
        ),
        (
            "the same phone through both providers",
            &[("L0 P0", 1), ("U0 P0", 2)],
            &["U0 L0 P0"],
        ),
        (
            "a hidden id belongs to who had the number in its time",
            &[("U0 P0", 1), ("L0 P0", 2), ("U1 P0", 9), ("L1 P0", 10)],
            &["U0 L0", "U1 L1 P0"],
        ),
        (
            "a hidden id keeps its user id when it is seen with another number",
            &[("U0 P0", 1), ("L0 P0", 2), ("L0 P1", 9)],
            &["U0 L0 P0 P1"],
        ),
        (
            "ids proven together directly",
            &[("U0 L0", 1), ("L0 P0", 2)],
            &["U0 L0 P0"],
        ),
        (
            "what was proven directly outweighs a shared phone",
            &[("U0 L0", 1), ("U1 P0", 2), ("L0 P0", 3)],
            &["U0 L0", "U1 P0"],
        ),
        (
            "two hidden ids on one phone",
            &[("L0 P0", 1), ("L1 P0", 2)],
            &["L0", "L1 P0"],
        ),
        (
            "an e-mail joins whoever it came with",
            &[("P0 E0", 1), ("U0 P0", 2)],
            &["U0 P0 E0"],
        ),
        (
            "an e-mail that two people share is of the later",
            &[("U0 E0", 1), ("U1 E0", 2)],
            &["U0", "U1 E0"],
        ),
        (
            "a number that was changed for another",
            &[("P0", 1), ("P0 > P1", 5), ("P1", 6)],
            &["P0 P1"],
        ),
        (
            "and the user id with it",
            &[("U0 P0", 1), ("P0 > P1", 5), ("U1 P1", 6)],
            &["U0 U1 P0 P1"],
        ),
        (
            "and a stranger gets the former number",
            &[("U0 P0", 1), ("P0 > P1", 5), ("U1 P1", 6), ("U2 P0", 9)],
            &["U0 U1 P1", "U2 P0"],
        ),
        (
            "a number was somebody else's before it was changed to",
            &[("U2 P1", 1), ("U0 P0", 2), ("P0 > P1", 5), ("U1 P1", 6)],
            &["U0 U1 P0 P1", "U2"],
        ),
        (
            "a user id stays when the number changes",
            &[("U0 P0", 1), ("U0 P0 > P1", 5), ("U0 P1", 6)],
            &["U0 P0 P1"],
        ),
        (
            "and back to the former number",
            &[("P0", 1), ("P0 > P1", 5), ("P1 > P0", 6)],
            &["P0 P1"],
        ),
        (
            "and a stranger gets the former number, known by nothing else",
            &[("P0", 1), ("P0 > P1", 5), ("P1", 6), ("P0", 9)],
            &["P0", "P1"],
        ),
        (
            "and that stranger changes it too",
            &[("P0 > P1", 5), ("P0", 9), ("P0 > P2", 12)],
            &["P0 P2", "P1"],
        ),
        (
            "two changes in a row",
            &[("U0 P0", 1), ("P0 > P1", 5), ("P1 > P2", 8), ("U1 P2", 9)],
            &["U0 U1 P0 P1 P2"],
        ),
        (
            "told again on another channel",
            &[("U0 P0", 1), ("P0 > P1", 5), ("P0 > P1", 6), ("U1 P1", 7)],
            &["U0 U1 P0 P1"],
        ),
        (
            "a user id that was exchanged",
            &[("U0 P0", 1), ("U0 > U1", 5), ("U1", 6)],
            &["U0 U1 P0"],
        ),
    ] {
        let expected: People = people.iter().map(ToString::to_string).collect();
        assert_eq!(people_of(claims), expected, "{scene}");
    }
}

#[test]
fn a_message_goes_to_its_strongest_identity() {
    let mut store = Store::default();
    let (ana, first) = store.apply(&claim("U0 P0", 1));
    assert_eq!(first.contact, Owner::New(0));
    assert_eq!(first.create, [NewContact { split_from: None }]);
    assert_eq!(store.apply(&claim("P0", 2)).0, ana);
    assert_eq!(store.apply(&claim("U0", 3)).0, ana);
    let (bea, second) = store.apply(&claim("U1 P0", 4));
    assert_ne!(ana, bea);
    assert_eq!(second.merges, []);
    assert_eq!(store.apply(&claim("P0", 5)).0, bea);
    // Late, from the time when the number was Ana's.
    assert_eq!(store.apply(&claim("U0 P0", 2)).0, ana);
    assert_eq!(store.apply(&claim("P0", 6)).0, bea);
}

#[test]
fn messages_of_a_number_are_of_who_had_it_in_their_time() {
    let claims = [
        claim("P0", 1),
        claim("P0", 2),
        claim("P0 > P1", 5),
        claim("P1", 6),
        claim("P0", 9),
        claim("U2 P0", 12),
        claim("P0", 13),
    ];
    for turn in 0..claims.len() {
        let mut claims = claims.to_vec();
        claims.rotate_left(turn);
        for claims in [claims.clone(), claims.into_iter().rev().collect()] {
            let store = run(&claims);
            let whose: Vec<String> = store.whose().into_values().collect();
            // In the order of user ids, then of numbers, then of instants.
            let stranger = "U2 P0";
            let expected = [stranger, "P1", "P1", "P1", stranger, stranger, "P1"];
            assert_eq!(whose, expected, "begun with {turn}");
        }
    }
}

#[test]
fn a_contact_stays_with_who_changed_the_number_when_a_stranger_gets_the_former_one() {
    for curated in [false, true] {
        let mut store = Store::default();
        let (maria, _) = store.apply(&claim("P0", 1));
        store.contacts.get_mut(&maria).unwrap().0 = curated;
        assert_eq!(store.apply(&claim("P0 > P1", 5)).0, maria);
        let (stranger, resolution) = store.apply(&claim("P0", 9));
        assert_ne!(maria, stranger);
        assert_eq!(resolution.possible_duplicates, []);
        assert_eq!(
            (store.of(maria), store.of(stranger)),
            ("P1".into(), "P0".into())
        );
        // Late, from the time when the number was Maria's.
        assert_eq!(store.apply(&claim("P0", 3)).0, maria);
        // Whoever merges them by hand is not contradicted afterwards.
        store.work(maria, Desk::MergeWithTheNext);
        for late in [claim("P0", 10), claim("P1", 11), claim("P0 > P1", 5)] {
            let (used, resolution) = store.apply(&late);
            assert_eq!((used, resolution.moves), (maria, vec![]));
        }
    }
}

#[test]
fn both_forms_of_a_mobile_are_one_identity() {
    let seen = claim("P0", 1).seen;
    let phone = |digits| vec![Identity::Phone(Phone::from_wa_id(digits).unwrap())];
    let mut store = Store::default();
    let (with, _) = store.apply(&Claim::new(phone("5511999990000"), seen.clone()).unwrap());
    let (without, again) = store.apply(&Claim::new(phone("551199990000"), seen.clone()).unwrap());
    assert_eq!((with, again.moves), (without, vec![]));
    let (landline, _) = store.apply(&Claim::new(phone("551133334444"), seen).unwrap());
    assert_ne!(with, landline);
}

#[test]
fn of_two_contacts_made_from_messages_the_older_stays() {
    let mut store = Store::default();
    let (older, _) = store.apply(&claim("U0", 1));
    let (newer, _) = store.apply(&claim("P0", 2));
    let (used, resolution) = store.apply(&claim("U0 P0", 3));
    assert_eq!(used, older);
    let gone = Merge {
        from: newer,
        into: older,
    };
    assert_eq!(resolution.merges, [gone]);
    assert_eq!(resolution.possible_duplicates, []);
}

#[test]
fn a_curated_contact_stays_and_takes_the_other_in() {
    for (curated, automatic) in [("P0", "U0"), ("U0", "P0")] {
        let mut store = Store::default();
        let (newer, older) = (keys(curated), keys(automatic));
        let older = store.make(false, older);
        let newer = store.make(true, newer);
        let (used, resolution) = store.apply(&claim("U0 P0", 3));
        assert_eq!(used, newer);
        let gone = Merge {
            from: older,
            into: newer,
        };
        assert_eq!(resolution.merges, [gone]);
        assert_eq!(store.of(newer), "U0 P0");
    }
}

#[test]
fn two_curated_contacts_are_never_merged() {
    let mut store = Store::default();
    let by_phone = store.make(true, keys("P0"));
    let by_user = store.make(true, keys("U0"));
    for second in 1..3 {
        let (used, resolution) = store.apply(&claim("U0 P0", second));
        assert_eq!(used, by_user);
        assert_eq!(resolution.merges, []);
        assert_eq!(resolution.moves, []);
        assert_eq!(resolution.possible_duplicates, [by_phone]);
    }
    // The phone stays where somebody wrote it, and answers for it.
    let (used, resolution) = store.apply(&claim("P0", 3));
    assert_eq!(used, by_phone);
    assert_eq!(resolution.possible_duplicates, [by_user]);
}

#[test]
fn a_curated_contact_loses_a_number_that_was_sold_again() {
    let mut store = Store::default();
    let (ana, _) = store.apply(&claim("U0 P0", 1));
    store.contacts.get_mut(&ana).unwrap().0 = true;
    let (bea, resolution) = store.apply(&claim("U1 P0", 9));
    assert_eq!(
        (store.of(ana), store.of(bea)),
        ("U0".into(), "U1 P0".into())
    );
    assert_eq!(resolution.possible_duplicates, []);
}

#[test]
fn a_number_that_somebody_wrote_into_a_contact_stays_there() {
    let mut store = Store::default();
    let (ana, _) = store.apply(&claim("U0 P0", 1));
    let contact = store.contacts.get_mut(&ana).unwrap();
    contact.0 = true;
    contact.1.extend(keys("P1"));
    // A stranger by all that messages prove; perhaps Ana's new number. Somebody must look.
    let (other, resolution) = store.apply(&claim("U1 P1", 9));
    assert_ne!(ana, other);
    assert_eq!(
        (store.of(ana), store.of(other)),
        ("U0 P0 P1".into(), "U1".into())
    );
    assert_eq!(resolution.possible_duplicates, [ana]);
    // Whoever merges them by hand is not contradicted afterwards.
    let (_, held) = store.contacts.remove(&other).unwrap();
    store.contacts.get_mut(&ana).unwrap().1.extend(held);
    for late in [claim("U1 P1", 10), claim("U0 P0", 11), claim("P1", 12)] {
        let (used, resolution) = store.apply(&late);
        assert_eq!((used, resolution.moves), (ana, vec![]));
    }
}

#[test]
fn a_curated_contact_without_a_user_id_gets_the_one_of_its_phone() {
    let mut store = Store::default();
    let ana = store.make(true, keys("P0 P1 E0"));
    assert_eq!(store.apply(&claim("U0 P1", 1)).0, ana);
    assert_eq!(store.of(ana), "U0 P0 P1 E0");
}

#[test]
fn late_evidence_splits_a_contact_that_was_two_people() {
    let mut store = Store::default();
    let (ana, _) = store.apply(&claim("U0 P0", 1));
    assert_eq!(store.apply(&claim("L1 P0", 3)).0, ana);
    // Between them, somebody else's hidden id: by then the number was no longer of L1.
    let (used, resolution) = store.apply(&claim("L0 P0", 2));
    assert_eq!(used, ana);
    let split = NewContact {
        split_from: Some(ana),
    };
    assert_eq!(resolution.create, [split]);
    let expected: People = ["U0 L0", "L1 P0"].map(str::to_owned).into();
    assert_eq!(store.people(), expected);
}

#[test]
fn a_claim_has_identities_and_one_of_each_kind() {
    let seen = claim("P0", 1).seen;
    assert_eq!(Claim::new(vec![], seen.clone()), Err(ClaimError::Empty));
    let two = vec![identity("P0"), identity("P1")];
    assert_eq!(Claim::new(two, seen), Err(ClaimError::TwoOfAKind));
}

#[test]
fn whatsapp_ids_are_opaque_and_do_not_show_themselves() {
    for (given, bare) in [("123@lid", "123"), ("123:4@lid", "123"), ("123", "123")] {
        assert_eq!(WhatsAppLid::parse(given).unwrap().as_str(), bare);
    }
    for wrong in ["", "@lid", "1 2@lid", "12@s.whatsapp.net", "é"] {
        assert!(WhatsAppLid::parse(wrong).is_err(), "{wrong}");
    }
    for right in ["BR.1349", "IN.ENT.0000000001"] {
        assert_eq!(WhatsAppUserId::parse(right).unwrap().as_str(), right);
    }
    for wrong in ["", "BR. 1", "BR.\n", "é", &"x".repeat(161)] {
        assert!(WhatsAppUserId::parse(wrong).is_err(), "{wrong}");
    }
    let shown = format!("{:?}", claim("U0 L0 P0 E0", 1));
    assert!(!shown.contains("99999") && !shown.contains("BR.0") && !shown.contains("example"));
}

#[test]
fn kinds_have_names() {
    for name in ["U0", "L0", "P0", "E0"] {
        let kind = identity(name).kind();
        assert_eq!(IdentityKind::parse(kind.as_str()), Some(kind));
    }
    assert_eq!(IdentityKind::parse("fax"), None);
}

/// Some identities of a small universe, one of each kind at most, at one of few instants: numbers
/// change hands often, and instants clash.
fn any_claim() -> impl Strategy<Value = Claim> {
    let kinds = subsequence(vec!["U", "L", "P", "P", "E"], 1..=3);
    (kinds, prop::array::uniform4(0..3_u8), 0..8_i64).prop_map(|(mut kinds, numbers, second)| {
        kinds.dedup();
        let names: Vec<_> = kinds
            .iter()
            .zip(numbers)
            .map(|(kind, number)| format!("{kind}{number}"))
            .collect();
        claim(&names.join(" "), second)
    })
}

/// A claim, or somebody who tells of another number.
fn any_claim_or_change() -> impl Strategy<Value = Claim> {
    let change = (prop::array::uniform4(0..3_u8), any::<[bool; 2]>(), 0..8_i64).prop_map(
        |([user, from, to, next], [by_user, to_user], second)| {
            let before = if by_user {
                format!("U{user} P{from}")
            } else {
                format!("P{from}")
            };
            let after = if to_user {
                format!("U{next} P{to}")
            } else {
                format!("P{to}")
            };
            claim(&format!("{before} > {after}"), second)
        },
    );
    prop_oneof![4 => any_claim(), 1 => change]
}

/// Claims, and the same in another order, some of them twice.
fn shuffled() -> impl Strategy<Value = (Vec<Claim>, Vec<Claim>)> {
    prop::collection::vec(any_claim_or_change(), 1..14).prop_flat_map(|claims| {
        let again = subsequence(claims.clone(), 0..=claims.len());
        let doubled = again.prop_map({
            let claims = claims.clone();
            move |again| [claims.clone(), again].concat()
        });
        (Just(claims), doubled.prop_shuffle())
    })
}

fn run(claims: &[Claim]) -> Store {
    let mut store = Store::default();
    for claim in claims {
        store.apply(claim);
    }
    store
}

/// What somebody of the clinic does to a contact between two messages.
#[derive(Debug, Clone, Copy)]
enum Desk {
    Nothing,
    Change,
    WritePhone(u8),
    MergeWithTheNext,
}

fn any_desk() -> impl Strategy<Value = Desk> {
    prop_oneof![
        Just(Desk::Nothing),
        Just(Desk::Change),
        (0..3_u8).prop_map(Desk::WritePhone),
        Just(Desk::MergeWithTheNext),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn people_do_not_depend_on_the_order_of_claims_nor_on_duplicates((claims, others) in shuffled()) {
        let (one, other) = (run(&claims), run(&others));
        prop_assert_eq!(one.people(), other.people());
        prop_assert_eq!(one.whose(), other.whose());
        prop_assert_eq!(one.proofs, other.proofs);
    }

    #[test]
    fn strangers_are_never_merged_and_a_number_is_its_latest_holders(claims in prop::collection::vec(any_claim(), 1..14)) {
        let store = run(&claims);
        for (_, held) in store.contacts.values() {
            let users = held.iter().filter(|key| key.kind == IdentityKind::WhatsAppUser);
            prop_assert!(users.count() <= 1);
        }
        let phones = claims.iter().flat_map(|claim| &claim.keys).filter(|key| key.kind == IdentityKind::Phone);
        for phone in phones {
            // The latest claim of the phone with a stronger identity, if it has a user id and no
            // other claim is of the same instant.
            let mut proving: Vec<_> = claims
                .iter()
                .filter(|claim| claim.keys.contains(phone) && claim.strongest != *phone)
                .collect();
            proving.sort_by_key(|claim| &claim.seen);
            let Some(latest) = proving.pop() else { continue };
            let alone = proving.iter().all(|claim| claim.seen < latest.seen);
            if alone && latest.strongest.kind == IdentityKind::WhatsAppUser {
                let together = store.contacts.values().any(|(_, held)| held.contains(phone) && held.contains(&latest.strongest));
                prop_assert!(together);
            }
        }
    }

    #[test]
    fn a_claim_that_comes_again_changes_nothing(claims in prop::collection::vec((any_claim_or_change(), any_desk()), 1..14)) {
        let mut store = Store::default();
        for (claim, desk) in &claims {
            let (used, _) = store.apply(claim);
            let again = resolve(claim, &store.known(claim));
            prop_assert_eq!(again.contact, Owner::Existing(used));
            prop_assert_eq!((again.create, again.proofs, again.moves, again.merges), (vec![], vec![], vec![], vec![]));
            store.work(used, *desk);
        }
    }

    #[test]
    fn what_surrounds_a_claim_is_all_that_matters(claims in prop::collection::vec(any_claim_or_change(), 1..14)) {
        let mut store = Store::default();
        for claim in &claims {
            prop_assert_eq!(resolve(claim, &store.known(claim)), resolve(claim, &store.everything()));
            store.apply(claim);
        }
    }

    #[test]
    fn a_curated_contact_is_never_lost_and_keeps_what_somebody_wrote(
        claims in prop::collection::vec(any_claim(), 1..14),
        written in subsequence(vec!["P0", "P1", "P2", "E0", "E1", "E2"], 0..=6),
    ) {
        let mut store = Store::default();
        // Two contacts with what somebody wrote, before any message.
        let (one, other): (Vec<&str>, Vec<&str>) = written.iter().partition(|name| name.ends_with('0'));
        for held in [one, other] {
            store.make(true, held.iter().map(|name| identity(name).key()).collect());
        }
        let before = store.contacts.clone();
        for claim in &claims {
            let (used, resolution) = store.apply(claim);
            prop_assert!(!resolution.possible_duplicates.contains(&used));
            for (id, (_, held)) in &before {
                let now = &store.contacts[id].1;
                // What is gone was proven with a strong identity that the contact has, and with
                // another one.
                for lost in held.difference(now) {
                    let strong = store.proofs.keys().filter(|(weak, _)| weak == lost);
                    prop_assert!(strong.count() >= 2);
                }
            }
        }
    }
}
