//! The limit of a cached read: a bare actix handler that sends bytes it was given.
//!
//! `cargo xtask bench` builds and runs it:
//!
//! ```text
//! bare <folder> <workers>
//! ```
//!
//! The folder holds `0.head`, `0.body`, `1.head`, …: header lines and bodies as the product answered
//! them. `GET /0` answers the first with all its headers, and so on. Nothing else is done: no
//! routing, no authentication, no telemetry. It prints its address once it listens, and ends with its
//! standard input.
#![allow(clippy::print_stdout, reason = "a command for developers")]

use std::io::Read as _;
use std::path::Path;

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::{self, Bytes};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Canned {
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

fn main() -> std::io::Result<()> {
    let mut words = std::env::args().skip(1);
    let wrong = |what| std::io::Error::new(std::io::ErrorKind::InvalidInput, what);
    let folder = words.next().ok_or_else(|| wrong("no folder is named"))?;
    let workers = words.next().and_then(|text| text.parse().ok());
    let workers = workers.ok_or_else(|| wrong("no number of workers is named"))?;
    let answers = web::Data::new(read(Path::new(&folder))?);
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let server = HttpServer::new(move || {
        App::new()
            .app_data(answers.clone())
            .default_service(web::to(answer))
    })
    .workers(workers)
    .keep_alive(std::time::Duration::from_secs(75))
    .bind(("127.0.0.1", 0))?;
    for address in server.addrs() {
        println!("http://{address}");
    }
    actix_web::rt::System::new().block_on(server.run())
}

async fn answer(request: HttpRequest, answers: web::Data<Vec<Canned>>) -> HttpResponse {
    let index = request.path().trim_start_matches('/').parse();
    let Some(canned) = index.ok().and_then(|index: usize| answers.get(index)) else {
        return HttpResponse::NotFound().finish();
    };
    let mut response = HttpResponse::Ok();
    for (name, value) in &canned.headers {
        response.append_header((name.clone(), value.clone()));
    }
    response.body(canned.body.clone())
}

fn read(folder: &Path) -> std::io::Result<Vec<Canned>> {
    let mut answers = Vec::new();
    loop {
        let file = |kind: &str| folder.join(format!("{}.{kind}", answers.len()));
        if !file("head").exists() {
            return Ok(answers);
        }
        let head = std::fs::read_to_string(file("head"))?;
        let headers = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?)))
            .collect();
        let body = Bytes::from(std::fs::read(file("body"))?);
        answers.push(Canned { headers, body });
    }
}
