//! Audit entries: who did what to whose record. Written in the transaction of the act itself;
//! a denied attempt has a transaction of its own.
//!
//! An entry names fields and holds keyed hashes of values, never the values: the audit outlives
//! what it speaks of (Lei 13.787/2018 asks for twenty years).

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::access::{Action, Denied};
use crate::ports::{KeyOwner, KeyPurpose};
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

/// A field that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// The field's name, as in the API.
    pub field: &'static str,
    /// Keyed hash of the new value, so that two entries can be compared without knowing it.
    pub hash: [u8; 32],
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
    /// Why it was allowed (purpose or legal basis), where the act asks for one.
    pub purpose: Option<&'static str>,
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
            purpose: None,
            changes: Vec::new(),
            trace: tools.trace(),
        }
    }

    /// Adds a changed field with the keyed hash of its new value.
    #[must_use]
    pub fn changed(
        mut self,
        cx: &TenantContext,
        tools: &Toolkit,
        field: &'static str,
        value: &[u8],
    ) -> Self {
        let hash = tools
            .keys()
            .mac(KeyOwner::Clinic(cx.clinic()), KeyPurpose::Audit, value);
        self.changes.push(FieldChange { field, hash });
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
