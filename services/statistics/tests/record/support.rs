//! Events to merge, and a look at what became of them.

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use bus::{
    AnyEvent, DeadLetter, Envelope, Item, Message, Received, Topology, decode_any, encode,
    events::{
        Attempt, Event, Json, Milliseconds, Object, ObjectCreated, ObjectId, OperationName, Parameters, Task,
        TaskCreated, TaskFinished, TaskId, TaskOutcome, TaskStarted,
    },
};
use jiff::Timestamp;
use operations::Catalogue;
use serde_json::Value;
use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};
use statistics::{Heard, record::Record};
use tempfile::TempDir;

pub type AnEvent = Received<AnyEvent>;

/// A file of its own, which goes with it.
pub struct Fixture {
    directory: TempDir,
    pub record: Arc<Record>,
}

impl Fixture {
    pub async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let record = open(&directory.path().join("stats.db")).await.unwrap().unwrap();
        Self { directory, record }
    }

    /// A record that is in `directory` already.
    pub async fn of(directory: TempDir, path: PathBuf) -> Self {
        let record = open(&path).await.unwrap().unwrap();
        assert_eq!(path, directory.path().join("stats.db"));
        Self { directory, record }
    }

    /// Closes the record and gives up the file, which stays as long as the directory.
    pub async fn leave(self) -> TempDir {
        self.record.close().await;
        self.directory
    }

    pub async fn restarted(self) -> Self {
        let path = self.path();
        let directory = self.leave().await;
        let record = open(&path).await.unwrap().unwrap();
        Self { directory, record }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("stats.db")
    }

    pub async fn reader(&self) -> SqliteConnection {
        SqliteConnectOptions::new().filename(self.path()).read_only(true).connect().await.unwrap()
    }

    /// Changes the file behind the record's back; how many rows.
    pub async fn tamper(&self, sql: &'static str, with: impl Into<String>) -> u64 {
        let mut writer = SqliteConnectOptions::new().filename(self.path()).connect().await.unwrap();
        sqlx::query(sql).bind(with.into()).execute(&mut writer).await.unwrap().rows_affected()
    }

    /// Each row that the statement gives, as the JSON that it makes of it.
    pub async fn rows(&self, sql: &'static str) -> Vec<String> {
        sqlx::query_scalar(sql).fetch_all(&mut self.reader().await).await.unwrap()
    }

    pub async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut self.reader().await).await.unwrap()
    }

    /// Everything that must not depend on the order of events: all but revisions, the outbox, and how
    /// often events of unknown types were delivered. One statement, and so one moment: a commit may be on its way.
    pub async fn contents(&self) -> Vec<String> {
        self.rows(
            "SELECT json_array('object', id, name, operation, tasks, deadline, created_at, status, parts,
                               finished_at, duration, error, parameters, data, result) AS row FROM objects
             UNION ALL
             SELECT json_array('task', object_id, parts, part, operation, created_at, started_at, started_by, outcome,
                               finish_round, finished_at, processor, attempt, duration, error) FROM tasks
             UNION ALL SELECT json_array('partial', object_id, parts, part, result) FROM partials
             UNION ALL SELECT json_array('total', operation, name, count) FROM totals
             UNION ALL SELECT json_array('split failure', object_id, round, failed_at, error, replayed) FROM split_failures
             UNION ALL
             SELECT json_array('dead letter', id, queue, message_id, round, state, cause, reason, attempts, died_at, obstacle,
                               kind, operation, object_id, parts, part, exchange, routing_key, body_bytes, headers,
                               hex(body)) FROM dead_letters
             ORDER BY row",
        )
        .await
    }

    /// The same without what is counted.
    pub async fn contents_but_totals(&self) -> Vec<String> {
        let mut contents = self.contents().await;
        contents.retain(|row| !row.starts_with(r#"["total""#));
        contents
    }

    /// Everything that is counted; of processors, together.
    pub async fn figures(&self) -> Vec<String> {
        self.rows(
            "SELECT json_array('figures', operation, objects_created, objects_succeeded, objects_failed,
                               objects_timed_out, objects_s, objects_us, tasks_distributed, tasks_in_progress,
                               tasks_succeeded, tasks_failed, tasks_s, tasks_us) AS row FROM figures
             UNION ALL
             SELECT json_array('processors', sum(tasks_in_progress), sum(tasks_succeeded), sum(tasks_failed),
                               sum(tasks_s), sum(tasks_us))
             FROM processor_figures
             UNION ALL SELECT json_array('durations', kind, operation, bucket, count) FROM durations WHERE count <> 0
             UNION ALL SELECT json_array('total', operation, name, count) FROM totals
             UNION ALL SELECT json_array('statistics', figure, value) FROM statistics
             ORDER BY row",
        )
        .await
    }
}

