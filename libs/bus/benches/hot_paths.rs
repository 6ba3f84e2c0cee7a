//! What every message pays for: being read, being routed, and being made durable by the embedded bus.
//!
//! `cargo bench -p bus`
#![allow(missing_docs)] // criterion's macros

use std::{hint::black_box, time::Duration};

use bus::{
    Acknowledge, Message, Pattern, Source, Topology, Transport, decode, decode_any,
    embedded::{Embedded, Limits},
    encode,
    events::{
        Attempt, Event, Json, Milliseconds, Object, ObjectCreated, ObjectId, Parameters, TaskFinished, TaskId,
        TaskOutcome,
    },
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;

const OPERATION: &str = "word-frequencies";
const EXCHANGE: &str = "bench";
const PATIENCE: Duration = Duration::from_secs(20);
/// Messages that are published in one call, and so share a commit: alone, and as many as are often on their way together.
const GROUPS: [u16; 3] = [1, 64, 500];

/// A text of 65 words, which is about what people send.
fn text() -> String {
    (0..65).map(|number| format!("word{}", number % 40)).collect::<Vec<_>>().join(" ")
}

fn object_created() -> ObjectCreated {
    let object = Object {
        id: ObjectId::new(),
        name: "bench".to_owned(),
        operation: OPERATION.parse().expect("it is a name"),
        parameters: Parameters::new(),
        data: Json::of(&text()).expect("a text is JSON"),
        tasks: 3,
        deadline_ms: Milliseconds::from(Duration::from_secs(86_400)),
        created_at: bus::now(),
    };
    ObjectCreated { object }
}

fn task_finished() -> TaskFinished {
    let object_id = ObjectId::new();
    let attempt = Attempt {
        task_id: TaskId::of(object_id, 3, 1),
        object_id,
        part: 1,
        parts: 3,
        operation: OPERATION.parse().expect("it is a name"),
        round: 0,
        attempt: 1,
        processor: "processor-0".to_owned(),
    };
    let counts: serde_json::Map<_, _> = (0..20).map(|number| (format!("word{number}"), 1.into())).collect();
    let outcome = TaskOutcome::Succeeded(Json::of(&counts).expect("counts are JSON"));
    TaskFinished { attempt, outcome, duration_ms: Milliseconds::from_micros(1234) }
}

fn message<E: Event>(event: &E) -> Message {
    encode(event, EXCHANGE, "bench", bus::now(), None).expect("our own events are JSON")
}

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(1));
    let created = message(&object_created());
    group.bench_function("OBJECT_CREATED", |bencher| {
        bencher.iter(|| decode::<ObjectCreated>(black_box(&created), usize::MAX).expect("it is one"));
    });
    let finished = message(&task_finished());
    group.bench_function("TASK_FINISHED", |bencher| {
        bencher.iter(|| decode_any(black_box(&finished), usize::MAX).expect("it is one"));
    });
    let event = task_finished();
    group.bench_function("TASK_FINISHED, encode", |bencher| bencher.iter(|| message(black_box(&event))));
    group.finish();
}

fn matching(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("match");
    group.throughput(Throughput::Elements(1));
    for (pattern, key, expected) in [
        ("#", "task.finished.word-frequencies", true),
        ("task.created.word-frequencies", "task.created.word-frequencies", true),
        ("object.created.#", "task.finished.word-frequencies", false),
        ("#.a.#.b.#", "a.a.a.a.a.a.a.a.a.c", false),
    ] {
        let read = Pattern::new(pattern);
        assert_eq!(read.matches(key), expected, "{pattern} {key}");
        group.bench_function(format!("{pattern} on {key}"), |bencher| {
            bencher.iter(|| black_box(&read).matches(black_box(key)));
        });
    }
    group.finish();
}

/// From the publish to the acknowledgement of every message, with a file: one commit, and the acknowledgements with the
/// next.
fn journal(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let mut group = criterion.benchmark_group("journal");
    for size in GROUPS {
        let path = folder.path().join(format!("{size}.db"));
        let opened = runtime.block_on(Embedded::open(&path, Limits::default()));
        let bus = opened.expect("the file is new");
        let topology = Topology::new(EXCHANGE);
        runtime.block_on(bus.ensure(topology.events(), vec![topology.statistics()]));
        let mut subscription = {
            let _runtime = runtime.enter();
            bus.subscribe(Source::Shared(topology.statistics()), size)
        };
        let messages: Vec<Message> = (0..size).map(|_| message(&task_finished())).collect();
        group.throughput(Throughput::Elements(u64::from(size)));
        group.bench_function(format!("publish {size} together, consume"), |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    for result in bus.publish(messages.clone(), PATIENCE).await {
                        result.expect("there is a queue");
                    }
                    let mut last = None;
                    for _ in 0..size {
                        last = subscription.next().await.map(|delivery| delivery.receipt);
                    }
                    let last = last.expect("the bus is open");
                    subscription.acknowledge(last, Acknowledge::UpTo).await.expect("the bus is open");
                });
            });
        });
        runtime.block_on(bus.close());
    }
    group.finish();
}

criterion_group!(hot_paths, decoding, matching, journal);
criterion_main!(hot_paths);
