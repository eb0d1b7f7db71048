//! `acolhe-server admin`: what operators do and no clinic's user may. Acts in a clinic are audited
//! there, as an operator's.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Read as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use clinics::{Locale, Name, NewClinic, NewMember, NewPassword, Role, TimeZone};
use conversations::Provider;
use conversations::channel::{ChannelName, DisplayPhone, ExternalId, Secret};
use conversations::service::BindChannel;
use kernel::email::Email;
use kernel::text::PersonName;
use kernel::{ClinicId, EndpointId, NoMetrics, OperatorId, Origin};
use serde_json::{Value, json};

use crate::config::Config;
use crate::operators;
use crate::output;
use crate::rollout::{self, RolloutCommand};
use crate::serve::check_database;
use crate::wiring::Foundation;

/// Longest secret or password that is read.
const LONGEST_INPUT: u64 = 4096;

/// Commands of operators.
#[derive(Args)]
pub(crate) struct Admin {
    /// Print the result as JSON on one line.
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: AdminCommand,
}

#[derive(Subcommand)]
enum AdminCommand {
    /// Create a clinic.
    CreateClinic {
        /// Its name.
        #[arg(long, value_parser = Name::parse)]
        name: Name,
        /// The IANA zone it works in.
        #[arg(long, default_value = "America/Sao_Paulo", value_parser = TimeZone::parse)]
        time_zone: TimeZone,
        /// The language its patients are written to in.
        #[arg(long, default_value = "pt-BR", value_parser = Locale::parse)]
        locale: Locale,
    },
    /// Make a user a clinic's owner; creates the user where there is none.
    CreateOwner {
        #[command(flatten)]
        member: Member,
    },
    /// Make a user a clinic's member; creates the user where there is none.
    CreateMember {
        #[command(flatten)]
        member: Member,
        /// owner, admin, professional, receptionist, finance or readonly.
        #[arg(long, value_parser = Role::parse)]
        role: Role,
    },
    /// List all clinics.
    ListClinics,
    #[command(flatten)]
    Rollout(RolloutCommand),
    /// Create an operator: a person or a program that may see health, metrics, clinics and jobs.
    ///
    /// The token is shown once. It opens the operators' own listener and nothing else.
    CreateOperator {
        /// Who it is, for the list of operators.
        #[arg(long, value_parser = Name::parse)]
        name: Name,
        /// After how many days the token ends, 1 to 366.
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=366))]
        days: u16,
    },
    /// List the operators.
    ListOperators,
    /// End an operator's token at once.
    RevokeOperator {
        /// The operator's id.
        #[arg(long)]
        operator: OperatorId,
    },
    /// Create a webhook endpoint that channels of several clinics may be bound to.
    ///
    /// The secret is the provider's app secret.
    CreateEndpoint {
        /// whatsapp-cloud or evolution.
        #[arg(long)]
        provider: Provider,
        /// Read the secret from standard input instead of asking for it.
        #[arg(long)]
        secret_stdin: bool,
    },
    /// List the endpoints that several clinics share.
    ListEndpoints,
    /// Give such an endpoint a new secret. The older one stays good for a while.
    ///
    /// Enter the new secret here first and then at the provider, so that nothing it signs is
    /// refused meanwhile.
    RotateEndpointSecret {
        /// The endpoint's id.
        #[arg(long)]
        endpoint: EndpointId,
        /// Read the secret from standard input instead of asking for it.
        #[arg(long)]
        secret_stdin: bool,
        /// How many hours the older secret stays good, 0 to 168.
        #[arg(long, default_value_t = 24)]
        overlap_hours: u32,
        /// Draw a new verify token too. The older one is good no more.
        #[arg(long)]
        new_verify_token: bool,
    },
    /// Bind a new channel of a clinic to such an endpoint.
    BindChannel {
        /// The clinic's id.
        #[arg(long)]
        clinic: ClinicId,
        /// The endpoint's id.
        #[arg(long)]
        endpoint: EndpointId,
        /// What the clinic calls the channel.
        #[arg(long, value_parser = ChannelName::parse)]
        name: ChannelName,
        /// The provider's id of the number; for Evolution API the instance's name.
        #[arg(long, value_parser = ExternalId::parse)]
        phone_number_id: ExternalId,
        /// The number as people know it.
        #[arg(long, value_parser = DisplayPhone::parse)]
        display_phone: Option<DisplayPhone>,
    },
}

