//! The server: reads the configuration, wires adapters to services, and runs. Everything that
//! decides anything lives in other crates.
//!
//! A library with a thin `main`, so that tests can wire the very same parts over a database of
//! their own ([`wiring`]).

#![warn(missing_docs)]

mod admin;
mod background;
mod config;
mod health;
mod keys;
pub mod mail;
mod observe;
mod operators;
mod output;
mod probe;
mod revocations;
mod rollout;
mod serve;
mod telemetry_lists;
pub mod wiring;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use diesel_postgres::migrations;

use config::{Config, ConfigError, KEYS, Sources};
use probe::Question;

/// The back office of clinic networks, as one API.
#[derive(Parser)]
#[command(name = "acolhe-server", version, about)]
struct Cli {
    /// A TOML file with the configuration; `acolhe-server config` lists its keys.
    #[arg(long, env = "ACOLHE_CONFIG", value_name = "FILE", global = true)]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Answer requests until told to stop; what happens without a command.
    Serve {
        /// Print the address as soon as it is listened on, for the program that started this one.
        #[arg(long)]
        print_address: bool,
    },
    /// Bring the database to the shape this version needs.
    ///
    /// Uses database.owner_url. Run it before the new version serves; it may be run again.
    Migrate,
    /// Print every key of the configuration with its default and meaning.
    Config {
        /// As a table in Markdown.
        #[arg(long)]
        markdown: bool,
    },
    /// Ask the server that runs with this configuration whether it can work; fails when not.
    ///
    /// For orchestrators: an image needs no other program for its health check.
    Health {
        /// Ask only whether the process answers.
        #[arg(long)]
        live: bool,
    },
    /// Print the OpenAPI document.
    Openapi {
        /// That of the operators' own listener.
        #[arg(long)]
        operators: bool,
    },
    /// Print the catalogue of errors as Markdown.
    #[command(hide = true)]
    Errors,
    /// Print what telemetry may carry.
    #[command(hide = true)]
    Telemetry {
        /// Which list of it.
        #[arg(value_enum)]
        list: telemetry_lists::List,
    },
    /// Create clinics, members and shared webhook endpoints.
    Admin(admin::Admin),
    /// Make keys, and replace them.
    Keys(keys::Keys),
}

/// Runs the command of the process's arguments to its end.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command.unwrap_or(Command::Serve {
        print_address: false,
    }) {
        Command::Serve { print_address } => serve::serve(&read_config(cli.config)?, print_address),
        Command::Migrate => migrate(&read_config(cli.config)?),
        Command::Config { markdown: true } => output::print(&config_table()),
        Command::Config { markdown: false } => output::print(&describe_config()),
        Command::Health { live } => {
            let question = if live {
                Question::Live
            } else {
                Question::Ready
            };
            probe::ask(&read_config(cli.config)?.http, question)
        }
        Command::Openapi { operators: false } => output::print(&http_api::openapi_document()),
        Command::Openapi { operators: true } => output::print(&http_api::operators_document()),
        Command::Errors => output::print(&http_api::errors_markdown()),
        Command::Telemetry { list } => output::print(&list.text()),
        Command::Admin(admin) => admin::run(admin, &read_config(cli.config)?),
        Command::Keys(keys) => keys::run(&keys, || read_config(cli.config)),
    }
}

fn read_config(file: Option<PathBuf>) -> Result<Config, ConfigError> {
    // The one place that reads the environment.
    let environment = std::env::vars_os()
        // A variable that is no text is none of ours.
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let values = config::load(&Sources { file, environment })?;
    Config::read(&values)
}

fn describe_config() -> String {
    let mut text = String::from(
        "Keys of the configuration. The environment wins over the file (--config), the file over\n\
         the default. A secret may also be given as KEY_file (variable VARIABLE_FILE), the path of\n\
         a file that holds it. Durations are 500ms, 10s, 15m or 1h.\n",
    );
    for key in KEYS {
        let default = match key.default {
            Some(default) => format!("default {default}"),
            None if key.secret => "secret".to_owned(),
            None => "unset".to_owned(),
        };
        let (name, variable, meaning) = (key.name, key.variable(), key.meaning);
        let _infallible = write!(text, "\n{name}  ({default}; {variable})\n    {meaning}\n");
    }
    text
}

/// The same for a document: one table a section.
fn config_table() -> String {
    let mut text = String::new();
    let mut section = "";
    for key in KEYS {
        let (name, variable) = (key.name, key.variable());
        let of = name.split('.').next().unwrap_or_default();
        if of != section {
            section = of;
            let gap = if text.is_empty() { "" } else { "\n" };
            let head = "| key | default | what it decides |\n|---|---|---|";
            let _infallible = writeln!(text, "{gap}**{section}**\n\n{head}");
        }
        let default = match key.default {
            Some(default) => format!("`{default}`"),
            None if key.secret => "secret".to_owned(),
            None => "unset".to_owned(),
        };
        let meaning = key.meaning.replace('|', "\\|");
        let _infallible = writeln!(text, "| `{name}`<br>`{variable}` | {default} | {meaning} |");
    }
    text
}

fn migrate(config: &Config) -> anyhow::Result<()> {
    let url = config
        .database
        .owner_url
        .as_ref()
        .ok_or_else(|| ConfigError::missing("database.owner_url"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let applied = runtime.block_on(migrations::migrate(url.expose()))?;
    if applied.is_empty() {
        return output::print("The database is up to date.\n");
    }
    let mut lines = String::new();
    for name in applied {
        let _infallible = writeln!(lines, "applied {name}");
    }
    output::print(&lines)
}
