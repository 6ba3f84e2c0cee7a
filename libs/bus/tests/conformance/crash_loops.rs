//! A message that crashes whoever executes it, and its neighbours. A crash is simulated by dropping the consumer.

use std::{
    collections::BTreeSet,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bus::{
    Bus, Cause, DEAD_CAUSE, DEAD_REASON, Handle, Isolation, Outcome, Received, Source, WorkQueue,
    events::{Event, ObjectCreated, ObjectId, Parameters, Task, TaskCreated, TaskId},
};
use testkit::eventually;
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinHandle,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{
    events::object,
    kit::{PATIENCE, bus, drain, next, take},
    loops::{Running, distributors, left, submit},
    retrying::next_dead_letter,
    subject::Subject,
};

/// What a process may do, as long as it lives.
#[derive(Default)]
struct Process {
    poison: Mutex<Option<ObjectId>>,
    done: Mutex<BTreeSet<ObjectId>>,
    crashes: AtomicUsize,
}

/// How long it is about a task: longer than a crash lets it live.
const TASK_TAKES: Duration = Duration::from_millis(100);

/// One life of it.
struct Life {
    process: Arc<Process>,
    crashed: Notify,
    has_crashed: CancellationToken,
}

impl<E: Event> Handle<E> for Life {
    async fn handle(&self, received: Received<E>, _: bus::Slot) -> Outcome {
        let id = received.event.object_id();
        if *self.process.poison.lock().unwrap() == Some(id) {
            self.has_crashed.cancel();
            self.process.crashes.fetch_add(1, Ordering::SeqCst);
            self.crashed.notify_one();
            pending::<()>().await;
        }
        if E::TYPE == TaskCreated::TYPE {
            sleep(TASK_TAKES).await;
        }
        // What is executed at the time of a crash is not done.
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        if self.has_crashed.is_cancelled() {
            pending::<()>().await;
        }
        self.process.done.lock().unwrap().insert(id);
        Outcome::Done
    }
}

/// A process that is started again whenever it crashes, until it is shut down. It consumes objects and tasks.
fn supervised(bus: &Bus, process: &Arc<Process>, shutdown: &CancellationToken) -> JoinHandle<()> {
    let (bus, process, shutdown) = (bus.clone(), process.clone(), shutdown.clone());
    tokio::spawn(async move {
        loop {
            let bus = bus.clone().beside(Isolation::default());
            let life = Arc::new(Life {
                process: process.clone(),
                crashed: Notify::new(),
                has_crashed: CancellationToken::new(),
            });
            let objects = distributors(&bus).run::<ObjectCreated, _>(bus.clone(), life.clone(), shutdown.clone());
            let tasks = processors(&bus).run::<TaskCreated, _>(bus.clone(), life.clone(), shutdown.clone());
            tokio::select! {
                ((), ()) = async { tokio::join!(objects, tasks) } => return,
                () = life.crashed.notified() => {}
            }
        }
    })
}

/// One message crashes every process that executes it, before, among and after others.
async fn one_is_set_aside_and_all_others_are_done<S: Subject>(processes: usize) {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let process = Arc::new(Process::default());
    let poison = ObjectId::new();
    *process.poison.lock().unwrap() = Some(poison);
    let mut others = submit(&bus, 10).await;
    bus.publish(&object(poison, "nop"), None, PATIENCE).await.unwrap();
    others.extend(submit(&bus, 30).await);

    let shutdown = CancellationToken::new();
    let supervised = Vec::from_iter((0..processes).map(|_| supervised(&bus, &process, &shutdown)));

    eventually(async || {
        let (done, crashes) = (process.done.lock().unwrap().len(), process.crashes.load(Ordering::SeqCst));
        if done == others.len() {
            return Ok(());
        }
        Err(format!("{done} of {} done, after {crashes} crashes", others.len()))
    })
    .await;
    let (work, dead_letters) = (bus.topology().distributor(), bus.topology().dead_letters());
    let transport = subject.transport();
    let mut subscription = transport.subscribe(Source::Shared(dead_letters.clone()), 10);
    let dead = next(&mut *subscription).await.message;
    assert_eq!(dead.correlation_id, Some(poison.to_string()));
    let reason = dead.headers[DEAD_REASON].as_str().unwrap();
    assert!(reason.starts_with("delivered 2"), "{reason}");
    assert_eq!(dead.headers[DEAD_CAUSE], Cause::CrashLoop.as_str());
    assert_eq!(*process.done.lock().unwrap(), others);
    let crashes = process.crashes.load(Ordering::SeqCst);
    assert!((10..=20).contains(&crashes), "{crashes} crashes");
    drop(subscription);
    shutdown.cancel();
    for task in supervised {
        task.await.unwrap();
    }
    assert!(left(&subject, &work).await.is_empty(), "all were acknowledged");
    assert_eq!(left(&subject, &dead_letters).await, [poison], "no neighbour is, and it was given back here");
}

pub async fn case_24_of_one_process_that_a_message_crashes_every_other_message_is_done<S: Subject>() {
    one_is_set_aside_and_all_others_are_done::<S>(1).await;
}

pub async fn case_24_of_three_processes_that_a_message_crashes_every_other_message_is_done<S: Subject>() {
    one_is_set_aside_and_all_others_are_done::<S>(3).await;
}

/// Executes as it is let; remembers which it was given, and beside how many.
struct Slow {
    /// One message that has a semaphore of its own.
    suspect: ObjectId,
    suspects: Semaphore,
    others: Semaphore,
    given: Mutex<Vec<(ObjectId, usize)>>,
    executing: AtomicUsize,
}

impl<E: Event> Handle<E> for Slow {
    async fn handle(&self, received: Received<E>, _: bus::Slot) -> Outcome {
        let id = received.event.object_id();
        let beside = self.executing.fetch_add(1, Ordering::SeqCst);
        self.given.lock().unwrap().push((id, beside));
        let permits = if self.suspect == id { &self.suspects } else { &self.others };
        permits.acquire().await.unwrap().forget();
        self.executing.fetch_sub(1, Ordering::SeqCst);
        Outcome::Done
    }
}

impl Slow {
    fn new(suspect: ObjectId) -> Arc<Self> {
        let (suspects, others) = (Semaphore::new(0), Semaphore::new(0));
        Arc::new(Self { suspect, suspects, others, given: Mutex::default(), executing: AtomicUsize::new(0) })
    }

    async fn was_given(&self, count: usize) {
        eventually(async || match self.given.lock().unwrap().len() {
            given if given < count => Err(format!("{given} of {count}")),
            _ => Ok(()),
        })
        .await;
    }

    /// Waits until it is given the suspect; beside how many others, and how many it was given before.
    async fn was_given_the_suspect(&self) -> (usize, usize) {
        eventually(async || {
            let given = self.given.lock().unwrap();
            let at = given.iter().position(|(id, _)| *id == self.suspect).ok_or("not yet")?;
            Ok((given[at].1, at))
        })
        .await
    }
}

/// The same for tasks.
fn processors(bus: &Bus) -> WorkQueue {
    let queue = bus.topology().processor(&"pow".parse().unwrap());
    WorkQueue { queue, ..distributors(bus) }
}

/// Publishes the tasks of an object.
async fn split(bus: &Bus, object_id: ObjectId, parts: u32) {
    let task = |part| Task {
        id: TaskId::of(object_id, parts, part),
        object_id,
        part,
        parts,
        operation: "pow".parse().unwrap(),
        parameters: Parameters::default(),
        data: "[1]".parse().unwrap(),
        round: 0,
    };
    let tasks: Vec<_> = (0..parts).map(|part| TaskCreated { task: task(part) }).collect();
    bus.publish_all(&tasks, None, PATIENCE).await.unwrap();
}

async fn no_task_is_left<S: Subject>(subject: &S, bus: &Bus) -> bool {
    drain(&*subject.transport(), &processors(bus).queue, "task.created.pow").await.is_empty()
}

/// Makes a message that was delivered so often before, the only one in the queue.
async fn delivered_before<S: Subject>(subject: &S, bus: &Bus, times: u64) -> ObjectId {
    let id = submit(bus, 1).await.pop_first().unwrap();
    let transport = subject.transport();
    for earlier_deliveries in 0..times {
        let mut subscription = transport.subscribe(Source::Shared(bus.topology().distributor()), 1);
        assert_eq!(next(&mut *subscription).await.earlier_deliveries, earlier_deliveries);
    }
    id
}

/// Makes sure that so many are in nobody's hands: someone else gets them, and hands them back.
async fn are_waiting<S: Subject>(subject: &S, bus: &Bus, count: usize) {
    let transport = subject.transport();
    let mut others = transport.subscribe(Source::Shared(bus.topology().distributor()), 100);
    take(&mut *others, count).await;
}

pub async fn case_24_what_other_queues_of_a_process_gave_is_done_although_a_message_crashes_it<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let (process, poison) = (Arc::new(Process::default()), ObjectId::new());
    *process.poison.lock().unwrap() = Some(poison);
    bus.publish(&object(poison, "nop"), None, PATIENCE).await.unwrap();
    let objects = BTreeSet::from([(); 6].map(|()| ObjectId::new()));
    for object in &objects {
        split(&bus, *object, 1).await;
    }
    let shutdown = CancellationToken::new();
    let supervised = supervised(&bus, &process, &shutdown);
    let dead = next_dead_letter(&subject, bus.topology()).await;
    assert_eq!(dead.correlation_id, Some(poison.to_string()));
    eventually(async || {
        let done = process.done.lock().unwrap();
        if *done == objects { Ok(()) } else { Err(format!("{} of 6 done", done.len())) }
    })
    .await;
    shutdown.cancel();
    supervised.await.unwrap();
    assert!(no_task_is_left(&subject, &bus).await, "all were acknowledged");
    assert!(left(&subject, &bus.topology().dead_letters()).await.is_empty(), "no task is");
}

