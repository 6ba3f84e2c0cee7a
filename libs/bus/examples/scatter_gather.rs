//! # Scatter and gather
//!
//! A client of EBS that needs nothing but the bus: it says `OBJECT_CREATED`, hears every `TASK_FINISHED`, and gathers by
//! itself: the partial results in order, each with the processor that made it. Several jobs may be under way at once.
//!
//! ```sh
//! QUEUE_URL=localhost:5672 cargo run --release        # a system over RabbitMQ, or its four services; before or after:
//! cargo run --example scatter_gather
//! call pow [0,1,2,3,4,5,6] {"exponent":3}
//! result 1
//! ```
//!
//! What is called while nobody works waits on the bus. Without a broker, `QUEUE_URL=embedded:`, a distributor and two
//! processors are tasks of this process.
//!
//! Only what is said while one listens is heard. A part that finishes while the connection is away is missing here, and
//! `result` says so in time; the record has it: `curl localhost:8000/api/objects/ID`.

mod common;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, anyhow, bail, ensure};
use bus::events::{Event, Json, MAX_TASKS, Object, ObjectCreated, ObjectId, Parameters, TaskFinished, TaskOutcome};
use bus::{Binding, Bus, Hear, PATIENCE, Received};
use chassis::Service;
use distributor::Distributor;
use operations::{Catalogue, Operation};
use processor::Processor;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

const USAGE: &str = "\
call OPERATION DATA [PARAMETERS [PARTS]]   submits a job and does not wait for it: call pow [1,2,3] {\"exponent\":2} 3
result [JOB [SECONDS]]                     waits for its result, 60 s at most; JOB may be left out when there is one";

/// How long `result` waits. That a processor dies does not matter, as another one gets its task; that there is none does.
const WAIT_SECONDS: u16 = 60;

struct Job {
    object: Object,
    operation: Arc<dyn Operation>,
    /// By their numbers, and so in order.
    parts: BTreeMap<u32, TaskFinished>,
}

struct Client(watch::Sender<Vec<Job>>);

impl Hear<TaskFinished> for Client {
    /// What others called is heard, too. The same part again changes nothing, unless it had failed and was done after all.
    async fn hear(&self, Received { event, .. }: Received<TaskFinished>) {
        self.0.send_modify(|jobs| {
            let Some(job) = jobs.iter_mut().find(|job| job.object.id == event.object_id()) else { return };
            let known = job.parts.get(&event.attempt.part).map(|part| &part.outcome);
            if !matches!(known, Some(TaskOutcome::Succeeded(_))) {
                job.parts.insert(event.attempt.part, event);
            }
        });
    }
}

impl Client {
    /// What makes no sense is refused here and now, as on the bus nobody would answer: an event states a fact.
    async fn call(&self, bus: &Bus, arguments: &str) -> anyhow::Result<String> {
        let (name, values) = arguments.split_once(char::is_whitespace).unwrap_or((arguments, ""));
        let operation = Catalogue::built_in().offered_unasked().get(name)?;
        let mut values = serde_json::Deserializer::from_str(values).into_iter::<Json>();
        let data = values.next().context("DATA is missing")?.context("DATA: JSON is expected")?;
        let parameters = values.next().map_or(Ok(Parameters::new()), |json| json?.parse()).context("PARAMETERS")?;
        let tasks = values.next().map_or(Ok(3), |json| json?.parse()).context("PARTS")?;
        ensure!((1..=MAX_TASKS).contains(&tasks), "PARTS: 1 to {MAX_TASKS} are allowed");
        operation.check(&data.parse()?, &parameters)?;
        let number = self.0.borrow().len() + 1;
        let (id, name, created_at) = (ObjectId::new(), format!("job {number}"), bus::now());
        let (deadline_ms, operation_name) = (Duration::from_secs(86_400).into(), operation.name().parse()?);
        let object = Object { id, name, operation: operation_name, parameters, data, tasks, deadline_ms, created_at };
        // Known before it is published: its first part may finish before the bus has confirmed it.
        let job = Job { object: object.clone(), operation, parts: BTreeMap::new() };
        self.0.send_modify(|jobs| jobs.push(job));
        bus.publish(&ObjectCreated { object }, None, PATIENCE).await.with_context(|| format!("job {number}"))?;
        Ok(format!("job {number} is {id}"))
    }

