//! Consuming with faults.

use std::{
    collections::{BTreeMap, VecDeque},
    future::pending,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bus::{Acknowledge, AcknowledgeError, Delivery, Receipt, Source, Subscription};
use tokio::time::timeout;

use super::{Fault, faulty::Link, injector::Breach};

/// How long a message is held back for another one that could come before it.
const MAX_HELD_BACK: Duration = Duration::from_millis(500);
/// A message that came so often is not made to come again: after 20 deliveries a consumer rightly takes it for one that
/// crashes whoever executes it. The rest is for the crashes.
const MAX_RETURNS: u64 = 8;

/// A subscription around another one. It numbers the deliveries itself: one of its own may be the same message again.
pub(super) struct FaultySubscription {
    link: Arc<Link>,
    source: Source,
    prefetch: u16,
    inner: Box<dyn Subscription>,
    session: u64,
    last_tag: u64,
    /// What was delivered and not acknowledged.
    given: BTreeMap<Receipt, Delivery>,
    /// What comes next; with the inner subscription's receipts, like everything here.
    waiting: VecDeque<Delivery>,
}

impl FaultySubscription {
    pub(super) fn new(link: Arc<Link>, source: Source, prefetch: u16) -> Self {
        let inner = link.transport.subscribe(source.clone(), prefetch);
        let (given, waiting) = (BTreeMap::new(), VecDeque::new());
        Self { link, source, prefetch, inner, session: 1, last_tag: 0, given, waiting }
    }

    fn strikes(&self, fault: Fault) -> bool {
        self.link.chance.strikes(fault)
    }

    /// Takes the next message from the inner subscription; false when that is closed. Safe to drop.
    async fn take(&mut self) -> bool {
        let Some(delivery) = self.inner.next().await else { return false };
        let receipt = delivery.receipt;
        if self.strikes(Fault::DuplicateDelivery) {
            self.waiting.push_back(delivery.clone());
        }
        self.waiting.push_back(delivery);
        if self.link.chance.breaks(Breach::AcknowledgesWhatIsDelivered) {
            let _ = self.inner.acknowledge(receipt, Acknowledge::One).await;
        }
        true
    }

    fn give(&mut self, delivery: Delivery) -> Delivery {
        self.last_tag += 1;
        let receipt = Receipt::new(self.session, self.last_tag);
        self.given.insert(receipt, delivery.clone());
        Delivery { receipt, ..delivery }
    }

    /// Whether all that is here may come again.
    fn may_return(&self) -> bool {
        self.given.values().chain(&self.waiting).all(|delivery| delivery.earlier_deliveries < MAX_RETURNS)
    }

    fn maybe_end_session(&mut self) {
        if self.may_return() && self.strikes(Fault::EndSession) {
            self.given.clear();
            self.waiting.clear();
            self.session += 1;
            self.last_tag = 0;
            // The new one begins to consume when it is asked; by then the old one is dropped.
            self.inner = self.link.transport.subscribe(self.source.clone(), self.prefetch);
        }
    }

    /// Whether this delivery was acknowledged, as far as anybody knows.
    async fn acknowledge_one(&mut self, mut delivery: Delivery) -> Result<(), AcknowledgeError> {
        let faults = [Fault::LoseAcknowledgement, Fault::ForgetAcknowledgement];
        let may_return = delivery.earlier_deliveries < MAX_RETURNS;
        let Some(fault) = may_return.then(|| self.link.chance.draw(&faults)).flatten() else {
            return self.inner.acknowledge(delivery.receipt, Acknowledge::One).await;
        };
        self.link.chance.count(fault);
        delivery.earlier_deliveries += 1;
        self.waiting.push_back(delivery);
        if fault == Fault::LoseAcknowledgement { Err(AcknowledgeError::Lost) } else { Ok(()) }
    }
}

#[async_trait]
impl Subscription for FaultySubscription {
    async fn next(&mut self) -> Option<Delivery> {
        // It acknowledges by the same reference: until it stops waiting, nothing changes.
        if self.given.len() >= usize::from(self.prefetch.max(1)) {
            return pending().await;
        }
        while self.waiting.is_empty() {
            if !self.take().await {
                return None;
            }
            self.maybe_end_session();
        }
        if self.link.chance.draw(&[Fault::ReorderDelivery]).is_some() {
            let _ = timeout(MAX_HELD_BACK, self.take()).await;
            if self.waiting.len() > 1 {
                self.waiting.rotate_left(1);
                self.link.chance.count(Fault::ReorderDelivery);
            }
        }
        let delivery = self.waiting.pop_front()?;
        let delivery = self.give(delivery);
        self.link.chance.survive(Fault::CrashAfter).await;
        Some(delivery)
    }

    async fn acknowledge(&mut self, receipt: Receipt, scope: Acknowledge) -> Result<(), AcknowledgeError> {
        self.link.chance.survive(Fault::CrashBefore).await;
        // Of another session: what is void is known no more.
        let known = self.given.remove(&receipt);
        let mut result = known.as_ref().map(|_| ()).ok_or(AcknowledgeError::Lost);
        let mut covered = Vec::from_iter(known);
        if scope == Acknowledge::UpTo {
            let later = self.given.split_off(&receipt);
            covered.extend(std::mem::replace(&mut self.given, later).into_values());
        }
        for delivery in covered {
            result = result.and(self.acknowledge_one(delivery).await);
        }
        self.maybe_end_session();
        self.link.chance.survive(Fault::CrashAfter).await;
        result
    }
}
