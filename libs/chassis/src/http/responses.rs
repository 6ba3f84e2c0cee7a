//! The answers that are problems, as a document names them: `responses((status = OK, …), BadRequest, Unavailable)`.

use std::collections::BTreeMap;

use http::StatusCode;
use utoipa::{
    IntoResponses,
    openapi::{Content, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, schema::Type},
};

use super::problem::SCHEMA;

/// The comment is the description of the answer.
macro_rules! problems {
    ($($status:ident $name:ident: $(#[doc = $line:literal])+)+) => {$(
        $(#[doc = $line])+
        #[derive(Debug)]
        pub struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                problem(StatusCode::$status, concat!($($line),+).trim())
            }
        }
    )+};
}

problems! {
    BAD_REQUEST BadRequest:
    /// The request cannot be understood, or a value in it is not allowed: `detail` says which, and what is allowed.

    UNAUTHORIZED Unauthorized:
    /// The token is missing or wrong.

    NOT_FOUND NotFound:
    /// There is no such thing, or not yet.

    REQUEST_TIMEOUT RequestTimeout:
    /// The body did not arrive in time.

    CONFLICT Conflict:
    /// Not in the state that it is in.

    GONE Gone:
    /// It was here, and is deleted since `pruned_at`.

    PAYLOAD_TOO_LARGE PayloadTooLarge:
    /// The body is longer than is accepted.

    UNSUPPORTED_MEDIA_TYPE UnsupportedMediaType:
    /// `Content-Type` is none of those that are `accepted`.

    UNPROCESSABLE_ENTITY Unprocessable:
    /// Understood, but not allowed: `detail` says why.

    TOO_MANY_REQUESTS TooManyRequests:
    /// Too many wrong tokens are shown: try again after `Retry-After`.

    INTERNAL_SERVER_ERROR Internal:
    /// Something went wrong here; the log of the service says what.

    SERVICE_UNAVAILABLE Unavailable:
    /// Not now: try again after `Retry-After`.

    GATEWAY_TIMEOUT GatewayTimeout:
    /// Who would have to answer did not in time.
}

fn problem(status: StatusCode, description: &str) -> BTreeMap<String, RefOr<Response>> {
    let content = Content::new(Some(Ref::from_schema_name(SCHEMA)));
    let mut response = ResponseBuilder::new().description(description).content("application/problem+json", content);
    if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
        let header = HeaderBuilder::new().schema(Some(seconds)).description(Some("In so many seconds.")).build();
        response = response.header("Retry-After", header);
    }
    BTreeMap::from([(status.as_str().to_owned(), response.build().into())])
}
