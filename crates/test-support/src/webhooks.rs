//! Webhooks end to end, without HTTP: deliveries are signed, received, and their jobs run, through
//! the services and stores that the server uses; and what came of it, in a form that can be
//! compared.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use bytes::Bytes;
use chrono::DateTime;
use conversations::channel::{ChannelName, ExternalId, Provider, Secret};
use conversations::error::{ProcessError, ReceiveError};
use conversations::ports::{Decoders, Stored};
use conversations::service::{BindChannel, CreatedEndpoint, Processed};
use conversations::{ChangeProcessing, SharedEndpoints, WebhookIngress};
use diesel_postgres::Database;
use diesel_postgres::conversations::{PgChangeStore, PgIngress, PgSharedEndpoints};
use diesel_postgres::jobs::PgJobs;
use kernel::job::{AfterFailure, FailureCode, JobLeases, JobOutcomes, JobSignal, LeasedJob, Queue};
use kernel::{
    ChannelId, EndpointId, Origin, RequestId, SystemContext, SystemPurpose, TenantContext, Toolkit,
};
use serde_json::Value;
use uuid::Uuid;
use whatsapp::CloudDecoder;

use crate::{Clinic, FixedClock, TestDatabase, toolkit};

/// What the bench's deliveries are signed with.
pub const SECRET: &str = "an-app-secret-of-the-bench";

/// One shared endpoint whose channels are of several clinics.
pub struct WebhookBench {
    /// The clock of all that happens.
    pub clock: Arc<FixedClock>,
    /// The toolkit on that clock.
    pub tools: Toolkit,
    /// The store's own access.
    pub database: Database,
    /// Takes deliveries in.
    pub ingress: WebhookIngress,
    /// Lets changes take effect.
    pub processing: ChangeProcessing,
    jobs: PgJobs,
    superuser: tokio_postgres::Client,
    operators: SharedEndpoints,
    /// Where deliveries go, and what a handshake shows.
    pub endpoint: CreatedEndpoint,
}

impl std::fmt::Debug for WebhookBench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookBench")
    }
}

struct Nobody;

impl JobSignal for Nobody {
    fn job_enqueued(&self, _: Queue) {}
}

fn origin() -> Origin {
    Origin::internal(RequestId::from(Uuid::nil()))
}

fn system(purpose: SystemPurpose) -> SystemContext {
    SystemContext::new(purpose, origin())
}

/// The proof of a delivery.
pub fn sign(secret: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    format!("sha256={}", hex::encode(hmac::sign(&key, body)))
}

impl WebhookBench {
    /// A bench on a test's database, with a shared endpoint and no channel yet.
    ///
    /// # Panics
    ///
    /// When the database refuses: a test cannot go on then.
    pub async fn new(base: &TestDatabase) -> Self {
        // Later than the messages of the fixtures: none may claim to be of the future.
        let clock = Arc::new(FixedClock::at(
            DateTime::from_timestamp(1_795_262_400, 0).expect("an instant"),
        ));
        let tools = toolkit(clock.clone());
        let database = base.database();
        let decoders = Decoders::new(vec![Arc::new(CloudDecoder)]);
        let store = Arc::new(PgIngress::new(database.clone()));
        let ingress = WebhookIngress::new(
            store.clone(),
            store,
            decoders.clone(),
            Arc::new(Nobody),
            tools.clone(),
        );
        let changes = PgChangeStore::new(database.for_jobs(), tools.clone());
        let processing = ChangeProcessing::new(Arc::new(changes), decoders);
        let operators = SharedEndpoints::new(
            Arc::new(PgSharedEndpoints::new(database.clone())),
            tools.clone(),
        );
        let secret = Secret::new(SECRET).expect("a good secret");
        let endpoint = operators
            .create(origin(), Provider::WhatsappCloud, &secret)
            .await
            .expect("a shared endpoint can be made");
        Self {
            clock,
            tools,
            jobs: PgJobs::new(&database),
            database,
            ingress,
            processing,
            superuser: base.superuser().await,
            operators,
            endpoint,
        }
    }

