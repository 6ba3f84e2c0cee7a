//! Room in memory for what is long.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// So much memory for bodies or answers that are long, all together. What is short takes nothing of it: whoever has little
/// to say or to hear is not kept out by those who have much. Clones are the same.
#[derive(Clone, Debug)]
pub struct Memory {
    bytes: u32,
    free: Arc<Semaphore>,
}

/// A part of it, which is free again when this is dropped.
#[derive(Debug)]
pub struct Reserved {
    memory: Memory,
    permit: OwnedSemaphorePermit,
}

impl Memory {
    /// Up to this length in bytes something is short. As many as there are connections are 40 MiB.
    pub const SHORT_BYTES: usize = 64 << 10;

    /// So many bytes, which are all free.
    pub fn new(bytes: u32) -> Self {
        Self { bytes, free: Arc::new(Semaphore::new(bytes as usize)) }
    }

    /// Takes what something needs that has so many bytes; all there is, if that is less. None if it is not free.
    pub fn reserve(&self, bytes: usize) -> Option<Reserved> {
        let permit = Arc::clone(&self.free).try_acquire_many_owned(self.needed(bytes)).ok()?;
        Some(Reserved { memory: self.clone(), permit })
    }

    /// As [`Memory::reserve`], as soon as it is free. None if it is not within `patience`.
    pub async fn reserve_within(&self, patience: Duration, bytes: usize) -> Option<Reserved> {
        let permit =
            timeout(patience, Arc::clone(&self.free).acquire_many_owned(self.needed(bytes))).await.ok()?.ok()?;
        Some(Reserved { memory: self.clone(), permit })
    }

    fn needed(&self, bytes: usize) -> u32 {
        match u32::try_from(bytes) {
            Ok(bytes) if bytes as usize <= Self::SHORT_BYTES => 0,
            Ok(bytes) => bytes.min(self.bytes),
            Err(_) => self.bytes,
        }
    }
}

impl Reserved {
    /// The bytes for which it was reserved. What they need is free again when the last of them is dropped, which a connection
    /// does when it has sent them; what was reserved beyond that, at once. None if they need more, and that is not free.
    pub fn hold(self, bytes: Vec<u8>) -> Option<Bytes> {
        struct Held(Vec<u8>, #[allow(dead_code, reason = "to be dropped")] OwnedSemaphorePermit);
        impl AsRef<[u8]> for Held {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        let Self { memory, mut permit } = self;
        let (has, needed) = (permit.num_permits(), memory.needed(bytes.len()));
        match needed.checked_sub(u32::try_from(has).unwrap_or(u32::MAX)) {
            Some(missing) => permit.merge(memory.free.try_acquire_many_owned(missing).ok()?),
            None => drop(permit.split(has - needed as usize)),
        }
        Some(Bytes::from_owner(Held(bytes, permit)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const ALL: usize = 1 << 20;
    const PATIENCE: Duration = Duration::from_secs(2);

    fn memory() -> Memory {
        Memory::new(ALL as u32)
    }

    #[test]
    fn what_is_long_has_only_so_much_together_and_what_is_short_is_not_kept_out() {
        let memory = memory();
        let half = memory.reserve(ALL / 2).unwrap();
        let other_half = memory.reserve(ALL / 2).unwrap();
        assert!(memory.reserve(Memory::SHORT_BYTES + 1).is_none());
        assert!(memory.reserve(Memory::SHORT_BYTES).is_some());
        drop((half, other_half));
        let all = memory.reserve(2 * ALL).unwrap();
        assert!(memory.reserve(ALL / 2).is_none());
        drop(all);
        assert!(memory.reserve(usize::MAX).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_waited_for_but_not_for_long() {
        let memory = memory();
        let all = memory.reserve(ALL).unwrap();
        assert!(memory.reserve_within(PATIENCE, ALL).await.is_none());
        assert!(memory.reserve_within(PATIENCE, 1).await.is_some());
        let sent = async {
            tokio::time::sleep(PATIENCE / 2).await;
            drop(all);
        };
        let (reserved, ()) = tokio::join!(memory.reserve_within(PATIENCE, ALL), sent);
        assert!(reserved.is_some());
    }

    #[test]
    fn bytes_hold_what_they_need_until_the_last_of_them_is_dropped() {
        let memory = memory();
        for reserved in [ALL, ALL / 2, ALL / 4, 0] {
            let bytes = memory.reserve(reserved).unwrap().hold(vec![7; ALL / 2]).unwrap();
            let last = bytes.slice(ALL / 2 - 1..);
            drop(bytes);
            assert!(memory.reserve(ALL / 2).is_some(), "{reserved}: no more is held than is needed");
            assert!(memory.reserve(ALL / 2 + 1).is_none(), "{reserved}: a byte is not sent yet");
            assert_eq!(last[..], [7]);
            drop(last);
            assert!(memory.reserve(ALL).is_some(), "{reserved}");
        }
    }

    #[test]
    fn bytes_that_need_more_than_there_is_are_not_held() {
        let memory = memory();
        let little = memory.reserve(ALL / 4).unwrap();
        let much = memory.reserve(ALL / 2).unwrap();
        assert!(little.hold(vec![0; ALL * 3 / 4]).is_none());
        drop(much);
        assert!(memory.reserve(ALL).is_some());
    }
}
