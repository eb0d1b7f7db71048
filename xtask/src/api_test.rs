//! `cargo xtask api-test`: the running server against its own OpenAPI document, by the tools of
//! others.
//!
//! Schemathesis makes requests from the document (its examples, the edges of its schemas, random
//! ones, and chains of operations by what they answer), with a real login, and checks every answer:
//! no error of the server's, no status, header, body or content type that the document does not
//! have, nothing accepted that the document forbids, nothing answered without a login that asks for
//! one, nothing found after it was removed. Redocly, Spectral and the TypeScript compiler look at
//! the document itself.
//!
//! Needs Python 3.10 or newer and Node.js. What they bring is kept in `.acolhe/tools`, the report in
//! `.acolhe/api-test`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};

use crate::{
    checkout::Checkout,
    client::Client,
    environment, openapi,
    postgres::{cluster::Kind, site::Site},
    process,
    seed::{self, Clinic},
    server::{self, Build, Server},
    terminal,
};

const SCHEMATHESIS: &str = "4.32.5";
const FOLDER: &str = ".acolhe/api-test";
/// Where the port search begins.
const PORT: u16 = 28_080;

/// Operations that change who may log in, or end logins: tried last, as a user of their own, so
/// that the others keep theirs.
const OF_LOGINS: &str =
    "/auth/|/sessions|/password|/users|/invitations|/api-keys|/memberships|/me/";

/// Try the running server against its OpenAPI document: Schemathesis, Redocly, Spectral, tsc.
///
/// Starts a server with demo data on a database of its own, and ends both. Needs Python 3.10 and
/// Node.js; the tools are fetched once with pip and npm. The report is kept in .acolhe/api-test.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long random requests and chains of them may be tried, in seconds.
    #[arg(long, default_value_t = 120)]
    seconds: u32,
    /// Random requests for each operation, at least.
    #[arg(long, default_value_t = 25)]
    examples: u32,
    /// Try the same random requests as a run before.
    #[arg(long)]
    seed: Option<String>,
    /// Leave Redocly, Spectral and the client out.
    #[arg(long)]
    server_only: bool,
}