pub async fn case_24_a_suspect_is_executed_when_nothing_else_is_in_the_whole_process_and_little_is_held<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let slow = Slow::new(delivered_before(&subject, &bus, 10).await);
    let shutdown = CancellationToken::new();
    let run = processors(&bus).run::<TaskCreated, _>(bus.clone(), slow.clone(), shutdown.clone());
    let tasks = tokio::spawn(run);
    split(&bus, ObjectId::new(), 8).await;
    slow.was_given(4).await;
    let objects = Running::start(&bus, distributors(&bus), &slow);
    eventually(async || match bus.depth(&bus.topology().distributor()).await {
        Ok(0) => Ok(()),
        depth => Err(format!("the suspect is not taken in hand: {depth:?}")),
    })
    .await;
    slow.others.add_permits(4);
    assert_eq!(slow.was_given_the_suspect().await, (0, 4));
    // One lane holds one; the others are in nobody's hands.
    let transport = subject.transport();
    let mut others = transport.subscribe(Source::Shared(processors(&bus).queue), 100);
    take(&mut *others, 3).await;
    drop(others);
    slow.others.add_permits(4);
    slow.suspects.add_permits(1);
    slow.was_given(9).await;
    objects.end().await;
    shutdown.cancel();
    tasks.await.unwrap();
    assert!(no_task_is_left(&subject, &bus).await);
    assert!(left(&subject, &bus.topology().dead_letters()).await.is_empty());
}

