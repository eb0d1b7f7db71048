//! [`DocumentStore`] on PostgreSQL: contacts' documents, sealed and hashed with newer keys.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use contacts::ports::{DocumentStore, ResealedDocuments};
use diesel::sql_types::{BigInt, Bytea, Untyped, Uuid as SqlUuid};
use kernel::ports::Resealed;
use kernel::{ContactId, KeyOwner, KeyPurpose, Keys, StoreError, TenantContext};
use uuid::Uuid;

use crate::contacts::rows::document_binding;
use crate::{Database, QueryName, query_name, statement};

const RESEAL: QueryName = query_name!("document.reseal", "UPDATE", "contacts");

statement! {
    /// By id, so that each is seen once; locked, so that no change of a contact is lost.
    struct LockDocuments {
        after: Uuid => SqlUuid,
        most: i64 => BigInt,
    } -> (SqlUuid, Bytea, Bytea) = "SELECT c.id, c.document_sealed, c.document_mac
        FROM app.contacts c
        WHERE c.clinic_id = app.current_clinic() AND c.id > ? AND c.document_mac IS NOT NULL
        ORDER BY c.id LIMIT ? FOR NO KEY UPDATE"
}
statement! {
    /// The document stays the same, so the contact's version and time do.
    struct ResealDocument {
        sealed: Vec<u8> => Bytea,
        mac: Vec<u8> => Bytea,
        id: Uuid => SqlUuid,
    } -> Untyped = "UPDATE app.contacts SET document_sealed = ?, document_mac = ?
        WHERE clinic_id = app.current_clinic() AND id = ?"
}

/// Contacts' documents on PostgreSQL.
#[derive(Clone)]
pub struct PgDocumentStore {
    db: Database,
    keys: Arc<dyn Keys>,
}

impl fmt::Debug for PgDocumentStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PgDocumentStore")
    }
}

/// What is to be done about one document.
enum Fate {
    Stays,
    Unreadable,
    Anew(ResealDocument),
}

impl PgDocumentStore {
    /// Those in `db`.
    pub const fn new(db: Database, keys: Arc<dyn Keys>) -> Self {
        Self { db, keys }
    }

    fn judge(&self, cx: &TenantContext, id: Uuid, sealed: &[u8], mac: &[u8]) -> Fate {
        let owner = KeyOwner::Clinic(cx.clinic());
        let at_rest = KeyPurpose::DocumentAtRest;
        let binding = document_binding(ContactId::from(id));
        let Ok(plain) = self.keys.open(owner, at_rest, &binding, sealed) else {
            return Fate::Unreadable;
        };
        let new_mac = self.keys.mac(owner, KeyPurpose::DocumentLookup, &plain);
        if self.keys.is_current(sealed) && mac == new_mac {
            return Fate::Stays;
        }
        Fate::Anew(ResealDocument {
            sealed: self.keys.seal(owner, at_rest, &binding, &plain),
            mac: new_mac.to_vec(),
            id,
        })
    }
}

#[async_trait]
impl DocumentStore for PgDocumentStore {
    async fn reseal(
        &self,
        cx: &TenantContext,
        after: Option<ContactId>,
        most: u16,
    ) -> Result<ResealedDocuments, StoreError> {
        let lock = LockDocuments {
            after: after.map_or(Uuid::nil(), Into::into),
            most: most.into(),
        };
        self.db
            .unit(cx, RESEAL, async |tx| {
                let rows: Vec<(Uuid, Vec<u8>, Vec<u8>)> = tx.load(lock).await?;
                let last = rows.last().map(|(id, _, _)| ContactId::from(*id));
                let mut resealed = Resealed::default();
                let mut anew = Vec::new();
                for (id, sealed, mac) in rows {
                    match self.judge(cx, id, &sealed, &mac) {
                        Fate::Stays => resealed.current += 1,
                        Fate::Unreadable => resealed.unreadable += 1,
                        Fate::Anew(update) => anew.push(update),
                    }
                }
                resealed.anew = anew.len() as u64;
                tx.at_commit(|batch| {
                    for update in anew {
                        batch.execute(update);
                    }
                });
                Ok(ResealedDocuments { resealed, last })
            })
            .await
    }
}
