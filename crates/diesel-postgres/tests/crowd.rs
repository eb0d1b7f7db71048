//! The crowd of measurements is written as the store writes contacts.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use contacts::ports::{ContactStore as _, Trace};
use diesel_postgres::contacts::PgContactStore;
use kernel::{AuditEntry, Event, Resource};
use test_support::crowd::{Dice, Person, Rows, WrittenContact};
use test_support::{FixedClock, TestDatabase, toolkit, two_clinics};
use uuid::Uuid;

/// Every column but the clinic, and what is sealed for the clinic alone.
const CONTENT: &str = "SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
    SELECT ((to_jsonb(c) - 'clinic_id' - 'document_sealed' - 'document_mac'))::text AS line
    FROM app.contacts c WHERE clinic_id = $1
    UNION ALL SELECT (to_jsonb(i) - 'clinic_id')::text FROM app.contact_identities i WHERE clinic_id = $1
    UNION ALL SELECT (to_jsonb(t) - 'clinic_id')::text FROM app.contact_tags t WHERE clinic_id = $1
    UNION ALL SELECT (to_jsonb(k) - 'clinic_id')::text FROM app.contact_tokens k WHERE clinic_id = $1
    ) x";

#[tokio::test]
async fn a_crowd_is_written_as_the_store_writes_its_contacts() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let tools = toolkit(std::sync::Arc::new(FixedClock::default()));
    let store = PgContactStore::new(base.database(), test_support::keys());
    let mut dice = Dice::new(7);
    let mut rows = Rows::default();
    let mut documents = Vec::new();
    for number in 0..60 {
        let mut person = Person::make(&mut dice, number, 60, 0).contact;
        // Its users are not these clinics'.
        person.owner = None;
        let written = WrittenContact {
            contact: &person,
            updated_at: person.at,
            is_archived: false,
        };
        rows.contact(clinics.b.id, &written, test_support::keys().as_ref());
        documents.extend(
            person
                .document
                .clone()
                .map(|document| (person.id, document)),
        );
        let trace = Trace {
            at: person.at,
            audit: AuditEntry::done(&tools, "contact.create", Resource::contact(person.id)),
            event: Event::new(&tools, "contact.created", person.id, serde_json::json!({})),
        };
        store
            .create(&clinics.a.cx, person, trace, None)
            .await
            .unwrap();
    }
    let behind = base.superuser().await;
    rows.copy(&behind).await;
    let content = async |clinic: Uuid| -> String {
        behind.query_one(CONTENT, &[&clinic]).await.unwrap().get(0)
    };
    let (stored, copied) = (
        content(clinics.a.id.into()).await,
        content(clinics.b.id.into()).await,
    );
    assert!(stored.lines().count() > 600, "too few rows to compare");
    for (stored, copied) in stored.lines().zip(copied.lines()) {
        assert_eq!(stored, copied);
    }
    assert_eq!(stored.len(), copied.len());
    // What is sealed opens for its own clinic, and is found by its keyed hash.
    assert!(documents.len() > 10);
    for (id, document) in documents {
        let found = store.find(&clinics.b.cx, id).await.unwrap().unwrap();
        assert_eq!(found.document, Some(document));
    }
}
