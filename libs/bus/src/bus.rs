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
    cloud_event::CloudEvent,
    consume::Isolation,
    copies,
    envelope::{self, Envelope, Received},
    events::{Event, OperationName, TaskCreated},
    headers::{self, ROUND},
    message::Message,
    outcome::Failure,
    topology::{Exchange, Queue, RETRY_DELAYS, Topology},
    transport::{DepthError, PublishError, Source, Subscription, Transport},
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
pub struct Bus(Arc<Inner>, Isolation);

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
        let inner = Inner { transport, topology, app, max_event_bytes, ensured: Mutex::default() };
        Self(Arc::new(inner), Isolation::default())
    }

    /// The same, in a process that has other buses: what is consumed from any of them ends when the process does.
    pub fn beside(self, others: Isolation) -> Self {
        Self(self.0, others)
    }

    pub(crate) async fn settle(&self) {
        self.0.transport.settle().await;
    }

    pub(crate) fn isolation(&self) -> &Isolation {
        &self.1
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

    /// Writes an event as the message that [`Bus::publish`] or [`Bus::publish_to`] would send.
    ///
    /// # Errors
    /// [`PublishError::TooLarge`] if it is longer than `MAX_EVENT_BYTES`.
    pub fn encode<E: CloudEvent>(
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

    /// Publishes several events of one type together. What has a cause is not held back by a bus that takes no more from
    /// outside, because too much waits: its cause would wait as well, for ever.
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
        let patience = patience.saturating_sub(began.elapsed());
        self.send(messages, cause.is_some(), patience).await.into_iter().collect()
    }

    /// Publishes an event of a type of your own to this bus' exchange, as of now, and waits until every queue that gets it has
    /// it durably. It makes sure of `queues` first: those that it must reach although nobody may have consumed them yet.
    /// Without any it is for whoever listens.
    ///
    /// # Errors
    /// As [`Transport::publish`] says: [`PublishError::Unroutable`] if there are no such queues and nobody listens.
    pub async fn publish_to<E: CloudEvent>(
        &self,
        queues: &[Queue],
        event: &E,
        patience: Duration,
    ) -> Result<(), PublishError> {
        let message = self.encode(event, envelope::now(), None)?;
        let began = Instant::now();
        let ensured = timeout(patience, self.0.transport.ensure(self.0.topology.events(), queues.to_vec()));
        ensured.await.map_err(|_elapsed| PublishError::Unknown(patience))?;
        let patience = patience.saturating_sub(began.elapsed());
        self.publish_messages(vec![message], patience).await.into_iter().collect()
    }

    /// Publishes messages that [`Bus::encode`] wrote, each with a result of its own.
    pub async fn publish_messages(&self, messages: Vec<Message>, patience: Duration) -> Vec<Result<(), PublishError>> {
        self.send(messages, false, patience).await
    }

    async fn send(&self, messages: Vec<Message>, is_caused: bool, patience: Duration) -> Vec<Result<(), PublishError>> {
        #[cfg(feature = "break-rules")]
        if crate::broken::is_broken("confirm-not-awaited") {
            let (transport, results) = (self.0.transport.clone(), vec![Ok(()); messages.len()]);
            tokio::spawn(async move {
                tokio::time::sleep(crate::broken::MOMENT).await;
                transport.publish(messages, patience).await
            });
            return results;
        }
        let began = Instant::now();
        let results = match is_caused {
            true => self.0.transport.pass_on(messages, patience).await,
            false => self.0.transport.publish(messages, patience).await,
        };
        metrics::histogram!("ebs_bus_confirm_duration_seconds").record(began.elapsed());
        let published = results.iter().filter(|result| result.is_ok()).count();
        metrics::counter!("ebs_bus_published_total").increment(published as u64);
        metrics::counter!("ebs_bus_publish_errors_total").increment((results.len() - published) as u64);
        results
    }

    /// Publishes a message that was set aside in its next round: for `queue`, which it was set aside from, and for no other,
    /// where it comes after the shortest of the retries' delays, as if it had been published for the first time.
    ///
    /// A task's event from the queue of its processors is the same task in the next round, as of `time`, and so another event:
    /// what comes of it is told apart from what came of it before. Everything else is, but for the header that counts the
    /// rounds, what it was: its id, its bytes and its headers. The same again is the same message again.
    ///
    /// # Errors
    /// As [`Transport::publish`] says; [`PublishError::Unroutable`] also if `queue` is none of the
    /// [topology's](Topology::work_queue).
    pub async fn replay(&self, message: &Message, queue: &str, time: Timestamp) -> Result<(), PublishError> {
        let Some(queue) = self.0.topology.work_queue(queue) else {
            return Err(PublishError::Unroutable { routing_key: message.routing_key.clone() });
        };
        let (_, through) = self.retry(RETRY_DELAYS[0]);
        let copy = match self.next_round_of_task(message, &queue, time) {
            Some(task) => copies::to_one_queue(&task, &queue.name, &through.name),
            None => copies::next_round(message, &queue.name, &through.name),
        };
        self.publish_through_retry(copy, queue).await
    }

    /// The message's task in its next round, if it is a task's and comes from the queue of its processors.
    fn next_round_of_task(&self, message: &Message, queue: &Queue, time: Timestamp) -> Option<Message> {
        let Received { envelope, event: mut created, .. } =
            envelope::decode::<TaskCreated>(message, self.0.max_event_bytes).ok()?;
        if self.0.topology.processor(&created.task.operation).name != queue.name {
            return None;
        }
        let round = created.task.round.max(headers::round(message)).saturating_add(1);
        created.task.round = round;
        let exchange = self.0.topology.events().name;
        // Not by `encode`: that it may have one digit more than is allowed is for its consumer to say.
        let mut task = envelope::encode(&created, &exchange, &self.0.app, time, Some(&envelope)).ok()?;
        task.headers.insert(ROUND.to_owned(), round.into());
        Some(task)
    }

    /// Puts a mark behind everything that was confirmed before, in the queue of all events and in that of the dead letters,
    /// which come to nobody else: whoever meets it in both ([`AnyEvent::Fence`], [`DeadLetter::fence`]) has met all of that.
    /// It comes after the shortest of the retries' delays. What was not confirmed may be repeated with the same id.
    ///
    /// # Errors
    /// As [`Transport::publish`] says.
    ///
    /// [`AnyEvent::Fence`]: crate::AnyEvent::Fence
    /// [`DeadLetter::fence`]: crate::DeadLetter::fence
    pub async fn fence(&self, id: &str) -> Result<(), PublishError> {
        let topology = &self.0.topology;
        let fence = envelope::fence(id, &topology.events().name, &self.0.app);
        let (_, through) = self.retry(RETRY_DELAYS[0]);
        for queue in [topology.statistics(), topology.dead_letters()] {
            let copy = copies::to_one_queue(&fence, &queue.name, &through.name);
            self.publish_through_retry(copy, queue).await?;
        }
        Ok(())
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
    pub(crate) async fn set_aside(
        &self,
        queue: &str,
        message: &Message,
        failure: &Failure,
    ) -> Result<(), PublishError> {
        let (dead_letters, exchange) = (self.0.topology.dead_letters(), self.0.topology.dead_letters_exchange());
        let copy = copies::dead_letter(message, queue, failure, envelope::now(), &exchange.name);
        self.publish_copy(copy, exchange, vec![dead_letters]).await?;
        let labels = [("queue", queue.to_owned()), ("cause", failure.cause().to_string())];
        metrics::counter!("ebs_bus_set_aside_total", &labels).increment(1);
        Ok(())
    }

    /// The retry queue of a delay, and the exchange through which it gets messages.
    fn retry(&self, delay: Duration) -> (Queue, Exchange) {
        let topology = &self.0.topology;
        (topology.retry(delay), topology.retry_exchange(delay))
    }

    /// Publishes a copy that comes to `queue` by way of the shortest of the retries' delays.
    async fn publish_through_retry(&self, copy: Message, queue: Queue) -> Result<(), PublishError> {
        let (retry, through) = self.retry(RETRY_DELAYS[0]);
        // The queue itself too: what finds it missing when its delay is over would stay behind.
        self.publish_copy(copy, through, vec![queue, retry]).await
    }

    async fn publish_copy(&self, copy: Message, exchange: Exchange, queues: Vec<Queue>) -> Result<(), PublishError> {
        let published = async {
            self.0.transport.ensure(exchange, queues).await;
            self.0.transport.pass_on(vec![copy], PATIENCE).await.into_iter().collect()
        };
        timeout(PATIENCE, published).await.unwrap_or(Err(PublishError::Unknown(PATIENCE)))
    }

    pub(crate) fn subscribe(&self, source: Source, prefetch: u16) -> Box<dyn Subscription> {
        self.0.transport.subscribe(source, prefetch)
    }

    /// How many messages wait in a queue, not counting those that somebody holds.
    ///
    /// # Errors
    /// As [`Transport::depth`] says.
    pub async fn depth(&self, queue: &Queue) -> Result<u64, DepthError> {
        self.0.transport.depth(queue).await
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
