//! Requests that nobody could understand, whatever they ask for.

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{
    HeaderValue, StatusCode, Uri,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING},
};
use percent_encoding::percent_decode_str;

use super::Problem;

/// Of path and query together; [RFC 9110, section 4.1](https://www.rfc-editor.org/rfc/rfc9110#section-4.1) recommends no less
/// than 8000. What is longer belongs into a body. (What is longer than all headers may be gets a bare 431 from hyper.)
const MAX_URI_BYTES: usize = 8 * 1024;

/// Refuses them.
pub(super) async fn refuse_unreadable(request: Request, next: Next) -> Response {
    match check_uri(request.uri()).and_then(|()| check_encoding(&request)) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check_uri(uri: &Uri) -> Result<(), Problem> {
    let asked = uri.path_and_query().map_or("", |asked| asked.as_str());
    let bytes = asked.len();
    if bytes > MAX_URI_BYTES {
        return Err(Problem::new(
            StatusCode::URI_TOO_LONG,
            format!("Path and query are {bytes} bytes long, and {MAX_URI_BYTES} are allowed."),
        ));
    }
    if !is_percent_encoded(asked) {
        return Err(Problem::bad_request(
            "Path and query must be percent-encoded UTF-8: after % two hexadecimal digits are expected, and %25 is % itself.",
        ));
    }
    Ok(())
}

/// Whether it stands for a text.
fn is_percent_encoded(text: &str) -> bool {
    let is_byte = |rest: &str| rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    text.split('%').skip(1).all(is_byte) && percent_decode_str(text).decode_utf8().is_ok()
}

/// Nothing here unpacks bodies.
fn check_encoding(request: &Request) -> Result<(), Problem> {
    let encoded = request.headers().get_all(CONTENT_ENCODING).iter();
    if encoded.filter(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")).count() == 0 {
        return Ok(());
    }
    let detail = "A body without Content-Encoding is expected.";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
        .header(ACCEPT_ENCODING, HeaderValue::from_static("identity")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_for_a_text_is_percent_encoded() {
        for good in ["/", "/a%20b?c=%C3%A9&d=%25", "/?a=%00"] {
            assert!(is_percent_encoded(good), "{good}");
        }
        for bad in ["/%", "/%4", "/?a=%zz", "/%FF", "/?a=%C3", "/%%20"] {
            assert!(!is_percent_encoded(bad), "{bad}");
        }
    }
}
