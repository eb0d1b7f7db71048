//! What users of a clinic do, one request after the other, and the judgement of every answer: is it
//! the right one, and is all of it their clinic's?

use std::collections::HashMap;

use fastrand::Rng;

use crate::bench::{
    http::{self, Answer, encoded},
    traffic::{Traffic, refused},
};

/// A request of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    List,
    Detail,
    Search,
    Conversations,
    Messages,
    Clinic,
    Me,
    Create,
    Patch,
}

impl Kind {
    /// Each with how many of a hundred requests are of it.
    pub(super) const ALL: [(Self, u32); 9] = [
        (Self::List, 30),
        (Self::Detail, 20),
        (Self::Search, 8),
        (Self::Conversations, 20),
        (Self::Messages, 8),
        (Self::Clinic, 3),
        (Self::Me, 3),
        (Self::Create, 4),
        (Self::Patch, 4),
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::List => "contact list",
            Self::Detail => "contact",
            Self::Search => "contact search",
            Self::Conversations => "conversation list",
            Self::Messages => "messages of a conversation",
            Self::Clinic => "settings",
            Self::Me => "own user",
            Self::Create => "new contact",
            Self::Patch => "changed contact",
        }
    }

    fn draw(rng: &mut Rng) -> Self {
        let mut at = rng.u32(0..100);
        for (kind, weight) in Self::ALL {
            if at < weight {
                return kind;
            }
            at -= weight;
        }
        Self::List
    }
}

/// Words that people are looked for by.
const WORDS: [&str; 8] = [
    "Maria",
    "José",
    "Silva",
    "Ana Souza",
    "Lima",
    "Pedro",
    "Gonçalves",
    "Zuleica",
];

/// One who works.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) email: String,
    pub(super) headers: Vec<String>,
    /// Rank and id of the clinic they work in.
    pub(super) clinic: (u16, String),
    /// What they have seen last.
    contacts: Vec<u128>,
    conversations: Vec<u128>,
    /// The contact they made, and its version.
    own: Option<(u128, String)>,
    /// What they asked for by id.
    asked: u128,
}

impl User {
    pub(super) fn new(email: String, headers: Vec<String>, clinic: (u16, String)) -> Self {
        Self {
            email,
            headers,
            clinic,
            contacts: Vec::new(),
            conversations: Vec::new(),
            own: None,
            asked: 0,
        }
    }
}

/// Whom each contact and conversation belongs to.
pub(super) type Owners = HashMap<u128, u16>;

/// All users' work.
pub(super) struct Workflow {
    pub(super) users: Vec<User>,
    owners: Owners,
    rng: Rng,
    number: u64,
    /// Seen before we knew of them: another user made them a moment ago. To be looked up.
    pub(super) unsure: Vec<(u128, u16)>,
    /// Microseconds, by kind.
    pub(super) times: Vec<Vec<u32>>,
    /// Reads that said `HIT-…`, and all that said anything.
    pub(super) hits: (u64, u64),
}

impl Workflow {
    pub(super) fn new(users: Vec<User>, owners: Owners, first: u64) -> Self {
        Self {
            users,
            owners,
            rng: Rng::with_seed(1),
            number: first,
            unsure: Vec::new(),
            times: vec![Vec::new(); Kind::ALL.len()],
            hits: (0, 0),
        }
    }

    pub(super) fn next_number(&self) -> u64 {
        self.number
    }

    /// Fails for an id that is known to be another clinic's.
    fn theirs(&mut self, id: u128, clinic: u16) -> Result<(), String> {
        match self.owners.get(&id) {
            Some(owner) if *owner == clinic => Ok(()),
            Some(_) => Err("a record of another clinic".to_owned()),
            None => {
                self.unsure.push((id, clinic));
                Ok(())
            }
        }
    }

