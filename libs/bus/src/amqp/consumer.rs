//! A subscription, and the task that keeps it going over one connection after another.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use futures_util::StreamExt;
use lapin::{
    Acker, Channel,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::{
    runtime::Handle,
    sync::mpsc,
    time::{interval, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    CLOSE_TIMEOUT, convert, declare,
    link::{IDLE_CHECK, Link, LinkError, in_time},
    status::Status,
    supervise::{Part, supervise},
};
use crate::{
    message::Message,
    transport::{Acknowledge, AcknowledgeError, Delivery, Receipt, Source, Subscription},
};

/// A delivery and what it is acknowledged with.
struct Arrival {
    session: u64,
    acker: Acker,
    earlier_deliveries: u64,
    message: Message,
}

pub(super) struct AmqpSubscription {
    arrivals: mpsc::Receiver<Arrival>,
    session: u64,
    /// The deliveries of this session that are not acknowledged, at most `prefetch`.
    ackers: BTreeMap<u64, Acker>,
    tag: u64,
    _ends_the_task: DropGuard,
}

impl AmqpSubscription {
    pub(super) fn start(
        link: Arc<Link>,
        status: Status,
        source: Source,
        prefetch: u16,
        closed: &CancellationToken,
    ) -> Self {
        let (sender, arrivals) = mpsc::channel(usize::from(prefetch).max(1));
        let closed = closed.child_token();
        let ends_the_task = closed.clone().drop_guard();
        let consumer = Consumer { link, status: status.clone(), source, prefetch, session: 0, arrivals: sender };
        tokio::spawn(supervise(consumer, status, closed));
        Self { arrivals, session: 0, ackers: BTreeMap::new(), tag: 0, _ends_the_task: ends_the_task }
    }
}

/// The task behind a subscription.
struct Consumer {
    link: Arc<Link>,
    status: Status,
    source: Source,
    prefetch: u16,
    session: u64,
    arrivals: mpsc::Sender<Arrival>,
}

impl Part for Consumer {
    fn name(&self) -> String {
        match &self.source {
            Source::Shared(queue) | Source::Exclusive { queue, .. } => {
                format!("consuming {}", queue.name)
            }
            Source::Broadcast(_) => "listening".to_owned(),
        }
    }

    /// Channel, queue, prefetch, consumer, in this order; then deliveries until something breaks.
    async fn session(&mut self) -> Result<(), LinkError> {
        self.session += 1;
        let (channel, mut deliveries) = in_time(self.open()).await?;
        self.status.up(&self.name());
        let mut idle = interval(IDLE_CHECK);
        let Closing(channel) = &channel;
        loop {
            tokio::select! {
                delivery = deliveries.next() => {
                    let Some(delivery) = delivery else { break };
                    if self.arrivals.send(self.arrival(delivery?)).await.is_err() {
                        return Ok(());
                    }
                }
                _ = idle.tick() => {
                    if !channel.status().connected() {
                        return Err(LinkError::Ended("the connection was lost"));
                    }
                }
            }
        }
        // The broker ends a consumer without an error, for example when its queue is deleted.
        Err(LinkError::Ended("the broker ended the consumer"))
    }
}

impl Consumer {
    async fn open(&self) -> Result<(Closing, lapin::Consumer), LinkError> {
        let closing = Closing(self.link.connection().await?.create_channel().await?);
        let Closing(channel) = &closing;
        let queue = self.declare(channel).await?;
        channel.basic_qos(self.prefetch, BasicQosOptions::default()).await?;
        let any_tag = "".into();
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(queue.as_str().into(), any_tag, options, FieldTable::default()).await?;
        Ok((closing, consumer))
    }

    async fn declare(&self, channel: &Channel) -> Result<String, LinkError> {
        match &self.source {
            Source::Shared(queue) => {
                declare::queue(channel, queue).await?;
                Ok(queue.name.clone())
            }
            Source::Exclusive { queue, owner } => {
                declare::ownership(channel, owner).await?;
                declare::queue(channel, queue).await?;
                Ok(queue.name.clone())
            }
            Source::Broadcast(bindings) => Ok(declare::broadcast(channel, bindings).await?),
        }
    }

    fn arrival(&self, delivery: lapin::message::Delivery) -> Arrival {
        let (message, earlier_deliveries) = convert::message(
            &delivery.exchange,
            &delivery.routing_key,
            delivery.redelivered,
            &delivery.properties,
            delivery.data,
        );
        Arrival { session: self.session, acker: delivery.acker, earlier_deliveries, message }
    }
}

/// A channel that is closed when it is dropped. lapin does that too, but not if whoever waited for the consumer to begin
/// has gone (a subscription that was dropped at once, a broker that took too long): the consumer would live on at the broker,
/// and hold messages that nobody gets.
struct Closing(Channel);

impl Drop for Closing {
    fn drop(&mut self) {
        if let Ok(runtime) = Handle::try_current()
            && self.0.status().connected()
        {
            let channel = self.0.clone();
            runtime.spawn(async move { timeout(CLOSE_TIMEOUT, channel.close(200, "bye".into())).await });
        }
    }
}

#[async_trait]
impl Subscription for AmqpSubscription {
    async fn next(&mut self) -> Option<Delivery> {
        let arrival = self.arrivals.recv().await?;
        if arrival.session != self.session {
            self.session = arrival.session;
            self.ackers.clear();
        }
        self.tag += 1;
        self.ackers.insert(self.tag, arrival.acker);
        Some(Delivery {
            receipt: Receipt { session: self.session, tag: self.tag },
            earlier_deliveries: arrival.earlier_deliveries,
            message: arrival.message,
        })
    }

    async fn acknowledge(&mut self, receipt: Receipt, scope: Acknowledge) -> Result<(), AcknowledgeError> {
        if receipt.session != self.session {
            return Err(AcknowledgeError::Lost);
        }
        let acker = self.ackers.remove(&receipt.tag);
        let multiple = scope == Acknowledge::UpTo;
        if multiple {
            self.ackers = self.ackers.split_off(&receipt.tag);
        }
        // `Ok(false)` is what a dead channel answers: only `Ok(true)` was written.
        match acker {
            Some(acker) => match acker.ack(BasicAckOptions { multiple }).await {
                Ok(true) => Ok(()),
                Ok(false) | Err(_) => Err(AcknowledgeError::Lost),
            },
            None => Err(AcknowledgeError::Lost),
        }
    }
}