impl Args {
    pub(crate) fn run(self, checkout: &Checkout) -> anyhow::Result<ExitCode> {
        let folder = checkout.root().join(FOLDER);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let program = schemathesis(&checkout.root().join(".acolhe/tools"))?;
        let mut unhappy = Vec::new();
        if !self.server_only {
            terminal::note(openapi::check_client(checkout)?);
            if let Err(error) = openapi::lint(checkout) {
                terminal::failure(&error);
                unhappy.push("the linters");
            }
        }
        if !self.try_server(checkout, &folder, &program)? {
            unhappy.push("Schemathesis");
        }
        terminal::note(format!("The report is in {FOLDER}."));
        if !unhappy.is_empty() {
            bail!("{} found faults: see above", unhappy.join(" and "));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Whether all went well.
    fn try_server(
        &self,
        checkout: &Checkout,
        folder: &Path,
        program: &Path,
    ) -> anyhow::Result<bool> {
        let site = Site::open(checkout, Kind::Test)?;
        let binary = server::build(checkout, Build::Debug)?;
        let database = format!("acolhe_scratch_api_{}", std::process::id());
        site.prepare(checkout, &database)?;
        let result = (|| {
            let addresses = site.addresses(&database)?;
            let document = folder.join("openapi.json");
            let printed = process::quiet(Command::new(&binary).arg("openapi"))?;
            fs::write(&document, printed)?;
            let mut server = Server::new(binary, &addresses, &folder.join("keys.env"))?;
            server.set("ACOLHE_TELEMETRY_LOG_FORMAT", "text");
            for (name, value) in WIDE_LIMITS {
                server.set(name, *value);
            }
            let mails = folder.join("mails");
            fs::create_dir_all(&mails)?;
            server.set("ACOLHE_MAIL_FOLDER", mails.display().to_string());
            server.set("ACOLHE_MAIL_FROM", "Acolhe <no-reply@acolhe.example>");
            server.set("ACOLHE_MAIL_LINK_BASE", "http://127.0.0.1:3000");
            server.migrate()?;
            let log = folder.join("server.log");
            let serving = server.serve(PORT, Some(&log))?;
            let demo = seed::seed(&server, &serving.base_url, now()?, "")?;
            let [first, second, ..] = demo.clinics.as_slice() else {
                bail!("the demo has fewer than two clinics");
            };
            let mut well = self.schemathesis(program, folder, &serving.base_url, first, false)?;
            well &= self.schemathesis(program, folder, &serving.base_url, second, true)?;
            drop(serving);
            well &= quiet_log(&log)?;
            Ok(well)
        })();
        if let Err(error) = site.drop_database(&database) {
            terminal::failure(&error);
        }
        result
    }

    fn schemathesis(
        &self,
        program: &Path,
        folder: &Path,
        base_url: &str,
        clinic: &Clinic,
        of_logins: bool,
    ) -> anyhow::Result<bool> {
        let name = if of_logins { "logins" } else { "all-others" };
        terminal::note(terminal::paint("1", &format!("schemathesis: {name}")));
        let folder = folder.join(name);
        fs::create_dir_all(&folder)?;
        let config = folder.join("schemathesis.toml");
        let user = clinic.users.first().context("the demo has no user")?;
        let client = Client::new(base_url);
        let session = client.log_in(&user.email, &user.password, &clinic.id)?;
        let page = session.get("/api/v1/conversations?limit=1")?;
        let conversation = page["data"][0]["id"].as_str().unwrap_or_default();
        fs::write(&config, settings(clinic, conversation))?;
        let (filter, seconds) = if of_logins {
            ("--include-path-regex", self.seconds / 4)
        } else {
            ("--exclude-path-regex", self.seconds)
        };
        let mut command = Command::new(program);
        command
            .current_dir(&folder)
            .env("ACOLHE_API_TEST_TOKEN", session.token())
            .arg("--config-file")
            .arg(&config)
            .args(["run", "../openapi.json"])
            .args(["--url", base_url, "--checks", "all"])
            .args(["--phases", "examples,coverage,fuzzing,stateful"])
            .args(["--max-examples", &self.examples.to_string()])
            .args(["--max-time", &seconds.max(10).to_string()])
            .args([filter, OF_LOGINS])
            .args(["--report", "junit,ndjson", "--report-dir", "."]);
        if let Some(seed) = &self.seed {
            command.args(["--seed", seed]);
        }
        Ok(process::run(&mut command)?.success())
    }
}

/// Limits that a run of thousands of requests from one user would meet on purpose.
const WIDE_LIMITS: &[(&str, &str)] = &[
    ("ACOLHE_LIMITS_ENABLED", "false"),
    ("ACOLHE_HTTP_MAX_IN_FLIGHT", "0"),
];

/// What Schemathesis is told of this API.
fn settings(clinic: &Clinic, conversation: &str) -> String {
    use std::fmt::Write as _;
    let mut text = format!(
        "headers = {{ Authorization = \"Bearer ${{ACOLHE_API_TEST_TOKEN}}\" }}\n\
         [parameters]\n\
         clinic_id = \"{id}\"\n\
         X-Clinic-Id = \"{id}\"\n\
         [checks.positive_data_acceptance]\n\
         # Rules that no schema tells (check digits, zones of the IANA, cursors that were issued) are\n\
         # answered with 400; states, links and tags with 409, 410, 412, 422, 428.\n\
         expected-statuses = [\"2xx\", \"3xx\", 400, 401, 403, 404, 409, 410, 412, 422, 428, 429, 503]\n\
         [checks.missing_required_header]\n\
         # RFC 6585: a change without `If-Match`.\n\
         expected-statuses = [400, 401, 403, 428]\n\
         # Conversations are made by deliveries alone: one that is there.\n\
         [[operations]]\n\
         include-path-regex = '^/api/v1/conversations/[{{]id[}}]'\n\
         parameters = {{ id = \"{conversation}\" }}\n",
        id = clinic.id
    );
    if let Some(channel) = clinic.channels.first() {
        let key = channel.webhook_path.rsplit('/').next().unwrap_or_default();
        let _ = write!(
            text,
            "[[operations]]\n\
             include-path = \"/api/v1/webhooks/{{provider}}/{{pathKey}}\"\n\
             parameters = {{ provider = \"{}\", pathKey = \"{key}\" }}\n",
            channel.provider
        );
    }
    text
}

/// Whether the server had nothing to be ashamed of: neither a panic nor an error of its own.
fn quiet_log(log: &Path) -> anyhow::Result<bool> {
    let text = fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    let mut bad = text.lines().filter(|line| is_bad(line)).peekable();
    if bad.peek().is_none() {
        return Ok(true);
    }
    terminal::note("The server's log has errors:");
    for line in bad.take(10) {
        terminal::note(format!("  {line}"));
    }
    Ok(false)
}

fn is_bad(line: &str) -> bool {
    line.contains("panicked") || line.split_whitespace().take(3).any(|word| word == "ERROR")
}

/// Schemathesis in an environment of its own. It is moved into place as a whole, so that being there
/// means being complete.
fn schemathesis(tools: &Path) -> anyhow::Result<PathBuf> {
    let folder = tools.join(format!("schemathesis-{SCHEMATHESIS}"));
    let program = folder.join("bin/schemathesis");
    if program.is_file() {
        return Ok(program);
    }
    if environment::find_program("python3").is_none() {
        bail!("Schemathesis runs on Python 3.10 or newer, and python3 is not on PATH");
    }
    let result = terminal::step("Fetching Schemathesis (once)", || {
        // Its programs name the place where they were made: no moving.
        process::hushed(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&folder),
        )?;
        process::hushed(
            Command::new(folder.join("bin/pip"))
                .args(["install", "--quiet", "--disable-pip-version-check"])
                .arg(format!("schemathesis=={SCHEMATHESIS}")),
        )
        .context(
            "pip could not fetch Schemathesis: is PyPI reachable, and python3 3.10 or newer?",
        )?;
        Ok(program)
    });
    if result.is_err() {
        let _ = fs::remove_dir_all(&folder);
    }
    result
}

fn now() -> anyhow::Result<i64> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a command's messages are of the present"
    )]
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_secs())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_and_errors_of_the_server_are_seen_and_words_within_a_line_are_not() {
        assert!(is_bad(
            "2026-11-21T10:00:00Z ERROR server: panicked reason=a.rs:1"
        ));
        assert!(is_bad("2026-11-21T10:00:00Z  ERROR http_api: it failed"));
        assert!(!is_bad(
            "2026-11-21T10:00:00Z  WARN http_api: after an ERROR"
        ));
    }

    #[test]
    fn the_settings_are_toml_and_name_the_clinic_and_its_webhook() {
        let clinic: Clinic = serde_json::from_value(serde_json::json!({
            "id": "c-1", "name": "n", "users": [],
            "channels": [{"id": "x", "provider": "whatsapp-cloud", "webhookPath": "/api/v1/webhooks/whatsapp-cloud/KEY",
                "phoneNumberId": "1", "appSecret": "s", "verifyToken": "v"}]
        }))
        .unwrap();
        let settings: toml::Table = settings(&clinic, "v-1").parse().unwrap();
        assert_eq!(settings["parameters"]["X-Clinic-Id"].as_str(), Some("c-1"));
        assert_eq!(
            settings["operations"][0]["parameters"]["id"].as_str(),
            Some("v-1")
        );
        let operation = &settings["operations"][1];
        assert_eq!(operation["parameters"]["pathKey"].as_str(), Some("KEY"));
    }
}