    fn judge(&mut self, index: usize, kind: Kind, answer: &Answer<'_>) -> Result<(), String> {
        let expected = if kind == Kind::Create { 201 } else { 200 };
        if answer.status != expected {
            return Err(format!("{}: {}", kind.name(), refused(answer)));
        }
        let clinic = self.users[index].clinic.0;
        match kind {
            Kind::List | Kind::Search => {
                let ids = rows(answer.body);
                if !answer.body.starts_with(b"{\"data\":[") {
                    return Err("no list".to_owned());
                }
                for id in &ids {
                    self.theirs(*id, clinic)?;
                }
                if !ids.is_empty() {
                    self.users[index].contacts = ids;
                }
                Ok(())
            }
            Kind::Conversations => {
                if !answer.body.starts_with(b"{\"data\":[") {
                    return Err("no list".to_owned());
                }
                let ids = rows(answer.body);
                for id in ids
                    .iter()
                    .copied()
                    .chain(after(answer.body, b"\"contactId\":\""))
                {
                    self.theirs(id, clinic)?;
                }
                self.users[index].conversations = ids;
                Ok(())
            }
            Kind::Messages => {
                if answer.body.starts_with(b"{\"data\":[") {
                    Ok(())
                } else {
                    Err("no list".to_owned())
                }
            }
            Kind::Detail => match first_id(answer.body) {
                Some(id) if id == self.users[index].asked => self.theirs(id, clinic),
                _ => Err("another contact than the one asked for".to_owned()),
            },
            Kind::Clinic => holds(answer.body, &self.users[index].clinic.1),
            Kind::Me => holds(answer.body, &self.users[index].email),
            Kind::Create | Kind::Patch => {
                let id = first_id(answer.body).ok_or("an answer without an id")?;
                let tag = answer.header("etag").ok_or("an answer without an ETag")?;
                let tag = String::from_utf8_lossy(tag).into_owned();
                if kind == Kind::Patch && id != self.users[index].asked {
                    return Err("another contact than the one changed".to_owned());
                }
                self.owners.insert(id, clinic);
                self.users[index].own = Some((id, tag));
                Ok(())
            }
        }
    }
}

impl Traffic for Workflow {
    fn write(&mut self, connection: usize, out: &mut Vec<u8>) -> u32 {
        let index = connection % self.users.len();
        let kind = Kind::draw(&mut self.rng);
        let user = &mut self.users[index];
        let rng = &mut self.rng;
        let one =
            |ids: &[u128], rng: &mut Rng| (!ids.is_empty()).then(|| ids[rng.usize(0..ids.len())]);
        // What needs something they have not seen yet begins with the list.
        let (kind, path) = match kind {
            Kind::Detail => match one(&user.contacts, rng) {
                Some(id) => {
                    user.asked = id;
                    (kind, format!("/api/v1/contacts/{}", text(id)))
                }
                None => (Kind::List, "/api/v1/contacts".to_owned()),
            },
            Kind::Messages => match one(&user.conversations, rng) {
                Some(id) => (kind, format!("/api/v1/conversations/{}/messages", text(id))),
                None => (Kind::Conversations, "/api/v1/conversations".to_owned()),
            },
            Kind::Patch if user.own.is_none() => (Kind::Create, "/api/v1/contacts".to_owned()),
            Kind::Patch => {
                user.asked = user.own.as_ref().map_or(0, |(id, _)| *id);
                (kind, format!("/api/v1/contacts/{}", text(user.asked)))
            }
            Kind::List | Kind::Create => (kind, "/api/v1/contacts".to_owned()),
            Kind::Search => {
                let word = WORDS[rng.usize(0..WORDS.len())];
                (kind, format!("/api/v1/contacts?search={}", encoded(word)))
            }
            Kind::Conversations => (kind, "/api/v1/conversations".to_owned()),
            Kind::Clinic => (kind, "/api/v1/clinics/current".to_owned()),
            Kind::Me => (kind, "/api/v1/me".to_owned()),
        };
        let request = match kind {
            Kind::Create => {
                self.number += 1;
                let digits = 60_000_000 + self.number % 40_000_000;
                let mut headers = user.headers.clone();
                headers.push(format!("Idempotency-Key: load-{digits}"));
                let body = format!(
                    r#"{{"name":"Joana Prado Lins","phones":[{{"value":"+55419{digits:08}"}}]}}"#
                );
                http::post(&path, &headers, &body)
            }
            Kind::Patch => {
                self.number += 1;
                let mut headers = user.headers.clone();
                if let Some((_, tag)) = &user.own {
                    headers.push(format!("If-Match: {tag}"));
                }
                let body = format!(r#"{{"notes":"Retorno {}"}}"#, self.number);
                let request = http::post(&path, &headers, &body);
                [b"PATCH", &request[4..]].concat()
            }
            _ => http::get(&path, &user.headers),
        };
        out.extend_from_slice(&request);
        ticket(kind)
    }

    fn check(&mut self, connection: usize, ticket: u32, answer: &Answer<'_>) -> Result<(), String> {
        let kind = Kind::ALL[ticket as usize].0;
        if let Some(says) = answer.header("x-cache") {
            self.hits.0 += u64::from(says.starts_with(b"HIT"));
            self.hits.1 += 1;
        }
        let index = connection % self.users.len();
        self.judge(index, kind, answer)
    }

    fn timed(&mut self, ticket: u32, micros: u32) {
        self.times[ticket as usize].push(micros);
    }
}

fn ticket(kind: Kind) -> u32 {
    let index = Kind::ALL.iter().position(|(known, _)| *known == kind);
    u32::try_from(index.unwrap_or_default()).unwrap_or_default()
}

fn holds(body: &[u8], text: &str) -> Result<(), String> {
    if body.windows(text.len()).any(|part| part == text.as_bytes()) {
        Ok(())
    } else {
        Err("an answer of somebody else's".to_owned())
    }
}

const ID: &[u8] = b"{\"id\":\"";

/// The ids of a list's rows: objects that stand in an array, not as a field.
fn rows(body: &[u8]) -> Vec<u128> {
    places(body, ID)
        .filter(|at| matches!(body.get(at.wrapping_sub(1)), Some(b'[' | b',')))
        .filter_map(|at| id(&body[at + ID.len()..]))
        .collect()
}

fn after(body: &[u8], name: &'static [u8]) -> impl Iterator<Item = u128> {
    places(body, name).filter_map(move |at| id(&body[at + name.len()..]))
}

fn first_id(body: &[u8]) -> Option<u128> {
    id(body.strip_prefix(ID)?)
}

fn places<'a>(body: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    body.windows(name.len())
        .enumerate()
        .filter(move |(_, part)| *part == name)
        .map(|(at, _)| at)
}

