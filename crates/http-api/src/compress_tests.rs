//! Which encoding is taken, that it can be read back, and what becomes of tags.

#![allow(clippy::unwrap_used, reason = "tests may")]

use std::io::Read as _;

use actix_web::test::TestRequest;
use proptest::prelude::*;

use super::*;

fn preferred(accept: &str) -> Option<Encoding> {
    let request = TestRequest::get().insert_header(("Accept-Encoding", accept));
    negotiate(request.to_http_request().headers())
}

fn plain_of(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match encoding {
        Encoding::Zstd => plain = zstd::stream::decode_all(bytes).unwrap(),
        Encoding::Gzip => {
            let mut reader = flate2::read::GzDecoder::new(bytes);
            reader.read_to_end(&mut plain).unwrap();
        }
        Encoding::Brotli => {
            let mut reader = brotli::Decompressor::new(bytes, 4096);
            reader.read_to_end(&mut plain).unwrap();
        }
    }
    plain
}

fn long() -> String {
    format!("[{}0]", "\"contact of a clinic\",".repeat(200))
}

fn answer(body: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((header::ETAG, "\"state.view\""))
        .insert_header((header::VARY, "Authorization"))
        .body(body)
}

fn tag(response: &HttpResponse) -> &str {
    response.headers().get("etag").unwrap().to_str().unwrap()
}

#[test]
fn the_callers_weights_decide_and_then_our_order() {
    for (accept, expected) in [
        ("gzip, deflate, br, zstd", Some(Encoding::Zstd)),
        ("gzip, deflate, br", Some(Encoding::Brotli)),
        ("gzip", Some(Encoding::Gzip)),
        ("X-GZip", Some(Encoding::Gzip)),
        ("br;q=0.5, gzip;q=0.8", Some(Encoding::Gzip)),
        ("br;q=0, gzip;q=0", None),
        ("*", Some(Encoding::Zstd)),
        ("zstd;q=0, *", Some(Encoding::Brotli)),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0.5, gzip;q=0.5", Some(Encoding::Gzip)),
        ("gzip;q=1.001, br;q=x, zstd;q=0.1234", None),
        ("deflate", None),
        ("", None),
    ] {
        assert_eq!(preferred(accept), expected, "{accept}");
    }
    assert_eq!(negotiate(&HeaderMap::new()), None);
}

#[actix_web::test]
async fn a_long_answer_is_encoded_and_has_the_tag_of_that_form() {
    for encoding in Encoding::ALL {
        let encoded = encode(answer(long()), Some(encoding), &[]).await;
        let name = encoding.name();
        assert_eq!(encoded.headers().get("content-encoding").unwrap(), name);
        assert_eq!(tag(&encoded), format!("\"state.view.{name}\""));
        assert_eq!(plain_tag(tag(&encoded)), "\"state.view\"");
        let vary = encoded.headers().get("vary").unwrap();
        assert_eq!(vary, "Authorization, Accept-Encoding");
        let bytes = encoded.into_body().try_into_bytes().unwrap();
        assert!(bytes.len() < long().len() / 4);
        assert_eq!(plain_of(encoding, &bytes), long().as_bytes());
    }
}

#[actix_web::test]
async fn what_must_stay_as_it_is_stays() {
    let unchanged = [
        answer("[]".to_owned()),
        HttpResponse::Ok().content_type("image/png").body(long()),
        HttpResponse::Ok()
            .content_type("application/json")
            .insert_header((header::CACHE_CONTROL, "private, no-transform"))
            .body(long()),
        HttpResponse::Ok()
            .content_type("application/json")
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .body(long()),
    ];
    for response in unchanged {
        let sent = encode(response, Some(Encoding::Gzip), &[]).await;
        assert!(!sent.headers().contains_key("content-encoding"));
    }
    let plain = encode(answer(long()), None, &[]).await;
    assert_eq!(tag(&plain), "\"state.view\"");
    assert!(
        plain
            .headers()
            .get("vary")
            .unwrap()
            .to_str()
            .unwrap()
            .contains("Accept-Encoding")
    );
}

#[actix_web::test]
async fn finished_bytes_pass_and_get_the_tag_of_their_form() {
    let finished = compress(Encoding::Brotli, long().as_bytes()).unwrap();
    let response = HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((header::CONTENT_ENCODING, "br"))
        .insert_header((header::ETAG, "\"x\""))
        .body(finished.clone());
    let sent = encode(response, Some(Encoding::Zstd), &[]).await;
    assert_eq!(tag(&sent), "\"x.br\"");
    assert_eq!(sent.into_body().try_into_bytes().unwrap(), finished);
}

#[actix_web::test]
async fn an_answer_of_many_bytes_is_compressed_beside_the_worker() {
    let body = long().repeat(40);
    let sent = encode(answer(body.clone()), Some(Encoding::Gzip), &[]).await;
    let bytes = sent.into_body().try_into_bytes().unwrap();
    assert_eq!(plain_of(Encoding::Gzip, &bytes), body.as_bytes());
}

#[actix_web::test]
async fn an_unchanged_answer_names_the_form_the_caller_has() {
    for (held, accepted, expected) in [
        ("\"x.br\"", Some(Encoding::Brotli), "\"x.br\""),
        ("\"x\", W/\"x.gzip\"", Some(Encoding::Gzip), "\"x.gzip\""),
        ("\"x.gzip\"", None, "\"x.gzip\""),
        ("\"x\"", Some(Encoding::Zstd), "\"x\""),
        ("*", Some(Encoding::Zstd), "\"x\""),
    ] {
        let mut response = HttpResponse::NotModified();
        response.insert_header((header::ETAG, "\"x\""));
        let held = [HeaderValue::from_static(held)];
        let sent = encode(response.finish(), accepted, &held).await;
        assert_eq!(tag(&sent), expected);
    }
}

proptest! {
    #[test]
    fn no_header_makes_it_panic(accept in "[ -~]{0,60}") {
        let _ = preferred(&accept);
    }

    #[test]
    fn what_is_compressed_is_read_back(plain in proptest::collection::vec(any::<u8>(), 0..5000)) {
        for encoding in Encoding::ALL {
            let bytes = compress(encoding, &plain).unwrap();
            prop_assert_eq!(plain_of(encoding, &bytes), plain.clone());
        }
    }

    #[test]
    fn a_tag_is_its_own_again_without_its_form(text in "\"[a-zA-Z0-9_-]{1,20}(\\.[a-zA-Z0-9_-]{20})?\"") {
        prop_assert_eq!(plain_tag(&text), text.clone());
        for encoding in Encoding::ALL {
            let sent = tag_of(&text, encoding).unwrap();
            prop_assert_eq!(plain_tag(sent.to_str().unwrap()), text.clone());
        }
    }
}