pub async fn open(path: &std::path::Path) -> anyhow::Result<Option<Arc<Record>>> {
    Ok(Record::try_open(path, Catalogue::built_in()).await?.map(Arc::new))
}

/// An object and how it is executed, purely.
#[derive(Clone, Debug)]
pub struct Work {
    pub id: ObjectId,
    pub operation: OperationName,
    pub data: Value,
    pub parts: u32,
}

/// One execution of a task.
#[derive(Clone, Debug)]
pub struct Execution {
    pub round: u32,
    pub attempt: u32,
    pub processor: String,
    pub started_ms: i64,
    pub took_ms: i64,
    pub succeeded: bool,
}

impl Work {
    /// Texts whose words are counted.
    pub fn words(text: &str, parts: u32) -> Self {
        Self { id: ObjectId::new(), operation: "word-frequencies".parse().unwrap(), data: text.into(), parts }
    }

    pub fn nop(data: Value, parts: u32) -> Self {
        Self { id: ObjectId::new(), operation: "nop".parse().unwrap(), data, parts }
    }

    /// What all parts together give.
    pub fn result(&self) -> Value {
        let operation = Catalogue::built_in().get(self.operation.as_str()).unwrap();
        operations::run(&*operation, &self.data, &Parameters::new(), NonZeroUsize::MIN).unwrap()
    }

    fn partial(&self, part: u32) -> Value {
        let operation = Catalogue::built_in().get(self.operation.as_str()).unwrap();
        let parts = NonZeroUsize::new(self.parts as usize).unwrap();
        let scattered = operation.scatter(&self.data, &Parameters::new(), parts).unwrap();
        let data = scattered.get(part as usize).cloned().unwrap_or_else(|| match &self.data {
            Value::String(_) => "".into(),
            _ => Value::Array(Vec::new()),
        });
        operation.execute(&data, &Parameters::new()).unwrap()
    }

    pub fn created(&self, at_ms: i64) -> AnEvent {
        let object = Object {
            id: self.id,
            name: "a name".to_owned(),
            operation: self.operation.clone(),
            parameters: Parameters::new(),
            data: Json::of(&self.data).unwrap(),
            tasks: self.parts,
            deadline_ms: Duration::from_secs(3600).into(),
            created_at: time(at_ms),
        };
        received(AnyEvent::ObjectCreated(ObjectCreated { object }), at_ms)
    }

    pub fn split_off(&self, part: u32, at_ms: i64) -> AnEvent {
        received(AnyEvent::TaskCreated(self.task_created(part, 0)), at_ms)
    }

    /// The part's task as it dies in a round, in the queue of its processors.
    pub fn dead_task(&self, part: u32, round: u32, at_ms: i64) -> DeadLetter {
        let event = self.task_created(part, round);
        let queue = topology().processor(&self.operation).name;
        dead_letter(message(&event), Some(&queue), round, at_ms)
    }

    /// The object as it dies in a round, because it cannot be split.
    pub fn dead_object(&self, round: u32, at_ms: i64) -> DeadLetter {
        let AnyEvent::ObjectCreated(event) = self.created(990).event else { panic!("that is what it is") };
        dead_letter(message(&event), Some(&topology().distributor().name), round, at_ms)
    }

    fn task_created(&self, part: u32, round: u32) -> TaskCreated {
        let task = Task {
            id: TaskId::of(self.id, self.parts, part),
            object_id: self.id,
            part,
            parts: self.parts,
            operation: self.operation.clone(),
            parameters: Parameters::new(),
            data: Json::of(&"what part it is does not matter here").unwrap(),
            round,
        };
        TaskCreated { task }
    }

    fn attempt(&self, part: u32, execution: &Execution) -> Attempt {
        Attempt {
            task_id: TaskId::of(self.id, self.parts, part),
            object_id: self.id,
            part,
            parts: self.parts,
            operation: self.operation.clone(),
            round: execution.round,
            attempt: execution.attempt,
            processor: execution.processor.clone(),
        }
    }

