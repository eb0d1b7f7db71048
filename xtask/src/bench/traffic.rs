//! What is sent, and what a right answer is.

use std::{cell::Cell, rc::Rc};

use super::http::Answer;

/// Requests without end, and the judgement of their answers.
pub(crate) trait Traffic {
    /// Writes the next request of a connection; answers what [`Traffic::check`] shall know it by.
    fn write(&mut self, connection: usize, out: &mut Vec<u8>) -> u32;

    /// The inner text says what is wrong with the answer, without what it holds.
    fn check(&mut self, connection: usize, ticket: u32, answer: &Answer<'_>) -> Result<(), String>;

    /// A right answer took so many microseconds; told while measuring alone.
    fn timed(&mut self, ticket: u32, micros: u32) {
        let _ = (ticket, micros);
    }
}

/// What `X-Cache` must say.
#[derive(Debug, Clone)]
enum Cached {
    /// Anything, or nothing.
    Whatever,
    /// No hit.
    No,
    /// A hit of the first tier, but for the moments when an entry has grown too old: how many there
    /// were of both.
    Yes(Rc<Hits>),
}

/// Answers of the first tier, and others.
#[derive(Debug, Default)]
pub(crate) struct Hits {
    first_tier: Cell<u64>,
    others: Cell<u64>,
}

impl Hits {
    /// Answers that came from the first tier, of a hundred.
    pub(crate) fn percent(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let (hits, others) = (self.first_tier.get() as f64, self.others.get() as f64);
        100.0 * hits / (hits + others)
    }
}

/// The same GETs again and again, each of which has one right answer, byte for byte but for the
/// cursor of a next page, which is sealed anew each time.
pub(crate) struct Gets {
    /// Request and body.
    targets: Vec<(Vec<u8>, Vec<u8>)>,
    /// The bodies' lengths up to the cursor.
    alike: Vec<usize>,
    next: usize,
    cached: Cached,
}

impl Gets {
    pub(crate) fn new(targets: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        Self {
            alike: targets
                .iter()
                .map(|(_, body)| up_to_cursor(body).len())
                .collect(),
            targets,
            next: 0,
            cached: Cached::Whatever,
        }
    }

    /// Requests and bodies.
    pub(crate) fn into_targets(self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.targets
    }

    /// No answer may come from a cache.
    pub(crate) fn uncached(mut self) -> Self {
        self.cached = Cached::No;
        self
    }

    /// Answers must say where they come from, and are counted by that.
    pub(crate) fn counting(mut self, hits: &Rc<Hits>) -> Self {
        self.cached = Cached::Yes(Rc::clone(hits));
        self
    }
}

impl Traffic for Gets {
    fn write(&mut self, _: usize, out: &mut Vec<u8>) -> u32 {
        let index = self.next;
        self.next = (index + 1) % self.targets.len();
        out.extend_from_slice(&self.targets[index].0);
        u32::try_from(index).unwrap_or_default()
    }

    fn check(&mut self, _: usize, ticket: u32, answer: &Answer<'_>) -> Result<(), String> {
        if answer.status != 200 {
            return Err(refused(answer));
        }
        let (body, alike) = (
            &self.targets[ticket as usize].1,
            self.alike[ticket as usize],
        );
        if answer.body.len() != body.len() || answer.body[..alike] != body[..alike] {
            return Err("another body than this clinic's".to_owned());
        }
        let says = answer.header("x-cache");
        match &self.cached {
            Cached::No if says.is_some_and(|says| says.starts_with(b"HIT")) => {
                Err("an answer from the cache, which is off".to_owned())
            }
            Cached::Whatever | Cached::No => Ok(()),
            Cached::Yes(hits) => {
                let counter = match says {
                    Some(b"HIT-L1") => &hits.first_tier,
                    Some(b"HIT-L2" | b"MISS" | b"BYPASS") => &hits.others,
                    _ => return Err("an answer without X-Cache".to_owned()),
                };
                counter.set(counter.get() + 1);
                Ok(())
            }
        }
    }
}

/// Lists that nobody asked for before: each has a lower bound of creation of its own, before every
/// contact. So no cache has them, and each is the same page but for its cursor.
pub(crate) struct Misses {
    /// The headers of a member of each clinic, and the page up to its cursor.
    targets: Vec<(Vec<String>, Vec<u8>)>,
    number: u64,
}

impl Misses {
    /// `targets` have the page's whole body.
    pub(crate) fn new(targets: Vec<(Vec<String>, Vec<u8>)>) -> Self {
        let targets = targets
            .into_iter()
            .map(|(headers, body)| (headers, up_to_cursor(&body).to_vec()))
            .collect();
        Self { targets, number: 0 }
    }
}

impl Traffic for Misses {
    fn write(&mut self, _: usize, out: &mut Vec<u8>) -> u32 {
        self.number += 1;
        let index = usize::try_from(self.number).unwrap_or_default() % self.targets.len();
        let (seconds, micros) = (self.number / 1_000_000 % 60, self.number % 1_000_000);
        let path =
            format!("/api/v1/contacts?createdFrom=2001-01-01T00:00:{seconds:02}.{micros:06}Z");
        out.extend_from_slice(&super::http::get(&path, &self.targets[index].0));
        u32::try_from(index).unwrap_or_default()
    }

