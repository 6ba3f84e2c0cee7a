//! Subscriptions: they take what waits when they are asked, so that nothing lies in between.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tracing::info;

use super::{
    shared::Shared,
    state::{HolderId, ListenerId, Next},
    writer::Order,
};
use crate::{
    message::Message,
    topology::Queue,
    transport::{Acknowledge, AcknowledgeError, Delivery, Owner, Receipt, Subscription},
};

/// There is nothing to build anew here: one session for ever.
const SESSION: u64 = 1;

fn delivery(tag: u64, earlier_deliveries: u64, message: &Message) -> Delivery {
    Delivery { receipt: Receipt { session: SESSION, tag }, earlier_deliveries, message: message.clone() }
}

/// Consumes a queue.
pub(super) struct Consumer {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
    queue: Queue,
    prefetch: u16,
    owner: Option<Owner>,
    step: Step,
}

/// How far a consumer is. It is the owner, if it must be, from `Ordered` on.
enum Step {
    Begin,
    /// Others own it; its place among what does not work.
    WaitsForOwner(String),
    Ordered(oneshot::Receiver<HolderId>),
    Consumes(HolderId),
    Ended,
}

impl Consumer {
    pub(super) fn new(
        shared: Arc<Shared>,
        orders: mpsc::Sender<Order>,
        queue: Queue,
        prefetch: u16,
        owner: Option<Owner>,
    ) -> Self {
        Self { shared, orders, queue, prefetch, owner, step: Step::Begin }
    }

    /// Takes the steps until it consumes; none when the bus is closed. Safe to drop and to call again.
    async fn begin(&mut self) -> Option<HolderId> {
        loop {
            match &mut self.step {
                Step::Consumes(holder) => return Some(*holder),
                Step::Ended => return None,
                Step::Begin | Step::WaitsForOwner(_) => {
                    let left = self.shared.state().owner_left.clone();
                    let left = left.notified();
                    let permit = self.orders.reserve().await.ok();
                    let Some(permit) = permit.filter(|_| !self.shared.state().closed) else {
                        self.step = Step::Ended;
                        continue;
                    };
                    if !self.owner.as_ref().is_none_or(|owner| self.shared.state().own(owner)) {
                        drop(permit);
                        wait_for_owner(&self.shared, &self.queue.name, &mut self.step);
                        left.await;
                        continue;
                    }
                    if let Step::WaitsForOwner(place) = &self.step {
                        self.shared.set_trouble(place, None);
                    }
                    let (holder, held) = oneshot::channel();
                    let (queue, prefetch, owner) = (self.queue.clone(), self.prefetch, self.owner.clone());
                    permit.send(Order::Hold { queue, prefetch, owner, holder });
                    self.step = Step::Ordered(held);
                }
                Step::Ordered(held) => match held.await {
                    Ok(holder) => self.step = Step::Consumes(holder),
                    // Refused, which the status tells, or closed.
                    Err(_) if self.shared.state().closed => self.step = Step::Ended,
                    Err(_) => pending().await,
                },
            }
        }
    }
}

/// Says that somebody else is at work.
fn wait_for_owner(shared: &Shared, queue: &str, step: &mut Step) {
    static WAITING: AtomicU64 = AtomicU64::new(1);
    if matches!(step, Step::Begin) {
        let place = format!("consuming {queue} ({})", WAITING.fetch_add(1, Ordering::Relaxed));
        info!(queue, "another one is active, waiting for it to end");
        shared.set_trouble(&place, Some("another one is active, waiting for it to end".to_owned()));
        *step = Step::WaitsForOwner(place);
    }
}

#[async_trait]
impl Subscription for Consumer {
    async fn next(&mut self) -> Option<Delivery> {
        let holder = self.begin().await?;
        loop {
            let next = {
                let mut state = self.shared.state();
                let next = state.next(holder);
                if state.wants_loading(holder) {
                    self.shared.news.notify_one();
                }
                next
            };
            match next {
                Next::Delivery { tag, earlier_deliveries, message } => {
                    return Some(delivery(tag, u64::from(earlier_deliveries), &message));
                }
                Next::Nothing(came) => came.await,
                // It acknowledges by the same reference: until it stops waiting, nothing changes.
                Next::Full => {
                    self.shared.ended.cancelled().await;
                    return None;
                }
                Next::Closed => return None,
            }
        }
    }

    async fn acknowledge(&mut self, receipt: Receipt, scope: Acknowledge) -> Result<(), AcknowledgeError> {
        let Step::Consumes(holder) = self.step else { return Err(AcknowledgeError::Lost) };
        let result = self.shared.state().acknowledge(holder, receipt.tag, scope);
        self.shared.news.notify_one();
        result
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.step, Step::Ended) {
            Step::Begin | Step::Ended => {}
            Step::WaitsForOwner(place) => self.shared.set_trouble(&place, None),
            Step::Ordered(mut held) => {
                held.close();
                // If it is not told yet, the writer finds nobody to tell, and releases it.
                if let Ok(holder) = held.try_recv() {
                    self.shared.state().release(holder);
                }
            }
            Step::Consumes(holder) => {
                self.shared.state().release(holder);
                self.shared.news.notify_one();
            }
        }
    }
}

/// Listens to broadcasts, from the moment on in which it was made.
pub(super) struct Hearer {
    shared: Arc<Shared>,
    id: Option<ListenerId>,
}

impl Hearer {
    /// None: it was refused, and hears nothing.
    pub(super) fn new(shared: Arc<Shared>, id: Option<ListenerId>) -> Self {
        Self { shared, id }
    }
}

#[async_trait]
impl Subscription for Hearer {
    async fn next(&mut self) -> Option<Delivery> {
        let Some(id) = self.id else {
            self.shared.ended.cancelled().await;
            return None;
        };
        loop {
            let came = {
                let mut state = self.shared.state();
                let listener = state.listener(id)?;
                if let Some((tag, message)) = listener.take() {
                    return Some(delivery(tag, 0, &message));
                }
                listener.came.clone()
            };
            came.notified().await;
        }
    }

    async fn acknowledge(&mut self, receipt: Receipt, scope: Acknowledge) -> Result<(), AcknowledgeError> {
        let known = self.id.is_some_and(|id| {
            let mut state = self.shared.state();
            state.listener(id).is_some_and(|listener| listener.acknowledge(receipt.tag, scope == Acknowledge::UpTo))
        });
        if known { Ok(()) } else { Err(AcknowledgeError::Lost) }
    }
}

impl Drop for Hearer {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.shared.state().leave(id);
        }
    }
}
