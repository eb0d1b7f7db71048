//! A fresh database with a running server, two clinics, and a channel for each number: where
//! deliveries are acted out.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use ::postgres::Client as Sql;
use anyhow::{Context, bail};
use serde_json::Value;

use crate::{
    checkout::Checkout,
    client::Client,
    interrupt,
    postgres::{
        address,
        cluster::Kind,
        site::{Role, Site},
    },
    server::{self, Build, Server, Serving},
    terminal,
};

/// What the provider signs with here.
const SECRET: &str = "replay-0123456789abcdef";
/// How long not one job may end before we give up: longer than any lease and retry of theirs.
const PATIENCE: Duration = Duration::from_mins(2);
/// How often a long wait says how far it is.
const REPORT: Duration = Duration::from_secs(5);

/// The PostgreSQL that stages are set up on, and the server's binary.
pub(crate) struct Arena {
    checkout: Checkout,
    program: PathBuf,
    site: Site,
}

impl Arena {
    /// Finds the PostgreSQL, then builds the server.
    pub(crate) fn open(checkout: &Checkout, build: Build) -> anyhow::Result<Self> {
        let site = Site::open(checkout, Kind::Test)?;
        site.require_superuser("The final state is read across clinics")?;
        Ok(Self {
            checkout: checkout.clone(),
            program: server::build(checkout, build)?,
            site,
        })
    }
}

/// One fresh database with its server.
pub(crate) struct Stage<'a> {
    arena: &'a Arena,
    database: String,
    server: Server,
    port: u16,
    log: PathBuf,
    serving: Option<Serving>,
    webhook_path: String,
}

