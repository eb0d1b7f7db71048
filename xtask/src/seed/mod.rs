//! `cargo xtask seed`: fills a development server with two clinics, through the product's own
//! doors: the operator's commands, the API and the webhook. The same people every time.

mod demo;
mod people;
mod talk;

use std::{process::ExitCode, thread, time::Duration};

use anyhow::{Context, bail};
use fastrand::Rng;
use serde_json::{Value, json};

pub(crate) use demo::{Channel, Clinic, Demo, User};
pub(crate) use people::Person;
pub(crate) use talk::{Number, delivery, message_id, text};

use crate::{
    checkout::Checkout,
    client::{Client, Session},
    dev, interrupt,
    server::Server,
    terminal,
};

/// Of each demo clinic.
const CONTACTS: usize = 300;
/// Of each demo clinic.
const CONVERSATIONS: usize = 40;
/// Every demo user's: the database is on this machine alone.
const PASSWORD: &str = "acolhe-demo-2026";

const CLINICS: &[(&str, &str, &str)] = &[
    ("Clínica Jardins", "jardins", "America/Sao_Paulo"),
    ("Odonto Mar Azul", "marazul", "America/Fortaleza"),
];

const ROLES: &[&str] = &[
    "owner",
    "admin",
    "professional",
    "receptionist",
    "finance",
    "readonly",
];

/// Fill the development database with two clinics of made-up people.
///
/// `cargo xtask dev` does this by itself on an empty database. Here it adds two more clinics to
/// what is there.
#[derive(clap::Args)]
pub(crate) struct Args {}

