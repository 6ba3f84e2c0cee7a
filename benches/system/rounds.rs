//! A round: everybody once, so that what else the machine does for a while hits all alike.

use std::collections::BTreeMap;

use anyhow::Context;
use testkit::Broker;

use crate::{
    ceiling,
    celery::Celery,
    deployment::{Deployment, Kind},
    embedded_bus,
    figures::Figures,
    latency, merge,
    options::{Contender, Options},
    proc, queues, syncs, whole_system, workload,
};

/// Objects of a load, for 100 of the system over RabbitMQ: so many that each runs for some seconds.
const CEILING_PERCENT: usize = 200;
const EMBEDDED_PERCENT: usize = 300;
const ALONE_PERCENT: usize = 500;
const CELERY_PERCENT: usize = 20;
/// Objects that are submitted one by one while somebody counts what is made durable.
const WATCHED_OBJECTS: usize = 20;

/// All rounds, and what they gave.
pub struct Rounds<'a> {
    /// What was measured.
    pub figures: Figures,
    /// How durability was seen.
    pub durability: Vec<String>,
    options: &'a Options,
    broker: &'a Broker,
    celery: Option<Celery>,
}

impl<'a> Rounds<'a> {
    /// Before the first one.
    pub fn new(options: &'a Options, broker: &'a Broker, celery: Option<Celery>) -> Self {
        Self { figures: Figures::default(), durability: Vec::new(), options, broker, celery }
    }

    /// Everybody once; the last time with a look at what is made durable.
    pub async fn run(&mut self, last: bool) -> anyhow::Result<()> {
        let (options, url) = (self.options, self.broker.url());
        let texts = |percent: usize| workload::texts(options.objects * percent / 100);
        if options.wants(Contender::Ceiling) {
            let round = ceiling::round(self.broker, &texts(CEILING_PERCENT)).await.context("the ceiling")?;
            self.figures.add("ceiling", round.objects_per_s);
            self.add_cpu("ceiling", round.cpu_us);
        }
        if options.wants(Contender::Services) {
            self.system("services", Kind::Services(&url), 100, last).await.context("the services")?;
        }
        if options.wants(Contender::EbsEmbedded) {
            self.system("embedded", Kind::EbsEmbedded, EMBEDDED_PERCENT, last).await.context("ebs, embedded")?;
        }
        if options.wants(Contender::EbsRabbitmq) {
            self.system("ebs-rabbitmq", Kind::EbsOverRabbitmq(&url), 100, last).await.context("ebs over RabbitMQ")?;
        }
        if options.wants(Contender::Merge) {
            self.figures.add("merge", merge::round(&texts(ALONE_PERCENT)).await.context("the merge")?);
        }
        if options.wants(Contender::EmbeddedBus) {
            let rate = embedded_bus::round(&texts(ALONE_PERCENT)).await.context("the embedded bus")?;
            self.figures.add("embedded-bus", rate);
        }
        if let Some(celery) = &self.celery {
            self.figures.add("celery", celery.round(&url, &texts(CELERY_PERCENT)).await.context("Celery")?);
        }
        Ok(())
    }

    /// A whole system: lone objects first, which warm it up, then as many as it can take.
    async fn system(&mut self, name: &str, kind: Kind<'_>, percent: usize, last: bool) -> anyhow::Result<()> {
        let Options { objects, lone_objects, log, .. } = self.options;
        let texts = workload::texts(1 + lone_objects + objects * percent / 100);
        let (lone, many) = texts.split_at(1 + lone_objects);
        let deployment = Deployment::start(kind, log).await?;
        // The first one waits for RabbitMQ's new queues, for two seconds.
        let (first, lone) = lone.split_at(1);
        latency::round(deployment.port, first).await?;
        for time in latency::round(deployment.port, lone).await? {
            self.figures.add(format!("{name} ms"), time);
        }
        let broker = if kind == Kind::EbsEmbedded { None } else { self.broker.id() };
        let round = whole_system::load(&deployment, many, texts.len() - many.len(), broker).await?;
        whole_system::check(&deployment, texts.iter().map(String::as_str)).await?;
        self.figures.add(name, round.objects_per_s);
        self.figures.add(format!("{name} accepted"), round.accepted_per_s);
        self.add_cpu(name, round.cpu_us);
        for part in &deployment.parts {
            let memory = proc::memory(part.id()?)?;
            self.figures.add(format!("{name} start {}", part.name), part.started_in.as_secs_f64() * 1000.0);
            self.figures.add(format!("{name} idle {}", part.name), part.memory_at_start.now_mib);
            self.figures.add(format!("{name} peak {}", part.name), memory.peak_mib);
        }
        if last {
            self.look_at_syncs(name, &deployment).await?;
        }
        let exchange = deployment.exchange.clone();
        deployment.stop().await?;
        if kind != Kind::EbsEmbedded {
            queues::remove(&self.broker.url(), &exchange).await?;
        }
        Ok(())
    }

    /// The first process is the one that stores: `ebs`, or statistics.
    async fn look_at_syncs(&mut self, name: &str, deployment: &Deployment) -> anyhow::Result<()> {
        let part = deployment.parts.first().context("no process")?;
        let texts = workload::texts(WATCHED_OBJECTS);
        let counted = syncs::count(part, deployment.port, &texts, deployment.folder()).await?;
        self.durability.push(match counted {
            Ok(files) => {
                let files: Vec<String> = files.iter().map(|(file, syncs)| format!("{file} {syncs}")).collect();
                let process = part.name;
                format!("Made durable by {process} ({name}) for {WATCHED_OBJECTS} lone objects: {}.", files.join(", "))
            }
            Err(why) => format!("Durability of {name} was not looked at: {why}."),
        });
        Ok(())
    }

    fn add_cpu(&mut self, name: &str, cpu_us: BTreeMap<String, f64>) {
        for (process, cpu_us) in cpu_us {
            self.figures.add(format!("{name} cpu {process}"), cpu_us);
        }
    }
}