impl<'a> Stage<'a> {
    /// Sets up a fresh one. Numbers are dealt out to the two clinics in turn.
    pub(crate) fn set(arena: &'a Arena, numbers: &[String]) -> anyhow::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let database = format!("acolhe_replay_{}_{next}", std::process::id());
        arena.site.prepare(&arena.checkout, &database)?;
        let addresses = arena.site.addresses(&database)?;
        let folder = arena.checkout.root().join(".acolhe");
        let keys = folder.join("replay-keys.env");
        let mut server = Server::new(arena.program.clone(), &addresses, &keys)?;
        server.set("ACOLHE_TELEMETRY_LOG_FORMAT", "text");
        server.migrate()?;

        let made = server.admin(
            &[
                "create-endpoint",
                "--provider",
                "whatsapp-cloud",
                "--secret-stdin",
            ],
            Some(SECRET),
        )?;
        let text = |value: &Value, name: &str| {
            value[name]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("no {name} came"))
        };
        let endpoint = text(&made, "endpointId")?;
        let webhook_path = text(&made, "webhookPath")?;
        let mut clinics = Vec::new();
        for name in ["Replay A", "Replay B"] {
            let clinic = server.admin(
                &[
                    "create-clinic",
                    "--name",
                    name,
                    "--time-zone",
                    "America/Sao_Paulo",
                ],
                None,
            )?;
            clinics.push(text(&clinic, "clinicId")?);
        }
        for (index, number) in numbers.iter().enumerate() {
            let clinic = &clinics[index % clinics.len()];
            server.admin(
                &[
                    "bind-channel",
                    "--clinic",
                    clinic,
                    "--endpoint",
                    &endpoint,
                    "--name",
                    number,
                    "--phone-number-id",
                    number,
                ],
                None,
            )?;
        }
        let mut stage = Self {
            arena,
            database,
            server,
            port: 18_080,
            log: folder.join("replay.log"),
            serving: None,
            webhook_path,
        };
        stage.start()?;
        Ok(stage)
    }

    /// Starts the server, or starts it again.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let serving = self.server.serve(self.port, Some(&self.log))?;
        // Kept over restarts, so that addresses stay the same.
        self.port = serving.port;
        self.serving = Some(serving);
        Ok(())
    }

    /// Kills the server as a power cut would.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        match self.serving.take() {
            Some(mut serving) => serving.kill(),
            None => Ok(()),
        }
    }

    fn base_url(&self) -> anyhow::Result<&str> {
        self.serving
            .as_ref()
            .map(|serving| serving.base_url.as_str())
            .context("no server runs")
    }

    /// A caller and where it posts, for threads of their own.
    pub(crate) fn poster(&self) -> anyhow::Result<Poster> {
        Ok(Poster {
            client: Client::new(self.base_url()?),
            path: self.webhook_path.clone(),
        })
    }

    /// Posts deliveries one after the other; each must be taken. Answers how many.
    pub(crate) fn post_all(&self, deliveries: &[Value]) -> anyhow::Result<usize> {
        let poster = self.poster()?;
        for delivery in deliveries {
            interrupt::check()?;
            let status = poster.post(&delivery.to_string())?;
            if status != 200 {
                bail!("the webhook answered {status}: see {}", self.log.display());
            }
        }
        Ok(deliveries.len())
    }

    /// A superuser's connection: for looking behind row-level security.
    pub(crate) fn sql(&self) -> anyhow::Result<Sql> {
        self.arena.site.connect(Role::Admin, &self.database)
    }

    /// Waits until no job waits, and fails when one died.
    pub(crate) fn settle(&self) -> anyhow::Result<Sql> {
        let mut sql = self.sql()?;
        let mut moved = (i64::MAX, Instant::now());
        let mut reported = Instant::now();
        loop {
            interrupt::check()?;
            let row = sql
                .query_one(
                    "SELECT count(*) FILTER (WHERE state IN ('delayed', 'waiting', 'leased')),
                            count(*) FILTER (WHERE state = 'dead'),
                            coalesce(max(last_failure), '')
                     FROM app.jobs",
                    &[],
                )
                .map_err(address::explain)?;
            let (open, dead, failure): (i64, i64, String) = (row.get(0), row.get(1), row.get(2));
            if dead > 0 {
                bail!("{dead} jobs died ({failure}): see {}", self.log.display());
            }
            if open == 0 {
                return Ok(sql);
            }
            if open < moved.0 {
                moved = (open, Instant::now());
            }
            if moved.1.elapsed() > PATIENCE {
                bail!(
                    "{open} jobs are not done, and none ended for {} ({failure}): see {}",
                    terminal::time(PATIENCE),
                    self.log.display()
                );
            }
            if reported.elapsed() > REPORT {
                terminal::note(format!("  {open} jobs are left"));
                reported = Instant::now();
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Everything that people see, without ids and times of our own, as sorted lines.
    pub(crate) fn final_state(&self) -> anyhow::Result<Vec<String>> {
        let mut sql = self.settle()?;
        let rows = sql.query(STATE, &[]).map_err(address::explain)?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        self.serving = None;
        if let Err(error) = self.arena.site.drop_database(&self.database) {
            terminal::failure(&error);
        }
    }
}

/// Posts signed deliveries.
pub(crate) struct Poster {
    client: Client,
    path: String,
}

impl Poster {
    /// Answers the status.
    pub(crate) fn post(&self, body: &str) -> anyhow::Result<u16> {
        self.client.deliver(&self.path, SECRET, body)
    }
}

/// Contacts by their identities, conversations by their contact and number, messages by the
/// provider's ids, and receipts and amendments that still wait for their message.
const STATE: &str = "
WITH person AS (
    SELECT c.clinic_id, c.id, cl.name AS clinic, c.name, c.status, c.source, c.primary_phone,
           coalesce((SELECT string_agg(i.kind || ':' || i.key, ',' ORDER BY i.kind, i.key)
                     FROM app.contact_identities i
                     WHERE i.clinic_id = c.clinic_id AND i.contact_id = c.id), '-') AS ids
    FROM app.contacts c JOIN app.clinics cl ON cl.id = c.clinic_id
    WHERE c.merged_into IS NULL
), thread AS (
    SELECT v.*, p.clinic, p.ids, ch.external_id
    FROM app.conversations v
    JOIN person p ON p.clinic_id = v.clinic_id AND p.id = v.contact_id
    JOIN app.channels ch ON ch.clinic_id = v.clinic_id AND ch.id = v.channel_id
), line AS (
    SELECT concat_ws(' | ', 'contact', clinic, ids, name, status, source, primary_phone) AS text
    FROM person
    UNION ALL
    SELECT concat_ws(' | ', 'conversation', clinic, external_id, ids, remote_jid, status,
        unread_count, last_inbound_at, last_message_at, last_message_order)
    FROM thread
    UNION ALL
    SELECT concat_ws(' | ', 'message', t.clinic, t.external_id, t.ids, m.provider_id, m.from_me,
        m.kind, m.body, m.content, m.reply_to, m.forwarded, m.sent_at, m.order_key, m.status,
        m.status_times, m.error, m.edited_at, m.edited_body, m.revoked_at, m.reactions)
    FROM app.messages m
    JOIN thread t ON t.clinic_id = m.clinic_id AND t.id = m.conversation_id
    UNION ALL
    SELECT concat_ws(' | ', 'receipt', r.provider_id, r.status, r.at, r.error)
    FROM app.message_receipts r
    UNION ALL
    SELECT concat_ws(' | ', 'amendment', a.target_provider_id, a.kind, a.provider_id, a.from_me,
        a.at, a.value)
    FROM app.message_amendments a
    UNION ALL
    SELECT 'orphan message | ' || m.provider_id FROM app.messages m
    WHERE NOT EXISTS (SELECT FROM thread t
                      WHERE t.clinic_id = m.clinic_id AND t.id = m.conversation_id)
)
SELECT text FROM line ORDER BY text COLLATE \"C\"
";
