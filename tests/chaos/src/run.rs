//! One run: everything is started, disturbed, left alone, and checked.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use testkit::repository;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{
    checker::{Damage, Evidence, Findings, check},
    clients::Clients,
    ledger::Ledger,
    options::{Options, Rule, Transport},
    plan,
    record::Record,
    report::Report,
    rest::{self, come_to_rest},
    stage::Stage,
    tally::Tally,
};

/// Runs over one transport; whether all is as it must be. Files are left behind if it is not.
///
/// # Errors
/// If it cannot be run.
pub async fn run(transport: Transport, seed: u64, options: &Options) -> anyhow::Result<bool> {
    let folder = fresh_folder(transport, seed)?;
    println!("\n=== {} s over {}, files in {}", options.seconds, transport.name(), folder.display());
    let findings = go(transport, seed, options, &folder).await?;
    let well = match options.breaks {
        None => findings.0.is_empty(),
        Some(rule) => is_noticed(rule, &findings),
    };
    if well {
        std::fs::remove_dir_all(&folder).context("cannot remove the files")?;
    } else {
        println!("FAILED; the databases and what the processes logged are in {}", folder.display());
    }
    Ok(well)
}

async fn go(transport: Transport, seed: u64, options: &Options, folder: &Path) -> anyhow::Result<Findings> {
    let span = Duration::from_secs(options.seconds);
    let mut stage = Stage::set_up(transport, options, folder).await?;
    let plan = plan::plan(seed, span, stage.site());
    let (ledger, tally) = (Ledger::default(), Tally::default());
    let clients = Clients { seed, rate: options.rate, doors: stage.doors(), ledger: &ledger };
    let (end, give_up) = (CancellationToken::new(), CancellationToken::new());
    let over = Instant::now() + span;
    let disturb = async {
        stage.go_through(&plan, &tally).await;
        sleep_until(over).await;
        end.cancel();
        Instant::now()
    };
    // Whoever cannot submit within the time in which everything must come to rest never will.
    let hurry = async {
        end.cancelled().await;
        give_up.run_until_cancelled(tokio::time::sleep(rest::PATIENCE)).await;
        give_up.cancel();
    };
    let submit = async {
        clients.run(&end, &give_up).await;
        give_up.cancel();
    };
    let (calm_since, (), ()) = tokio::join!(disturb, submit, hurry);
    println!("{} objects accepted, no more faults: waiting for rest", ledger.count());
    let rest = come_to_rest(&mut stage, ledger.count(), calm_since, calm_since + rest::PATIENCE).await;
    let (entries, tally) = (ledger.into_entries(), tally.into_counts());
    let evidence = Evidence { seed, site: stage.site(), entries: &entries, rest: &rest, tally: &tally };
    let mut record = Record::open(&stage.system.database()).await.context("cannot open the record")?;
    let findings = check(&evidence, &mut record).await?;
    let site = stage.site();
    Report { transport, span, site, entries: &entries, tally: &tally, rest: &rest, findings: &findings }.print();
    Ok(findings)
}

/// Whether the damage is there that comes of breaking the rule.
fn is_noticed(rule: Rule, findings: &Findings) -> bool {
    let damage = match rule {
        Rule::AcknowledgeBeforeCommit | Rule::ConfirmNotAwaited => Damage::Lost,
        Rule::MergeNotAJoin => Damage::Doubled,
    };
    let noticed = findings.count(damage) > 0;
    let verdict = if noticed { "NOTICED" } else { "NOT NOTICED" };
    println!("{verdict}: {} breaks its promise by {:?}", rule.name(), damage.name());
    noticed
}

/// On the disk of the repository: elsewhere it may be memory, where everything is fast and nothing durable.
fn fresh_folder(transport: Transport, seed: u64) -> anyhow::Result<PathBuf> {
    let name = format!("{}-{seed}-{}", transport.name(), std::process::id());
    let folder = repository().join("target").join("chaos").join(name);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}