    /// Binds a clinic's channel for a provider's number to the shared endpoint.
    ///
    /// # Panics
    ///
    /// When the database refuses.
    pub async fn bind(&self, clinic: &Clinic, phone_number_id: &str) -> ChannelId {
        let channel = BindChannel {
            endpoint: self.endpoint.id,
            name: ChannelName::parse(phone_number_id).expect("a name"),
            external_id: ExternalId::parse(phone_number_id).expect("a number's id"),
            display_phone: None,
        };
        let bound = self.operators.bind_channel(origin(), clinic.id, channel);
        bound.await.expect("a channel can be bound")
    }

    /// The shared endpoint.
    pub fn endpoint(&self) -> EndpointId {
        self.endpoint.id
    }

    /// Receives a delivery as the provider sends it.
    pub async fn receive(&self, body: impl Into<Bytes>) -> Result<Stored, ReceiveError> {
        let body = body.into();
        let proof = sign(SECRET, &body);
        self.receive_with(Some(proof.as_bytes()), body).await
    }

    /// Receives a delivery with any proof.
    pub async fn receive_with(
        &self,
        proof: Option<&[u8]>,
        body: Bytes,
    ) -> Result<Stored, ReceiveError> {
        self.ingress
            .receive(
                &origin(),
                Provider::WhatsappCloud,
                &self.endpoint.path_key,
                proof,
                &body,
            )
            .await
    }

    /// Leases jobs that are due.
    ///
    /// # Panics
    ///
    /// When the database refuses.
    pub async fn lease(&self, most: u16) -> Vec<LeasedJob> {
        self.jobs
            .lease(
                &system(SystemPurpose::JobLeasing),
                Queue::Message,
                most,
                Duration::from_mins(1),
            )
            .await
            .expect("jobs can be leased")
    }

    /// The context of a leased job.
    pub fn context(job: &LeasedJob) -> TenantContext {
        #[expect(
            clippy::disallowed_methods,
            reason = "the bench runs jobs as the runner does"
        )]
        TenantContext::for_job(job.lease.clinic, job.lease.job, origin())
    }

    /// Processes one leased job.
    pub async fn process(&self, job: &LeasedJob) -> Result<Processed, ProcessError> {
        self.processing
            .process(&Self::context(job), job.lease)
            .await
    }

    /// Runs all jobs that are due, so many at the same time; answers how many succeeded. A job
    /// that fails is a dead letter at once.
    ///
    /// # Panics
    ///
    /// When the database refuses.
    pub async fn run_jobs(&self, at_once: u16) -> usize {
        let mut done = 0;
        loop {
            let jobs = self.lease(at_once).await;
            if jobs.is_empty() {
                return done;
            }
            let mut running = tokio::task::JoinSet::new();
            for job in jobs {
                let processing = self.processing.clone();
                let jobs = self.jobs.clone();
                running.spawn(async move {
                    let cx = Self::context(&job);
                    let result = processing.process(&cx, job.lease).await;
                    if let Err(error) = &result {
                        let code = FailureCode(match error {
                            ProcessError::ChangeMissing => "change-missing",
                            ProcessError::Store(_) => "store",
                        });
                        jobs.fail(&cx, job.lease, code, AfterFailure::Dead)
                            .await
                            .expect("a failure can be recorded");
                    }
                    result
                });
            }
            while let Some(result) = running.join_next().await {
                match result.expect("a job does not panic") {
                    Ok(processed) if !processed.applied.lease_lost => done += 1,
                    Ok(_) => {}
                    #[expect(clippy::print_stderr, reason = "a test's output")]
                    Err(error) => eprintln!("a job failed: {error:?}"),
                }
            }
        }
    }

    /// How many rows a query counts, beyond row security.
    ///
    /// # Panics
    ///
    /// When the database refuses.
    pub async fn count(&self, from: &str) -> i64 {
        self.superuser
            .query_one(&format!("SELECT count(*) FROM {from}"), &[])
            .await
            .expect("rows can be counted")
            .get(0)
    }

    /// All that a clinic has of its contacts, conversations and messages, without the ids and
    /// instants that depend on when it came: equal for the same facts in any order.
    ///
    /// # Panics
    ///
    /// When the database refuses.
    pub async fn state(&self, clinic: &Clinic) -> Value {
        let row = self
            .superuser
            .query_one(STATE, &[&clinic.id.to_string()])
            .await
            .expect("the state can be read");
        let text: String = row.get(0);
        serde_json::from_str(&text).expect("the state is JSON")
    }
}

