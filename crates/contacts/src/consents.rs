//! What can be done with consents, and by whom.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Datelike as _, TimeDelta, Utc};
use kernel::{
    Action, Actor, AuditEntry, ChangedValue, ConsentId, ConsentTextId, ContactId, Denied, Event,
    Gate, Once, Resource, StoreError, TenantContext, Toolkit,
};
use serde_json::json;

use crate::consent::{
    Consent, ConsentAct, ConsentBody, ConsentChannel, ConsentPurpose, ConsentText, MAX_CONSENTS,
    Proof, Recorder,
};
use crate::ports::{ConsentStore, Revocation, Trace};

/// How far a clock of a caller may be ahead.
const CLOCKS_APART: TimeDelta = TimeDelta::minutes(5);

/// Nobody who lives gave a consent before.
const EARLIEST_YEAR: i32 = 1900;

/// How often a version that another took meanwhile is drawn anew.
const TRIES: u8 = 5;

/// Consents of a clinic's contacts, and the texts they are asked with.
#[derive(Clone)]
pub struct Consents {
    store: Arc<dyn ConsentStore>,
    gate: Gate,
    tools: Toolkit,
}

/// A consent to record, as a caller gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GiveConsent {
    /// What for.
    pub purpose: ConsentPurpose,
    /// By which way.
    pub channel: ConsentChannel,
    /// What the person was asked with: a text of that purpose.
    pub text: Option<ConsentTextId>,
    /// When the person gave it; now, where it is not said.
    pub at: Option<DateTime<Utc>>,
    /// How it can be shown.
    pub proof: Option<Proof>,
}

