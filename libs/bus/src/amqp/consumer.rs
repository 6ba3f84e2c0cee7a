//! A subscription, and the task that keeps it going over one connection after another.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

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
    time::{Instant, interval, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use super::{
    CLOSE_TIMEOUT, convert, declare,
    link::{IDLE_CHECK, Link, LinkError, in_time},
    status::Status,
    supervise::{Part, supervise},
};
use crate::{
    message::Message,
    transport::{Acknowledge, AcknowledgeError, Delivery, MAX_HELD_BYTES, Receipt, Source, Subscription},
};

/// After the last long message, so long fewer are held: who handed many of them back all the time would get nothing done.
const CAREFUL: Duration = Duration::from_secs(30);

/// A delivery and what it is acknowledged with.
struct Arrival {
    session: u64,
    acker: Acker,
    earlier_deliveries: u64,
    message: Message,
    held: Held,
}

/// What one session has delivered and what is not acknowledged.
#[derive(Clone, Default)]
struct Held(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Of bodies.
    bytes: AtomicUsize,
    /// It was too much: all of it comes again.
    void: AtomicBool,
    /// Cancelled when the session is over: nothing of it can be acknowledged any more.
    over: CancellationToken,
}

impl Held {
    fn add(&self, bytes: usize) -> usize {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    fn subtract(&self, bytes: usize) {
        self.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn hand_back(&self) {
        self.0.void.store(true, Ordering::Relaxed);
    }

    fn is_void(&self) -> bool {
        self.0.void.load(Ordering::Relaxed)
    }

    /// What is dropped when the session is over.
    fn until_dropped(&self) -> DropGuard {
        self.0.over.clone().drop_guard()
    }

    /// Safe to drop.
    async fn is_over(&self) {
        self.0.over.cancelled().await;
    }
}

pub(super) struct AmqpSubscription {
    arrivals: mpsc::Receiver<Arrival>,
    session: u64,
    /// The deliveries of this session that are not acknowledged, at most `prefetch`, and the bytes of each.
    ackers: BTreeMap<u64, (Acker, usize)>,
    held: Held,
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
        let consumer = Consumer {
            link,
            status: status.clone(),
            source,
            prefetch,
            session: 0,
            held: Held::default(),
            careful: None,
            arrivals: sender,
        };
        tokio::spawn(supervise(consumer, status, closed));
        let (ackers, held) = (BTreeMap::new(), Held::default());
        Self { arrivals, session: 0, ackers, held, tag: 0, _ends_the_task: ends_the_task }
    }
}

/// The task behind a subscription.
struct Consumer {
    link: Arc<Link>,
    status: Status,
    source: Source,
    prefetch: u16,
    session: u64,
    held: Held,
    /// Set while fewer messages are held than `prefetch`, because they are long.
    careful: Option<Careful>,
    arrivals: mpsc::Sender<Arrival>,
}

/// How many messages are held while they are long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Careful {
    /// So many of the longest one so far have the bytes that may be held.
    prefetch: u16,
    /// When one came of which as many as usual would have been too much.
    last_long: Instant,
}

/// Why a consumer ends although nothing is wrong.
enum Ended {
    /// Nobody listens any more.
    Unheard,
    /// It is to hold more, or fewer.
    Refit,
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

    async fn session(&mut self) -> Result<(), LinkError> {
        loop {
            self.session += 1;
            self.held = Held::default();
            let _over = self.held.until_dropped();
            if let Ended::Unheard = self.consume().await? {
                return Ok(());
            }
        }
    }
}

impl Consumer {
    /// Channel, queue, prefetch, consumer, in this order; then deliveries until something breaks.
    async fn consume(&mut self) -> Result<Ended, LinkError> {
        let prefetch = self.careful.map_or(self.prefetch, |careful| careful.prefetch);
        let (channel, mut deliveries) = in_time(self.open(prefetch)).await?;
        self.status.up(&self.name());
        let mut idle = interval(IDLE_CHECK);
        loop {
            tokio::select! {
                delivery = deliveries.next() => {
                    let Some(delivery) = delivery else { break };
                    let delivery = delivery?;
                    if !self.fits(delivery.data.len(), prefetch) {
                        // All that came is void, what lies in lapin's buffer too.
                        self.held.hand_back();
                        drop(deliveries);
                        channel.close().await;
                        return Ok(Ended::Refit);
                    }
                    if self.arrivals.send(self.arrival(delivery)).await.is_err() {
                        return Ok(Ended::Unheard);
                    }
                }
                _ = idle.tick() => {
                    if !channel.0.status().connected() {
                        return Err(LinkError::Ended("the connection was lost"));
                    }
                    if self.may_hold_more() {
                        self.careful = None;
                        self.held.hand_back();
                        channel.close().await;
                        return Ok(Ended::Refit);
                    }
                }
            }
        }
        // The broker ends a consumer without an error, for example when its queue is deleted.
        Err(LinkError::Ended("the broker ended the consumer"))
    }

    /// Counts a message among those that are held; whether it may be, beside the others. If not, fewer are held from now on.
    fn fits(&mut self, bytes: usize, prefetch: u16) -> bool {
        let usual = usize::from(self.prefetch.max(1));
        if bytes > MAX_HELD_BYTES / usual {
            let fewer = u16::try_from(MAX_HELD_BYTES / bytes).unwrap_or(u16::MAX).clamp(1, prefetch.max(1));
            if let Some(careful) = &mut self.careful {
                careful.last_long = Instant::now();
            }
            if self.held.add(bytes) > MAX_HELD_BYTES && fewer < prefetch {
                debug!(queue = self.name(), bytes, fewer, "long messages: fewer are held");
                self.careful = Some(Careful { prefetch: fewer, last_long: Instant::now() });
                return false;
            }
        } else {
            self.held.add(bytes);
        }
        true
    }

    /// Whether no long message has come for long. What is broadcast would be lost with the queue, and goes on as it is.
    fn may_hold_more(&self) -> bool {
        let is_broadcast = matches!(self.source, Source::Broadcast(_));
        !is_broadcast && self.careful.is_some_and(|careful| careful.last_long.elapsed() >= CAREFUL)
    }

    async fn open(&self, prefetch: u16) -> Result<(Closing, lapin::Consumer), LinkError> {
        let closing = Closing(self.link.connection().await?.create_channel().await?);
        let Closing(channel) = &closing;
        let queue = self.declare(channel).await?;
        channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
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
                declare::ownership(channel, owner.name()).await?;
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
        let held = self.held.clone();
        Arrival { session: self.session, acker: delivery.acker, earlier_deliveries, message, held }
    }
}

/// A channel that is closed when it is dropped. lapin does that too, but not if whoever waited for the consumer to begin
/// has gone (a subscription that was dropped at once, a broker that took too long): the consumer would live on at the broker,
/// and hold messages that nobody gets.
struct Closing(Channel);

impl Closing {
    /// Closes it now, and waits for that.
    async fn close(self) {
        let _ = timeout(CLOSE_TIMEOUT, self.0.close(200, "bye".into())).await;
    }
}

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
        let arrival = loop {
            let arrival = self.arrivals.recv().await?;
            if !arrival.held.is_void() {
                break arrival;
            }
        };
        if arrival.session != self.session {
            self.session = arrival.session;
            self.held = arrival.held;
            self.ackers.clear();
        }
        self.tag += 1;
        self.ackers.insert(self.tag, (arrival.acker, arrival.message.body.len()));
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
            let later = self.ackers.split_off(&receipt.tag);
            let earlier = std::mem::replace(&mut self.ackers, later);
            self.held.subtract(earlier.values().map(|(_, bytes)| bytes).sum());
        }
        let Some((acker, bytes)) = acker else { return Err(AcknowledgeError::Lost) };
        self.held.subtract(bytes);
        // `Ok(false)` is what a dead channel answers: only `Ok(true)` was written. And what is under way while the connection
        // breaks is never answered (lapin 4.12): whoever waited for it alone would consume nothing any more.
        tokio::select! {
            biased;
            written = acker.ack(BasicAckOptions { multiple }) => match written {
                Ok(true) => Ok(()),
                Ok(false) | Err(_) => Err(AcknowledgeError::Lost),
            },
            () = self.held.is_over() => Err(AcknowledgeError::Lost),
        }
    }
}
