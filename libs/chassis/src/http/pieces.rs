//! A body that is read as it arrives.

use axum::{
    body::BodyDataStream,
    extract::{FromRequest, Request},
};
use bytes::Bytes;
use futures_util::StreamExt;

use super::{Problem, bounded_body::BodyTime, extract::not_arrived};

/// A body that is read piece by piece, however long it is all in all. Only as much of it is in memory as was read and not
/// dropped: whoever stops reading stops the client.
///
/// As any body it stalls no longer than [`Limits::body_stall`](super::Limits) while somebody waits for it, and takes no longer
/// than [`Limits::body_timeout`](super::Limits); but that counts anew with each [progress](Self::progress).
pub struct Pieces {
    body: BodyDataStream,
    /// None if nothing bounds it.
    time: Option<BodyTime>,
}

impl Pieces {
    /// The next piece; none at the end. Safe to drop while it waits.
    ///
    /// # Errors
    /// 408 if it does not come in time, 400 if the client is gone.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        self.body.next().await.transpose().map_err(|error| not_arrived(&error))
    }

    /// Something has come of what was read: the rest has the time of a whole body.
    pub fn progress(&self) {
        if let Some(time) = &self.time {
            time.count_anew();
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Pieces {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let time = request.extensions().get().cloned();
        Ok(Self { body: request.into_body().into_data_stream(), time })
    }
}