    pub fn started(&self, part: u32, execution: &Execution) -> AnEvent {
        let event = TaskStarted(self.attempt(part, execution));
        received(AnyEvent::TaskStarted(event), execution.started_ms)
    }

    pub fn finished(&self, part: u32, execution: &Execution) -> AnEvent {
        let outcome = match execution.succeeded {
            true => TaskOutcome::Succeeded(Json::of(&self.partial(part)).unwrap()),
            false => TaskOutcome::Failed(format!("part {part} broke")),
        };
        self.ended(part, execution, outcome)
    }

    pub fn ended(&self, part: u32, execution: &Execution, outcome: TaskOutcome) -> AnEvent {
        let event = TaskFinished {
            attempt: self.attempt(part, execution),
            outcome,
            duration_ms: Milliseconds::from_micros(execution.took_ms * 1000),
        };
        received(AnyEvent::TaskFinished(event), execution.started_ms + execution.took_ms)
    }

    /// All events of a life without failures.
    pub fn life(&self) -> Vec<AnEvent> {
        let mut events = vec![self.created(1000)];
        for part in 0..self.parts {
            let execution = Execution::ok();
            events.push(self.split_off(part, 1001));
            events.push(self.started(part, &execution));
            events.push(self.finished(part, &execution));
        }
        events
    }
}

impl Execution {
    pub fn ok() -> Self {
        Self { round: 0, attempt: 1, processor: "p1".to_owned(), started_ms: 1002, took_ms: 10, succeeded: true }
    }

    pub fn failed() -> Self {
        Self { succeeded: false, ..Self::ok() }
    }
}

pub fn topology() -> Topology {
    Topology::new("ebs")
}

/// An event as it travels.
pub fn message<E: Event>(event: &E) -> Message {
    encode(event, "ebs", "test", time(980), None).unwrap()
}

/// A message as it was set aside.
pub fn dead_letter(message: Message, queue: Option<&str>, round: u32, at_ms: i64) -> DeadLetter {
    DeadLetter {
        queue: queue.map(str::to_owned),
        cause: Some("crash-loop".to_owned()),
        reason: Some("it crashes whoever executes it".to_owned()),
        time: Some(time(at_ms)),
        attempt: 1,
        round,
        event: decode_any(&message, 1 << 20).ok(),
        message,
    }
}

/// All events of a life in which one part fails.
pub fn failing_part(work: &Work, part: u32) -> Vec<AnEvent> {
    let mut events = vec![work.created(1000)];
    for number in 0..work.parts {
        let execution = if number == part { Execution::failed() } else { Execution::ok() };
        events.push(work.split_off(number, 1001));
        events.push(work.started(number, &execution));
        events.push(work.finished(number, &execution));
    }
    events
}

/// Microseconds since 1970.
pub fn now() -> i64 {
    Timestamp::now().as_microsecond()
}

pub fn time(at_ms: i64) -> Timestamp {
    Timestamp::from_millisecond(at_ms).unwrap()
}

pub fn received(event: AnyEvent, at_ms: i64) -> AnEvent {
    let envelope = Envelope {
        id: "some id".to_owned(),
        source: "/ebs/test".to_owned(),
        kind: "SOME_TYPE".to_owned(),
        subject: None,
        time: time(at_ms),
        correlation_id: None,
        causation_id: None,
        traceparent: None,
    };
    Received { envelope, attempt: 1, event }
}

/// Events as statistics hears them, on their way from where they were sent.
pub fn heard(events: &[AnEvent]) -> Vec<Heard> {
    events.iter().map(|event| Heard::read(&sent(event), 1 << 20).unwrap()).collect()
}

fn sent(Received { envelope, event, .. }: &AnEvent) -> Message {
    let written = match event {
        AnyEvent::ObjectCreated(event) => encode(event, "ebs", "test", envelope.time, None),
        AnyEvent::TaskCreated(event) => encode(event, "ebs", "test", envelope.time, None),
        AnyEvent::TaskStarted(event) => encode(event, "ebs", "test", envelope.time, None),
        AnyEvent::TaskFinished(event) => encode(event, "ebs", "test", envelope.time, None),
        AnyEvent::ObjectFinished(event) => encode(event, "ebs", "test", envelope.time, None),
        AnyEvent::Fence | AnyEvent::Unknown => panic!("nobody here sends such"),
    };
    written.unwrap()
}

/// Completes when `condition` holds; panics when it does not within some seconds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let patience = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), patience).await;
    assert!(waited.is_ok(), "{what}");
}