    fn check(&mut self, _: usize, ticket: u32, answer: &Answer<'_>) -> Result<(), String> {
        if answer.status != 200 {
            return Err(refused(answer));
        }
        if answer
            .header("x-cache")
            .is_some_and(|says| says.starts_with(b"HIT"))
        {
            return Err("a hit for what nobody asked before".to_owned());
        }
        if up_to_cursor(answer.body) == self.targets[ticket as usize].1 {
            Ok(())
        } else {
            Err("another page than this clinic's".to_owned())
        }
    }
}

/// A list's body as far as it is the same each time.
pub(crate) fn up_to_cursor(body: &[u8]) -> &[u8] {
    let name = b"\"nextCursor\"";
    let at = body
        .windows(name.len())
        .rposition(|part| part == name)
        .unwrap_or(body.len());
    &body[..at]
}

/// Status and problem code, never more of an answer than that.
pub(crate) fn refused(answer: &Answer<'_>) -> String {
    let code = serde_json::from_slice::<serde_json::Value>(answer.body)
        .ok()
        .and_then(|body| Some(format!(" {}", body.get("code")?.as_str()?)))
        .unwrap_or_default();
    format!("status {}{code}", answer.status)
}

/// New contacts, no two alike, of some clinics in turn.
pub(crate) struct Creates {
    /// The headers of a member of each clinic.
    members: Vec<Vec<String>>,
    number: u64,
    /// The area code of their phones, which tells them from those of others.
    area: u8,
}

impl Creates {
    pub(crate) fn new(members: Vec<Vec<String>>, area: u8) -> Self {
        Self {
            members,
            number: 0,
            area,
        }
    }

    /// The body of a contact's creation. Its eight digits are in its phone and its e-mail.
    pub(crate) fn body(area: u8, digits: u64) -> String {
        format!(
            r#"{{"name":"Helena Nakamura Dias","source":"instagram","tags":["retorno","particular"],"phones":[{{"value":"+55{area}9{digits:08}"}}],"emails":[{{"value":"helena.{area}{digits:08}@correio.example"}}]}}"#
        )
    }
}

impl Traffic for Creates {
    fn write(&mut self, _: usize, out: &mut Vec<u8>) -> u32 {
        self.number += 1;
        let members = self.members.len() as u64;
        let member = usize::try_from(self.number % members).unwrap_or_default();
        // From 60000000 on: mobiles.
        let digits = 60_000_000 + self.number % 40_000_000;
        let mut headers = self.members[member].clone();
        headers.push(format!("Idempotency-Key: bench-{}-{digits}", self.area));
        let body = Self::body(self.area, digits);
        out.extend_from_slice(&super::http::post("/api/v1/contacts", &headers, &body));
        0
    }

