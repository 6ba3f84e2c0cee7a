//! The document of the front door: of what it serves itself, and of what it forwards as statistics documents that.

use std::time::Duration;

use anyhow::{Context, ensure};
use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use chassis::http::{Elsewhere, may_answer, responses::GatewayTimeout};
use http::{Request, Uri};
use tokio::time::timeout;
use tracing::debug;
use utoipa::openapi::OpenApi;

use crate::forward::Statistics;

/// How long statistics may take: somebody looks at an empty page meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest document that is read: several times what it is.
const MAX_BYTES: usize = 1024 * 1024;
/// The paths that are forwarded begin with this.
const FORWARDED: &str = "/api/";

const MISSING: &str = "\n\n**Incomplete:** statistics cannot be reached now, so that what it serves is missing here: objects \
                       and what became of them, statistics, and totals.";

#[async_trait]
impl Elsewhere for Statistics {
    async fn complete(&self, mut own: OpenApi) -> OpenApi {
        let asked = timeout(PATIENCE, self.document()).await.context("no answer in time");
        match asked.flatten() {
            Ok(theirs) => add(&mut own, theirs),
            Err(error) => {
                debug!("the document of statistics is missing: {error:#}");
                own.info.description.get_or_insert_default().push_str(MISSING);
            }
        }
        own
    }
}

impl Statistics {
    async fn document(&self) -> anyhow::Result<OpenApi> {
        let target = self.target(&Uri::from_static("/openapi.json"))?;
        let answer = self.ask(Request::get(target).body(Body::empty())?).await?;
        ensure!(answer.status().is_success(), "{}", answer.status());
        let document = to_bytes(answer.into_body(), MAX_BYTES).await?;
        Ok(serde_json::from_slice(&document)?)
    }
}

/// Adds what is forwarded; what is served here stays as it is.
fn add(own: &mut OpenApi, mut theirs: OpenApi) {
    theirs.paths.paths.retain(|path, _| path.starts_with(FORWARDED));
    may_answer::<GatewayTimeout>(&mut theirs);
    own.merge(theirs);
}
