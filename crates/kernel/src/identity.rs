//! Who is who: phones, e-mails and WhatsApp ids are *identities*, a contact has some of them, and
//! [`resolve`] decides which contact a message belongs to.
//!
//! A provider's message proves that certain identities belonged to one person at one instant: a
//! [`Claim`]. Claims come late, twice and in any order, and what they say changes: a number is given
//! up and sold again, a user id comes today without a phone and tomorrow with one. So the matcher
//! does not step from state to state. It keeps the evidence (each pair of identities that was
//! proven together, with the latest instant: a [`Proof`]) and works the people out of it. Which
//! people there are depends on the set of claims alone, never on the order in which they came.
//!
//! # Who is one person, by the evidence
//!
//! Identities are ranked: WhatsApp user id, WhatsApp hidden id (LID), phone, e-mail. A user id stays
//! with a person for good; a number is had for a time.
//!
//! 1. What is proven with a phone is put in the order of its latest proof, and cut into stretches,
//!    one for each holder: wherever a user id or hidden id would be the second of its kind, before
//!    a change *to* this number ([`Claim::moved_to`]) and after a change *from* it. A stretch is
//!    whose the strongest identity in it is. A phone belongs to its last holder. E-mails likewise.
//! 2. Who told of a change of number is one person: the stretch of the former number that ends there
//!    and the one of the next number that begins there. So are user ids that were exchanged.
//! 3. A hidden id joins the user id it was proven with; failing that, the user id of its own
//!    stretch on a phone: the same person on the other provider. The latest counts.
//! 4. Who is known by nothing but a number that was given up is somebody else than who gave it up.
//!    A number of which nobody speaks after that stays a former one of theirs.
//!
//! So a person has at most one user id, but for those of their former numbers: two strangers who
//! had the same number are never made one.
//!
//! A message that names nothing but a number is of whoever had the number in its time. Evidence that
//! comes late may show that that was somebody else: [`Resolution::handed_over`].
//!
//! # Which contact is that person
//!
//! A contact *hosts* a person if it holds the person's strongest identity, or another of theirs and
//! no user id or hidden id of somebody else. Of several hosts one survives: a *curated* one (somebody
//! of the clinic created or changed it) before one made from messages, then the oldest; the others
//! are merged into it. Two curated contacts are never merged: the one with the stronger identity is
//! used, the other keeps what it has and is reported as a possible duplicate. What a person of the
//! clinic wrote into a contact leaves it only when messages once proved it there and now prove it
//! somebody else's. Who changes number keeps the contact; the stranger who gets the former number
//! gets a new one.
//!
//! # For who stores it
//!
//! One table of proofs, unique by (weak, strong), beside the table of identities, unique by key, each
//! with the latest message that named it. In one transaction, with no other claim of the same clinic
//! at work:
//!
//! ```text
//! known = Known::default()
//! while known.missing(&claim) is not empty:      // one round for almost every message, then two
//!     known.add(missing, their contacts with all identities, the proofs that name them)
//! resolution = resolve(&claim, &known)
//! create contacts → keep proofs (the later wins) → move identities → merge contacts → hand over
//! ```
//!
//! Not covered: a user id is of one business portfolio, so a clinic whose channels belong to two
//! portfolios sees one person as two, to be merged by hand. Who had a number before somebody changed
//! to it, and is known by nothing else, cannot be told from them: no identity is left to know them by.

mod evidence;
mod people;
mod placement;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, Utc};

use crate::email::Email;
use crate::ids::ContactId;
use crate::phone::Phone;
use crate::sensitive::redacted_debug;
use evidence::Evidence;
use people::People;
use placement::{Placement, Views};

/// The kinds of identities, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdentityKind {
    /// A user id that WhatsApp gives for this business (BSUID), such as `BR.1349…`.
    WhatsAppUser,
    /// A hidden WhatsApp id, which carries no phone (`…@lid`).
    WhatsAppLid,
    /// A phone.
    Phone,
    /// An e-mail address.
    Email,
}

impl IdentityKind {
    /// Its stable name, for stores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WhatsAppUser => "whatsapp-user",
            Self::WhatsAppLid => "whatsapp-lid",
            Self::Phone => "phone",
            Self::Email => "email",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [
            Self::WhatsAppUser,
            Self::WhatsAppLid,
            Self::Phone,
            Self::Email,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == name)
    }

    /// Whether it stays with a person for good, as a number does not.
    const fn is_strong(self) -> bool {
        matches!(self, Self::WhatsAppUser | Self::WhatsAppLid)
    }
}

