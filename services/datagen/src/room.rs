//! Room for what is being accepted: in memory, for bodies and all that is made of them on their way to the bus.

use std::{sync::Arc, time::Duration};

use chassis::http::{Limits, Memory, Problem, Reserved};
use http::{
    HeaderMap,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Objects that may be on their way in at a time: fewer than half of the connections that are served, so that there are others
/// for those who only ask, also while the bus takes nothing and each object waits for it.
const MAX_OBJECTS: usize = 256;
/// Bytes of the long bodies that may be on their way in at a time: four times the longest that any setting allows. Of each
/// there are up to five copies at a time (as it came, as data, as the event, as what is sent, and while it is confirmed).
/// Short ones take 16 MiB beside that, if each of the objects is one.
const MAX_BODY_BYTES: u32 = 64 << 20;
/// Uploads of many objects that may be on their way in at a time: each lasts, and holds what its client has not read of the
/// answer. More of them would not be faster.
const MAX_UPLOADS: usize = 8;
/// And with those that wait for their turn.
const MAX_WITH_WAITING_UPLOADS: usize = 2 * MAX_UPLOADS;
/// When a client should come back: what is being accepted is so, or not, within a few seconds.
const RETRY_AFTER: Duration = Duration::from_secs(1);

const _: () = assert!(MAX_OBJECTS + MAX_WITH_WAITING_UPLOADS <= Limits::CONNECTIONS / 2);

/// The room that there is.
pub(crate) struct Room {
    objects: Arc<Semaphore>,
    bytes: Memory,
    uploads: Arc<Semaphore>,
    waiting_uploads: Arc<Semaphore>,
}

/// The room that one request takes until this is dropped.
pub(crate) struct Taken {
    _object: OwnedSemaphorePermit,
    _upload: Option<OwnedSemaphorePermit>,
    _bytes: Reserved,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            objects: Arc::new(Semaphore::new(MAX_OBJECTS)),
            bytes: Memory::new(MAX_BODY_BYTES),
            uploads: Arc::new(Semaphore::new(MAX_UPLOADS)),
            waiting_uploads: Arc::new(Semaphore::new(MAX_WITH_WAITING_UPLOADS)),
        }
    }
}

impl Room {
    /// Takes room for a request with these headers, whose body may have `longest` bytes.
    ///
    /// # Errors
    /// 413 if its body is longer than that, and 503 if there is no room for it now.
    pub(crate) fn take(&self, headers: &HeaderMap, longest: usize) -> Result<Taken, Problem> {
        let bytes = body_bytes(headers, longest)?;
        let object = Arc::clone(&self.objects)
            .try_acquire_owned()
            .map_err(|_| full(format!("{MAX_OBJECTS} objects are being accepted")))?;
        let bytes = self.bytes.reserve(bytes).ok_or_else(|| {
            let most = MAX_BODY_BYTES >> 20;
            full(format!("Objects of {most} MiB are being accepted"))
        })?;
        Ok(Taken { _object: object, _upload: None, _bytes: bytes })
    }

    /// Takes room for an upload that holds up to `bytes` of its body at a time. Waits for it, unless too many do: an upload
    /// lasts longer than a while of waiting, and nothing of it was read yet.
    ///
    /// # Errors
    /// 503 if there is none within `patience`.
    pub(crate) async fn take_upload(&self, bytes: usize, patience: Duration) -> Result<Taken, Problem> {
        let taken = timeout(patience, async {
            let object = Arc::clone(&self.waiting_uploads).try_acquire_owned().ok()?;
            let upload = Arc::clone(&self.uploads).acquire_owned().await.ok()?;
            let bytes = self.bytes.reserve_within(patience, bytes).await?;
            Some(Taken { _object: object, _upload: Some(upload), _bytes: bytes })
        });
        taken.await.ok().flatten().ok_or_else(|| {
            let most = MAX_BODY_BYTES >> 20;
            full(format!("{MAX_UPLOADS} uploads, or objects of {most} MiB, are being accepted"))
        })
    }
}

fn full(of: String) -> Problem {
    Problem::unavailable(RETRY_AFTER, format!("{of}; no more are at a time."))
}

