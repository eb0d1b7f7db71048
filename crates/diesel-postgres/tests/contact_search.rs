//! A search of contacts finds everybody who matches, on one page or another, however common its
//! words are.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::sync::Arc;

use contacts::search::Search;
use contacts::{
    ContactEmail, ContactFilter, ContactOrder, ContactPhone, ContactStatus, Contacts,
    CreateContact, ListContacts, Tag, Tags,
};
use diesel_postgres::audit::PgAuditTrail;
use diesel_postgres::contacts::PgContactStore;
use kernel::email::Email;
use kernel::phone::Phone;
use kernel::text::PersonName;
use kernel::{Gate, PageLimit, TenantContext};
use test_support::{FixedClock, TestDatabase, TwoClinics, toolkit, two_clinics};

/// More of each kind of person than one step of a search looks at.
const MANY: usize = 2_300;

struct World {
    base: TestDatabase,
    clinics: TwoClinics,
    contacts: Contacts,
}

impl World {
    async fn new() -> Self {
        let base = TestDatabase::new().await;
        let clinics = two_clinics(&base).await;
        let tools = toolkit(Arc::new(FixedClock::default()));
        let db = base.database();
        let gate = Gate::new(Arc::new(PgAuditTrail::new(db.clone())), tools.clone());
        let store = Arc::new(PgContactStore::new(db, test_support::keys()));
        Self {
            base,
            clinics,
            contacts: Contacts::new(store, gate, tools),
        }
    }

    const fn cx(&self) -> &TenantContext {
        &self.clinics.a.cx
    }

    /// Adds so many of a name, found by its words, later than all before.
    async fn add(&self, name: &str, words: &[&str], status: ContactStatus, many: usize) {
        let behind = self.base.superuser().await;
        let words = words.join(",");
        let statement = format!(
            "WITH person AS (
                 INSERT INTO app.contacts (clinic_id, id, name, name_key, name_source, status,
                     status_before_archive, archived_at, source, tags, curated, row_version,
                     created_at, updated_at)
                 SELECT '{clinic}', gen_random_uuid(), $1, lower($1), 'person', $2,
                     CASE WHEN $2 = 'archived' THEN 'lead' END,
                     CASE WHEN $2 = 'archived' THEN now() END,
                     'manual', '{{}}', true, 1, at, at
                 FROM (SELECT timestamptz '2026-01-01' + (known.n + i) * interval '1 s' AS at
                       FROM generate_series(1, {many}) i,
                           (SELECT count(*) AS n FROM app.contacts) known) x
                 RETURNING clinic_id, id)
             INSERT INTO app.contact_tokens (clinic_id, token, contact_id)
             SELECT clinic_id, word, id FROM person, unnest(string_to_array($3, ',')) word",
            clinic = self.clinics.a.id,
        );
        behind
            .execute(&statement, &[&name, &status.name(), &words])
            .await
            .unwrap();
    }

    /// The names on all pages, and how many pages there are.
    async fn all(&self, mut ask: ListContacts) -> (Vec<String>, usize) {
        let (mut ids, mut names, mut pages) = (Vec::new(), Vec::new(), 0);
        ask.limit = PageLimit::new(100).unwrap();
        loop {
            let page = self.contacts.list(self.cx(), ask.clone()).await.unwrap();
            pages += 1;
            assert!(page.items.len() <= 100);
            for row in page.items {
                ids.push(row.id);
                names.push(row.name.into_inner());
            }
            ask.cursor = page.next_cursor;
            if ask.cursor.is_none() {
                break;
            }
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), names.len(), "nobody is on two pages");
        (names, pages)
    }

    async fn create(&self, name: &str, phones: &[&str], emails: &[&str]) {
        let contact = CreateContact {
            custom_fields: std::collections::BTreeMap::new(),
            name: PersonName::parse(name).unwrap(),
            social_name: None,
            birth_date: None,
            document: None,
            status: None,
            source: None,
            owner: None,
            notes: None,
            tags: Tags::default(),
            phones: phones
                .iter()
                .map(|text| ContactPhone {
                    phone: Phone::parse(text).unwrap(),
                    label: None,
                })
                .collect(),
            emails: emails
                .iter()
                .map(|text| ContactEmail {
                    email: Email::parse(text).unwrap(),
                    label: None,
                })
                .collect(),
        };
        self.contacts
            .create(self.cx(), contact, None)
            .await
            .unwrap();
    }

    async fn found(&self, typed: &str) -> Vec<String> {
        let (mut names, _) = self.all(search(typed, ContactOrder::NewestFirst)).await;
        names.sort();
        names
    }
}

fn search(text: &str, order: ContactOrder) -> ListContacts {
    ListContacts {
        filter: ContactFilter {
            search: Some(Search::parse(text).unwrap()),
            ..Default::default()
        },
        order,
        ..Default::default()
    }
}

#[tokio::test]
async fn an_exact_word_is_found_among_thousands_that_begin_with_it() {
    let world = World::new().await;
    let lead = ContactStatus::Lead;
    world.add("Ana", &["ana"], lead, 1).await;
    world.add("Anabela", &["anabela"], lead, MANY).await;
    world.add("Anastácia", &["anastacia"], lead, MANY).await;
    for order in ContactOrder::ALL {
        let (names, _) = world.all(search("ana", *order)).await;
        assert_eq!(names.len(), 2 * MANY + 1, "{order:?}");
        assert!(names.iter().any(|name| name == "Ana"), "{order:?}");
        let sorted = names.is_sorted();
        assert!(sorted || *order != ContactOrder::ByName);
    }
}

