//! What statistics pays for a batch: one transaction of up to 500 events, into a file.
//!
//! `cargo bench -p statistics`
#![allow(missing_docs)] // criterion's macros

use std::time::Duration;

use bus::{
    AnyEvent, Received, decode_any, encode,
    events::{
        Attempt, Event, Json, Milliseconds, Object, ObjectCreated, ObjectId, Parameters, Task, TaskCreated,
        TaskFinished, TaskId, TaskOutcome, TaskStarted,
    },
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use operations::Catalogue;
use statistics::record::Record;
use tokio::runtime::Runtime;

const OPERATION: &str = "word-frequencies";
const TASKS: u32 = 3;
/// Events of a batch: few, as at low load, and as many as statistics takes at most.
const BATCHES: [usize; 3] = [10, 100, 500];

/// What statistics receives as it does: written and read.
fn received<E: Event>(event: &E) -> Received<AnyEvent> {
    let message = encode(event, "bench", "bench", bus::now(), None).expect("our own events are JSON");
    decode_any(&message, usize::MAX).expect("it was just written")
}

/// The ten events that make an object finish.
fn life() -> Vec<Received<AnyEvent>> {
    let text = |words: u32| (0..words).map(|number| format!("word{}", number % 40)).collect::<Vec<_>>().join(" ");
    let object = Object {
        id: ObjectId::new(),
        name: "bench".to_owned(),
        operation: OPERATION.parse().expect("it is a name"),
        parameters: Parameters::new(),
        data: Json::of(&text(66)).expect("a text is JSON"),
        tasks: TASKS,
        deadline_ms: Milliseconds::from(Duration::from_secs(86_400)),
        created_at: bus::now(),
    };
    let counts: serde_json::Map<_, _> = (0..22).map(|number| (format!("word{number}"), 1.into())).collect();
    let counts = Json::of(&counts).expect("counts are JSON");
    let mut events = vec![received(&ObjectCreated { object: object.clone() })];
    for part in 0..TASKS {
        let task = Task {
            id: TaskId::of(object.id, TASKS, part),
            object_id: object.id,
            part,
            parts: TASKS,
            operation: object.operation.clone(),
            parameters: Parameters::new(),
            data: Json::of(&text(22)).expect("a text is JSON"),
            round: 0,
        };
        let attempt = Attempt {
            task_id: task.id,
            object_id: object.id,
            part,
            parts: TASKS,
            operation: object.operation.clone(),
            round: 0,
            attempt: 1,
            processor: "processor-0".to_owned(),
        };
        events.push(received(&TaskCreated { task }));
        events.push(received(&TaskStarted(attempt.clone())));
        let outcome = TaskOutcome::Succeeded(counts.clone());
        events.push(received(&TaskFinished { attempt, outcome, duration_ms: Milliseconds::from_micros(1234) }));
    }
    events
}

fn merging(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let mut group = criterion.benchmark_group("merge");
    for size in BATCHES {
        let path = folder.path().join(format!("{size}.db"));
        let opened = runtime.block_on(Record::try_open(&path, Catalogue::built_in()));
        let record = opened.expect("the file can be written").expect("nobody else has it");
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(format!("{size} events"), |bencher| {
            // New objects each time: the same again would change nothing and write little.
            let batch = || (0..size / 10).flat_map(|_| life()).collect::<Vec<_>>();
            let merge = |events: Vec<_>| runtime.block_on(record.merge(&events)).expect("the file can be written");
            bencher.iter_batched(batch, merge, BatchSize::PerIteration);
        });
        runtime.block_on(record.close());
    }
    group.finish();
}

criterion_group!(benches, merging);
criterion_main!(benches);
