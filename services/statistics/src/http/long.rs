//! Answers that may be long.

use std::time::Duration;

use axum::{
    body::Body,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use chassis::http::{Memory, Problem, Reserved};
use serde::Serialize;

use super::RETRY_AFTER;

/// Bytes of long answers that may be on their way at a time: about what the longest one has, with 32 MiB of partial results and
/// as much that was gathered of them. While one is made there are up to three copies of it, but no more are made at a time than
/// the record has readers.
const MAX_BYTES: u32 = 64 << 20;
/// How long it is waited for others to be sent.
const PATIENCE: Duration = Duration::from_secs(2);

/// The memory for them.
#[derive(Clone, Debug)]
pub struct LongAnswers(Memory);

impl Default for LongAnswers {
    fn default() -> Self {
        Self(Memory::new(MAX_BYTES))
    }
}

impl LongAnswers {
    /// Takes what an answer of about so many bytes needs, before it is read.
    ///
    /// # Errors
    /// 503 if that is not free within a while.
    pub(super) async fn reserve(&self, bytes: i64) -> Result<Reserved, Problem> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.0.reserve_within(PATIENCE, bytes).await.ok_or_else(too_many)
    }
}

/// An answer for which was reserved what it needs. That is free again when it has been sent, or never will be.
pub(super) fn long(reserved: Reserved, answer: &impl Serialize) -> Result<Response, Problem> {
    // It may have become longer since.
    let json = reserved.hold(serde_json::to_vec(answer)?).ok_or_else(too_many)?;
    Ok(([(CONTENT_TYPE, "application/json")], Body::from(json)).into_response())
}

fn too_many() -> Problem {
    let most = MAX_BYTES >> 20;
    Problem::unavailable(RETRY_AFTER, format!("Answers of {most} MiB are on their way; no more are at a time."))
}