#[tokio::test]
async fn two_common_words_find_the_few_who_have_both() {
    let world = World::new().await;
    let lead = ContactStatus::Lead;
    world.add("Maria Silva", &["maria", "silva"], lead, 3).await;
    world.add("Maria", &["maria"], lead, MANY).await;
    world.add("Silva", &["silva"], lead, MANY).await;
    for order in ContactOrder::ALL {
        let (names, pages) = world.all(search("maria silva", *order)).await;
        assert_eq!(names, ["Maria Silva"; 3], "{order:?}");
        assert!(pages <= 4, "{pages} pages of two thousand each");
    }
}

#[tokio::test]
async fn filters_hold_of_common_words() {
    let world = World::new().await;
    world.add("Ana", &["ana"], ContactStatus::Archived, 2).await;
    world.add("Ana", &["ana"], ContactStatus::Lead, MANY).await;
    world
        .add("Ana", &["ana"], ContactStatus::Active, MANY)
        .await;
    for (statuses, expected) in [
        (vec![], 2 * MANY),
        (vec![ContactStatus::Archived], 2),
        (vec![ContactStatus::Lead], MANY),
        (
            vec![ContactStatus::Archived, ContactStatus::Active],
            MANY + 2,
        ),
        (vec![ContactStatus::Inactive], 0),
    ] {
        for order in ContactOrder::ALL {
            let mut ask = search("ana", *order);
            ask.filter.statuses.clone_from(&statuses);
            let (names, _) = world.all(ask).await;
            assert_eq!(names.len(), expected, "{order:?} {statuses:?}");
        }
    }
    let mut ask = search("ana", ContactOrder::ByName);
    ask.filter.tag = Some(Tag::new("nobody's").unwrap());
    assert!(world.all(ask).await.0.is_empty());
}

#[tokio::test]
async fn an_address_finds_its_own_person_alone() {
    let world = World::new().await;
    world
        .create("Otávio Zanetti", &[], &["otavio.zz@example.com"])
        .await;
    world
        .create("Otávio Lima Zzu", &[], &["otavio@example.com"])
        .await;
    world
        .create("José", &[], &["josé.dias@saúde.example"])
        .await;
    for (typed, expected) in [
        ("otavio.zz@example.com", vec!["Otávio Zanetti"]),
        (" <Otávio.ZZ@Example.com>, ", vec!["Otávio Zanetti"]),
        ("otavio.zz@exa", vec!["Otávio Zanetti"]),
        ("otavio.zz@", vec!["Otávio Zanetti"]),
        ("otavio@example.com", vec!["Otávio Lima Zzu"]),
        ("otavio@example.com lima", vec!["Otávio Lima Zzu"]),
        ("otavio@example.com zanetti", vec![]),
        ("vio@example.com", vec![]),
        ("jose.dias@saude", vec!["José"]),
        ("otavio example", vec!["Otávio Lima Zzu", "Otávio Zanetti"]),
        ("@example.com", vec!["Otávio Lima Zzu", "Otávio Zanetti"]),
    ] {
        assert_eq!(world.found(typed).await, expected, "{typed}");
    }
}

#[tokio::test]
async fn a_phone_is_found_by_its_beginning_in_either_form_and_by_its_end() {
    let world = World::new().await;
    world.create("Ana", &["+55 21 9876-5432"], &[]).await;
    world.create("Bia", &["+55 21 98765-1111"], &[]).await;
    world.create("Caio", &["+55 21 3333-4444"], &[]).await;
    for (typed, expected) in [
        ("+55 21 9876", vec!["Ana", "Bia"]),
        ("+55 21 9876-54", vec!["Ana"]),
        ("+55 (21) 99876", vec!["Ana"]),
        ("219876", vec!["Ana", "Bia"]),
        ("2199876", vec!["Ana"]),
        ("98765432", vec!["Ana"]),
        ("9876-5432", vec!["Ana"]),
        ("99876-5432", vec!["Ana"]),
        ("5432", vec!["Ana"]),
        ("21 98765-111", vec!["Bia"]),
        ("+55 21 98765-1111", vec!["Bia"]),
        ("+55 21 8765-1111", vec!["Bia"]),
        ("3333-4444", vec!["Caio"]),
        ("+55 21 3333", vec!["Caio"]),
        ("+55 21", vec!["Ana", "Bia", "Caio"]),
    ] {
        assert_eq!(world.found(typed).await, expected, "{typed}");
    }
}

#[tokio::test]
async fn what_was_written_before_gets_the_tokens_that_are_written_now() {
    const UP: &str =
        include_str!("../../../migrations/2026-11-21-000023_search_whole_addresses/up.sql");
    const DOWN: &str =
        include_str!("../../../migrations/2026-11-21-000023_search_whole_addresses/down.sql");
    const TOKENS: &str = "SELECT contact_id::text || token FROM app.contact_tokens ORDER BY 1";
    let world = World::new().await;
    let phones = ["+55 21 98765-1111", "+55 21 3333-4444", "+1 212 555 0100"];
    let addresses = ["ana.lima@example.com", "josé@saúde.example"];
    world.create("Ana", &phones, &addresses).await;
    world.create("Bia", &["+55 11 8765-1111"], &[]).await;
    let (owner, connection) =
        tokio_postgres::connect(&world.base.owner_url(), tokio_postgres::NoTls)
            .await
            .unwrap();
    tokio::spawn(connection);
    let behind = world.base.superuser().await;
    let tokens = async || -> Vec<String> {
        let rows = behind.query(TOKENS, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    let written = tokens().await;
    owner.batch_execute(DOWN).await.unwrap();
    // Two addresses, and both forms of two mobiles.
    assert_eq!(tokens().await.len(), written.len() - 6);
    // Again, as after a run that was cut.
    for _ in 0..2 {
        owner.batch_execute(UP).await.unwrap();
        assert_eq!(tokens().await, written);
    }
}
