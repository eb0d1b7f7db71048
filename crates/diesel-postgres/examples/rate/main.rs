//! How fast the contact store reads and writes by itself, without HTTP; and the database for that.
//!
//! `cargo xtask bench` builds this and drives it; by hand:
//!
//! ```text
//! rate fill <superuser's URL> --contacts N --largest N --others N [--beside RANK]
//! rate list <server's URL> --connections N --clinics N
//! rate create <server's URL> --connections N --clinics N
//! ```
//!
//! `list` and `create` take rounds on standard input, a line each: milliseconds of warm-up, and of
//! measuring. They print `begun` in between, and then a line of JSON. Workers have a runtime and a
//! shard of the pool each, as the server has them.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command for developers"
)]

mod rounds;

use std::process::ExitCode;
use std::time::Instant;

use test_support::Crowd;
use tokio_postgres::NoTls;

use crate::rounds::Act;

/// What was asked for.
#[derive(Default)]
struct Options {
    command: String,
    url: String,
    contacts: u64,
    largest: u64,
    others: u32,
    beside: usize,
    connections: usize,
    clinics: usize,
}

impl Options {
    fn read() -> Result<Self, String> {
        let mut options = Self::default();
        let mut words = std::env::args().skip(1);
        options.command = words.next().ok_or("no command is given")?;
        options.url = words.next().ok_or("no address is given")?;
        while let Some(word) = words.next() {
            let value = words.next().ok_or(format!("{word} needs a value"))?;
            let number: u64 = value.parse().map_err(|_| format!("{value} is no number"))?;
            let small = || usize::try_from(number).map_err(|error| error.to_string());
            match word.as_str() {
                "--contacts" => options.contacts = number,
                "--largest" => options.largest = number,
                "--others" => {
                    options.others = u32::try_from(number).map_err(|error| error.to_string())?;
                }
                "--beside" => options.beside = small()?,
                "--connections" => options.connections = small()?,
                "--clinics" => options.clinics = small()?,
                _ => return Err(format!("{word} is not understood")),
            }
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    let options = match Options::read() {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("{wrong}");
            return ExitCode::FAILURE;
        }
    };
    match options.command.as_str() {
        "fill" => fill(&options),
        "list" => rounds::serve(
            &options.url,
            Act::List,
            options.connections,
            options.clinics,
        ),
        "create" => rounds::serve(
            &options.url,
            Act::Create,
            options.connections,
            options.clinics,
        ),
        other => {
            eprintln!("{other} is no command");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn fill(options: &Options) {
    let crowd = Crowd {
        contacts: options.contacts,
        largest: options.largest,
        others: options.others,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&options.url, NoTls)
            .await
            .expect("the database is reachable");
        tokio::spawn(connection);
        let began = Instant::now();
        let all = options.contacts;
        crowd
            .fill_beside(
                options.beside,
                &client,
                test_support::keys().as_ref(),
                |done| {
                    if done % 100_000 == 0 || done == all {
                        eprintln!("  {done} of {all} contacts, {:.0?}", began.elapsed());
                    }
                },
            )
            .await;
    });
}
