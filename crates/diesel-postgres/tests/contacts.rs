//! Contacts on a real PostgreSQL, through their service.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::sync::Arc;

use chrono::TimeDelta;
use contacts::search::Search;
use contacts::{
    Change, ContactEmail, ContactFilter, ContactOrder, ContactPatch, ContactPhone, ContactStatus,
    Contacts, CreateContact, CreateContactError, ListContacts, ListContactsError, Notes, Tag, Tags,
    UpdateContactError,
};
use diesel_postgres::audit::PgAuditTrail;
use diesel_postgres::contacts::PgContactStore;
use kernel::document::Document;
use kernel::email::Email;
use kernel::phone::Phone;
use kernel::text::PersonName;
use kernel::{Action, ContactId, Gate, PageLimit, Permissions, TenantContext};
use test_support::{FixedClock, TestDatabase, TwoClinics, toolkit, two_clinics};
use uuid::Uuid;

struct World {
    base: TestDatabase,
    clinics: TwoClinics,
    clock: Arc<FixedClock>,
    contacts: Contacts,
}

impl World {
    async fn new() -> Self {
        let base = TestDatabase::new().await;
        let clinics = two_clinics(&base).await;
        let clock = Arc::new(FixedClock::default());
        let tools = toolkit(Arc::clone(&clock));
        let db = base.database();
        let gate = Gate::new(Arc::new(PgAuditTrail::new(db.clone())), tools.clone());
        let store = Arc::new(PgContactStore::new(db, test_support::keys()));
        Self {
            base,
            clinics,
            clock,
            contacts: Contacts::new(store, gate, tools),
        }
    }

    async fn create(&self, cx: &TenantContext, contact: CreateContact) -> ContactId {
        self.clock.advance(TimeDelta::seconds(1));
        self.contacts.create(cx, contact, None).await.unwrap().id
    }

    async fn names(&self, cx: &TenantContext, ask: ListContacts) -> Vec<String> {
        let page = self.contacts.list(cx, ask).await.unwrap();
        page.items
            .into_iter()
            .map(|row| row.name.into_inner())
            .collect()
    }

    async fn count(&self, sql: &str) -> i64 {
        self.base
            .superuser()
            .await
            .query_one(sql, &[])
            .await
            .unwrap()
            .get(0)
    }
}

fn named(name: &str) -> CreateContact {
    CreateContact {
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
        phones: Vec::new(),
        emails: Vec::new(),
    }
}

fn phone(text: &str) -> ContactPhone {
    ContactPhone {
        phone: Phone::parse(text).unwrap(),
        label: None,
    }
}

fn email(text: &str) -> ContactEmail {
    ContactEmail {
        email: Email::parse(text).unwrap(),
        label: None,
    }
}

fn tags(names: &[&str]) -> Tags {
    Tags::new(names.iter().map(|name| Tag::new(name).unwrap())).unwrap()
}

fn search(text: &str) -> ListContacts {
    let search = Some(Search::parse(text).unwrap());
    ListContacts {
        filter: ContactFilter {
            search,
            ..Default::default()
        },
        ..Default::default()
    }
}

#[tokio::test]
async fn a_contact_is_read_back_as_it_was_created() {
    let world = World::new().await;
    let cx = &world.clinics.a.cx;
    let mut new = named("Helena Nakamura Dias");
    new.social_name = Some(PersonName::parse("Lena").unwrap());
    new.document = Some(Document::parse("111.444.777-35").unwrap());
    new.birth_date = chrono::NaiveDate::from_ymd_opt(1987, 3, 14);
    new.notes = Some(Notes::new("prefers afternoons\nsecond line".to_owned()).unwrap());
    new.owner = Some(world.clinics.a.owner);
    new.tags = tags(&["retorno", "convênio"]);
    new.phones = vec![phone("(11) 98765-4321"), phone("(11) 3456-7890")];
    new.emails = vec![email("helena@example.com")];
    let created = world.contacts.create(cx, new, None).await.unwrap();
    let found = world.contacts.read(cx, created.id).await.unwrap().unwrap();
    assert_eq!(found, created);
    assert_eq!(found.version, 1);
    assert_eq!(found.phones[0].phone.as_e164(), "+5511987654321");
}