    fn check(&mut self, _: usize, _: u32, answer: &Answer<'_>) -> Result<(), String> {
        if answer.status != 201 {
            return Err(refused(answer));
        }
        let starts = answer.body.starts_with(b"{\"id\":\"");
        let is_theirs = answer
            .body
            .windows(20)
            .any(|part| part == b"Helena Nakamura Dias");
        if starts && is_theirs {
            Ok(())
        } else {
            Err("an answer that is not the contact".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer<'a>(status: u16, head: &'a [u8], body: &'a [u8]) -> Answer<'a> {
        Answer { status, head, body }
    }

    #[test]
    fn a_clinic_that_gets_anothers_answer_is_noticed() {
        let mut gets = Gets::new(vec![
            (b"a".to_vec(), b"A".to_vec()),
            (b"b".to_vec(), b"B".to_vec()),
        ]);
        let mut out = Vec::new();
        assert_eq!((gets.write(0, &mut out), gets.write(0, &mut out)), (0, 1));
        assert_eq!(out, b"ab");
        assert_eq!(gets.check(0, 1, &answer(200, b"", b"B")), Ok(()));
        assert!(gets.check(0, 1, &answer(200, b"", b"A")).is_err());
        assert!(gets.check(0, 1, &answer(503, b"", b"B")).is_err());
    }

    #[test]
    fn a_cursor_may_be_another_each_time_and_nothing_else_may() {
        let page = |row, cursor| format!("{{\"data\":[{row}],\"nextCursor\":\"{cursor}\"}}");
        let mut gets = Gets::new(vec![(b"a".to_vec(), page(1, "x").into_bytes())]);
        let mut judge = |body: String| gets.check(0, 0, &answer(200, b"", body.as_bytes()));
        assert_eq!(judge(page(1, "y")), Ok(()));
        assert!(judge(page(2, "x")).is_err());
        assert!(judge(page(1, "xy")).is_err());
    }

    #[test]
    fn answers_are_counted_by_where_they_come_from() {
        let hits = Rc::new(Hits::default());
        let gets = || Gets::new(vec![(b"a".to_vec(), b"A".to_vec())]);
        let mut counting = gets().counting(&hits);
        for (head, right) in [
            (&b"X-Cache: HIT-L1\r\n"[..], true),
            (b"x-cache: HIT-L1\r\n", true),
            (b"X-Cache: HIT-L1\r\n", true),
            (b"X-Cache: MISS\r\n", true),
            (b"X-Cache: PERHAPS\r\n", false),
            (b"", false),
        ] {
            let judged = counting.check(0, 0, &answer(200, head, b"A"));
            assert_eq!(judged.is_ok(), right, "{head:?}");
        }
        assert!((hits.percent() - 75.0).abs() < 1e-9);
    }

    #[test]
    fn an_uncached_read_must_not_come_from_the_cache() {
        let mut gets = Gets::new(vec![(b"a".to_vec(), b"A".to_vec())]).uncached();
        for (head, right) in [
            (&b"X-Cache: HIT-L2\r\n"[..], false),
            (b"X-Cache: BYPASS\r\n", true),
            (b"", true),
        ] {
            assert_eq!(gets.check(0, 0, &answer(200, head, b"A")).is_ok(), right);
        }
    }

    #[test]
    fn a_list_that_nobody_asked_before_is_the_page_but_for_its_cursor() {
        let page =
            |cursor| format!("{{\"data\":[1],\"nextCursor\":\"{cursor}\",\"hasMore\":true}}");
        let mut misses = Misses::new(vec![(Vec::new(), page("a").into_bytes())]);
        let (mut one, mut two) = (Vec::new(), Vec::new());
        misses.write(0, &mut one);
        misses.write(0, &mut two);
        assert_ne!(one, two);
        let judge = |misses: &mut Misses, head, body: &str| {
            misses.check(0, 0, &answer(200, head, body.as_bytes()))
        };
        assert_eq!(judge(&mut misses, b"", &page("b")), Ok(()));
        assert!(judge(&mut misses, b"", "{\"data\":[2],\"nextCursor\":\"a\"}").is_err());
        assert!(judge(&mut misses, b"X-Cache: HIT-L2\r\n", &page("b")).is_err());
    }

    #[test]
    fn a_refusal_is_told_by_its_code_alone() {
        let body = br#"{"code":"rate-limited","detail":"Ana"}"#;
        assert_eq!(refused(&answer(429, b"", body)), "status 429 rate-limited");
        assert_eq!(refused(&answer(500, b"", b"Ana")), "status 500");
    }
}
