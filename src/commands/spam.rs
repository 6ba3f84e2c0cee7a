//! `ebs spam`: load. Submits texts, follows what becomes of them, and says how long it took, by the system's account, too.

mod follow;
mod latency;
mod load;
mod pace;
mod plan;
mod progress;
mod report;
mod submit;
mod tally;
mod texts;

use std::{process::ExitCode, sync::Arc, time::Duration};

use chassis::shutdown;
use clap::Args;
use reqwest::Method;
use tokio::time::{Instant, timeout};

pub use self::plan::Arguments;
use self::{
    follow::{Follow, Followed},
    plan::Plan,
    report::{Figures, Report},
    submit::Submitter,
    tally::Tally,
};
use crate::{
    client::{Address, Client, ClientError},
    failure::Failure,
    output::{self, Format},
};

/// How long the system may take to answer at the very end.
const LAST_QUESTION: Duration = Duration::from_secs(10);

const HELP: &str = "\
An object that is not accepted for now (503), or of which nobody knows whether it was, is submitted again for up to 30 s, as \
the same one: each has an Idempotency-Key. With --rate, objects are due at fixed times, and latencies count from then on, so \
that those are not flattered which had to wait for the ones before.

Ctrl-C ends it with the report so far; a second one ends it at once.

Exit codes: 0 all was accepted, and has finished well; 1 something was refused, failed, lost, or due and never sent; 64 wrong \
usage; 66 FILE cannot be read; 69 the system cannot be reached; 75 something had not finished after --wait.
A token, if the system wants one, is taken from API_TOKEN.";

/// Submits many objects and measures: at a fixed rate, or as fast as they are accepted.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Spam {
    #[command(flatten)]
    arguments: Arguments,
    #[command(flatten)]
    address: Address,
    #[command(flatten)]
    format: Format,
}

/// Does what is asked for.
///
/// # Errors
/// If it could not begin, or if standard output takes no report.
pub async fn run(spam: Spam) -> Result<ExitCode, Failure> {
    let plan = Arc::new(Plan::of(spam.arguments)?);
    let report = measure(&plan, &spam.address).await?;
    output::report(&spam.format.written(&report.json(), |_| report.text()))?;
    Ok(report.exit_code())
}

/// Submits, follows, compares. The error is why it could not begin.
async fn measure(plan: &Arc<Plan>, address: &Address) -> Result<Report, ClientError> {
    let client = Arc::new(Client::of(address)?);
    let before = Figures::ask(&client, &plan.operation).await?;
    let stop = shutdown::on_signals().unwrap_or_default();
    let tally = Arc::new(Tally::default());

    let submitter = Arc::new(Submitter::new(client.clone(), plan.clone(), tally.clone()));
    let load = progress::submitting(plan, &tally, load::run(plan, &submitter, &stop)).await;

    let accepted = tally.take_accepted();
    let follow = Follow::new(&client, accepted.open, Instant::now() + plan.wait, &stop);
    let followed: Followed = progress::following(&follow, follow.run(accepted.earliest)).await;
    let after = timeout(LAST_QUESTION, Figures::ask(&client, &plan.operation)).await;
    let after = after.ok().and_then(Result::ok);
    Ok(Report { plan: plan.clone(), load, counts: tally.counts(), followed, before, after })
}

/// The figures of the system before and after.
impl Figures {
    async fn ask(client: &Client, operation: &str) -> Result<Self, ClientError> {
        Ok(Self::of(&client.ask(Method::GET, "api/statistics", &[], None).await?, operation))
    }
}
