//! What is wrong with a broker, or with the way to it, for people: name, connection, TLS, user, virtual host, version, rights,
//! queues. Nothing is changed there, and nothing takes longer than some seconds.

mod contents;
mod way;

use std::time::Duration;

use tokio::time::timeout;

use self::{
    contents::Look,
    way::{enter, greet, reach},
};
use super::Address;
use crate::{events::OperationName, topology::Topology};

/// How long one step may take, such as finding the host.
const STEP: Duration = Duration::from_secs(4);
/// How long all of it may take.
const ALL: Duration = Duration::from_secs(15);

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, in a word.
    pub subject: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was seen. Never a password.
    pub says: String,
    /// What to do about it, if something is wrong.
    pub advice: String,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, or may, and yet somebody should look at it.
    Warning,
    /// It does not work.
    Problem,
}

/// Looks at a broker as a system around the exchange `exchange` would, with these operations; step by step, up to the first
/// one without which there is no next.
pub async fn examine(address: &Address, exchange: &str, operations: &[OperationName]) -> Vec<Finding> {
    let mut found = Findings::default();
    let topology = Topology::new(exchange);
    if timeout(ALL, steps(address, &topology, operations, &mut found)).await.is_err() {
        let says = format!("it did not answer all questions within {ALL:?}");
        found.problem("broker", says, "look at the broker: its load, its log, whether its queues have leaders");
    }
    found.0
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, subject: &'static str, says: impl Into<String>) {
        self.add(subject, Verdict::Ok, says, "");
    }

    fn warning(&mut self, subject: &'static str, says: impl Into<String>, advice: impl Into<String>) {
        self.add(subject, Verdict::Warning, says, advice);
    }

    fn problem(&mut self, subject: &'static str, says: impl Into<String>, advice: impl Into<String>) {
        self.add(subject, Verdict::Problem, says, advice);
    }

    fn add(&mut self, subject: &'static str, verdict: Verdict, says: impl Into<String>, advice: impl Into<String>) {
        self.0.push(Finding { subject, verdict, says: says.into(), advice: advice.into() });
    }
}

async fn steps(address: &Address, topology: &Topology, operations: &[OperationName], found: &mut Findings) {
    let address = match address.now() {
        Ok(address) => address,
        Err(error) => return found.problem("address", error.to_string(), "mend the file that QUEUE_URL_FILE names"),
    };
    let Some(stream) = reach(&address, found).await else { return };
    if !greet(&address, stream, found).await {
        return;
    }
    let Some(connection) = enter(&address, found).await else { return };
    let look = Look { connection: &connection, topology };
    look.at_rights(found).await;
    look.at_queues(operations, found).await;
    // Last: a broker that is short of something answers nothing more to whoever has published.
    look.at_alarms(found).await;
    // The process ends soon, and the broker notices a closed socket too.
    let _ = timeout(STEP / 4, connection.close(200, "bye".into())).await;
}
