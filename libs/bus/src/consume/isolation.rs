//! What the work queues of one process have in common, so that a message that may crash it is executed with nothing beside
//! it: no message of another queue either, which would be delivered again, and counted, as well.
//!
//! Whoever executes or holds more than one message is *in company*. Whoever has a suspect wishes to be *alone*: all others
//! then finish what is in their handlers, hand back what they hold but for one message each, and wait.
//!
//! So a crash counts at most against one message of every other queue, and only if that was there before the suspect began.
//! Which of them begins is left to chance, anew in each process: an innocent one would have to lose ten times in a row.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, watch},
    time::sleep,
};

/// The queues of a process begin at any moment of this time, so that what crashes at once is not always the first. Unnoticed
/// by people.
const SPREAD: Duration = Duration::from_millis(50);

/// What the work queues of one process have in common. Clones are the same.
#[derive(Clone, Debug)]
pub struct Isolation {
    room: Arc<RwLock<()>>,
    /// How many wish to be alone, or are.
    wishes: watch::Sender<usize>,
}

/// Executing beside others.
pub(super) type Company = OwnedRwLockReadGuard<()>;

/// Executing alone, in the whole process.
pub(super) struct Alone {
    _room: OwnedRwLockWriteGuard<()>,
    _wish: Wish,
}

/// The wish to be alone: as long as there is one, nobody is in company anew.
pub(super) struct Wish(Isolation);

impl Default for Isolation {
    fn default() -> Self {
        Self { room: Arc::default(), wishes: watch::Sender::new(0) }
    }
}

impl Isolation {
    /// Waits for the moment to begin. Safe to drop.
    pub(super) async fn begin(&self) {
        sleep(SPREAD.mul_f64(rand::random())).await;
    }

    /// Waits until nobody is alone, or wishes to be. Safe to drop.
    pub(super) async fn join(&self) -> Company {
        // This is one of the senders.
        let _ = self.wishes.subscribe().wait_for(|wishes| *wishes == 0).await;
        Arc::clone(&self.room).read_owned().await
    }

    /// Waits until somebody wishes to be alone. Safe to drop.
    pub(super) async fn is_wanted(&self) {
        let _ = self.wishes.subscribe().wait_for(|wishes| *wishes > 0).await;
    }

    pub(super) fn wish(&self) -> Wish {
        self.wishes.send_modify(|wishes| *wishes += 1);
        Wish(self.clone())
    }
}

impl Wish {
    /// Waits until nobody is in company any more. Whoever wishes must not be so itself.
    pub(super) async fn granted(self) -> Alone {
        Alone { _room: Arc::clone(&self.0.room).write_owned().await, _wish: self }
    }
}

impl Drop for Wish {
    fn drop(&mut self) {
        self.0.wishes.send_modify(|wishes| *wishes -= 1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn who_wishes_to_be_alone_waits_for_all_and_is_joined_by_nobody() {
        let isolation = Isolation::default();
        let company = [isolation.join().await, isolation.join().await];
        assert_eq!(isolation.is_wanted().now_or_never(), None);
        let wish = isolation.wish();
        isolation.is_wanted().await;
        assert!(isolation.join().now_or_never().is_none());
        let mut alone = Box::pin(wish.granted());
        let [first, second] = company;
        drop(first);
        assert!((&mut alone).now_or_never().is_none());
        drop(second);
        let alone = alone.await;
        assert!(isolation.join().now_or_never().is_none());
        drop(alone);
        isolation.join().await;
        assert_eq!(isolation.is_wanted().now_or_never(), None);
    }

    #[tokio::test]
    async fn one_after_the_other_is_alone_and_who_gave_up_is_waited_for_by_nobody() {
        let isolation = Isolation::default();
        let [first, second, third] = [(); 3].map(|()| isolation.wish());
        let first = first.granted().await;
        let mut second = Box::pin(second.granted());
        assert!((&mut second).now_or_never().is_none());
        drop(third);
        drop(first);
        drop(second.await);
        isolation.join().await;
    }
}
