//! Answers compressed for whoever takes that.

use axum::extract::Request;
use http::{HeaderMap, HeaderValue, header::ACCEPT_ENCODING};
use tower_http::{
    CompressionLevel,
    compression::{
        CompressionLayer,
        predicate::{And, NotForContentType, Predicate, SizeAbove},
    },
};

/// Shorter answers fit into one packet anyway.
const LEAST_BYTES: u64 = 1024;

type Worthwhile = And<And<And<SizeAbove, NotForContentType>, NotForContentType>, NotForContentType>;

/// Compresses what gains by it: not what is short, is compressed already, or is read line by line as it comes.
///
/// With little effort: results are often megabytes, and the network is seldom slower than the best effort.
pub(super) fn compression() -> CompressionLayer<Worthwhile> {
    let worthwhile = SizeAbove::new(LEAST_BYTES)
        .and(NotForContentType::SSE)
        .and(NotForContentType::const_new("application/x-ndjson"))
        .and(NotForContentType::IMAGES);
    CompressionLayer::new().gzip(true).quality(CompressionLevel::Fastest).compress_when(worthwhile)
}

/// Leaves `gzip` of what the client accepts, or nothing. tower-http would answer 406 to a client that takes neither gzip nor
/// what is not encoded, and only when its request has been done; such a client gets what it must be able to read.
pub(super) async fn only_gzip(mut request: Request) -> Request {
    let gzip = accepts_gzip(request.headers());
    request.headers_mut().remove(ACCEPT_ENCODING);
    if gzip {
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    }
    request
}

/// As [RFC 9110, section 12.5.3](https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3) has it: named, or meant by `*`, with
/// a weight that is not zero.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let (mut named, mut any) = (None, false);
    for coding in values.flat_map(|value| value.split(',')) {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let (_, weight) = weight.split_once('=').unwrap_or(("", "0"));
        let wanted = weight.trim().parse::<f32>().is_ok_and(|weight| weight > 0.0);
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => named = Some(wanted),
            "*" => any = wanted,
            _ => {}
        }
    }
    named.unwrap_or(any)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn gzip_is_accepted_when_it_is_named_or_anything_is_and_not_refused() {
        for (accepted, gzip) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("deflate, gzip;q=1.0, *;q=0.5", true),
            ("x-gzip", true),
            ("*", true),
            ("", false),
            ("br", false),
            ("identity", false),
            ("gzip;q=0", false),
            ("gzip; q=0.000, *", false),
            ("*;q=0", false),
            ("gzip;q=much", false),
        ] {
            let headers: HeaderMap = [(ACCEPT_ENCODING, accepted.parse().unwrap())].into_iter().collect();
            assert_eq!(accepts_gzip(&headers), gzip, "{accepted:?}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
