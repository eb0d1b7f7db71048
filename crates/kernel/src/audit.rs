//! Audit entries: who did what to whose record. Written in the transaction of the act itself;
//! a denied attempt has a transaction of its own.
//!
//! An entry names fields and holds keyed hashes of values, never the values: the audit outlives
//! what it speaks of (Lei 13.787/2018 asks for twenty years).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::access::{Action, Denied};
use crate::ports::{KeyOwner, KeyPurpose, Keys};
use crate::{AuditId, ContactId, StoreError, TenantContext, Toolkit};

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused.
    Denied,
}

impl Outcome {
    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied => "denied",
        }
    }
}

/// What was acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    /// Kind of record, such as `contact`.
    pub kind: &'static str,
    /// Which one; `None` for a list or a record that does not exist yet.
    pub id: Option<uuid::Uuid>,
    /// The contact it is about, where it is about one: what a data subject may ask for.
    pub subject: Option<ContactId>,
}

impl Resource {
    /// A kind as a whole: a list, or something about to be created.
    pub const fn any(kind: &'static str) -> Self {
        Self {
            kind,
            id: None,
            subject: None,
        }
    }

    /// One record.
    pub fn one(kind: &'static str, id: impl Into<uuid::Uuid>) -> Self {
        Self {
            kind,
            id: Some(id.into()),
            subject: None,
        }
    }

    /// A contact, which is its own subject.
    pub fn contact(id: ContactId) -> Self {
        Self {
            kind: "contact",
            id: Some(id.into()),
            subject: Some(id),
        }
    }

    /// The same record, about `contact`.
    #[must_use]
    pub const fn about(mut self, contact: ContactId) -> Self {
        self.subject = Some(contact);
        self
    }
}

/// Why personal data was touched: the purpose and, with it, the legal basis (LGPD, Lei
/// 13.709/2018).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The care of the people it is about: art. 7 VIII and art. 11 II f.
    Care,
    /// The clinic's own running: its settings, branches, channels and members (art. 7 V and IX).
    Administration,
}

impl Purpose {
    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Care => "care",
            Self::Administration => "administration",
        }
    }

    /// What a record of that kind is there for.
    fn of(resource: Resource) -> Self {
        let about_people = matches!(resource.kind, "contact" | "conversation" | "message");
        if about_people || resource.subject.is_some() {
            Self::Care
        } else {
            Self::Administration
        }
    }
}

/// A field that differs, with the bytes that enter its keyed hashes.
#[derive(Clone, PartialEq, Eq)]
pub struct ChangedValue {
    field: Cow<'static, str>,
    before: Option<Vec<u8>>,
    after: Option<Vec<u8>>,
}

impl ChangedValue {
    /// A field that held `before` and holds `after`; `None` is empty.
    pub const fn new(field: &'static str, before: Option<Vec<u8>>, after: Option<Vec<u8>>) -> Self {
        Self {
            field: Cow::Borrowed(field),
            before,
            after,
        }
    }

    /// The same, of a field whose name is a clinic's own.
    pub const fn named(field: String, before: Option<Vec<u8>>, after: Option<Vec<u8>>) -> Self {
        Self {
            field: Cow::Owned(field),
            before,
            after,
        }
    }

    /// A field that was empty, or whose record did not exist.
    pub fn set(field: &'static str, after: impl Into<Vec<u8>>) -> Self {
        Self::new(field, None, Some(after.into()))
    }

    /// A field that is named alone: not even a hash of a secret is kept.
    pub const fn secret(field: &'static str) -> Self {
        Self::new(field, None, None)
    }

    /// The field's name.
    pub fn field(&self) -> &str {
        &self.field
    }
}

impl fmt::Debug for ChangedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChangedValue({})", self.field)
    }
}

/// A field that changed, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// The field's name, as in the API.
    pub field: Cow<'static, str>,
    /// Keyed hash of the former value, where there was one.
    pub before: Option<[u8; 32]>,
    /// Keyed hash of the new value, where there is one: entries can be compared without knowing
    /// either.
    pub after: Option<[u8; 32]>,
}

/// One entry. Actor, role, address, user agent and request are the context's and are added by
/// the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its id.
    pub id: AuditId,
    /// When.
    pub at: DateTime<Utc>,
    /// What was done: `kind.verb`, such as `contact.create`.
    pub action: &'static str,
    /// To what.
    pub resource: Resource,
    /// Done or denied.
    pub outcome: Outcome,
    /// Why; follows from the resource where the act says nothing else.
    pub purpose: Purpose,
    /// Which fields changed.
    pub changes: Vec<FieldChange>,
    /// The trace in which it was attempted, where there was one.
    pub trace: Option<String>,
}

impl AuditEntry {
    /// A done act without changed fields.
    pub fn done(tools: &Toolkit, action: &'static str, resource: Resource) -> Self {
        Self {
            id: tools.id(),
            at: tools.now(),
            action,
            resource,
            outcome: Outcome::Done,
            purpose: Purpose::of(resource),
            changes: Vec::new(),
            trace: tools.trace(),
        }
    }

    /// Adds changed fields with keyed hashes of their values.
    #[must_use]
    pub fn changed(
        mut self,
        cx: &TenantContext,
        keys: &dyn Keys,
        changes: impl IntoIterator<Item = ChangedValue>,
    ) -> Self {
        let owner = KeyOwner::Clinic(cx.clinic());
        let hash = |value: Vec<u8>| keys.mac(owner, KeyPurpose::Audit, &value);
        let changes = changes.into_iter().map(|change| FieldChange {
            field: change.field,
            before: change.before.map(hash),
            after: change.after.map(hash),
        });
        self.changes.extend(changes);
        self
    }
}

/// Where denied attempts are kept. Every other entry is written by the store of its domain, in
/// the transaction of the act.
#[async_trait]
pub trait AuditTrail: Send + Sync {
    /// Keeps one denied attempt, in a transaction of its own.
    async fn record_denied(&self, cx: &TenantContext, entry: AuditEntry) -> Result<(), StoreError>;
}

/// Decides and leaves the trace of a refusal: what services call first.
#[derive(Clone)]
pub struct Gate {
    trail: Arc<dyn AuditTrail>,
    tools: Toolkit,
}

impl Gate {
    /// A gate that writes refusals to `trail`.
    pub fn new(trail: Arc<dyn AuditTrail>, tools: Toolkit) -> Self {
        Self { trail, tools }
    }

    /// `Ok` when the actor may do `action`; otherwise the refusal is audited.
    ///
    /// The refusal stands even where its entry cannot be written: the store reports that
    /// failure itself, and the caller learns no more than that it may not.
    pub async fn authorize(
        &self,
        cx: &TenantContext,
        action: Action,
        resource: Resource,
    ) -> Result<(), Denied> {
        let Err(denied) = cx.require(action) else {
            return Ok(());
        };
        let mut entry = AuditEntry::done(&self.tools, action.name(), resource);
        entry.outcome = Outcome::Denied;
        let _reported_by_the_store = self.trail.record_denied(cx, entry).await;
        Err(denied)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}
