//! `acolhe-server admin` on operators.

use std::fmt::Write as _;
use std::time::Duration;

use clinics::Name;
use kernel::{OperatorId, Origin};
use serde_json::{Value, json};

use crate::admin::Said;
use crate::wiring::Foundation;

/// RFC 3339, to the second.
const INSTANT: &str = "%Y-%m-%dT%H:%M:%SZ";

/// Creates one and shows the token, this once.
pub(crate) async fn create(
    foundation: &Foundation,
    origin: Origin,
    name: Name,
    days: u16,
) -> anyhow::Result<Said> {
    let lifetime = Duration::from_hours(24 * u64::from(days));
    let operators = foundation.operators();
    let (new, token) = operators.create(origin, name, lifetime).await?;
    let ends = new.expires_at.format(INSTANT);
    Ok(Said {
        text: format!(
            "created operator {}\ntoken  {}\nIt is shown this once, and holds until {ends}.\n",
            new.id,
            token.reveal()
        ),
        json: json!({
            "operatorId": new.id, "token": token.reveal(), "expiresAt": new.expires_at,
        }),
    })
}

/// Lists all of them.
pub(crate) async fn list(foundation: &Foundation, origin: Origin) -> anyhow::Result<Said> {
    let operators = foundation.operators().list(origin).await?;
    let now = foundation.tools().now();
    let mut text = String::new();
    let mut list = Vec::with_capacity(operators.len());
    for it in operators {
        let state = if it.revoked_at.is_some() {
            "revoked"
        } else if it.expires_at <= now {
            "expired"
        } else {
            "active"
        };
        let used = it.last_used_at.map_or_else(
            || "never used".to_owned(),
            |at| format!("used {}", at.format(INSTANT)),
        );
        let ends = it.expires_at.format(INSTANT);
        let _infallible = writeln!(
            text,
            "{}  {state}  until {ends}  {used}  {}",
            it.id, it.name
        );
        list.push(json!({
            "operatorId": it.id, "name": it.name.as_str(), "state": state,
            "createdAt": it.created_at, "expiresAt": it.expires_at,
            "revokedAt": it.revoked_at, "lastUsedAt": it.last_used_at,
        }));
    }
    if list.is_empty() {
        text.push_str(
            "There is no operator yet: see `acolhe-server admin create-operator --help`.\n",
        );
    }
    Ok(Said {
        json: Value::Array(list),
        text,
    })
}

/// Ends one's token.
pub(crate) async fn revoke(
    foundation: &Foundation,
    origin: Origin,
    operator: OperatorId,
) -> anyhow::Result<Said> {
    let revoked = foundation.operators().revoke(origin, operator).await?;
    anyhow::ensure!(
        revoked,
        "there is no such operator whose token could be ended"
    );
    Ok(Said {
        json: json!({ "operatorId": operator, "revoked": true }),
        text: format!("revoked operator {operator}\n"),
    })
}