/// What an identity is matched by: unique in a clinic. Ordered from the strongest.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityKey {
    /// Which kind it is.
    pub kind: IdentityKind,
    /// The text that is compared, as [`Identity::key`] made it.
    pub key: String,
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityKey({}, ***)", self.kind.as_str())
    }
}

/// A user id that WhatsApp gives for one business: opaque, compared as it came.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WhatsAppUserId(String);

/// A hidden WhatsApp id, without `@lid` and without the number of a device.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WhatsAppLid(String);

/// Not a WhatsApp id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a WhatsApp id")]
pub struct InvalidWhatsAppId;

redacted_debug!(Identity, WhatsAppUserId, WhatsAppLid);

impl WhatsAppUserId {
    /// One to 160 printable ASCII characters. Meta documents a country, a dot and at most 128
    /// letters and digits; a message is not refused for an id that has outgrown this.
    pub fn parse(text: &str) -> Result<Self, InvalidWhatsAppId> {
        let fits = (1..=160).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.to_owned())).ok_or(InvalidWhatsAppId)
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl WhatsAppLid {
    /// With or without `@lid`, with or without the device (`123:4@lid`): both are dropped. One to
    /// 64 letters and digits remain.
    pub fn parse(text: &str) -> Result<Self, InvalidWhatsAppId> {
        let user = text.strip_suffix("@lid").unwrap_or(text);
        let user = user.split_once(':').map_or(user, |(user, _)| user);
        let fits =
            (1..=64).contains(&user.len()) && user.bytes().all(|b| b.is_ascii_alphanumeric());
        fits.then(|| Self(user.to_owned())).ok_or(InvalidWhatsAppId)
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Something by which a person is known.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A WhatsApp user id.
    WhatsAppUser(WhatsAppUserId),
    /// A hidden WhatsApp id.
    WhatsAppLid(WhatsAppLid),
    /// A phone.
    Phone(Phone),
    /// An e-mail address.
    Email(Email),
}

impl Identity {
    /// Which kind it is.
    pub const fn kind(&self) -> IdentityKind {
        match self {
            Self::WhatsAppUser(_) => IdentityKind::WhatsAppUser,
            Self::WhatsAppLid(_) => IdentityKind::WhatsAppLid,
            Self::Phone(_) => IdentityKind::Phone,
            Self::Email(_) => IdentityKind::Email,
        }
    }

    /// What it is matched by.
    pub fn key(&self) -> IdentityKey {
        let key = match self {
            Self::Phone(phone) => phone.canonical_key().as_str().to_owned(),
            other => other.value().to_owned(),
        };
        IdentityKey {
            kind: self.kind(),
            key,
        }
    }

    /// What was received: a phone in E.164, anything else as it is matched.
    pub fn value(&self) -> &str {
        match self {
            Self::WhatsAppUser(id) => id.as_str(),
            Self::WhatsAppLid(id) => id.as_str(),
            Self::Phone(phone) => phone.as_e164(),
            Self::Email(email) => email.as_str(),
        }
    }
}

/// When a message proved something: the provider's time and, between messages of the same second,
/// the provider's id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenAt {
    /// The provider's time.
    pub at: DateTime<Utc>,
    /// The provider's id of the message.
    pub order_key: String,
}

/// Identities that one message proves to be of one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    // Never empty, the strongest first.
    identities: Vec<Identity>,
    // What the person has instead from now on.
    successors: Vec<Identity>,
    keys: BTreeSet<IdentityKey>,
    strongest: IdentityKey,
    seen: SeenAt,
}

/// Why identities are no claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// There is none.
    #[error("a claim needs an identity")]
    Empty,
    /// Two of one kind: the message does not say which is whose.
    #[error("a claim has at most one identity of each kind")]
    TwoOfAKind,
}

impl Claim {
    /// At least one identity, at most one of each kind.
    pub fn new(mut identities: Vec<Identity>, seen: SeenAt) -> Result<Self, ClaimError> {
        identities.sort_by_key(Identity::kind);
        if identities
            .windows(2)
            .any(|pair| pair[0].kind() == pair[1].kind())
        {
            return Err(ClaimError::TwoOfAKind);
        }
        let keys = identities.iter().map(Identity::key).collect();
        let strongest = identities.first().ok_or(ClaimError::Empty)?.key();
        Ok(Self {
            identities,
            successors: Vec::new(),
            keys,
            strongest,
            seen,
        })
    }

