//! The bus as services use it: typed events in, typed events out.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::{Instant, timeout};

use crate::{
    amqp::{Address, Amqp},
    copies,
    envelope::{self, Envelope},
    events::{Event, OperationName},
    message::Message,
    topology::{Exchange, Queue, RETRY_DELAYS, Topology},
    transport::{PublishError, Source, Subscription, Transport},
};

/// How long a publish that nobody waits for may take, before whoever asked for it is told to try again:
/// longer than a broker's restart.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a bus is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The topic exchange, which also names every queue.
    pub exchange: String,
    /// The program that uses it, such as `datagen`.
    pub app: String,
    /// The longest event, in bytes of its body.
    pub max_event_bytes: usize,
}

/// A handle to the bus. Clones share one transport.
#[derive(Clone)]
pub struct Bus(Arc<Inner>);

struct Inner {
    transport: Arc<dyn Transport>,
    topology: Topology,
    app: String,
    max_event_bytes: usize,
    /// The routing keys whose queues were made sure of.
    ensured: Mutex<HashSet<String>>,
}

impl Bus {
    /// Begins to connect to a broker: returns at once, and goes on trying for ever.
    pub fn connect(broker: &Address, settings: Settings) -> Self {
        let transport = Amqp::connect(broker, &format!("{}.{}", settings.exchange, settings.app));
        Self::over(Arc::new(transport), settings)
    }

    /// A bus over a transport, which several may share.
    pub fn over(transport: Arc<dyn Transport>, settings: Settings) -> Self {
        let Settings { exchange, app, max_event_bytes } = settings;
        let topology = Topology::new(exchange);
        Self(Arc::new(Inner { transport, topology, app, max_event_bytes, ensured: Mutex::default() }))
    }

    /// The exchanges and queues around this bus' topic exchange.
    pub fn topology(&self) -> &Topology {
        &self.0.topology
    }

    /// The longest event that travels, in bytes of its body.
    pub fn max_event_bytes(&self) -> usize {
        self.0.max_event_bytes
    }

    /// Makes sure, now and after every loss, of the queues that events of this type and operation must
    /// reach. Done by the first publish too; a service that does it at its start is not ready without them.
    pub async fn ensure<E: Event>(&self, operation: &OperationName) {
        let key = format!("{}.{operation}", E::KEY);
        if self.ensured().contains(&key) {
            return;
        }
        let topology = &self.0.topology;
        let queues = topology.must_reach::<E>(operation);
        self.0.transport.ensure(topology.events(), queues).await;
        self.ensured().insert(key);
    }

    /// Writes an event as the message that [`Bus::publish`] would send.
    ///
    /// # Errors
    /// [`PublishError::TooLarge`] if it is longer than `MAX_EVENT_BYTES`.
    pub fn encode<E: Event>(
        &self,
        event: &E,
        time: Timestamp,
        cause: Option<&Envelope>,
    ) -> Result<Message, PublishError> {
        let exchange = self.0.topology.events().name;
        let message = envelope::encode(event, &exchange, &self.0.app, time, cause)
            .expect("our own events are plain data, which is always JSON");
        let (bytes, max) = (message.body.len(), self.0.max_event_bytes);
        if bytes > max {
            return Err(PublishError::TooLarge { bytes, max });
        }
        Ok(message)
    }

    /// Publishes one event, as of now, and waits until every queue that gets it has it durably.
    ///
    /// # Errors
    /// As [`Transport::publish`] says; the same event may then be published again.
    pub async fn publish<E: Event>(
        &self,
        event: &E,
        cause: Option<&Envelope>,
        patience: Duration,
    ) -> Result<(), PublishError> {
        self.publish_all(std::slice::from_ref(event), cause, patience).await
    }

    /// Publishes several events of one type together.
    ///
    /// # Errors
    /// The first one's; some may have been published.
    pub async fn publish_all<E: Event>(
        &self,
        events: &[E],
        cause: Option<&Envelope>,
        patience: Duration,
    ) -> Result<(), PublishError> {
        let time = envelope::now();
        let messages = events.iter().map(|event| self.encode(event, time, cause)).collect::<Result<Vec<_>, _>>()?;
        let began = Instant::now();
        let ensured = timeout(patience, async {
            // Events of one call are of one operation as a rule.
            for group in events.chunk_by(|a, b| a.operation() == b.operation()) {
                self.ensure::<E>(group[0].operation()).await;
            }
        });
        ensured.await.map_err(|_elapsed| PublishError::Unknown(patience))?;
        self.publish_messages(messages, patience.saturating_sub(began.elapsed())).await.into_iter().collect()
    }

