//! Compressed answers: which encoding the caller prefers ([`negotiate`]), the bytes
//! ([`compress`]), and what becomes of an answer on its way out ([`encode`]).
//!
//! An answer of more than [`THRESHOLD`] bytes that is text is compressed, unless
//!
//! - it is encoded already: whoever keeps finished bytes answers them with `Content-Encoding` and
//!   the entity tag of the plain form, and the rest is done here;
//! - `Cache-Control` says `no-transform`, or `no-store`. The last are tokens and secrets, and
//!   failures: where a secret and a text of somebody else's choosing are compressed together, the
//!   length tells of the secret (BREACH). Everything else that is compressed is the caller's own
//!   data, asked for with a header that no foreign page can send.
//!
//! Each encoding has an entity tag of its own (RFC 9110 section 8.8.3.3): `"x"` is `"x.br"` as
//! Brotli. Both stay strong, so that either may be sent in `If-Match`. The levels are those that
//! `examples/compress_rate.rs` found to be worth their time.

use std::cell::RefCell;
use std::io::{self, Write as _};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, MessageBody as _};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use bytes::Bytes;
use flate2::write::GzEncoder;
use zstd::bulk::Compressor;

/// What is not longer is sent as it is: one packet holds it either way.
pub const THRESHOLD: usize = 1024;
/// Longer bodies are compressed beside the worker thread, which others wait for meanwhile.
const BESIDE: usize = 64 * 1024;

/// Levels by measurement: `docs/decisions/0014-limits-and-manners.md`.
const ZSTD_LEVEL: i32 = 1;
const BROTLI_QUALITY: u32 = 1;
const BROTLI_WINDOW: u32 = 20;
const GZIP_LEVEL: u32 = 4;

/// A content coding (RFC 9110 section 8.4.1) that is spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// Zstandard, RFC 8878.
    Zstd,
    /// Brotli, RFC 7932.
    Brotli,
    /// Gzip, RFC 1952.
    Gzip,
}

impl Encoding {
    /// Every one, the one preferred here first: the least time for the fewest bytes.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// Its name in `Content-Encoding`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        // RFC 9110 section 8.4.1.3: x-gzip is gzip.
        let name = if name.eq_ignore_ascii_case("x-gzip") {
            "gzip"
        } else {
            name
        };
        Self::ALL
            .into_iter()
            .find(|encoding| encoding.name().eq_ignore_ascii_case(name))
    }
}

/// What the caller's `Accept-Encoding` prefers of [`Encoding::ALL`]; `None` is the plain form.
///
/// A weight of 0 refuses; of equal weights the first of [`Encoding::ALL`] is taken. The plain form
/// wins only where its own weight is named and higher. Who sends no such header gets the plain
/// form.
pub fn negotiate(headers: &HeaderMap) -> Option<Encoding> {
    let mut weights: [Option<u16>; 3] = [None; 3];
    let (mut any, mut identity) = (None, None);
    for value in headers.get_all(header::ACCEPT_ENCODING) {
        for item in value.to_str().unwrap_or_default().split(',') {
            let mut parts = item.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let weight = parts
                .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
                .map_or(Some(1000), weight);
            // A weight that is none: the item says nothing.
            let Some(weight) = weight else { continue };
            if name == "*" {
                any = Some(weight);
            } else if name.eq_ignore_ascii_case("identity") {
                identity = Some(weight);
            } else if let Some(encoding) = Encoding::of_name(name) {
                weights[encoding as usize] = Some(weight);
            }
        }
    }
    let plain = identity.unwrap_or(0);
    let mut best: Option<(u16, Encoding)> = None;
    for encoding in Encoding::ALL {
        let weight = weights[encoding as usize].or(any).unwrap_or(0);
        if weight > 0 && weight >= plain && best.is_none_or(|(most, _)| weight > most) {
            best = Some((weight, encoding));
        }
    }
    best.map(|(_, encoding)| encoding)
}

