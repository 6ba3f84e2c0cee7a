//! What is served, as an OpenAPI document: generated from the routes themselves, so that none can be left out.

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use axum::extract::State;
use serde_json::Value;
use utoipa::{
    IntoResponses,
    openapi::{
        Components, InfoBuilder, License, OpenApi, OpenApiBuilder, SecurityRequirement, ServerBuilder, Tag,
        path::Operation,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
        tag::TagBuilder,
    },
};
use utoipa_axum::router::OpenApiRouter;

use super::{
    Json, problem,
    responses::{Internal, TooManyRequests, Unauthorized},
};

/// The tag of what every service serves.
const SERVICE: &str = "service";

/// What is served: routes that document themselves, and whoever documents what they only pass on.
pub struct Interface {
    /// The routes.
    pub router: OpenApiRouter,
    /// Nobody, as a rule.
    pub elsewhere: Option<Arc<dyn Elsewhere>>,
}

/// Documents what a service only passes on to others.
#[async_trait]
pub trait Elsewhere: Send + Sync + 'static {
    /// Adds to a service's own document what others say of theirs, or to its description what is missing. Asked whenever the
    /// document is, so it takes no longer than whoever opens a page would wait.
    ///
    /// Documents are JSON here, because utoipa writes some that it cannot read.
    async fn complete(&self, own: Value) -> Value;
}

impl From<OpenApiRouter> for Interface {
    fn from(router: OpenApiRouter) -> Self {
        Self { router, elsewhere: None }
    }
}

/// The document that a router begins with. `tags`, each with its description, group what it serves.
pub fn document(title: &str, description: &str, tags: &[(&str, &str)]) -> OpenApi {
    let mut license = License::new(env!("CARGO_PKG_LICENSE"));
    license.identifier = Some(env!("CARGO_PKG_LICENSE").to_owned());
    let info = InfoBuilder::new()
        .title(title)
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(description))
        .license(Some(license));
    let tags = tags.iter().map(|(name, description)| tag(name, description));
    OpenApiBuilder::new().info(info.build()).tags(Some(tags)).build()
}

fn tag(name: &str, description: &str) -> Tag {
    TagBuilder::new().name(name).description(Some(description)).build()
}

/// Says of every operation that it may be answered like this, too.
fn may_answer<R: IntoResponses>(document: &mut OpenApi) {
    for operation in operations(document) {
        for (status, response) in R::responses() {
            operation.responses.responses.entry(status).or_insert(response);
        }
    }
}

/// Says of every operation that whoever asks for it shows a token.
pub(super) fn needs_token(document: &mut OpenApi) {
    const NAME: &str = "token";
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("One of `API_TOKEN`.")).build();
    let components = document.components.get_or_insert_with(Components::new);
    components.security_schemes.insert(NAME.to_owned(), SecurityScheme::Http(bearer).into());
    for operation in operations(document) {
        operation.security = Some(vec![SecurityRequirement::new(NAME, [""; 0])]);
    }
    may_answer::<Unauthorized>(document);
    may_answer::<TooManyRequests>(document);
}

fn operations(document: &mut OpenApi) -> impl Iterator<Item = &mut Operation> {
    document.paths.paths.values_mut().flat_map(|item| {
        let methods = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        methods.into_iter().flatten()
    })
}

/// The document of an interface, whole.
#[derive(Clone)]
pub(super) struct Document {
    own: Arc<Value>,
    elsewhere: Option<Arc<dyn Elsewhere>>,
}

impl Document {
    pub(super) fn new(own: OpenApi, elsewhere: Option<Arc<dyn Elsewhere>>) -> Self {
        let own = serde_json::to_value(finished(own)).expect("a document is plain data, which is always JSON");
        Self { own: Arc::new(own), elsewhere }
    }
}

/// The interface as an OpenAPI document
///
/// This document. It is generated from the code that answers.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "service",
    responses((status = OK, description = "OpenAPI 3.1.", body = Object))
)]
pub(super) async fn openapi(State(document): State<Document>) -> Json<Value> {
    let own = Value::clone(&document.own);
    Json(match document.elsewhere {
        Some(elsewhere) => elsewhere.complete(own).await,
        None => own,
    })
}

/// Adds what holds for all of it.
fn finished(mut document: OpenApi) -> OpenApi {
    // Wherever the document is: it may be behind a path that this process knows nothing of.
    document.servers = Some(vec![ServerBuilder::new().url(".").description(Some("Where this document is.")).build()]);
    // Any handler may have a bug.
    may_answer::<Internal>(&mut document);
    let components = document.components.get_or_insert_with(Components::new);
    components.schemas.insert(problem::SCHEMA.to_owned(), problem::schema());
    let tags = document.tags.get_or_insert_default();
    // Last, also behind what was added to a document that was finished already.
    tags.retain(|tag| tag.name != SERVICE);
    tags.push(tag(SERVICE, "For those who run it: health, metrics, and this."));
    // Several may bring the same.
    let mut seen = HashSet::new();
    tags.retain(|tag| seen.insert(tag.name.clone()));
    document
}
