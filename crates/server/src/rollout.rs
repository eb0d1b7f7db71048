//! `acolhe-server admin`: feature flags and plans. Each act says why, and is kept with that in the
//! platform's security log; one about a clinic is in that clinic's audit too.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use clinics::{Flag, Percentage, Reason, Rollout};
use kernel::{ClinicId, Origin};
use serde_json::{Value, json};

use crate::admin::Said;
use crate::wiring::Foundation;

/// Commands about flags and plans.
#[derive(Subcommand)]
pub(crate) enum RolloutCommand {
    /// List all feature flags, and for whom they are on.
    ListFlags,
    /// Switch a feature flag on or off for one clinic, or on for a share of all clinics.
    ///
    /// The same clinics stay among the share while it grows. A clinic's own word wins over it. Every
    /// process follows within a second.
    SetFlag {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        value: FlagValue,
    },
    /// Take back what was set: for one clinic, or the share of all clinics.
    ClearFlag {
        #[command(flatten)]
        named: Named,
        /// The clinic whose own word is taken back.
        #[arg(long)]
        clinic: Option<ClinicId>,
    },
    /// Say how many requests a minute a clinic's plan allows.
    SetPlan {
        /// The clinic's id.
        #[arg(long)]
        clinic: ClinicId,
        /// Requests of all its users together; without it, the default (limits.clinic_per_minute).
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=60_000_000))]
        requests_per_minute: Option<u32>,
        /// Why, for the log.
        #[arg(long)]
        reason: Reason,
    },
}

/// Which flag, and why.
#[derive(Args)]
pub(crate) struct Named {
    /// The flag's name.
    #[arg(long)]
    flag: Flag,
    /// Why, for the log.
    #[arg(long)]
    reason: Reason,
}

/// What a flag is set to.
#[derive(Args)]
#[group(required = true, multiple = true)]
pub(crate) struct FlagValue {
    /// Share of the clinics without a word of their own for which it is on, 0 to 100.
    #[arg(long, conflicts_with_all = ["clinic", "on", "off"])]
    percentage: Option<Percentage>,
    /// The clinic that gets a word of its own.
    #[arg(long)]
    clinic: Option<ClinicId>,
    /// On for that clinic.
    #[arg(long, requires = "clinic", conflicts_with = "off")]
    on: bool,
    /// Off for that clinic.
    #[arg(long, requires = "clinic")]
    off: bool,
}

/// Runs one of them.
pub(crate) async fn act(
    command: RolloutCommand,
    foundation: &Foundation,
    origin: Origin,
) -> anyhow::Result<Said> {
    let rollout = foundation.rollout();
    match command {
        RolloutCommand::ListFlags => Ok(listed(&rollout.read(origin).await?)),
        RolloutCommand::SetFlag { named, value } => {
            let Named { flag, reason } = named;
            match (value.percentage, value.clinic) {
                (Some(share), _) => {
                    rollout.set_flag(origin, flag, Some(share), reason).await?;
                    Ok(said(
                        flag,
                        &format!("on for {} % of the clinics", share.get()),
                    ))
                }
                (None, Some(clinic)) => {
                    anyhow::ensure!(value.on || value.off, "say --on or --off");
                    let is_on = Some(value.on);
                    let set = rollout.set_clinic_flag(origin, clinic, flag, is_on, reason);
                    set.await?;
                    let word = if value.on { "on" } else { "off" };
                    Ok(said(flag, &format!("{word} for clinic {clinic}")))
                }
                (None, None) => anyhow::bail!("say --percentage, or --clinic with --on or --off"),
            }
        }
        RolloutCommand::ClearFlag { named, clinic } => {
            let Named { flag, reason } = named;
            let Some(clinic) = clinic else {
                rollout.set_flag(origin, flag, None, reason).await?;
                return Ok(said(flag, "at its default"));
            };
            let cleared = rollout.set_clinic_flag(origin, clinic, flag, None, reason);
            cleared.await?;
            Ok(said(flag, &format!("as for all clinics in {clinic}")))
        }
        RolloutCommand::SetPlan {
            clinic,
            requests_per_minute,
            reason,
        } => {
            let set = rollout.set_plan(origin, clinic, requests_per_minute, reason);
            set.await?;
            let what = requests_per_minute.map_or_else(
                || "the default plan".to_owned(),
                |requests| format!("{requests} requests a minute"),
            );
            Ok(Said {
                json: json!({ "clinicId": clinic, "requestsPerMinute": requests_per_minute }),
                text: format!("clinic {clinic} has {what}\n"),
            })
        }
    }
}

fn said(flag: Flag, now: &str) -> Said {
    Said {
        json: json!({ "flag": flag.name(), "now": now }),
        text: format!("{} is {now}\n", flag.name()),
    }
}

fn listed(rollout: &Rollout) -> Said {
    let mut text = String::new();
    let mut list = Vec::new();
    for flag in Flag::ALL {
        let share = rollout.rules.get(flag).map(|share| share.get());
        let mut clinics: Vec<(ClinicId, bool)> = rollout
            .clinics
            .iter()
            .filter(|((_, named), _)| named == flag)
            .map(|((clinic, _), is_on)| (*clinic, *is_on))
            .collect();
        clinics.sort_by_key(|(clinic, _)| *clinic);
        let rule = share.map_or_else(
            || {
                format!(
                    "default: {}",
                    if flag.default_is_on() { "on" } else { "off" }
                )
            },
            |share| format!("on for {share} %"),
        );
        let _infallible = writeln!(text, "{}  {rule}  {}", flag.name(), flag.description());
        for (clinic, is_on) in &clinics {
            let word = if *is_on { "on" } else { "off" };
            let _infallible = writeln!(text, "  {clinic}  {word}");
        }
        let own = clinics.into_iter();
        let own: Vec<Value> = own
            .map(|(clinic, is_on)| json!({ "clinicId": clinic, "isOn": is_on }))
            .collect();
        list.push(json!({
            "flag": flag.name(), "description": flag.description(), "percentage": share,
            "default": flag.default_is_on(), "clinics": own,
        }));
    }
    for (clinic, requests) in &rollout.plans {
        let _infallible = writeln!(text, "plan of {clinic}: {requests} requests a minute");
    }
    Said {
        json: Value::Array(list),
        text,
    }
}
