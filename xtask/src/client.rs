//! The API as a front end uses it, for filling a server with data and for asking it.

use anyhow::{Context, bail};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

/// A caller of one server.
pub(crate) struct Client {
    agent: ureq::Agent,
    base_url: String,
}

/// A caller who has logged in, in one clinic.
pub(crate) struct Session<'a> {
    client: &'a Client,
    token: String,
    clinic: String,
}

impl Client {
    pub(crate) fn new(base_url: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build();
        Self {
            agent: config.into(),
            base_url: base_url.to_owned(),
        }
    }

    pub(crate) fn log_in(
        &self,
        email: &str,
        password: &str,
        clinic: &str,
    ) -> anyhow::Result<Session<'_>> {
        let url = format!("{}/api/v1/auth/login", self.base_url);
        let answer = self
            .agent
            .post(&url)
            .send_json(json!({ "email": email, "password": password }))
            .context("cannot log in")?;
        let body = read(answer, "log in")?;
        let token = body["accessToken"]
            .as_str()
            .context("no access token came")?
            .to_owned();
        Ok(Session {
            client: self,
            token,
            clinic: clinic.to_owned(),
        })
    }

    /// Posts as a caller who has not logged in.
    pub(crate) fn post(&self, path: &str, body: &Value) -> anyhow::Result<()> {
        let url = format!("{}{path}", self.base_url);
        read(self.agent.post(&url).send_json(body)?, path).map(drop)
    }

    /// Posts a delivery as the provider would; answers the status.
    pub(crate) fn deliver(&self, path: &str, secret: &str, body: &str) -> anyhow::Result<u16> {
        let answer = self
            .agent
            .post(format!("{}{path}", self.base_url))
            .header("Content-Type", "application/json")
            .header("X-Hub-Signature-256", signature(secret, body.as_bytes()))
            .send(body)
            .context("cannot deliver")?;
        Ok(answer.status().as_u16())
    }
}

/// What the provider writes into `X-Hub-Signature-256`.
pub(crate) fn signature(secret: &str, body: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("sha256=");
    // HMAC takes a key of any length.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) {
        mac.update(body);
        for byte in mac.finalize().into_bytes() {
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}

impl Session<'_> {
    /// What it is known by.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self
            .client
            .agent
            .get(format!("{}{path}", self.client.base_url))
            .header("Authorization", format!("Bearer {}", self.token))
            .header("X-Clinic-Id", &self.clinic)
            .call()?;
        read(answer, path)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let answer = self
            .client
            .agent
            .post(format!("{}{path}", self.client.base_url))
            .header("Authorization", format!("Bearer {}", self.token))
            .header("X-Clinic-Id", &self.clinic)
            .send_json(body)?;
        read(answer, path)
    }
}

fn read(mut answer: ureq::http::Response<ureq::Body>, what: &str) -> anyhow::Result<Value> {
    let status = answer.status();
    let body: Value = answer.body_mut().read_json().unwrap_or_default();
    if !status.is_success() {
        bail!("{what}: the server answered {status}\n{body}");
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_keyed_hash_in_lower_case_hex() {
        // RFC 4231, test case 2.
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature("Jefe", b"what do ya want for nothing?"), expected);
    }
}