#[tokio::test]
async fn another_clinics_contact_is_as_absent_as_a_random_one() {
    let world = World::new().await;
    let id = world.create(&world.clinics.a.cx, named("Ana")).await;
    let other = &world.clinics.b.cx;
    assert_eq!(world.contacts.read(other, id).await.unwrap(), None);
    let patch = ContactPatch {
        status: Some(ContactStatus::Active),
        ..Default::default()
    };
    let refused = world
        .contacts
        .update(other, id, None, patch)
        .await
        .unwrap_err();
    assert!(matches!(refused, UpdateContactError::NotFound));
    assert!(world.contacts.archive(other, id, None).await.is_err());
    assert!(world.names(other, ListContacts::default()).await.is_empty());
    // The same phone may be in both: neither learns of the other.
    let mut same = named("Bia");
    same.phones = vec![phone("11987654321")];
    world.create(&world.clinics.a.cx, same.clone()).await;
    world.create(other, same).await;
}

#[tokio::test]
async fn a_phone_in_either_form_and_a_document_belong_to_one_contact() {
    let world = World::new().await;
    let cx = &world.clinics.a.cx;
    let mut first = named("Ana");
    first.phones = vec![phone("11987654321")];
    first.emails = vec![email("ana@example.com")];
    first.document = Some(Document::parse("11144477735").unwrap());
    let ana = world.create(cx, first).await;

    let mut second = named("Bia");
    second.phones = vec![phone("11 3456-7890"), phone("+55 11 8765-4321")];
    let refused = world.contacts.create(cx, second, None).await.unwrap_err();
    let CreateContactError::Taken(taken) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!((taken.field, taken.index, taken.by), ("phones", 1, ana));

    let mut third = named("Caio");
    third.document = Some(Document::parse("11144477735").unwrap());
    let refused = world.contacts.create(cx, third, None).await.unwrap_err();
    let CreateContactError::Taken(taken) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!((taken.field, taken.by), ("document", ana));

    let bia = world.create(cx, named("Bia")).await;
    let patch = ContactPatch {
        emails: Some(vec![email("bia@example.com"), email("ANA@example.com")]),
        ..Default::default()
    };
    let refused = world
        .contacts
        .update(cx, bia, None, patch)
        .await
        .unwrap_err();
    let UpdateContactError::Taken(taken) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!((taken.field, taken.index, taken.by), ("emails", 1, ana));
    let unchanged = world.contacts.read(cx, bia).await.unwrap().unwrap();
    assert!(
        unchanged.emails.is_empty() && unchanged.version == 1,
        "nothing was half written"
    );
}

