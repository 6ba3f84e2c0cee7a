//! `POST /api/objects` with a line for each of many objects: NDJSON in, NDJSON out.
//!
//! **Both ways at once.** Lines are read, published in windows (`upload`) and answered (`answers`) while the client goes on
//! sending. Some clients read the answer meanwhile; most, like curl or any simple program, send everything before they read
//! anything. Both must get through, and neither may make memory grow. So:
//!
//! - Reading and publishing never wait for the answer to be taken: they are a task of their own, which is not held up when the
//!   answer cannot be sent. What is not taken waits in memory.
//! - What waits there has a bound, which is more than the answer to 200 000 objects. Most of it are ids. Beyond the bound they
//!   are left out, and what there is to say of neighbouring windows becomes one line; so whoever never reads can send for ever
//!   and the answer does not grow. (With an `Idempotency-Key`, whoever wants the ids sends the same again, and reads.) Only
//!   refused lines must each be told of: when too many of them are not read, the upload is stopped.
//! - A server closes a connection on which an answer is not taken; not this one, as long as the client sends, or has to wait
//!   because nothing is read.
//! - Whoever is stopped may be sending still, and will read only afterwards: what they send is read and thrown away for a
//!   while, so that they get to know where they were stopped.
//!
//! **Too much.** While too much waits behind the door nothing is read, which holds up the client. An upload ends only when
//! there is no progress for some time: no byte, no room, or no confirmation.

mod answers;
mod lines;
mod upload;

use std::{convert::Infallible, sync::Arc};

use axum::{
    RequestExt,
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use chassis::http::{Pieces, Problem, Submitter};
use futures_util::StreamExt;
use http::{HeaderMap, header::CONTENT_TYPE};
use tokio_util::task::AbortOnDropHandle;

pub(crate) use self::answers::BulkLine;
use self::{
    answers::Answers,
    lines::Lines,
    upload::{NO_PROGRESS, Upload, WINDOW_BYTES},
};
use crate::{door::Door, identity::Key, submission::NDJSON};

pub(crate) async fn create_objects(
    door: Arc<Door>,
    submitter: Option<Submitter>,
    headers: &HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let key = Key::of(submitter, headers)?;
    let longest = door.bus.max_event_bytes();
    // A window that is nearly full, and the line that is read next.
    let room = door.room.take_upload(WINDOW_BYTES + longest, NO_PROGRESS).await?;
    let pieces: Pieces = request.extract().await?;
    // Whoever waits to be told to send (`Expect: 100-continue`) is told so by this, and the answer must not come before.
    let lines = Lines::begin(pieces, longest).await?;
    let (answers, unread) = Answers::new();
    let upload = AbortOnDropHandle::new(tokio::spawn(Upload { door, key, lines, answers, room }.run()));
    // When nobody is there any more to be answered, the upload ends with the answer.
    let body = Body::from_stream(unread.map(move |line| {
        let _upload = &upload;
        Ok::<_, Infallible>(line)
    }));
    Ok(([(CONTENT_TYPE, NDJSON)], body).into_response())
}
