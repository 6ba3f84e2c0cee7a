//! Who waits for an object to finish.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bus::events::ObjectId;
use chassis::http::Limits;
use tokio::sync::watch;

use crate::live::MAX_SUBSCRIBERS;

/// How many may wait at a time: each holds a connection for as long as a minute. With those who look on they hold fewer than
/// half of the connections, so that whoever asks for anything else finds one, also where objects come in by the other half;
/// and datagen, by which they come as a rule, passes on a few requests more than both are.
const MAX_WAITERS: usize = 240;

const _: () = assert!(MAX_WAITERS + MAX_SUBSCRIBERS < Limits::CONNECTIONS / 2);

/// Those who wait, by object.
#[derive(Debug, Default)]
pub struct Waiters(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    objects: HashMap<ObjectId, watch::Sender<()>>,
    count: usize,
    closed: bool,
}

/// One who waits.
#[derive(Debug)]
pub struct Waiter {
    waiters: Arc<Waiters>,
    object: ObjectId,
    news: Option<watch::Receiver<()>>,
}

impl Waiters {
    /// Begins to wait: whoever looks at the record after this misses nothing. None if too many wait.
    pub fn register(self: &Arc<Self>, object: ObjectId) -> Option<Waiter> {
        let mut inner = self.lock();
        if inner.count >= MAX_WAITERS {
            return None;
        }
        inner.count += 1;
        let news = (!inner.closed).then(|| {
            let sender = inner.objects.entry(object).or_insert_with(|| watch::Sender::new(()));
            sender.subscribe()
        });
        Some(Waiter { waiters: Arc::clone(self), object, news })
    }

    /// Something has changed that they may wait for.
    pub fn wake(&self, objects: &[ObjectId]) {
        let inner = self.lock();
        for sender in objects.iter().filter_map(|object| inner.objects.get(object)) {
            sender.send_replace(());
        }
    }

    /// Nobody waits any longer.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.objects.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// Waits for news; false if there will be none.
    pub async fn woken(&mut self) -> bool {
        match &mut self.news {
            Some(news) => news.changed().await.is_ok(),
            None => false,
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.news = None;
        let mut inner = self.waiters.lock();
        inner.count -= 1;
        if inner.objects.get(&self.object).is_some_and(|sender| sender.receiver_count() == 0) {
            inner.objects.remove(&self.object);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn what_happens_between_registering_and_waiting_is_not_missed() {
        let waiters = Arc::new(Waiters::default());
        let (object, other) = (ObjectId::new(), ObjectId::new());
        let mut waiter = waiters.register(object).unwrap();
        waiters.wake(&[other, object]);
        assert!(waiter.woken().await);
        drop(waiter);
        assert!(waiters.lock().objects.is_empty());
    }

    #[tokio::test]
    async fn closing_ends_every_wait() {
        let waiters = Arc::new(Waiters::default());
        let mut waiter = waiters.register(ObjectId::new()).unwrap();
        waiters.close();
        assert!(!waiter.woken().await);
        assert!(!waiters.register(ObjectId::new()).unwrap().woken().await);
    }

    #[test]
    fn only_so_many_may_wait() {
        let waiters = Arc::new(Waiters::default());
        let mut all: Vec<_> = (0..MAX_WAITERS).map(|_| waiters.register(ObjectId::new()).unwrap()).collect();
        assert!(waiters.register(ObjectId::new()).is_none());
        all.pop();
        assert!(waiters.register(ObjectId::new()).is_some());
    }
}