#[derive(Args)]
struct Member {
    /// The clinic's id.
    #[arg(long)]
    clinic: ClinicId,
    /// What the user logs in with.
    #[arg(long, value_parser = Email::parse)]
    email: Email,
    /// The user's name. A user who is there already keeps theirs, and their password.
    #[arg(long, value_parser = PersonName::parse)]
    name: PersonName,
    /// Read the password from standard input instead of asking for it.
    #[arg(long)]
    password_stdin: bool,
}

/// What a command says: as JSON, and for people.
pub(crate) struct Said {
    pub(crate) json: Value,
    pub(crate) text: String,
}

/// Runs one command to its end.
pub(crate) fn run(admin: Admin, config: &Config) -> anyhow::Result<()> {
    let foundation = Foundation::from_config(config, 1, Arc::new(NoMetrics))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let said = runtime.block_on(async {
        check_database(config, &foundation).await?;
        act(admin.command, &foundation).await
    })?;
    if admin.json {
        output::print(&format!("{}\n", said.json))
    } else {
        output::print(&said.text)
    }
}

async fn act(command: AdminCommand, foundation: &Foundation) -> anyhow::Result<Said> {
    let origin = Origin::internal(foundation.tools().id());
    match command {
        AdminCommand::CreateClinic {
            name,
            time_zone,
            locale,
        } => create_clinic(foundation, origin, name, time_zone, locale).await,
        AdminCommand::CreateOwner { member } => {
            create_member(foundation, origin, member, Role::Owner).await
        }
        AdminCommand::CreateMember { member, role } => {
            create_member(foundation, origin, member, role).await
        }
        AdminCommand::ListClinics => list_clinics(foundation, origin).await,
        AdminCommand::Rollout(command) => rollout::act(command, foundation, origin).await,
        AdminCommand::CreateOperator { name, days } => {
            operators::create(foundation, origin, name, days).await
        }
        AdminCommand::ListOperators => operators::list(foundation, origin).await,
        AdminCommand::RevokeOperator { operator } => {
            operators::revoke(foundation, origin, operator).await
        }
        AdminCommand::CreateEndpoint {
            provider,
            secret_stdin,
        } => create_endpoint(foundation, origin, provider, secret_stdin).await,
        AdminCommand::ListEndpoints => list_endpoints(foundation, origin).await,
        AdminCommand::RotateEndpointSecret {
            endpoint,
            secret_stdin,
            overlap_hours,
            new_verify_token,
        } => {
            let overlap = Duration::from_secs(u64::from(overlap_hours) * 3600);
            let secret = read_secret("New secret", "--secret-stdin", secret_stdin)?;
            let secret = Secret::new(&secret).context("the secret cannot be used")?;
            let token = foundation
                .shared_endpoints()
                .rotate_secret(origin, endpoint, &secret, overlap, new_verify_token)
                .await?
                .map(|token| token.reveal());
            let mut text = format!(
                "rotated endpoint {endpoint}: the older secret is good for {overlap_hours} h more\n"
            );
            if let Some(token) = &token {
                let _infallible = writeln!(text, "verify token  {token}");
            }
            Ok(Said {
                json: json!({ "endpointId": endpoint, "verifyToken": token }),
                text,
            })
        }
        AdminCommand::BindChannel {
            clinic,
            endpoint,
            name,
            phone_number_id,
            display_phone,
        } => {
            let asked = BindChannel {
                endpoint,
                name,
                external_id: phone_number_id,
                display_phone,
            };
            let endpoints = foundation.shared_endpoints();
            let channel = endpoints.bind_channel(origin, clinic, asked).await?;
            Ok(Said {
                json: json!({ "channelId": channel }),
                text: format!("bound channel {channel}\n"),
            })
        }
    }
}