impl Args {
    #[expect(clippy::unused_self, reason = "every command is run alike")]
    pub(crate) fn run(self, checkout: &Checkout) -> anyhow::Result<ExitCode> {
        dev::seed_alone(checkout)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Makes the demo's clinics, users, channels, contacts and conversations. `tag` is empty for the
/// first demo of a database; another one's users get other addresses.
pub(crate) fn seed(server: &Server, base_url: &str, now: i64, tag: &str) -> anyhow::Result<Demo> {
    let mut clinics = Vec::new();
    for (index, (name, domain, zone)) in CLINICS.iter().enumerate() {
        let seed = u64::try_from(index).unwrap_or_default() + 2026;
        let mut rng = Rng::with_seed(seed);
        let clinic = create_clinic(server, &mut rng, name, &format!("{domain}{tag}"), zone)?;
        clinics.push((clinic, rng));
    }
    let client = Client::new(base_url);
    let mut filled = Vec::new();
    for (mut clinic, mut rng) in clinics {
        fill(&client, &mut clinic, &mut rng, now)
            .with_context(|| format!("cannot fill {}", clinic.name))?;
        filled.push(clinic);
    }
    Ok(Demo {
        base_url: base_url.to_owned(),
        clinics: filled,
    })
}

fn create_clinic(
    server: &Server,
    rng: &mut Rng,
    name: &str,
    domain: &str,
    zone: &str,
) -> anyhow::Result<Clinic> {
    let made = server.admin(
        &["create-clinic", "--name", name, "--time-zone", zone],
        None,
    )?;
    let id = made["clinicId"]
        .as_str()
        .context("create-clinic told no clinicId")?
        .to_owned();
    let mut users = Vec::new();
    for role in ROLES {
        let email = format!("{role}@{domain}.example");
        let person = people::full_name(rng);
        let arguments = [
            "create-member",
            "--clinic",
            &id,
            "--email",
            &email,
            "--name",
            &person,
            "--role",
            role,
            "--password-stdin",
        ];
        server.admin(&arguments, Some(PASSWORD))?;
        users.push(User {
            email,
            password: PASSWORD.to_owned(),
            role: (*role).to_owned(),
        });
    }
    Ok(Clinic {
        id,
        name: name.to_owned(),
        users,
        channels: Vec::new(),
    })
}

/// Hexadecimal digits, as Meta's app secrets are.
fn hex(rng: &mut Rng, digits: usize) -> String {
    (0..digits)
        .map(|_| char::from_digit(rng.u32(0..16), 16).unwrap_or('0'))
        .collect()
}

fn fill(client: &Client, clinic: &mut Clinic, rng: &mut Rng, now: i64) -> anyhow::Result<()> {
    let owner = clinic.users.first().context("the clinic has no users")?;
    let session = client.log_in(&owner.email, &owner.password, &clinic.id)?;
    let channel = create_channel(&session, rng)?;
    let people = people::people(rng, CONTACTS);
    terminal::step(
        &format!("Adding {CONTACTS} contacts to {}", clinic.name),
        || {
            for person in &people {
                interrupt::check()?;
                session.post("/api/v1/contacts", &person.contact)?;
            }
            Ok(())
        },
    )?;
    terminal::step(&format!("Adding {CONVERSATIONS} conversations"), || {
        converse(
            client,
            &session,
            &channel,
            &people[..CONVERSATIONS],
            rng,
            now,
        )
    })?;
    invite(client, &session, &owner.email)?;
    clinic.channels.push(channel);
    Ok(())
}

/// A colleague is invited, and a password forgotten: both mails lie in the mailbox.
fn invite(client: &Client, session: &Session<'_>, owner: &str) -> anyhow::Result<()> {
    let (_, domain) = owner.split_once('@').context("the owner has no address")?;
    session.post(
        "/api/v1/users/invitations",
        &json!({
            "email": format!("colega@{domain}"), "name": "Bia Prado", "role": "receptionist",
        }),
    )?;
    let forgetful = json!({ "email": format!("finance@{domain}") });
    client.post("/api/v1/auth/password-reset", &forgetful)
}

fn create_channel(session: &Session<'_>, rng: &mut Rng) -> anyhow::Result<Channel> {
    let phone_number_id = rng.u64(10_u64.pow(14)..10_u64.pow(15)).to_string();
    let app_secret = hex(rng, 32);
    let verify_token = hex(rng, 24);
    let made = session.post(
        "/api/v1/channels",
        &json!({
            "name": "WhatsApp da recepção",
            "provider": "whatsapp-cloud",
            "phoneNumberId": phone_number_id,
            "displayPhoneNumber": "+55 11 3003-4000",
            "appSecret": app_secret,
            "verifyToken": verify_token,
        }),
    )?;
    let text = |name: &str| {
        made[name]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("the channel has no {name}"))
    };
    Ok(Channel {
        id: text("id")?,
        provider: "whatsapp-cloud".to_owned(),
        webhook_path: text("webhookPath")?,
        phone_number_id,
        app_secret,
        verify_token,
    })
}

fn converse(
    client: &Client,
    session: &Session<'_>,
    channel: &Channel,
    people: &[Person],
    rng: &mut Rng,
    now: i64,
) -> anyhow::Result<()> {
    let number = channel.number();
    for (index, person) in people.iter().enumerate() {
        interrupt::check()?;
        let minutes_ago = i64::try_from(index * index).unwrap_or_default() + rng.i64(1..30);
        for payload in talk::conversation(rng, &number, person, now, minutes_ago) {
            let status = client.deliver(
                &channel.webhook_path,
                &channel.app_secret,
                &payload.to_string(),
            )?;
            if status != 200 {
                bail!("the webhook answered {status}");
            }
        }
    }
    // They are processed by jobs: wait until all are there.
    for _ in 0..300 {
        interrupt::check()?;
        let page = session.get("/api/v1/conversations?limit=100")?;
        let found = page["data"].as_array().map_or(0, Vec::len);
        if found >= people.len() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(100));
    }
    bail!("the conversations did not appear within 30 s: do the server's jobs run?")
}

/// A made-up person who writes for the first time, for the example that is printed.
pub(crate) fn newcomer(rng: &mut Rng) -> Person {
    let digits = rng.u32(10_000_000..99_999_999);
    Person {
        name: people::full_name(rng),
        wa_id: format!("55119{digits}"),
        contact: Value::Null,
    }
}
