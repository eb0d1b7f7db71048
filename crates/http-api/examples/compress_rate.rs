//! What compression costs and saves on answers as they are: lists of contacts, by encoding and
//! level. `cargo run --release -p http-api --example compress_rate`; the levels in
//! `compress.rs` were chosen by it.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for people"
)]

use std::io::Write as _;
use std::time::{Duration, Instant};

const NAMES: [&str; 12] = [
    "Ana",
    "João",
    "Beatriz",
    "Otávio",
    "Lívia",
    "Caetano",
    "Souza",
    "Lima",
    "Ferreira",
    "Almeida",
    "Nascimento",
    "Prado",
];

/// A page of `rows` contacts: ids and names differ from row to row, as in life.
fn page(rows: u64) -> String {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let rows: Vec<serde_json::Value> = (0..rows)
        .map(|at| {
            let (id, dice) = (next(), next());
            let name = |shift: u64| NAMES[usize::try_from((dice >> shift) % 12).unwrap()];
            serde_json::json!({
                "id": format!("01936f5e-{:04x}-7{:03x}-9{:03x}-{:012x}", at, id & 0xfff, id >> 12 & 0xfff, id >> 16),
                "name": format!("{} {} {}", name(0), name(8), name(16)),
                "status": if dice >> 24 & 1 == 0 { "lead" } else { "active" },
                "phoneNumber": format!("+5511{:09}", 900_000_000 + dice % 99_999_999),
                "email": format!("{}.{}@example.com", name(32).to_lowercase(), dice % 1000),
                "tags": ["retorno"], "source": "whatsapp",
                "createdAt": format!("2026-11-{:02}T12:{:02}:{:02}.{:06}Z", 1 + dice % 28, dice % 60, id % 60, id % 1_000_000),
                "updatedAt": format!("2026-11-{:02}T13:{:02}:{:02}.{:06}Z", 1 + id % 28, id % 60, dice % 60, dice % 1_000_000),
            })
        })
        .collect();
    serde_json::json!({ "data": rows, "nextCursor": null, "hasMore": false }).to_string()
}

fn measure(name: &str, plain: &[u8], compress: impl Fn(&[u8]) -> Vec<u8>) {
    let length = compress(plain).len();
    let (began, mut runs) = (Instant::now(), 0_u32);
    while began.elapsed() < Duration::from_millis(300) {
        std::hint::black_box(compress(std::hint::black_box(plain)));
        runs += 1;
    }
    let each = began.elapsed() / runs;
    println!(
        "| {name} | {} | {length} | {} % | {:.1} |",
        plain.len(),
        100 * length / plain.len(),
        each.as_secs_f64() * 1e6
    );
}

fn main() {
    println!("| encoding | bytes | compressed | share | µs |\n|---|---|---|---|---|");
    for rows in [5, 20, 100] {
        let plain = page(rows).into_bytes();
        for level in [1, 3, 6] {
            // One context for each thread: making one costs more than a short body.
            let context = zstd::bulk::Compressor::new(level).unwrap();
            let context = std::cell::RefCell::new(context);
            measure(&format!("zstd {level}"), &plain, |plain| {
                context.borrow_mut().compress(plain).unwrap()
            });
        }
        for quality in [1, 2, 3, 4, 5] {
            measure(&format!("br {quality}"), &plain, |plain| {
                let mut out = Vec::new();
                let mut brotli = brotli::CompressorWriter::new(&mut out, 4096, quality, 20);
                brotli.write_all(plain).unwrap();
                drop(brotli);
                out
            });
        }
        for level in [1, 4, 6] {
            measure(&format!("gzip {level}"), &plain, |plain| {
                let compression = flate2::Compression::new(level);
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), compression);
                gzip.write_all(plain).unwrap();
                gzip.finish().unwrap()
            });
        }
    }
}
