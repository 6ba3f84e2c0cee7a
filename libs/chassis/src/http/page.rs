//! The page to read and to try what is served: [Swagger UI](https://swagger.io/tools/swagger-ui/), which is part of the
//! program and needs nothing from anywhere else.

use std::sync::Arc;

use axum::{
    extract::OriginalUri,
    response::{Html, IntoResponse, Redirect, Response},
};
use http::header::{CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use utoipa_swagger_ui::Config;

use super::{Path, Problem};

const PAGE: &str = include_str!("page/page.html");
const START: &str = include_str!("page/start.js");

/// The browser sees to it that the page asks nobody else for anything. Swagger UI styles in place, and its styles contain
/// images.
const ONLY_FROM_HERE: &str =
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'";

/// A page to read and to try all of this
#[utoipa::path(
    get,
    path = "/docs",
    tag = "service",
    responses((status = OK, description = "For a browser.", body = String, content_type = "text/html"))
)]
pub(super) async fn page(OriginalUri(asked): OriginalUri) -> Response {
    // What the page names is relative, because it may be behind any path; so there is one place to name it from.
    if asked.path().ends_with('/') {
        return Redirect::permanent("../docs").into_response();
    }
    ([(CONTENT_SECURITY_POLICY, ONLY_FROM_HERE)], Html(PAGE)).into_response()
}

/// What the page consists of.
pub(super) async fn file(Path(name): Path<String>) -> Result<Response, Problem> {
    if name == "start.js" {
        return Ok(([(CONTENT_TYPE, "text/javascript")], START).into_response());
    }
    let file = utoipa_swagger_ui::serve(&name, Arc::new(Config::default()));
    let Some(file) = file.map_err(|error| Problem::internal(anyhow::anyhow!("{name}: {error}")))? else {
        return Err(Problem::not_found(format!("The page has no {name}.")));
    };
    let mut response = ([(CONTENT_TYPE, file.content_type)], file.bytes.into_owned()).into_response();
    if file.gzpipped {
        response.headers_mut().insert(CONTENT_ENCODING, http::HeaderValue::from_static("gzip"));
    }
    Ok(response)
}