    async fn result(&self, arguments: &str) -> anyhow::Result<String> {
        let (words, jobs) = (arguments.split_whitespace().collect::<Vec<_>>(), self.0.borrow().len());
        let number = words.first().map_or(Ok(1), |word| word.parse()).context("JOB: a number is expected")?;
        ensure!(!words.is_empty() || jobs == 1, "which JOB? there are {jobs}");
        ensure!((1..=jobs).contains(&number), "JOB: there are {jobs}");
        let seconds = words.get(1).map_or(Ok(WAIT_SECONDS), |word| word.parse()).context("SECONDS: 0 to 65535")?;
        let (mut jobs, patience) = (self.0.subscribe(), Duration::from_secs(seconds.into()));
        let is_complete = |jobs: &Vec<Job>| {
            let parts = &jobs[number - 1].parts;
            parts.values().next().is_some_and(|part| part.attempt.parts as usize == parts.len())
        };
        let in_time = timeout(patience, jobs.wait_for(is_complete)).await.is_ok();
        let (job, mut text, mut partials) = (&jobs.borrow()[number - 1], String::new(), Vec::new());
        for TaskFinished { attempt, outcome, .. } in job.parts.values() {
            text += &format!("part {} of {} by {}: ", attempt.part, attempt.parts, attempt.processor);
            match outcome {
                TaskOutcome::Succeeded(partial) => partials.push(partial.parse()?),
                TaskOutcome::Failed(error) => bail!("{text}failed, {error:?}"),
            }
            text += &format!("{}\n", partials[partials.len() - 1]);
        }
        ensure!(in_time, "{text}job {number} is not finished after {patience:?}; it may be later: ask again");
        Ok(format!("{text}job {number}: {}", job.operation.gather(partials, &job.object.parameters)?))
    }
}

/// Runs a service as a task of this process, for a bus on which nobody else is.
async fn serve<S: Service>(settings: &str, bus: &Bus, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let context = chassis::Context { bus: bus.clone(), catalogue: Catalogue::built_in(), grace: PATIENCE };
    tokio::spawn(S::build(serde_json::from_str(settings)?, context).await?.run(shutdown.clone()));
    Ok(())
}

#[tokio::main]
async fn main() -> common::Ended {
    common::no_arguments(&format!("commands are typed\n{USAGE}"));
    let (shutdown, bus) = (common::shutdown()?, common::bus("scatter_gather", "ebs").await?);
    if common::is_embedded() {
        serve::<Distributor>("{}", &bus, &shutdown).await?;
        serve::<Processor>(r#"{"processor": "processor-1"}"#, &bus, &shutdown).await?;
        serve::<Processor>(r#"{"processor": "processor-2"}"#, &bus, &shutdown).await?;
    }
    // New queues have to settle for two seconds: better now than in the first call.
    bus.ensure::<ObjectCreated>(&"nop".parse()?).await;
    let client = Arc::new(Client(watch::Sender::default()));
    let finished = Binding { exchange: bus.topology().events(), pattern: format!("{}.#", TaskFinished::KEY) };
    tokio::spawn(bus.listen(vec![finished], client.clone(), shutdown.clone()));
    let conversation = async {
        // Whoever calls before they can hear would miss what comes of it.
        common::running(&bus).await;
        println!("ready\n{USAGE}");
        let mut lines = common::lines();
        while let Some(line) = lines.recv().await {
            let answer = match line.split_once(char::is_whitespace).unwrap_or((&line, "")) {
                ("call", arguments) => client.call(&bus, arguments.trim()).await,
                ("result", arguments) => client.result(arguments).await,
                (command, _) => Err(anyhow!("unknown: {command}\n{USAGE}")),
            };
            println!("{}", answer.unwrap_or_else(|error| format!("{error:#}")));
        }
    };
    let _ = shutdown.run_until_cancelled(conversation).await;
    bus.close().await;
    Ok(())
}