#[tokio::test]
async fn a_stranger_cannot_be_the_owner() {
    let world = World::new().await;
    let mut new = named("Ana");
    new.owner = Some(world.clinics.b.owner);
    let refused = world
        .contacts
        .create(&world.clinics.a.cx, new, None)
        .await
        .unwrap_err();
    assert!(
        matches!(refused, CreateContactError::UnknownOwner),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_keeps_the_rest() {
    let world = World::new().await;
    let cx = &world.clinics.a.cx;
    let mut new = named("Ana Lima");
    new.notes = Some(Notes::new("x".to_owned()).unwrap());
    new.tags = tags(&["a", "b"]);
    new.phones = vec![phone("11987654321"), phone("1134567890")];
    let id = world.create(cx, new).await;
    let patch = ContactPatch {
        name: Some(PersonName::parse("Ana Souza").unwrap()),
        notes: Change::Clear,
        tags: Some(tags(&["b", "c"])),
        phones: Some(vec![phone("1134567890"), phone("21987654321")]),
        ..Default::default()
    };
    let after = world.contacts.update(cx, id, Some(1), patch).await.unwrap();
    let found = world.contacts.read(cx, id).await.unwrap().unwrap();
    assert_eq!(found, after);
    assert_eq!(found.version, 2);
    assert_eq!(found.notes, None);
    assert_eq!(found.phones[0].phone.as_e164(), "+551134567890");
    assert_eq!(world.names(cx, search("souza")).await, ["Ana Souza"]);
    assert!(world.names(cx, search("lima")).await.is_empty());
    assert!(world.names(cx, search("98765")).await.len() == 1);
    let by_tag = |tag: &str| {
        let tag = Some(Tag::new(tag).unwrap());
        ListContacts {
            filter: ContactFilter {
                tag,
                ..Default::default()
            },
            ..Default::default()
        }
    };
    assert!(world.names(cx, by_tag("a")).await.is_empty());
    assert_eq!(world.names(cx, by_tag("c")).await, ["Ana Souza"]);
}

#[tokio::test]
async fn of_two_changes_of_one_version_one_is_refused() {
    let world = World::new().await;
    let cx = &world.clinics.a.cx;
    let id = world.create(cx, named("Ana")).await;
    let patch = |name: &str| ContactPatch {
        name: Some(PersonName::parse(name).unwrap()),
        ..Default::default()
    };
    let (one, two) = tokio::join!(
        world.contacts.update(cx, id, Some(1), patch("Bia")),
        world.contacts.update(cx, id, Some(1), patch("Caio")),
    );
    let refused = [&one, &two]
        .into_iter()
        .filter(|r| matches!(r, Err(UpdateContactError::VersionMismatch)));
    assert_eq!(refused.count(), 1);
    assert!(one.is_ok() != two.is_ok());
}

#[tokio::test]
async fn an_archived_contact_is_hidden_unchangeable_and_comes_back_as_it_was() {
    let world = World::new().await;
    let cx = &world.clinics.a.cx;
    let mut new = named("Ana");
    new.status = Some(ContactStatus::Active);
    let id = world.create(cx, new).await;
    let archived = world.contacts.archive(cx, id, None).await.unwrap();
    assert_eq!(
        (archived.status, archived.version),
        (ContactStatus::Archived, 2)
    );
    assert_eq!(
        world.contacts.archive(cx, id, None).await.unwrap().version,
        2
    );
    assert!(world.names(cx, ListContacts::default()).await.is_empty());
    let patch = ContactPatch {
        status: Some(ContactStatus::Lead),
        ..Default::default()
    };
    let refused = world
        .contacts
        .update(cx, id, None, patch)
        .await
        .unwrap_err();
    assert!(matches!(refused, UpdateContactError::Archived));
    let restored = world.contacts.restore(cx, id, None).await.unwrap();
    assert_eq!(
        (restored.status, restored.version),
        (ContactStatus::Active, 3)
    );
    assert_eq!(
        world.contacts.read(cx, id).await.unwrap().unwrap(),
        restored
    );
    // Done acts leave one trace each; the repeated archiving none.
    let entries = "SELECT count(*) FROM app.audit_entries WHERE resource_kind = 'contact'";
    assert_eq!(world.count(entries).await, 3);
    assert_eq!(world.count("SELECT count(*) FROM app.outbox").await, 3);
}

#[tokio::test]
async fn pages_hold_every_contact_once_in_every_order() {
    let world = World::new().await;
    let cx = &world.clinics.a.cx;
    // One letter that folds to eighteen: such a name must fit into an index and a cursor.
    let endless = "\u{FDFA}".repeat(200);
    for index in 0..7 {
        // Names and instants repeat, so that ties are broken by id.
        let name = ["Ágata", "agata", &endless, "Zoé"][index % 4];
        if index % 2 == 0 {
            world.clock.advance(TimeDelta::seconds(1));
        }
        world.contacts.create(cx, named(name), None).await.unwrap();
    }
    for order in ContactOrder::ALL {
        let mut ids = Vec::new();
        let mut keys = Vec::new();
        let mut cursor = None;
        loop {
            let ask = ListContacts {
                order: *order,
                limit: PageLimit::new(2).unwrap(),
                cursor: cursor.take(),
                ..Default::default()
            };
            let page = world.contacts.list(cx, ask).await.unwrap();
            for row in page.items {
                ids.push(row.id);
                keys.push((row.created_at, row.name_key.into_inner()));
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        let mut distinct = ids.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!((ids.len(), distinct.len()), (7, 7), "{order:?}");
        match order {
            ContactOrder::NewestFirst => assert!(keys.is_sorted_by(|a, b| a.0 >= b.0)),
            ContactOrder::OldestFirst => assert!(keys.is_sorted_by(|a, b| a.0 <= b.0)),
            ContactOrder::ByName => assert!(keys.is_sorted_by(|a, b| a.1 <= b.1)),
            ContactOrder::ByNameDescending => assert!(keys.is_sorted_by(|a, b| a.1 >= b.1)),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_cursor_is_good_for_its_own_clinic_filter_and_order_alone() {
    let world = World::new().await;
    let cx = &world.clinics.a.cx;
    for name in ["Ana", "Bia", "Caio"] {
        world.create(cx, named(name)).await;
    }
    let first = ListContacts {
        limit: PageLimit::new(1).unwrap(),
        ..Default::default()
    };
    let cursor = world
        .contacts
        .list(cx, first.clone())
        .await
        .unwrap()
        .next_cursor;
    assert!(cursor.is_some());
    let filtered = ContactFilter {
        statuses: vec![ContactStatus::Lead],
        ..Default::default()
    };
    for (cx, ask) in [
        (&world.clinics.b.cx, first.clone()),
        (
            cx,
            ListContacts {
                order: ContactOrder::OldestFirst,
                ..first.clone()
            },
        ),
        (
            cx,
            ListContacts {
                filter: filtered,
                ..first.clone()
            },
        ),
    ] {
        let refused = world
            .contacts
            .list(
                cx,
                ListContacts {
                    cursor: cursor.clone(),
                    ..ask
                },
            )
            .await;
        assert!(
            matches!(refused, Err(ListContactsError::Cursor(_))),
            "{refused:?}"
        );
    }
    // Another page size is the same list.
    let ask = ListContacts {
        limit: PageLimit::new(5).unwrap(),
        cursor,
        ..Default::default()
    };
    assert_eq!(world.names(cx, ask).await, ["Bia", "Ana"]);
}

#[tokio::test]
async fn search_finds_by_words_phone_email_and_document() {
    let world = World::new().await;
    let cx = &world.clinics.a.cx;
    let mut joao = named("João da Conceição");
    joao.phones = vec![phone("11987654321")];
    joao.emails = vec![email("jconceicao@clinica.example")];
    joao.document = Some(Document::parse("11144477735").unwrap());
    world.create(cx, joao).await;
    world.create(cx, named("Joana Prado")).await;
    world
        .create(&world.clinics.b.cx, named("João Alheio"))
        .await;
    for (typed, found) in [
        ("joao", 1),
        ("JOÃO conc", 1),
        ("joa", 2),
        ("conceicao joao", 1),
        ("joao prado", 0),
        ("(11) 98765", 1),
        ("8765-4321", 1),
        ("jconceicao@clinica.example", 1),
        ("111.444.777-35", 1),
        ("alheio", 0),
        ("joão_", 1),
    ] {
        assert_eq!(world.names(cx, search(typed)).await.len(), found, "{typed}");
    }
}

#[tokio::test]
async fn digits_that_are_a_cpf_and_a_mobile_find_both() {
    let world = World::new().await;
    let cx = &world.clinics.a.cx;
    // A mobile of São Paulo whose eleven digits have the check digits of a CPF.
    let digits = (0..10_000)
        .map(|rest| format!("1198765{rest:04}"))
        .find(|digits| Document::parse(digits).is_ok())
        .unwrap();
    let mut caller = named("Ana");
    caller.phones = vec![phone(&digits)];
    world.create(cx, caller).await;
    let mut holder = named("Bia");
    holder.document = Some(Document::parse(&digits).unwrap());
    world.create(cx, holder).await;
    let mut found = world.names(cx, search(&digits)).await;
    found.sort();
    assert_eq!(found, ["Ana", "Bia"]);
}

#[tokio::test]
async fn a_denied_attempt_is_audited_and_changes_nothing() {
    let world = World::new().await;
    let clinic = &world.clinics.a;
    let only_read = Permissions::of(&[Action::ContactRead]);
    let cx = TenantContext::for_test(clinic.id, clinic.owner, only_read);
    let refused = world
        .contacts
        .create(&cx, named("Ana"), None)
        .await
        .unwrap_err();
    assert!(matches!(refused, CreateContactError::Denied(_)));
    let denied = "SELECT count(*) FROM app.audit_entries
        WHERE outcome = 'denied' AND action = 'contact.write'";
    assert_eq!(world.count(denied).await, 1);
    assert_eq!(world.count("SELECT count(*) FROM app.contacts").await, 0);
}

#[tokio::test]
async fn documents_lie_sealed_and_no_event_or_audit_entry_repeats_personal_data() {
    let world = World::new().await;
    let mut new = named("Quitéria Canária");
    new.document = Some(Document::parse("11144477735").unwrap());
    new.phones = vec![phone("11987654321")];
    let id = world.create(&world.clinics.a.cx, new).await;
    let patch = ContactPatch {
        name: Some(PersonName::parse("Quitéria Canária Lima").unwrap()),
        ..Default::default()
    };
    world
        .contacts
        .update(&world.clinics.a.cx, id, None, patch)
        .await
        .unwrap();
    let text = "SELECT string_agg(t, ' ') FROM (
        SELECT row_to_json(a)::text AS t FROM app.audit_entries a
        UNION ALL SELECT row_to_json(o)::text FROM app.outbox o
        UNION ALL SELECT encode(c.document_sealed, 'escape') FROM app.contacts c) x";
    let text: String = world
        .base
        .superuser()
        .await
        .query_one(text, &[])
        .await
        .unwrap()
        .get(0);
    for planted in ["Quit", "Can", "111444777", "98765"] {
        assert!(!text.contains(planted), "{planted} in {text}");
    }
    assert!(text.contains(&Uuid::from(id).to_string()));
}

#[tokio::test]
async fn a_name_that_was_stored_under_looser_rules_is_still_read() {
    let world = World::new().await;
    let cx = &world.clinics.a.cx;
    let id = world.create(cx, named("Ana Lima")).await;
    let looser = "UPDATE app.contacts SET name = 'Ana' || U&'\\202E' || ' Lima'";
    let superuser = world.base.superuser().await;
    superuser.batch_execute(looser).await.unwrap();
    let read = world.contacts.read(cx, id).await.unwrap();
    assert_eq!(read.unwrap().name.as_str(), "Ana Lima");
}

#[tokio::test]
async fn search_uses_the_token_index_under_row_level_security() {
    let world = World::new().await;
    let clinic = &world.clinics.a;
    let superuser = world.base.superuser().await;
    superuser
        .batch_execute(&format!(
            "INSERT INTO app.contacts (clinic_id, id, name, name_key, name_source, status, source,
                 tags, curated, row_version, created_at, updated_at)
             SELECT '{0}', gen_random_uuid(), 'n' || i, 'n' || i, 'person', 'lead', 'manual', '{{}}',
                 true, 1, now(), now() FROM generate_series(1, 5000) i;
             INSERT INTO app.contact_tokens (clinic_id, token, contact_id)
             SELECT clinic_id, 'tok' || substr(name, 2), id FROM app.contacts;
             ANALYZE app.contacts; ANALYZE app.contact_tokens;",
            clinic.id
        ))
        .await
        .unwrap();
    let app = world.base.app().await;
    app.batch_execute("BEGIN").await.unwrap();
    app.execute(
        "SELECT set_config('app.clinic_id', $1, true)",
        &[&clinic.id.to_string()],
    )
    .await
    .unwrap();
    app.batch_execute(
        "PREPARE q (uuid, text, text) AS SELECT contact_id FROM app.contact_tokens
         WHERE clinic_id = $1 AND token >= $2 COLLATE \"C\" AND token < $3 COLLATE \"C\"",
    )
    .await
    .unwrap();
    let plan = app
        .simple_query(&format!(
            "EXPLAIN EXECUTE q ('{}', 'tok42', 'tok43')",
            clinic.id
        ))
        .await
        .unwrap()
        .iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .collect::<Vec<_>>()
        .join("\n");
    let condition = plan
        .lines()
        .find(|line| line.contains("Index Cond"))
        .unwrap_or_default();
    assert!(plan.contains("contact_tokens_pk"), "{plan}");
    assert!(
        condition.contains("token >=") && condition.contains("token <"),
        "{plan}"
    );
    // And the whole statement finds what it should.
    assert_eq!(world.names(&clinic.cx, search("tok4999")).await, ["n4999"]);
}