/// A weight in thousandths (RFC 9110 section 12.4.2).
fn weight(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 3 || !part.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{part:0<3}").parse::<u16>().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

/// The bytes in that encoding. The same bytes give the same answer.
pub fn compress(encoding: Encoding, plain: &[u8]) -> io::Result<Bytes> {
    let encoded = match encoding {
        Encoding::Zstd => with_zstd(|zstd| zstd.compress(plain))?,
        Encoding::Gzip => {
            let room = Vec::with_capacity(plain.len() / 4 + 64);
            let mut gzip = GzEncoder::new(room, flate2::Compression::new(GZIP_LEVEL));
            gzip.write_all(plain)?;
            gzip.finish()?
        }
        Encoding::Brotli => {
            let mut encoded = Vec::with_capacity(plain.len() / 4 + 64);
            let mut brotli =
                brotli::CompressorWriter::new(&mut encoded, 4096, BROTLI_QUALITY, BROTLI_WINDOW);
            brotli.write_all(plain)?;
            drop(brotli);
            encoded
        }
    };
    Ok(Bytes::from(encoded))
}

/// With the thread's context: making one costs more than compressing a page.
fn with_zstd<T>(act: impl FnOnce(&mut Compressor<'static>) -> io::Result<T>) -> io::Result<T> {
    thread_local! {
        static CONTEXT: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    }
    CONTEXT.with_borrow_mut(|context| match context {
        Some(context) => act(context),
        None => act(context.insert(Compressor::new(ZSTD_LEVEL)?)),
    })
}

/// The answer in the encoding the caller prefers, where that is worth it. `accepted` and
/// `if_none_match` are the request's.
pub(crate) async fn encode(
    response: HttpResponse,
    accepted: Option<Encoding>,
    if_none_match: &[HeaderValue],
) -> HttpResponse {
    let response = vary(response);
    if response.status() == StatusCode::NOT_MODIFIED {
        return same_variant(response, accepted, if_none_match);
    }
    let headers = response.headers();
    if let Some(present) = headers.get(header::CONTENT_ENCODING) {
        let present = present.to_str().ok().and_then(Encoding::of_name);
        return with_tag_of(response, present);
    }
    let Some(encoding) = accepted else {
        return response;
    };
    let length = match response.body().size() {
        BodySize::Sized(length) => usize::try_from(length).unwrap_or(0),
        BodySize::None | BodySize::Stream => 0,
    };
    if length <= THRESHOLD || !is_text(headers) || is_kept_as_it_is(headers) {
        return response;
    }
    let (head, body) = response.into_parts();
    let plain = match body.try_into_bytes() {
        Ok(plain) => plain,
        Err(body) => return head.set_body(body),
    };
    let encoded = if plain.len() > BESIDE {
        let kept = plain.clone();
        actix_web::web::block(move || compress(encoding, &kept))
            .await
            .unwrap_or_else(|_| Err(io::Error::other("no thread to compress on")))
    } else {
        compress(encoding, &plain)
    };
    match encoded {
        Ok(encoded) if encoded.len() < plain.len() => {
            let mut response = head.set_body(actix_web::body::BoxBody::new(encoded));
            let headers = response.headers_mut();
            headers.remove(header::CONTENT_LENGTH);
            headers.insert(
                header::CONTENT_ENCODING,
                HeaderValue::from_static(encoding.name()),
            );
            with_tag_of(response, Some(encoding))
        }
        Ok(_) => head.set_body(actix_web::body::BoxBody::new(plain)),
        Err(error) => {
            tracing::warn!(error = %error, "an answer could not be compressed");
            head.set_body(actix_web::body::BoxBody::new(plain))
        }
    }
}

/// Says that the answer depends on `Accept-Encoding`, in whatever form it was sent this time.
fn vary(mut response: HttpResponse) -> HttpResponse {
    let own = response.headers().get_all(header::VARY);
    let names: Vec<&str> = own.filter_map(|value| value.to_str().ok()).collect();
    if !names.is_empty() {
        let joined = names.join(", ");
        let said = joined
            .split(',')
            .any(|name| name.trim().eq_ignore_ascii_case("accept-encoding"));
        if !said && let Ok(value) = HeaderValue::from_str(&format!("{joined}, Accept-Encoding")) {
            response.headers_mut().insert(header::VARY, value);
        }
    }
    response
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    kind.starts_with("text/")
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || matches!(
            kind,
            "application/json" | "application/javascript" | "application/xml" | "application/yaml"
        )
}

fn is_kept_as_it_is(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CACHE_CONTROL)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|word| {
            word.eq_ignore_ascii_case("no-transform") || word.eq_ignore_ascii_case("no-store")
        })
}

/// The opaque part of a tag, with `W/` and quotes taken off.
fn opaque(tag: &str) -> Option<&str> {
    tag.trim()
        .trim_start_matches("W/")
        .strip_prefix('"')?
        .strip_suffix('"')
}

/// The tag without the encoding that [`encode`] put into it: what a record or a list has itself.
pub(crate) fn plain_tag(tag: &str) -> String {
    let Some(bare) = tag.strip_suffix('"') else {
        return tag.to_owned();
    };
    for encoding in Encoding::ALL {
        let bare = bare.strip_suffix(encoding.name());
        if let Some(bare) = bare.and_then(|bare| bare.strip_suffix('.')) {
            return format!("{bare}\"");
        }
    }
    tag.to_owned()
}

fn tag_of(tag: &str, encoding: Encoding) -> Option<HeaderValue> {
    let bare = tag.strip_suffix('"')?;
    HeaderValue::from_str(&format!("{bare}.{}\"", encoding.name())).ok()
}

fn with_tag_of(mut response: HttpResponse, encoding: Option<Encoding>) -> HttpResponse {
    let tag = response.headers().get(header::ETAG);
    let tag = tag.and_then(|tag| tag.to_str().ok()).unwrap_or_default();
    if let Some(encoding) = encoding
        && plain_tag(tag) == tag
        && let Some(tag) = tag_of(tag, encoding)
    {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// A 304 names the form that the caller has (RFC 9110 section 15.4.5): the one it would get now,
/// or else whichever it named.
fn same_variant(
    mut response: HttpResponse,
    accepted: Option<Encoding>,
    if_none_match: &[HeaderValue],
) -> HttpResponse {
    let tag = response.headers().get(header::ETAG);
    let Some(present) = tag.and_then(|tag| tag.to_str().ok()).and_then(opaque) else {
        return response;
    };
    let held: Vec<&str> = if_none_match
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(opaque)
        .collect();
    let form = |encoding: Encoding| format!("{present}.{}", encoding.name());
    let wanted = accepted.map(form);
    let found = wanted
        .filter(|wanted| held.contains(&wanted.as_str()))
        .or_else(|| held.contains(&present).then(|| present.to_owned()))
        .or_else(|| {
            let mut forms = Encoding::ALL.into_iter().map(form);
            forms.find(|form| held.contains(&form.as_str()))
        });
    if let Some(found) = found
        && let Ok(value) = HeaderValue::from_str(&format!("\"{found}\""))
    {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

#[cfg(test)]
#[path = "compress_tests.rs"]
mod tests;