async fn create_clinic(
    foundation: &Foundation,
    origin: Origin,
    name: Name,
    time_zone: TimeZone,
    locale: Locale,
) -> anyhow::Result<Said> {
    let new = NewClinic {
        name,
        time_zone,
        locale,
    };
    let administration = foundation.administration();
    let clinic = administration.create_clinic(origin, new).await?.id;
    Ok(Said {
        json: json!({ "clinicId": clinic }),
        text: format!("created clinic {clinic}\n"),
    })
}

async fn create_member(
    foundation: &Foundation,
    origin: Origin,
    member: Member,
    role: Role,
) -> anyhow::Result<Said> {
    let password = read_secret("Password", "--password-stdin", member.password_stdin)?;
    let password = NewPassword::parse(password).context("the password cannot be used")?;
    let new = NewMember {
        email: member.email,
        name: member.name,
        password,
        role,
    };
    let administration = foundation.administration();
    let made = administration
        .create_member(origin, member.clinic, new)
        .await?;
    let who = if made.user_created {
        "a new user"
    } else {
        "a known user, whose name and password stay"
    };
    Ok(Said {
        json: json!({ "userId": made.user, "created": made.user_created }),
        text: format!("made {} {role}: {who}\n", made.user),
    })
}

async fn list_clinics(foundation: &Foundation, origin: Origin) -> anyhow::Result<Said> {
    let clinics = foundation.administration().list_clinics(origin).await?;
    let mut text = String::new();
    let mut list = Vec::with_capacity(clinics.len());
    for clinic in clinics {
        let (id, name, status) = (clinic.id, clinic.name, clinic.status.name());
        let _infallible = writeln!(text, "{id}  {status}  {name}");
        list.push(json!({
            "clinicId": id, "name": name.as_str(), "status": status, "createdAt": clinic.created_at,
        }));
    }
    if list.is_empty() {
        text.push_str("There is no clinic yet: see `acolhe-server admin create-clinic --help`.\n");
    }
    Ok(Said {
        json: Value::Array(list),
        text,
    })
}

async fn create_endpoint(
    foundation: &Foundation,
    origin: Origin,
    provider: Provider,
    secret_stdin: bool,
) -> anyhow::Result<Said> {
    let secret = read_secret("Secret", "--secret-stdin", secret_stdin)?;
    let secret = Secret::new(&secret).context("the secret cannot be used")?;
    let endpoints = foundation.shared_endpoints();
    let made = endpoints.create(origin, provider, &secret).await?;
    let path = http_api::webhooks::webhook_path(provider, &made.path_key);
    let token = made.verify_token.reveal();
    Ok(Said {
        text: format!(
            "created endpoint {}\nwebhook path  {path}\nverify token  {token}\n",
            made.id
        ),
        json: json!({ "endpointId": made.id, "webhookPath": path, "verifyToken": token }),
    })
}

async fn list_endpoints(foundation: &Foundation, origin: Origin) -> anyhow::Result<Said> {
    let endpoints = foundation.shared_endpoints().list(origin).await?;
    let mut text = String::new();
    let mut list = Vec::with_capacity(endpoints.len());
    for it in endpoints {
        let path = http_api::webhooks::webhook_path(it.provider, &it.path_key);
        let _infallible = writeln!(
            text,
            "{}  {}  {} channels, {} secrets  {path}",
            it.id,
            it.provider.name(),
            it.channels,
            it.secrets
        );
        list.push(json!({
            "endpointId": it.id, "provider": it.provider.name(), "webhookPath": path,
            "channels": it.channels, "secrets": it.secrets, "createdAt": it.created_at,
        }));
    }
    if list.is_empty() {
        text.push_str(
            "No endpoint is shared yet: see `acolhe-server admin create-endpoint --help`.\n",
        );
    }
    Ok(Said {
        json: Value::Array(list),
        text,
    })
}

/// Asks without showing what is typed, or reads standard input to its end, less one line break.
fn read_secret(what: &str, flag: &str, from_stdin: bool) -> anyhow::Result<String> {
    if !from_stdin {
        anyhow::ensure!(
            std::io::stdin().is_terminal(),
            "there is no terminal to ask at: give it on standard input with {flag}"
        );
        return rpassword::prompt_password(format!("{what}: ")).context("nothing could be read");
    }
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(LONGEST_INPUT)
        .read_to_string(&mut text)
        .context("standard input could not be read")?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}