/// How long the body is; if it does not say, as long as it may be.
fn body_bytes(headers: &HeaderMap, longest: usize) -> Result<usize, Problem> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return Ok(longest);
    }
    // The server has read it, too, and refuses what is no number.
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok()).unwrap_or(0);
    match usize::try_from(length) {
        Ok(bytes) if bytes <= longest => Ok(bytes),
        _ => Err(Problem::payload_too_large(format!(
            "The body is longer than is accepted here: {length} bytes, and {longest} are allowed."
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures_util::{StreamExt, stream::FuturesUnordered};

    use super::*;

    const LONGEST: usize = 4 << 20;

    fn take(room: &Room, length: usize) -> Result<Taken, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, length.into());
        room.take(&headers, LONGEST)
    }

    #[test]
    fn long_bodies_have_only_so_much_room_together_and_short_ones_are_not_kept_out() {
        let room = Room::default();
        let mut taken: Vec<Taken> = (0..16).map(|_| take(&room, LONGEST).unwrap()).collect();
        let problem = take(&room, Memory::SHORT_BYTES + 1).err().unwrap();
        assert_eq!(problem.status(), 503);
        assert!(problem.detail().contains("64 MiB"), "{problem}");
        taken.push(take(&room, Memory::SHORT_BYTES).unwrap());
        drop(taken);
        assert!(take(&room, LONGEST).is_ok());
    }

    #[test]
    fn a_body_that_does_not_say_how_long_it_is_takes_room_for_the_longest() {
        let room = Room::default();
        let headers: HeaderMap = [(TRANSFER_ENCODING, "chunked".parse().unwrap())].into_iter().collect();
        let taken: Vec<_> = (0..16).map(|_| room.take(&headers, LONGEST).unwrap()).collect();
        assert!(room.take(&headers, LONGEST).is_err());
        drop(taken);
    }

    #[test]
    fn only_so_many_are_on_their_way_in() {
        let room = Room::default();
        let taken: Vec<_> = (0..MAX_OBJECTS).map(|_| take(&room, 0).unwrap()).collect();
        assert_eq!(take(&room, 0).err().unwrap().status(), 503);
        drop(taken);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_uploads_are_on_their_way_in_and_the_next_one_waits() {
        const PATIENCE: Duration = Duration::from_secs(20);
        let room = Room::default();
        let mut taken = Vec::new();
        for _ in 0..MAX_UPLOADS {
            taken.push(room.take_upload(LONGEST, PATIENCE).await.unwrap());
        }
        assert_eq!(room.take_upload(LONGEST, PATIENCE).await.err().unwrap().status(), 503);
        assert!(take(&room, Memory::SHORT_BYTES + 1).is_ok(), "others have room beside them");
        let next = async {
            tokio::time::sleep(PATIENCE / 2).await;
            taken.pop();
        };
        let (waited, ()) = tokio::join!(room.take_upload(LONGEST, PATIENCE), next);
        assert!(waited.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_uploads_wait_for_their_turn_and_the_next_one_is_told_at_once() {
        const PATIENCE: Duration = Duration::from_secs(20);
        let room = Room::default();
        let mut uploads: FuturesUnordered<_> =
            (0..=MAX_WITH_WAITING_UPLOADS).map(|_| room.take_upload(0, PATIENCE)).collect();
        let mut taken = Vec::new();
        let began = tokio::time::Instant::now();
        let refused = loop {
            match uploads.next().await.unwrap() {
                Ok(upload) => taken.push(upload),
                Err(problem) => break problem,
            }
        };
        assert_eq!((refused.status().as_u16(), taken.len(), began.elapsed()), (503, MAX_UPLOADS, Duration::ZERO));
        taken.clear();
        assert!(uploads.next().await.unwrap().is_ok());
    }

    #[test]
    fn a_body_that_says_that_it_is_too_long_is_refused_unread() {
        let problem = take(&Room::default(), LONGEST + 1).err().unwrap();
        assert_eq!(problem.status(), 413);
        assert!(problem.detail().contains("longer"), "{problem}");
    }
}
