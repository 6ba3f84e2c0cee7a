//! A transport that notes what a service does with it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bus::{
    Acknowledge, AcknowledgeError, Delivery, DepthError, Exchange, Message, PublishError, Queue, Receipt, Source,
    Subscription, Transport,
};

use crate::flow::Flow;

/// What all services do, as far as they have done it.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Flow>>);

impl Recorder {
    /// What was noted so far.
    pub fn flow(&self) -> Flow {
        self.note(|flow| flow.clone())
    }

    /// The transport as one service uses it.
    pub fn of(&self, service: &'static str, transport: Arc<dyn Transport>) -> Recorded {
        Recorded { recorder: self.clone(), service, transport }
    }

    fn note<T>(&self, note: impl FnOnce(&mut Flow) -> T) -> T {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A transport whose use is noted.
pub struct Recorded {
    recorder: Recorder,
    service: &'static str,
    transport: Arc<dyn Transport>,
}

#[async_trait]
impl Transport for Recorded {
    async fn ensure(&self, exchange: Exchange, queues: Vec<Queue>) {
        self.transport.ensure(exchange, queues).await;
    }

    async fn publish(&self, messages: Vec<Message>, patience: Duration) -> Vec<Result<(), PublishError>> {
        // Before: it may be delivered before it is confirmed.
        self.recorder.note(|flow| messages.iter().for_each(|message| flow.publishes(self.service, message)));
        self.transport.publish(messages, patience).await
    }

    fn subscribe(&self, source: Source, prefetch: u16) -> Box<dyn Subscription> {
        let queue = match &source {
            Source::Shared(queue) | Source::Exclusive { queue, .. } => Some(queue.name.clone()),
            Source::Broadcast(_) => None,
        };
        self.recorder.note(|flow| flow.subscribes(self.service, queue.as_deref()));
        let subscription = self.transport.subscribe(source, prefetch);
        Box::new(RecordedSubscription { recorder: self.recorder.clone(), service: self.service, queue, subscription })
    }

    async fn depth(&self, queue: &Queue) -> Result<u64, DepthError> {
        self.transport.depth(queue).await
    }

    fn status(&self) -> Result<(), String> {
        self.transport.status()
    }

    async fn failed(&self) -> String {
        self.transport.failed().await
    }

    async fn close(&self) {
        self.transport.close().await;
    }
}

struct RecordedSubscription {
    recorder: Recorder,
    service: &'static str,
    queue: Option<String>,
    subscription: Box<dyn Subscription>,
}

#[async_trait]
impl Subscription for RecordedSubscription {
    async fn next(&mut self) -> Option<Delivery> {
        let delivery = self.subscription.next().await?;
        self.recorder.note(|flow| flow.consumes(self.service, self.queue.as_deref(), &delivery.message));
        Some(delivery)
    }

    async fn acknowledge(&mut self, receipt: Receipt, scope: Acknowledge) -> Result<(), AcknowledgeError> {
        self.subscription.acknowledge(receipt, scope).await
    }
}