    /// The same person has these identities from now on, each instead of the one of its kind: a
    /// changed number. At most one of each kind.
    pub fn moved_to(mut self, mut successors: Vec<Identity>) -> Result<Self, ClaimError> {
        successors.sort_by_key(Identity::kind);
        if successors
            .windows(2)
            .any(|pair| pair[0].kind() == pair[1].kind())
        {
            return Err(ClaimError::TwoOfAKind);
        }
        self.keys.extend(successors.iter().map(Identity::key));
        self.successors = successors;
        Ok(self)
    }

    /// All keys it names, the strongest first.
    pub const fn keys(&self) -> &BTreeSet<IdentityKey> {
        &self.keys
    }

    /// The one that says the most of who it is.
    pub const fn strongest(&self) -> &IdentityKey {
        &self.strongest
    }

    /// Its identities, the strongest first.
    pub fn identities(&self) -> &[Identity] {
        &self.identities
    }

    /// The one of that key, for storing what was received of it.
    pub fn identity(&self, key: &IdentityKey) -> Option<&Identity> {
        self.identities
            .iter()
            .chain(&self.successors)
            .find(|identity| identity.key() == *key)
    }

    /// When it was proven.
    pub const fn seen(&self) -> &SeenAt {
        &self.seen
    }

    /// Every pair it proves.
    fn proofs(&self) -> impl Iterator<Item = Proof> {
        let of = |identities: &[Identity]| -> Vec<IdentityKey> {
            identities.iter().map(Identity::key).collect()
        };
        let (now, next) = (of(&self.identities), of(&self.successors));
        let mut pairs = Vec::new();
        for side in [&now, &next] {
            for (place, strong) in side.iter().enumerate() {
                pairs.extend(side.iter().skip(place + 1).map(|weak| (weak, strong)));
            }
        }
        for new in &next {
            let former = now.iter().find(|old| old.kind == new.kind);
            pairs.extend(former.filter(|old| *old != new).map(|old| (old, new)));
        }
        let proof = |(weak, strong): (&IdentityKey, &IdentityKey)| Proof {
            weak: weak.clone(),
            strong: strong.clone(),
            seen: self.seen.clone(),
        };
        pairs.into_iter().map(proof).collect::<Vec<_>>().into_iter()
    }
}

/// The latest instant at which two identities were proven to be of one person. Stored, unique by
/// its two keys; of two instants the later stays.
///
/// Two of one kind say that the second took the place of the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The weaker identity, or the former one.
    pub weak: IdentityKey,
    /// The stronger one, or the one that took its place.
    pub strong: IdentityKey,
    /// The latest message that proved it.
    pub seen: SeenAt,
}

/// A contact as the matcher sees it. Contacts that were merged away are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which one it is.
    pub id: ContactId,
    /// Whether a person of the clinic created or changed it, rather than a message alone.
    pub curated: bool,
    /// All its identities, each with the latest message that named it.
    pub identities: BTreeMap<IdentityKey, Option<SeenAt>>,
}

/// What the store knows around a claim. Complete when [`Known::missing`] is empty.
#[derive(Debug, Clone, Default)]
pub struct Known {
    contacts: BTreeMap<ContactId, Candidate>,
    evidence: Evidence,
    asked: BTreeSet<IdentityKey>,
}

impl Known {
    /// The identities to look up next: those of the claim, then whatever the contacts and proofs
    /// found so far name. A person has few, so this ends after a round or two.
    pub fn missing(&self, claim: &Claim) -> Vec<IdentityKey> {
        self.mentioned(claim)
            .into_iter()
            .filter(|key| !self.asked.contains(key))
            .collect()
    }

    /// What was found for the identities that were asked for: the contacts that hold them, and all
    /// proofs in which one of them is the weak or the strong side.
    pub fn add(
        &mut self,
        asked: Vec<IdentityKey>,
        contacts: impl IntoIterator<Item = Candidate>,
        proofs: impl IntoIterator<Item = Proof>,
    ) {
        self.asked.extend(asked);
        for contact in contacts {
            for (key, seen) in &contact.identities {
                if let Some(seen) = seen {
                    self.evidence.name(key, seen);
                }
            }
            self.contacts.insert(contact.id, contact);
        }
        for proof in proofs {
            self.evidence.add(&proof);
        }
    }

    /// A claim that took effect already, though the store does not tell of it yet.
    pub fn add_claim(&mut self, claim: &Claim) {
        for key in &claim.keys {
            self.evidence.name(key, &claim.seen);
        }
        for proof in claim.proofs() {
            self.evidence.add(&proof);
        }
    }