/// Consents or texts could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadConsentError {
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A consent could not be given or revoked, or a text not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteConsentError {
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// There is no such contact or consent (or it is another clinic's).
    #[error("there is no such contact or consent")]
    NotFound,
    /// There is no such text of that purpose.
    #[error("there is no such text of that purpose")]
    UnknownText,
    /// It was revoked by somebody else just now.
    #[error("the consent was revoked already")]
    AlreadyRevoked,
    /// Another text of the purpose took the version.
    #[error("the version is another text's")]
    VersionTaken,
    /// The instant is still to come, or of a revocation before its consent.
    #[error("the instant cannot be")]
    ImpossibleInstant,
    /// The contact has as many as it may.
    #[error("the contact has as many consents as it may")]
    TooMany,
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Consents {
    /// The service over a store.
    pub fn new(store: Arc<dyn ConsentStore>, gate: Gate, tools: Toolkit) -> Self {
        Self { store, gate, tools }
    }

    /// Every text, the newest version of each purpose first.
    pub async fn list_texts(
        &self,
        cx: &TenantContext,
    ) -> Result<Vec<ConsentText>, ReadConsentError> {
        self.gate
            .authorize(cx, Action::ContactRead, Resource::any("contact"))
            .await?;
        Ok(self.store.texts(cx).await?)
    }

    /// Decides as [`Self::create_text`] does.
    pub async fn prepare_create_text(&self, cx: &TenantContext) -> Result<(), Denied> {
        self.gate
            .authorize(cx, Action::ContactConfigure, Resource::any("contact"))
            .await
    }

    /// Writes down the next version of a purpose's text, and only once where the caller gave a key.
    pub async fn create_text(
        &self,
        cx: &TenantContext,
        purpose: ConsentPurpose,
        body: ConsentBody,
        once: Option<Once<ConsentText>>,
    ) -> Result<ConsentText, WriteConsentError> {
        self.prepare_create_text(cx).await?;
        let mut text = ConsentText {
            id: self.tools.id(),
            purpose,
            version: 0,
            body,
            created_at: self.tools.now(),
        };
        for _ in 0..TRIES {
            let texts = self.store.texts(cx).await?;
            let of_purpose = texts.iter().filter(|it| it.purpose == purpose);
            text.version = of_purpose.map(|it| it.version).max().unwrap_or_default() + 1;
            let resource = Resource::one("consent-text", text.id);
            let entry = AuditEntry::done(&self.tools, "consent-text.create", resource);
            let changes = [
                ChangedValue::set("purpose", purpose.name()),
                ChangedValue::set("version", text.version.to_string()),
                ChangedValue::set("text", text.body.as_str()),
            ];
            let payload = json!({ "version": text.version });
            let trace = Trace {
                at: text.created_at,
                audit: entry.changed(cx, self.tools.keys(), changes),
                event: Event::new(&self.tools, "consent-text.created", text.id, payload),
            };
            let claim = once.clone().map(|once| once.claim(cx, &self.tools, &text));
            match self.store.create_text(cx, &text, trace, claim).await {
                Ok(()) => return Ok(text),
                Err(WriteConsentError::VersionTaken) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Contention("texts of one purpose are being written".into()).into())
    }

    /// A contact's consents, the last recorded first; `None` when there is no such contact.
    pub async fn list(
        &self,
        cx: &TenantContext,
        contact: ContactId,
    ) -> Result<Option<Vec<Consent>>, ReadConsentError> {
        self.gate
            .authorize(cx, Action::ContactRead, Resource::contact(contact))
            .await?;
        Ok(self.store.list(cx, contact).await?)
    }

    /// Decides as giving and revoking do.
    pub async fn prepare_write(
        &self,
        cx: &TenantContext,
        contact: ContactId,
    ) -> Result<Option<Vec<Consent>>, ReadConsentError> {
        self.gate
            .authorize(cx, Action::ContactWrite, Resource::contact(contact))
            .await?;
        Ok(self.store.list(cx, contact).await?)
    }

    /// Records that a contact gave a consent, and only once where the caller gave a key.
    pub async fn give(
        &self,
        cx: &TenantContext,
        contact: ContactId,
        give: GiveConsent,
        once: Option<Once<Consent>>,
    ) -> Result<Consent, WriteConsentError> {
        self.gate
            .authorize(cx, Action::ContactWrite, Resource::contact(contact))
            .await?;
        let present = self.store.list(cx, contact).await?;
        let present = present.ok_or(WriteConsentError::NotFound)?;
        if present.len() >= MAX_CONSENTS {
            return Err(WriteConsentError::TooMany);
        }
        let text = match give.text {
            None => None,
            Some(id) => {
                let texts = self.store.texts(cx).await?;
                let text = texts
                    .iter()
                    .find(|it| it.id == id && it.purpose == give.purpose);
                Some(text.ok_or(WriteConsentError::UnknownText)?)
                    .map(|text| (text.id, text.version))
            }
        };
        let consent = Consent {
            id: self.tools.id(),
            contact,
            purpose: give.purpose,
            channel: give.channel,
            text,
            given: self.act(cx, give.at, give.proof)?,
            revoked: None,
        };
        let trace = self.trace(
            cx,
            &consent,
            &consent.given,
            "consent.give",
            "consent.given",
        );
        let claim = once.map(|once| once.claim(cx, &self.tools, &consent));
        self.store.give(cx, &consent, trace, claim).await?;
        Ok(consent)
    }

    /// Records that a contact revoked a consent, and with it all that allow the same. One that was
    /// revoked stays as it is, without a trace.
    pub async fn revoke(
        &self,
        cx: &TenantContext,
        contact: ContactId,
        id: ConsentId,
        at: Option<DateTime<Utc>>,
        proof: Option<Proof>,
    ) -> Result<Consent, WriteConsentError> {
        self.gate
            .authorize(cx, Action::ContactWrite, Resource::contact(contact))
            .await?;
        let act = self.act(cx, at, proof)?;
        let (asked, revocations) = self.revocations(cx, contact, id, &act).await?;
        if revocations.is_empty() {
            return Ok(asked);
        }
        let trace = self.trace(cx, &asked, &act, "consent.revoke", "consent.revoked");
        match self.store.revoke(cx, &revocations, trace).await {
            Ok(()) => Ok(Consent {
                revoked: Some(act),
                ..asked
            }),
            // Somebody else was faster: what they wrote stands.
            Err(WriteConsentError::AlreadyRevoked) => {
                Ok(self.revocations(cx, contact, id, &act).await?.0)
            }
            Err(error) => Err(error),
        }
    }

    /// The consent, and what revokes it and all that allow the same; none where it was revoked.
    async fn revocations(
        &self,
        cx: &TenantContext,
        contact: ContactId,
        id: ConsentId,
        act: &ConsentAct,
    ) -> Result<(Consent, Vec<Revocation>), WriteConsentError> {
        let present = self.store.list(cx, contact).await?;
        let present = present.ok_or(WriteConsentError::NotFound)?;
        let asked = present.iter().find(|consent| consent.id == id);
        let asked = asked.ok_or(WriteConsentError::NotFound)?;
        if !asked.is_in_force() {
            return Ok((asked.clone(), Vec::new()));
        }
        if act.at < asked.given.at {
            return Err(WriteConsentError::ImpossibleInstant);
        }
        let alike = present
            .iter()
            .filter(|it| it.is_in_force() && it.allows_as(asked));
        let revocations = alike.map(|consent| Revocation {
            id: self.tools.id(),
            consent: consent.clone(),
            act: act.clone(),
        });
        Ok((asked.clone(), revocations.collect()))
    }

    fn act(
        &self,
        cx: &TenantContext,
        at: Option<DateTime<Utc>>,
        proof: Option<Proof>,
    ) -> Result<ConsentAct, WriteConsentError> {
        let now = self.tools.now();
        let at = match at {
            None => now,
            Some(at) => {
                let possible = at <= now + CLOCKS_APART && at.year() >= EARLIEST_YEAR;
                // In whole microseconds, as it is kept.
                let whole = DateTime::from_timestamp_micros(at.timestamp_micros());
                whole
                    .filter(|_| possible)
                    .ok_or(WriteConsentError::ImpossibleInstant)?
            }
        };
        let actor = cx.actor();
        let recorded_by = Recorder {
            kind: actor.kind().into(),
            user: match actor {
                Actor::User(user) => Some(user),
                _ => None,
            },
        };
        Ok(ConsentAct {
            at,
            recorded_at: now,
            recorded_by,
            proof,
        })
    }

    fn trace(
        &self,
        cx: &TenantContext,
        consent: &Consent,
        act: &ConsentAct,
        action: &'static str,
        event: &'static str,
    ) -> Trace {
        let resource = Resource::one("consent", consent.id).about(consent.contact);
        let entry = AuditEntry::done(&self.tools, action, resource);
        let mut changes = vec![
            ChangedValue::set("purpose", consent.purpose.name()),
            ChangedValue::set("channel", consent.channel.name()),
            ChangedValue::set("at", act.at.to_rfc3339()),
        ];
        if let Some((text, _)) = consent.text {
            changes.push(ChangedValue::set("textId", text.to_string()));
        }
        if let Some(proof) = &act.proof {
            changes.push(ChangedValue::set("proof", proof.expose()));
        }
        let payload = json!({ "contactId": consent.contact });
        Trace {
            at: act.recorded_at,
            audit: entry.changed(cx, self.tools.keys(), changes),
            event: Event::new(&self.tools, event, consent.id, payload),
        }
    }
}

impl fmt::Debug for Consents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Consents")
    }
}
