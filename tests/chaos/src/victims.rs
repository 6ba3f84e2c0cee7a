//! What faults happen to: the broker, and the links to it. A process is in `member.rs`.

use anyhow::bail;
use testkit::{Broker, Flow, Proxy};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    plan::{Fault, Planned},
    tally::Tally,
};

/// Something that faults happen to, one at a time.
pub trait Victim {
    /// What the report calls it.
    fn name(&self) -> String;

    /// Lets a fault happen, and be over.
    async fn suffer(&mut self, fault: Fault) -> anyhow::Result<()>;
}

/// Lets faults happen, each in its time.
pub async fn go_through(
    victim: &mut impl Victim,
    faults: impl Iterator<Item = &Planned>,
    beginning: Instant,
    tally: &Tally,
) {
    for planned in faults {
        sleep_until(beginning + planned.at).await;
        match victim.suffer(planned.fault).await {
            Ok(()) => tally.injected(planned.kind),
            Err(error) => tally.trouble(format!("{}: {:?}: {error:#}", victim.name(), planned.fault)),
        }
    }
}

impl Victim for Broker {
    fn name(&self) -> String {
        "the broker".to_owned()
    }

    async fn suffer(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Kill { down } => {
                self.kill().await?;
                sleep(down).await;
                self.resume().await
            }
            Fault::Freeze { lasts } => {
                self.pause().await?;
                sleep(lasts).await;
                self.unpause().await
            }
            _ => bail!("this cannot happen to a broker"),
        }
    }
}

impl Victim for Proxy {
    fn name(&self) -> String {
        format!("the link at port {}", self.port())
    }

    async fn suffer(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Cut { all: true } => {
                self.cut();
            }
            Fault::Cut { all: false } => {
                self.cut_one();
            }
            Fault::Slow { by, lasts } => {
                self.set_both(Flow::Slow(by));
                sleep(lasts).await;
                self.set_both(Flow::Open);
            }
            Fault::Silence { lasts } => {
                self.set_both(Flow::Silent);
                sleep(lasts).await;
                self.set_both(Flow::Open);
            }
            Fault::HalfClose { closed, lasts } => {
                self.set(closed, Flow::Closed);
                sleep(lasts).await;
                self.set(closed, Flow::Open);
            }
            Fault::Partition { lasts } => {
                self.partition();
                sleep(lasts).await;
                self.refuse(false);
            }
            _ => bail!("this cannot happen to a link"),
        }
        Ok(())
    }
}