    /// All identities that play a part, known or not.
    pub fn mentioned(&self, claim: &Claim) -> BTreeSet<IdentityKey> {
        let held = self
            .contacts
            .values()
            .flat_map(|contact| contact.identities.keys());
        let mentioned = held.chain(self.evidence.identities()).chain(&claim.keys);
        mentioned.cloned().collect()
    }
}

/// Which contact is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// One that exists.
    Existing(ContactId),
    /// The one to be made for this place of [`Resolution::create`].
    New(usize),
}

/// A contact to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewContact {
    /// `None`: it is the contact of the message, named by its profile. Otherwise late evidence
    /// showed that this contact was two people; the new one is the other, and nothing is known of
    /// it but its identities.
    pub split_from: Option<ContactId>,
}

/// An identity that gets an owner or another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Which identity. One that is new is of the claim: [`Claim::identity`] has its value.
    pub identity: IdentityKey,
    /// Who has it now; `None` if it is new.
    pub from: Option<ContactId>,
    /// Who gets it.
    pub to: Owner,
}

/// A contact that proved to be another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merge {
    /// The one that goes. Never a curated one.
    pub from: ContactId,
    /// The one that stays.
    pub into: ContactId,
}

/// An identity whose messages are other contacts' than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandOver {
    /// By which the messages name somebody.
    pub identity: IdentityKey,
    /// Where the messages are once the merges are made.
    pub from: BTreeSet<ContactId>,
    /// Whose they are: who had the identity and until when, the first holder first. The last has
    /// it now.
    pub holders: Vec<(Option<SeenAt>, Owner)>,
}

/// Whose a message of that instant is, by the history of the identity that names them.
pub fn holder_at<T: Copy>(holders: &[(Option<SeenAt>, T)], seen: &SeenAt) -> Option<T> {
    let covers = |(until, _): &&(Option<SeenAt>, T)| until.as_ref().is_none_or(|it| seen <= it);
    holders.iter().find(covers).map(|(_, holder)| *holder)
}

/// What a claim comes to. To be carried out in the order of the fields; all may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// Whose the message is.
    pub contact: Owner,
    /// The identity by which that is known: the claim's strongest, or for a number of former
    /// times one of who had it then. The contact holds it once the moves are made.
    pub known_by: IdentityKey,
    /// Whose other messages are that name nothing stronger than this one does: see [`holder_at`].
    /// One entry for each holder of the claim's strongest identity, though some be one contact.
    pub history: Vec<(Option<SeenAt>, Owner)>,
    /// Who holds the identities that the claim names.
    pub holders: BTreeSet<Owner>,
    /// Contacts to make.
    pub create: Vec<NewContact>,
    /// Proofs that are new or later than the known ones.
    pub proofs: Vec<Proof>,
    /// Identities that get an owner, or another: every one that changes hands is here, those of
    /// merged contacts too.
    pub moves: Vec<Move>,
    /// Contacts whose identities have all gone to another: what else they have follows.
    pub merges: Vec<Merge>,
    /// Identities whose messages go to other contacts, after the merges.
    pub handed_over: Vec<HandOver>,
    /// Other contacts that hold identities of the same person and were not merged, because somebody
    /// of the clinic made them so: for somebody of the clinic to decide.
    pub possible_duplicates: Vec<ContactId>,
}

/// Decides whose a message is and what changes by it. Pure: the same claim and the same knowledge
/// give the same answer, and once it is carried out, the same claim changes nothing more.
///
/// `known` must be complete ([`Known::missing`] empty); what is absent counts as unknown.
pub fn resolve(claim: &Claim, known: &Known) -> Resolution {
    let mut evidence = known.evidence.clone();
    for key in &claim.keys {
        evidence.name(key, &claim.seen);
    }
    let proofs = claim.proofs().filter(|proof| evidence.add(proof)).collect();
    let (before, people) = (People::of(&known.evidence), People::of(&evidence));
    let views = Views {
        claim,
        evidence: &evidence,
        before: &before,
        people: &people,
    };
    let mut others: BTreeMap<IdentityKey, BTreeSet<IdentityKey>> = BTreeMap::new();
    for key in known.mentioned(claim) {
        let root = people.root(&key).clone();
        others.entry(root).or_default().insert(key);
    }
    let root = people.root_at(&claim.strongest, &claim.seen);
    let own = others
        .remove_entry(root)
        .unwrap_or_else(|| (claim.strongest.clone(), claim.keys.clone()));

    let placed = Placement::of(known);
    let mut settled = placed.clone();
    // The claim's own person first: theirs is the first contact to be made.
    settled.settle(&own, &others, &views);
    Resolution {
        proofs,
        ..settled.resolution(&placed, &own, &views)
    }
}
