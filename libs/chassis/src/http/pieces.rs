//! A body that is read as it arrives.

use axum::{
    body::BodyDataStream,
    extract::{FromRequest, Request},
};
use bytes::Bytes;
use futures_util::StreamExt;

use super::{Problem, bounded_body::Arrival, extract::not_arrived};

/// A body that is read piece by piece, however long it is all in all. Only as much of it is in memory as was read and not
/// dropped: whoever stops reading stops the client.
///
/// As any body it stalls no longer than [`Limits::body_stall`](super::Limits) while somebody waits for it, and takes no longer
/// than [`Limits::body_timeout`](super::Limits); but the one counts anew with each [wait](Self::next), and the other with each
/// [progress](Self::progress). And while nobody waits for it, it is not the client who stalls if it does not read the answer.
pub struct Pieces {
    body: BodyDataStream,
    /// None if nothing bounds it.
    arrival: Option<Arrival>,
}

impl Pieces {
    /// The next piece; none at the end. Safe to drop while it waits.
    ///
    /// # Errors
    /// 408 if it does not come in time, 400 if the client is gone.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        // Also of a wait that is given up nothing is left.
        let _wait = self.arrival.as_ref().map(Arrival::wait);
        self.body.next().await.transpose().map_err(|error| not_arrived(&error))
    }

    /// Something has come of what was read: the rest has the time of a whole body.
    pub fn progress(&self) {
        if let Some(arrival) = &self.arrival {
            arrival.count_anew();
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Pieces {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let arrival = request.extensions().get().cloned();
        Ok(Self { body: request.into_body().into_data_stream(), arrival })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{convert::Infallible, time::Duration};

    use axum::{RequestExt, body::Body};
    use futures_util::stream;
    use tokio::time::{Instant, sleep, timeout};

    use super::*;
    use crate::http::{bounded_body::BoundedBody, turn::Turn};

    const STALL: Duration = Duration::from_secs(15);
    const TOTAL: Duration = Duration::from_secs(120);

    /// A body of one piece whose end does not come, and whose turn it is.
    async fn one_piece() -> (Pieces, Turn) {
        let pieces = stream::iter([Ok::<_, Infallible>("piece")]).chain(stream::pending());
        let turn = Turn::new();
        let arrival = Arrival::new(STALL, TOTAL, turn.clone());
        let body = BoundedBody::new(Body::from_stream(pieces), arrival.clone());
        let mut request = Request::new(Body::new(body));
        request.extensions_mut().insert(arrival);
        (request.extract().await.unwrap(), turn)
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_pause_of_ours_a_client_has_the_same_time_again() {
        let (mut pieces, _) = one_piece().await;
        assert!(pieces.next().await.unwrap().is_some());
        assert!(timeout(STALL / 2, pieces.next()).await.is_err());
        // What came is done meanwhile; nobody waits for more.
        sleep(2 * STALL).await;
        let began = Instant::now();
        let problem = pieces.next().await.unwrap_err();
        assert_eq!((problem.status().as_u16(), began.elapsed()), (408, STALL), "{problem}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_the_clients_turn_while_somebody_waits_for_it_or_nobody_reads_it_any_more() {
        let (mut pieces, turn) = one_piece().await;
        let since = async || {
            sleep(STALL / 2).await;
            turn.since().elapsed()
        };
        assert_eq!(since().await, Duration::ZERO, "nothing is read yet");
        assert!(pieces.next().await.unwrap().is_some());
        assert_eq!(since().await, Duration::ZERO, "a piece is being done");
        let (waited, waits) = tokio::join!(timeout(STALL * 3 / 4, pieces.next()), since());
        assert!(waited.is_err());
        assert_eq!(waits, STALL / 2);
        assert_eq!(since().await, Duration::ZERO, "nobody waits any more");
        drop(pieces);
        assert_eq!(since().await, STALL / 2);
    }
}