    /// Publishes messages that [`Bus::encode`] wrote, each with a result of its own.
    pub async fn publish_messages(&self, messages: Vec<Message>, patience: Duration) -> Vec<Result<(), PublishError>> {
        let results = self.0.transport.publish(messages, patience).await;
        let published = results.iter().filter(|result| result.is_ok()).count();
        metrics::counter!("ebs_bus_published_total").increment(published as u64);
        metrics::counter!("ebs_bus_publish_errors_total").increment((results.len() - published) as u64);
        results
    }

    /// Publishes a dead letter again, as it was consumed from the queue of dead letters: for the queue that it was set
    /// aside from and for no other, with the id, the bytes and the headers that it had. It comes there after the
    /// shortest of the retries' delays, as if it had been published for the first time.
    ///
    /// # Errors
    /// As [`Transport::publish`] says; [`PublishError::Unroutable`] also if it does not say which of the
    /// [topology's](Topology::work_queue) queues it came from.
    pub async fn redrive(&self, dead: &Message) -> Result<(), PublishError> {
        let topology = &self.0.topology;
        let queue = copies::queue_of(dead).and_then(|name| topology.work_queue(name));
        let Some(queue) = queue else {
            return Err(PublishError::Unroutable { routing_key: dead.routing_key.clone() });
        };
        let (retry, through) = self.retry(RETRY_DELAYS[0]);
        let copy = copies::first_again(dead, &queue.name, &through.name, &topology.events().name);
        self.publish_copy(copy, through, vec![queue, retry]).await
    }

    /// Makes sure, now and after every loss, of the queues through which a consumer of `queue` sends messages on: before
    /// the first is needed, because publishing waits for a new queue to settle.
    pub(crate) async fn ensure_ways_on(&self, queue: &Queue) {
        let topology = &self.0.topology;
        let mut queues = vec![queue.clone(), topology.dead_letters()];
        queues.extend(RETRY_DELAYS.map(|delay| topology.retry(delay)));
        self.0.transport.ensure(topology.dead_letters_exchange(), queues).await;
    }

    /// Sends a message on to its next attempt: a copy comes to the same queue, and to no other, after `delay`.
    ///
    /// # Errors
    /// As [`Transport::publish`] says.
    pub(crate) async fn retry_later(
        &self,
        queue: &Queue,
        message: &Message,
        attempt: u32,
        delay: Duration,
    ) -> Result<(), PublishError> {
        let (retry, through) = self.retry(delay);
        let copy = copies::next_attempt(message, &queue.name, attempt, &through.name);
        // The queue itself too: what finds it missing when its delay is over would stay behind.
        self.publish_copy(copy, through, vec![queue.clone(), retry]).await?;
        metrics::counter!("ebs_bus_retried_total", "queue" => queue.name.clone()).increment(1);
        Ok(())
    }

    /// Sets a message aside: a copy with its reason goes to the dead letters.
    ///
    /// # Errors
    /// As [`Transport::publish`] says.
    pub(crate) async fn set_aside(&self, queue: &str, message: &Message, reason: &str) -> Result<(), PublishError> {
        let (dead_letters, exchange) = (self.0.topology.dead_letters(), self.0.topology.dead_letters_exchange());
        let copy = copies::dead_letter(message, queue, reason, &exchange.name);
        self.publish_copy(copy, exchange, vec![dead_letters]).await?;
        metrics::counter!("ebs_bus_set_aside_total", "queue" => queue.to_owned()).increment(1);
        Ok(())
    }

    /// The retry queue of a delay, and the exchange through which it gets messages.
    fn retry(&self, delay: Duration) -> (Queue, Exchange) {
        let topology = &self.0.topology;
        (topology.retry(delay), topology.retry_exchange(delay))
    }

    async fn publish_copy(&self, copy: Message, exchange: Exchange, queues: Vec<Queue>) -> Result<(), PublishError> {
        let published = async {
            self.0.transport.ensure(exchange, queues).await;
            self.0.transport.publish(vec![copy], PATIENCE).await.into_iter().collect()
        };
        timeout(PATIENCE, published).await.unwrap_or(Err(PublishError::Unknown(PATIENCE)))
    }

    pub(crate) fn subscribe(&self, source: Source, prefetch: u16) -> Box<dyn Subscription> {
        self.0.transport.subscribe(source, prefetch)
    }

    /// Whether everything that was asked of the bus is running.
    ///
    /// # Errors
    /// What does not run, and why, for people.
    pub fn status(&self) -> Result<(), String> {
        self.0.transport.status()
    }

    /// Completes when the bus can never work again in this process, with the reason.
    pub async fn failed(&self) -> String {
        self.0.transport.failed().await
    }

    /// Leaves the bus. What was delivered and is not acknowledged goes back.
    pub async fn close(&self) {
        self.0.transport.close().await;
    }

    fn ensured(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.0.ensured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