const STATE: &str = "
WITH message AS (
    SELECT m.conversation_id, jsonb_agg(
        to_jsonb(m) - '{id,clinic_id,conversation_id,channel_id,created_at}'::text[]
        ORDER BY m.sent_at, m.order_key, m.from_me) AS messages
    FROM app.messages m WHERE m.clinic_id = $1::text::uuid GROUP BY 1
), thread AS (
    SELECT v.contact_id, jsonb_agg(
        (to_jsonb(v) - '{id,clinic_id,channel_id,contact_id,last_message_id,row_version,created_at,updated_at}'::text[])
        || jsonb_build_object('channel', ch.external_id, 'messages', message.messages,
            'lastMessage', (SELECT m.provider_id FROM app.messages m
                WHERE m.clinic_id = v.clinic_id AND m.id = v.last_message_id),
            'keys', (SELECT jsonb_agg(jsonb_build_array(k.provider_id, k.from_me, k.remote_jid)
                        ORDER BY k.provider_id, k.from_me, k.remote_jid)
                FROM app.message_keys k
                WHERE k.clinic_id = v.clinic_id AND k.conversation_id = v.id))
        ORDER BY ch.external_id) AS threads
    FROM app.conversations v
    JOIN app.channels ch ON ch.clinic_id = v.clinic_id AND ch.id = v.channel_id
    LEFT JOIN message ON message.conversation_id = v.id
    WHERE v.clinic_id = $1::text::uuid GROUP BY 1
), identity AS (
    SELECT i.contact_id, jsonb_agg(
        to_jsonb(i) - '{clinic_id,contact_id,created_at}'::text[]
        ORDER BY i.kind, i.key) AS identities
    FROM app.contact_identities i WHERE i.clinic_id = $1::text::uuid GROUP BY 1
), contact AS (
    SELECT jsonb_build_object('name', c.name, 'nameKey', c.name_key, 'status', c.status,
        'phone', c.primary_phone, 'curated', c.curated, 'identities', identity.identities,
        'tokens', (SELECT jsonb_agg(t.token ORDER BY t.token) FROM app.contact_tokens t
            WHERE t.clinic_id = c.clinic_id AND t.contact_id = c.id),
        'conversations', thread.threads) AS contact
    FROM app.contacts c
    LEFT JOIN identity ON identity.contact_id = c.id
    LEFT JOIN thread ON thread.contact_id = c.id
    WHERE c.clinic_id = $1::text::uuid AND c.merged_into IS NULL
)
SELECT jsonb_build_object(
    'contacts', (SELECT jsonb_agg(contact ORDER BY contact) FROM contact),
    'receipts', (SELECT jsonb_agg(to_jsonb(r) - '{clinic_id,channel_id,created_at}'::text[]
            ORDER BY r.provider_id, r.status)
        FROM app.message_receipts r WHERE r.clinic_id = $1::text::uuid),
    'amendments', (SELECT jsonb_agg(to_jsonb(a) - '{clinic_id,channel_id,created_at}'::text[]
            ORDER BY a.target_provider_id, a.kind, a.provider_id, a.from_me)
        FROM app.message_amendments a WHERE a.clinic_id = $1::text::uuid),
    'proofs', (SELECT jsonb_agg(to_jsonb(p) - '{clinic_id}'::text[]
            ORDER BY p.weak_kind, p.weak_key, p.strong_kind, p.strong_key)
        FROM app.identity_proofs p WHERE p.clinic_id = $1::text::uuid),
    'names', (SELECT jsonb_agg(to_jsonb(n) - '{clinic_id}'::text[] ORDER BY n.kind, n.key)
        FROM app.identity_names n WHERE n.clinic_id = $1::text::uuid)
)::text";
