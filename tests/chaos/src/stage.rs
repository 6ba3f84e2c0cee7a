//! Everything that runs: the processes, the broker, and a link of its own between each of them and it.

use std::{path::Path, sync::Arc, time::Duration};

use bus::Topology;
use futures_util::future::join_all;
use testkit::{Broker, Options as SystemOptions, Proxy, System, eventually_within};
use tokio::time::Instant;

use crate::{
    follower::{self, Follower},
    member::{GRACE, Member},
    options::{Options, Transport},
    plan::{Planned, Site, Target, service},
    tally::Tally,
    victims::go_through,
};

/// Over RabbitMQ. Of the two statistics one stands by.
pub const ON_BROKER: Site = Site {
    processes: &[
        "datagen",
        "datagen-1",
        "distributor",
        "distributor-1",
        "processor-0",
        "processor-1",
        "processor-2",
        "statistics",
        "statistics-1",
    ],
    broker: true,
};
/// All of them in one process, on the embedded bus.
pub const EMBEDDED: Site = Site { processes: &["ebs"], broker: false };
/// How long everything may take to be ready at first.
const READY_PATIENCE: Duration = Duration::from_secs(120);

/// What runs.
pub struct Stage {
    pub system: Arc<System>,
    pub members: Vec<Member>,
    /// None without a broker.
    pub broker: Option<Broker>,
    /// Hears what is announced; on the embedded bus, its queue is looked into when all is over.
    pub follower: Option<Follower>,
    links: Vec<Proxy>,
}

impl Stage {
    /// Starts everything, with its files in `folder`, and waits until it is ready.
    ///
    /// # Errors
    /// If something cannot be started.
    pub async fn set_up(transport: Transport, options: &Options, folder: &Path) -> anyhow::Result<Self> {
        let broker = match transport {
            Transport::Rabbitmq => Some(Broker::prepare_in(folder.join("broker"))?),
            Transport::Embedded => None,
        };
        let names = if broker.is_some() { ON_BROKER } else { EMBEDDED }.processes;
        let mut settings = match &broker {
            Some(broker) => SystemOptions::on(broker.url()).processors(3),
            None => SystemOptions::embedded(),
        };
        let mut links = Vec::new();
        if let Some(broker) = &broker {
            for name in ["datagen-1", "distributor-1", "statistics-1"] {
                settings = settings.and(name);
            }
            for name in names {
                let link = Proxy::start(broker.port()).await?;
                let url = format!("amqp://guest:guest@127.0.0.1:{}/%2f", link.port());
                settings = settings.set_for(name, "QUEUE_URL", url);
                links.push(link);
            }
        }
        settings = settings
            .in_folder(folder.to_owned())
            .set("SHUTDOWN_GRACE", format!("{}s", GRACE.as_secs()))
            .set("RUST_LOG", &options.log);
        if let Some(rule) = options.breaks {
            settings = settings.set("EBS_BREAK", rule.name());
        }
        let system = Arc::new(System::prepare(settings)?);
        let mut stage = Self { system, members: Vec::new(), broker, follower: None, links };
        stage.start(names).await?;
        Ok(stage)
    }

    async fn start(&mut self, names: &[&str]) -> anyhow::Result<()> {
        let topology = Topology::new(self.system.exchange());
        match &mut self.broker {
            Some(broker) => {
                broker.resume().await?;
                self.follower = Some(Follower::start(&broker.url(), &topology).await?);
            }
            None => follower::declare(&self.system.bus_file(), &topology).await?,
        }
        for name in names {
            self.members.push(Member::start(self.system.clone(), (*name).to_owned())?);
        }
        for member in &mut self.members {
            member.is_there().await?;
        }
        // Of those that stand by for each other, one is enough.
        let mut kinds: Vec<&str> = names.iter().map(|name| service(name)).collect();
        kinds.dedup();
        for wanted in kinds {
            let same: Vec<&&str> = names.iter().filter(|name| service(name) == wanted).collect();
            eventually_within(READY_PATIENCE, async || {
                let ready = join_all(same.iter().map(|name| self.is_ready(name))).await;
                if ready.contains(&true) { Ok(()) } else { Err(format!("no {wanted} is ready")) }
            })
            .await;
        }
        Ok(())
    }

    /// What faults can happen to.
    pub fn site(&self) -> Site {
        if self.broker.is_some() { ON_BROKER } else { EMBEDDED }
    }

    /// Where objects are submitted.
    pub fn doors(&self) -> Vec<String> {
        let names = self.system.names().into_iter().filter(|name| matches!(service(name), "datagen" | "ebs"));
        names.map(|name| self.system.url_of(&name, "/api/objects")).collect()
    }

    /// Lets all faults happen. Afterwards everything runs, and is not disturbed any more.
    pub async fn go_through(&mut self, plan: &[Planned], tally: &Tally) {
        let Self { members, links, broker, .. } = self;
        let beginning = Instant::now();
        let faults_of = |target: Target| plan.iter().filter(move |planned| planned.target == target);
        let members = members.iter_mut().enumerate();
        let members = members.map(|(n, member)| go_through(member, faults_of(Target::Process(n)), beginning, tally));
        let links = links.iter_mut().enumerate();
        let links = links.map(|(n, link)| go_through(link, faults_of(Target::Link(n)), beginning, tally));
        let broker = async {
            if let Some(broker) = broker {
                go_through(broker, faults_of(Target::Broker), beginning, tally).await;
            }
        };
        tokio::join!(join_all(members), join_all(links), broker);
    }

    async fn is_ready(&self, name: &str) -> bool {
        let asked = self.system.client().get(self.system.url_of(name, "/readyz")).send().await;
        asked.is_ok_and(|answer| answer.status().is_success())
    }
}