pub async fn case_24_a_message_that_was_delivered_ten_times_is_executed_alone_and_nothing_else_is_held<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let slow = Slow::new(delivered_before(&subject, &bus, 10).await);
    let running = Running::start(&bus, distributors(&bus), &slow);
    assert_eq!(slow.was_given_the_suspect().await, (0, 0));
    submit(&bus, 20).await;
    are_waiting(&subject, &bus, 20).await;
    slow.others.add_permits(20);
    slow.suspects.add_permits(1);
    slow.was_given(21).await;
    running.end().await;
    assert!(left(&subject, &bus.topology().distributor()).await.is_empty());
    assert!(left(&subject, &bus.topology().dead_letters()).await.is_empty());
}

pub async fn case_24_a_suspect_that_comes_to_a_busy_consumer_waits_for_the_others_and_the_rest_goes_back<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let slow = Slow::new(delivered_before(&subject, &bus, 10).await);
    // Kept from the consumer until it is busy.
    let transport = subject.transport();
    let mut keeper = transport.subscribe(Source::Shared(bus.topology().distributor()), 1);
    next(&mut *keeper).await;
    submit(&bus, 3).await;
    let running = Running::start(&bus, distributors(&bus), &slow);
    slow.was_given(3).await;
    drop(keeper);
    submit(&bus, 20).await;
    slow.others.add_permits(23);
    let (beside, before) = slow.was_given_the_suspect().await;
    assert_eq!(beside, 0);
    are_waiting(&subject, &bus, 23 - before).await;
    slow.suspects.add_permits(1);
    slow.was_given(24).await;
    running.end().await;
    assert!(left(&subject, &bus.topology().distributor()).await.is_empty());
    assert!(left(&subject, &bus.topology().dead_letters()).await.is_empty());
}

pub async fn case_24_a_message_that_was_delivered_twenty_times_is_set_aside_unexecuted<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let culprit = delivered_before(&subject, &bus, 20).await;
    let slow = Slow::new(culprit);
    slow.others.add_permits(1);
    let running = Running::start(&bus, distributors(&bus), &slow);
    let after = submit(&bus, 1).await;
    slow.was_given(1).await;
    // Which of the two comes first is open; a dead letter says that the culprit came.
    let transport = subject.transport();
    let mut dead_letters = transport.subscribe(Source::Shared(bus.topology().dead_letters()), 1);
    assert_eq!(next(&mut *dead_letters).await.message.correlation_id, Some(culprit.to_string()));
    drop(dead_letters);
    running.end().await;
    let given: BTreeSet<ObjectId> = slow.given.lock().unwrap().iter().map(|(id, _)| *id).collect();
    assert_eq!(given, after);
    assert_eq!(left(&subject, &bus.topology().dead_letters()).await, [culprit]);
    assert!(left(&subject, &bus.topology().distributor()).await.is_empty());
}
