//! What every contender is given: texts, and what must come out of them, counted here and nowhere else.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use bus::{
    Envelope, Message,
    events::{
        Attempt, Event, Json, Milliseconds, Object, ObjectCreated, ObjectFinished, ObjectId, ObjectOutcome,
        ObjectResult, OperationName, Parameters, Task, TaskCreated, TaskFinished, TaskId, TaskOutcome, TaskStarted,
    },
};
use std::time::Duration;

/// Into how many tasks an object is split: the default of datagen.
pub const TASKS: u32 = 3;
/// Created, finished, and for every task created, started, finished.
pub const EVENTS: usize = 2 + 3 * TASKS as usize;
/// The operation that all contenders do.
pub const OPERATION: &str = "word-frequencies";

/// How many different words there are: fewer than the totals that one request shows.
const VOCABULARY: u64 = 500;
/// Words of a text, at least and at most.
const MIN_WORDS: u64 = 30;
const MAX_WORDS: u64 = 100;

/// How often each word occurs.
pub type Counts = BTreeMap<String, u64>;

/// Texts, always the same ones.
pub fn texts(count: usize) -> Vec<String> {
    let mut random = Random(2026);
    let text = |_| {
        let words = MIN_WORDS + random.below(MAX_WORDS - MIN_WORDS + 1);
        (0..words).map(|_| word(random.rank())).collect::<Vec<_>>().join(" ")
    };
    (0..count).map(text).collect()
}

/// How often each word occurs in all of the texts.
pub fn count<'a>(texts: impl IntoIterator<Item = &'a str>) -> Counts {
    let mut counts = Counts::new();
    // The words are lower-case letters with one space between them, so this is exact.
    for word in texts.into_iter().flat_map(str::split_whitespace) {
        *counts.entry(word.to_owned()).or_default() += 1;
    }
    counts
}

/// Fails unless the two are the same, and says where they differ.
pub fn ensure_same(expected: &Counts, counted: &Counts) -> anyhow::Result<()> {
    let wrong = expected.iter().find(|(word, count)| counted.get(*word) != Some(count));
    ensure!(
        wrong.is_none(),
        "the totals are wrong: {wrong:?} expected, {:?} counted",
        wrong.map(|(w, _)| counted.get(w))
    );
    ensure!(expected.len() == counted.len(), "{} words expected, {} counted", expected.len(), counted.len());
    Ok(())
}

/// The eleven messages of an object, as the services would send them, in the order of a run without failures.
pub fn messages(exchange: &str, text: &str) -> anyhow::Result<Vec<Message>> {
    let operation: OperationName = OPERATION.parse()?;
    let object = object(operation.clone(), text)?;
    let id = object.id;
    let mut all = Written { exchange, messages: Vec::with_capacity(EVENTS) };
    let created = all.write("datagen", &ObjectCreated { object }, None)?;
    let mut finishing = Vec::new();
    for (part, text) in (0..).zip(split(text)) {
        let task = Task {
            id: TaskId::of(id, TASKS, part),
            object_id: id,
            part,
            parts: TASKS,
            operation: operation.clone(),
            parameters: Parameters::new(),
            data: Json::of(&text)?,
            round: 0,
        };
        let attempt = attempt(&task);
        let cause = all.write("distributor", &TaskCreated { task }, Some(&created))?;
        finishing.push((attempt, text, cause));
    }
    for (attempt, text, cause) in finishing {
        all.write("processor", &TaskStarted(attempt.clone()), Some(&cause))?;
        let outcome = TaskOutcome::Succeeded(Json::of(&count([text.as_str()]))?);
        let finished = TaskFinished { attempt, outcome, duration_ms: Milliseconds::from_micros(123) };
        all.write("processor", &finished, Some(&cause))?;
    }
    let result = ObjectResult::Inline(Json::of(&count([text]))?);
    let outcome = ObjectOutcome::Succeeded(result);
    let duration_ms = Milliseconds::from_micros(12_345);
    all.write("statistics", &ObjectFinished { object_id: id, operation, outcome, duration_ms, revision: 0 }, None)?;
    Ok(all.messages)
}

struct Written<'a> {
    exchange: &'a str,
    messages: Vec<Message>,
}

impl Written<'_> {
    fn write<E: Event>(&mut self, app: &str, event: &E, cause: Option<&Envelope>) -> anyhow::Result<Envelope> {
        let message = bus::encode(event, self.exchange, app, bus::now(), cause)?;
        let received = bus::decode::<E>(&message, usize::MAX).context("what was just encoded")?;
        self.messages.push(message);
        Ok(received.envelope)
    }
}

fn object(operation: OperationName, text: &str) -> anyhow::Result<Object> {
    Ok(Object {
        id: ObjectId::new(),
        name: "bench".to_owned(),
        operation,
        parameters: Parameters::new(),
        data: Json::of(text)?,
        tasks: TASKS,
        deadline_ms: Milliseconds::from(Duration::from_secs(86_400)),
        created_at: bus::now(),
    })
}

fn attempt(task: &Task) -> Attempt {
    Attempt {
        task_id: task.id,
        object_id: task.object_id,
        part: task.part,
        parts: task.parts,
        operation: task.operation.clone(),
        round: 0,
        attempt: 1,
        processor: "processor-0".to_owned(),
    }
}

/// The words in as many runs as there are tasks.
pub fn split(text: &str) -> Vec<String> {
    let words: Vec<&str> = text.split(' ').collect();
    words.chunks(words.len().div_ceil(TASKS as usize)).map(|words| words.join(" ")).collect()
}

/// Word number `rank`: letters that stand for its digits.
fn word(rank: u64) -> String {
    let digit = |place: u32| char::from(b'a' + u8::try_from(rank / 8_u64.pow(place) % 8).unwrap_or_default());
    format!("{}{}{}word", digit(2), digit(1), digit(0))
}

/// [SplitMix64](https://prng.di.unimi.it/splitmix64.c): the same texts on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// Low ranks more often than high ones, as words are.
    fn rank(&mut self) -> u64 {
        let bound = self.below(VOCABULARY) + 1;
        self.below(bound)
    }
}