/// The UUID that the bytes begin with.
fn id(bytes: &[u8]) -> Option<u128> {
    let text = std::str::from_utf8(bytes.get(..36)?).ok()?;
    parse(text)
}

/// A UUID with its dashes.
pub(super) fn parse(text: &str) -> Option<u128> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok())?
}

/// With its dashes.
pub(super) fn text(id: u128) -> String {
    let hex = format!("{id:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "01a1fe8c-4ac8-7784-bcc1-98ccdf8806db";
    const TWO: &str = "01a1fe8c-4ac8-7784-bcc1-000000000002";

    fn user() -> User {
        User::new(
            "a@b.example".to_owned(),
            Vec::new(),
            (3, "clinic".to_owned()),
        )
    }

    fn workflow() -> Workflow {
        let owners = HashMap::from([(parse(ONE).unwrap(), 3), (parse(TWO).unwrap(), 4)]);
        Workflow::new(vec![user()], owners, 0)
    }

    fn answer(status: u16, body: &[u8]) -> Answer<'_> {
        Answer {
            status,
            head: b"ETag: \"v1\"\r\n",
            body,
        }
    }

    #[test]
    fn the_weights_are_of_a_hundred() {
        assert_eq!(Kind::ALL.iter().map(|(_, weight)| weight).sum::<u32>(), 100);
    }

    #[test]
    fn a_record_of_another_clinic_is_noticed_wherever_it_stands() {
        let mut workflow = workflow();
        let list = |id: &str| format!("{{\"data\":[{{\"id\":\"{id}\",\"name\":\"x\"}}]}}");
        let good = list(ONE);
        let list_ticket = ticket(Kind::List);
        assert!(
            workflow
                .check(0, list_ticket, &answer(200, good.as_bytes()))
                .is_ok()
        );
        let bad = list(TWO);
        assert!(
            workflow
                .check(0, list_ticket, &answer(200, bad.as_bytes()))
                .is_err()
        );
        let inbox = format!(
            "{{\"data\":[{{\"id\":\"{ONE}\",\"contactId\":\"{TWO}\",\"lastMessage\":{{\"id\":\"{TWO}\"}}}}]}}"
        );
        let judged = workflow.check(
            0,
            ticket(Kind::Conversations),
            &answer(200, inbox.as_bytes()),
        );
        assert_eq!(judged.unwrap_err(), "a record of another clinic");
    }

    #[test]
    fn one_that_nobody_knew_is_kept_to_be_looked_up() {
        let mut workflow = workflow();
        let new = "01a1fe8c-4ac8-7784-bcc1-000000000003";
        let body = format!("{{\"data\":[{{\"id\":\"{new}\"}}]}}");
        assert!(
            workflow
                .check(0, ticket(Kind::List), &answer(200, body.as_bytes()))
                .is_ok()
        );
        assert_eq!(workflow.unsure, [(parse(new).unwrap(), 3)]);
    }

    #[test]
    fn an_id_survives_the_journey() {
        assert_eq!(text(parse(ONE).unwrap()), ONE);
        assert_eq!(parse("no id"), None);
        let message = format!(
            "{{\"data\":[{{\"id\":\"{ONE}\",\"last\":{{\"id\":\"{TWO}\"}}}},{{\"id\":\"{TWO}\"}}]}}"
        );
        assert_eq!(
            rows(message.as_bytes()),
            [parse(ONE).unwrap(), parse(TWO).unwrap()]
        );
    }
}
