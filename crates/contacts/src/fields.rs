//! What can be done with a clinic's own fields, and by whom.

use std::fmt;
use std::sync::Arc;

use kernel::{
    Action, AuditEntry, ContactFieldId, Denied, Event, Gate, Once, Resource, StoreError,
    TenantContext, Toolkit,
};
use serde_json::json;

use crate::field::{
    ContactField, ContactFieldPatch, MAX_ACTIVE, MAX_FIELDS, NewContactField, UnfitOptions,
};
use crate::ports::{ContactFieldStore, Trace};

const RESOURCE: &str = "contact";

/// A clinic's own fields.
#[derive(Clone)]
pub struct ContactFields {
    store: Arc<dyn ContactFieldStore>,
    gate: Gate,
    tools: Toolkit,
}

/// Fields could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadContactFieldError {
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A field could not be created, changed, archived or restored.
#[derive(Debug, thiserror::Error)]
pub enum WriteContactFieldError {
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// There is no such field (or it is another clinic's).
    #[error("there is no such field")]
    NotFound,
    /// It was changed meanwhile: its version is not the expected one.
    #[error("the field was changed meanwhile")]
    VersionMismatch,
    /// Another field of the clinic has this key, an archived one perhaps.
    #[error("another field has this key")]
    KeyTaken,
    /// The clinic has as many as it may.
    #[error("the clinic has as many fields as it may")]
    TooMany,
    /// The options do not suit the type.
    #[error(transparent)]
    Options(#[from] UnfitOptions),
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ContactFields {
    /// The service over a store.
    pub fn new(store: Arc<dyn ContactFieldStore>, gate: Gate, tools: Toolkit) -> Self {
        Self { store, gate, tools }
    }

    /// All fields, archived ones too, in the clinic's order.
    pub async fn list(
        &self,
        cx: &TenantContext,
    ) -> Result<Vec<ContactField>, ReadContactFieldError> {
        let resource = Resource::any(RESOURCE);
        self.gate
            .authorize(cx, Action::ContactRead, resource)
            .await?;
        Ok(self.store.list(cx).await?)
    }

    /// A field; `None` when there is none that `cx` may see.
    pub async fn read(
        &self,
        cx: &TenantContext,
        id: ContactFieldId,
    ) -> Result<Option<ContactField>, ReadContactFieldError> {
        Ok(self.list(cx).await?.into_iter().find(|it| it.id == id))
    }

    /// Decides as [`Self::create`] does.
    pub async fn prepare_create(&self, cx: &TenantContext) -> Result<(), Denied> {
        let resource = Resource::any(RESOURCE);
        self.gate
            .authorize(cx, Action::ContactConfigure, resource)
            .await
    }

    /// What a change starts from: decides as the change does.
    pub async fn prepare_change(
        &self,
        cx: &TenantContext,
        id: ContactFieldId,
    ) -> Result<Option<ContactField>, ReadContactFieldError> {
        self.prepare_create(cx).await?;
        Ok(self.find(cx, id).await?)
    }

    /// Creates a field, and only once where the caller gave a key.
    pub async fn create(
        &self,
        cx: &TenantContext,
        new: NewContactField,
        once: Option<Once<ContactField>>,
    ) -> Result<ContactField, WriteContactFieldError> {
        self.prepare_create(cx).await?;
        new.check()?;
        let now = self.tools.now();
        let field = ContactField {
            id: self.tools.id(),
            key: new.key,
            label: new.label,
            kind: new.kind,
            options: new.options,
            is_required: new.is_required,
            place: new.place,
            version: 1,
            created_at: now,
            updated_at: now,
            archived_at: None,
        };
        let trace = self.trace(
            cx,
            &field,
            None,
            "contact-field.create",
            "contact-field.created",
        );
        let claim = once.map(|once| once.claim(cx, &self.tools, &field));
        self.store
            .create(cx, &field, (MAX_ACTIVE, MAX_FIELDS), trace, claim)
            .await?;
        Ok(field)
    }

    /// Changes a field whose version is `expected`. A patch that changes nothing writes nothing.
    pub async fn update(
        &self,
        cx: &TenantContext,
        id: ContactFieldId,
        expected: i64,
        patch: ContactFieldPatch,
    ) -> Result<ContactField, WriteContactFieldError> {
        self.prepare_create(cx).await?;
        let before = self.find(cx, id).await?;
        let before = before.ok_or(WriteContactFieldError::NotFound)?;
        if before.version != expected {
            return Err(WriteContactFieldError::VersionMismatch);
        }
        let after = before.patched(patch)?;
        let names = ("contact-field.update", "contact-field.updated");
        self.write(cx, &before, after, names).await
    }

    /// Archives a field: its values stay, and none may be given. Again it changes nothing.
    pub async fn archive(
        &self,
        cx: &TenantContext,
        id: ContactFieldId,
        expected: Option<i64>,
    ) -> Result<ContactField, WriteContactFieldError> {
        self.put_away(cx, id, expected, true).await
    }

    /// Restores an archived field. Again it changes nothing.
    pub async fn restore(
        &self,
        cx: &TenantContext,
        id: ContactFieldId,
        expected: Option<i64>,
    ) -> Result<ContactField, WriteContactFieldError> {
        self.put_away(cx, id, expected, false).await
    }

    async fn put_away(
        &self,
        cx: &TenantContext,
        id: ContactFieldId,
        expected: Option<i64>,
        away: bool,
    ) -> Result<ContactField, WriteContactFieldError> {
        self.prepare_create(cx).await?;
        let before = self.find(cx, id).await?;
        let before = before.ok_or(WriteContactFieldError::NotFound)?;
        if expected.is_some_and(|expected| expected != before.version) {
            return Err(WriteContactFieldError::VersionMismatch);
        }
        if before.is_active() != away {
            return Ok(before);
        }
        let mut after = before.clone();
        after.archived_at = away.then(|| self.tools.now());
        let names = if away {
            ("contact-field.archive", "contact-field.archived")
        } else {
            ("contact-field.restore", "contact-field.restored")
        };
        self.write(cx, &before, after, names).await
    }

    async fn write(
        &self,
        cx: &TenantContext,
        before: &ContactField,
        mut after: ContactField,
        (action, event): (&'static str, &'static str),
    ) -> Result<ContactField, WriteContactFieldError> {
        if after.changes_since(Some(before)).is_empty() {
            return Ok(after);
        }
        after.version += 1;
        after.updated_at = self.tools.now();
        let trace = self.trace(cx, &after, Some(before), action, event);
        self.store.update(cx, &after, MAX_ACTIVE, trace).await?;
        Ok(after)
    }

    async fn find(
        &self,
        cx: &TenantContext,
        id: ContactFieldId,
    ) -> Result<Option<ContactField>, StoreError> {
        let all = self.store.list(cx).await?;
        Ok(all.into_iter().find(|field| field.id == id))
    }

    fn trace(
        &self,
        cx: &TenantContext,
        after: &ContactField,
        before: Option<&ContactField>,
        action: &'static str,
        event: &'static str,
    ) -> Trace {
        let resource = Resource::one("contact-field", after.id);
        let entry = AuditEntry::done(&self.tools, action, resource);
        let payload = json!({ "version": after.version });
        Trace {
            at: after.updated_at,
            audit: entry.changed(cx, self.tools.keys(), after.changes_since(before)),
            event: Event::new(&self.tools, event, after.id, payload),
        }
    }
}

impl fmt::Debug for ContactFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContactFields")
    }
}
