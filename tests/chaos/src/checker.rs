//! Whether the promises were kept: what the record says against what the clients know and compute themselves.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;

use crate::{
    follower::Heard,
    ledger::Entries,
    plan::{Kind, Site},
    record::{Figures, Object, Record, Task},
    rest::Rest,
    tally::Counts,
    work::{Expected, Outcome, Work},
};

/// What kind of damage was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damage {
    /// Something that was accepted is not there, or not done.
    Lost,
    /// Something is there that nobody submitted.
    Unexpected,
    /// An effect is there more than once.
    Doubled,
    /// A result is not what it must be.
    Wrong,
    /// The system did not come to rest, or left something behind.
    Restless,
    /// A process ended that was not told to, or did not end well.
    Process,
    /// A kind of fault was never injected, so that the run says nothing about it.
    Untried,
}

impl Damage {
    /// All kinds, as the report lists them.
    pub const ALL: [Self; 7] =
        [Self::Lost, Self::Unexpected, Self::Doubled, Self::Wrong, Self::Restless, Self::Process, Self::Untried];

    /// As the report names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Unexpected => "unexpected",
            Self::Doubled => "double effects",
            Self::Wrong => "wrong",
            Self::Restless => "left behind",
            Self::Process => "processes that failed",
            Self::Untried => "kinds of faults never injected",
        }
    }
}

/// All that is wrong.
#[derive(Clone, Debug, Default)]
pub struct Findings(pub Vec<(Damage, String)>);

impl Findings {
    /// How much of it is of one kind.
    pub fn count(&self, damage: Damage) -> usize {
        self.0.iter().filter(|(kind, _)| *kind == damage).count()
    }

    fn add(&mut self, damage: Damage, what: impl Into<String>) {
        self.0.push((damage, what.into()));
    }

    /// Too much is a double effect, too little is a lost one.
    fn compare(&mut self, what: &str, expected: i64, got: i64) {
        match got {
            got if got > expected => self.add(Damage::Doubled, format!("{what}: {got} instead of {expected}")),
            got if got < expected => self.add(Damage::Lost, format!("{what}: {got} instead of {expected}")),
            _ => {}
        }
    }
}

/// All that is known when a run is over.
pub struct Evidence<'a> {
    pub seed: u64,
    pub site: Site,
    pub entries: &'a Entries,
    pub rest: &'a Rest,
    pub tally: &'a Counts,
}

/// Checks everything.
///
/// # Errors
/// If the record cannot be read.
pub async fn check(evidence: &Evidence<'_>, record: &mut Record) -> anyhow::Result<Findings> {
    let mut findings = Findings::default();
    check_run(evidence, &mut findings);
    let mut totals = BTreeMap::<(String, String), i64>::new();
    let in_record: BTreeSet<String> = record.ids().await?.into_iter().collect();
    for id in &in_record {
        let object = record.object(id).await?;
        let tasks = record.tasks(id).await?;
        let Some(origin) = evidence.entries.accepted.get(id) else {
            findings.add(Damage::Unexpected, format!("object {id} in the record, which nobody submitted"));
            continue;
        };
        if object.status != "succeeded" {
            let damage = if object.status == "open" { Damage::Lost } else { Damage::Wrong };
            findings.add(damage, format!("object {id} is {}, with {}", object.status, told(&tasks)));
            continue;
        }
        let work = Work::of(evidence.seed, origin.client, origin.number);
        match expected(&work, &object) {
            Ok(expected) => {
                check_object(&object, &tasks, &expected, &mut findings);
                if let Outcome::Counts(counts) = &expected.result {
                    for (word, count) in counts {
                        let name = (expected.operation.to_owned(), word.clone());
                        *totals.entry(name).or_default() += i64::try_from(*count)?;
                    }
                }
            }
            Err(error) => findings.add(Damage::Wrong, format!("object {id}: {error:#}")),
        }
        check_announcements(&object, &evidence.rest.heard, &mut findings);
    }
    for (id, origin) in evidence.entries.accepted.iter().filter(|(id, _)| !in_record.contains(*id)) {
        findings.add(Damage::Lost, format!("object {id} was accepted ({origin:?}) and is not in the record"));
    }
    for (id, revision) in evidence.rest.heard.announcements.keys().filter(|(id, _)| !in_record.contains(id)) {
        findings.add(Damage::Unexpected, format!("object {id}, revision {revision}, was announced"));
    }
    for dead_letter in record.dead_letters().await? {
        findings.add(Damage::Wrong, format!("a message was set aside: {dead_letter}"));
    }
    check_sums(record, totals, &mut findings).await?;
    Ok(findings)
}

/// What does not need the record.
fn check_run(evidence: &Evidence<'_>, findings: &mut Findings) {
    let Evidence { site, entries, rest, tally, .. } = evidence;
    for kind in untried(*site, tally) {
        findings.add(Damage::Untried, kind.name());
    }
    for trouble in &tally.troubles {
        findings.add(Damage::Process, trouble);
    }
    for wrong in entries.wrong.iter().chain(&rest.heard.wrong) {
        findings.add(Damage::Wrong, wrong);
    }
    if rest.took.is_none() {
        findings.add(Damage::Restless, format!("not at rest in time: {}", rest.reason));
    }
    for left in &rest.left {
        findings.add(Damage::Restless, left);
    }
}

/// The kinds of faults that did not happen.
fn untried(site: Site, tally: &Counts) -> impl Iterator<Item = Kind> {
    site.kinds().iter().copied().filter(|kind| !tally.injected.contains_key(kind))
}

fn expected(work: &Work, object: &Object) -> anyhow::Result<Expected> {
    let data = serde_json::from_str(&object.data).context("its data is not JSON")?;
    work.expected(&data)
}

/// An object that succeeded: its result, its parts and theirs.
fn check_object(object: &Object, tasks: &[Task], expected: &Expected, findings: &mut Findings) {
    let id = &object.id;
    if object.operation != expected.operation {
        findings.add(Damage::Wrong, format!("object {id}: {} instead of {}", object.operation, expected.operation));
    }
    let parts = i64::try_from(expected.parts).unwrap_or(i64::MAX);
    findings.compare(&format!("object {id}: tasks"), parts, i64::try_from(tasks.len()).unwrap_or(i64::MAX));
    let whole = |(number, task): (i64, &Task)| {
        task.parts == parts && task.part == number && task.is_created && task.outcome.as_deref() == Some("succeeded")
    };
    if !(0..).zip(tasks).all(whole) {
        findings.add(Damage::Wrong, format!("object {id}: {}", told(tasks)));
    }
    let partials = tasks.iter().filter_map(|task| task.result.as_deref()).map(Outcome::read);
    let gathered = partials.collect::<anyhow::Result<Vec<_>>>().and_then(Outcome::of_parts);
    let result = object.result.as_deref().context("it has none").and_then(Outcome::read);
    for (what, result) in [("its result", result), ("what its parts come to", gathered)] {
        match result {
            Ok(result) if result == expected.result => {}
            Ok(_) => findings.add(Damage::Wrong, format!("object {id}: {what} is not what it must be")),
            Err(error) => findings.add(Damage::Wrong, format!("object {id}: {what}: {error:#}")),
        }
    }
}

/// However often an announcement came, it is one: of the revision that the record has, and of no other.
fn check_announcements(object: &Object, heard: &Heard, findings: &mut Findings) {
    let id = &object.id;
    let of_object = (id.clone(), 0)..=(id.clone(), u32::MAX);
    let announcements: Vec<_> = heard.announcements.range(of_object).collect();
    if !announcements.iter().any(|((_, revision), _)| *revision == object.revision) {
        findings.add(Damage::Lost, format!("object {id}, revision {}, was not announced", object.revision));
    }
    for ((_, revision), ids) in announcements {
        if *revision != object.revision {
            findings.add(Damage::Unexpected, format!("object {id}, revision {revision}, was announced"));
        }
        if ids.len() > 1 {
            findings.add(Damage::Doubled, format!("object {id}, revision {revision}, has announcements {ids:?}"));
        }
    }
}

/// Totals against the clients' own count, and running figures against the rows.
async fn check_sums(
    record: &mut Record,
    totals: BTreeMap<(String, String), i64>,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let orphans = record.orphans().await?;
    if orphans > 0 {
        findings.add(Damage::Unexpected, format!("{orphans} tasks or partial results of objects that nobody knows"));
    }
    compare_all("total", &totals, &record.totals().await?, findings);
    let (counted, said): (Figures, Figures) = (record.figures_counted().await?, record.figures_said().await?);
    compare_all("figure", &counted, &said, findings);
    let ended_badly = |figure: &str| figure.ends_with("failed") || figure.ends_with("timed_out");
    for ((of, figure), count) in said.iter().filter(|((_, figure), _)| ended_badly(figure)) {
        findings.add(Damage::Wrong, format!("{count} {figure} of {of}, which cannot fail"));
    }
    let sum = |figure: &str| said.iter().filter(|((_, name), _)| name == figure).map(|(_, count)| count).sum::<i64>();
    let finished = sum("objects succeeded") + sum("objects failed") + sum("objects timed_out");
    if sum("objects created") != finished {
        findings.add(Damage::Lost, format!("{} objects created, {finished} finished", sum("objects created")));
    }
    Ok(())
}

fn compare_all<K: Ord + Clone + std::fmt::Debug>(
    what: &str,
    expected: &BTreeMap<K, i64>,
    got: &BTreeMap<K, i64>,
    findings: &mut Findings,
) {
    let names: BTreeSet<&K> = expected.keys().chain(got.keys()).collect();
    for name in names {
        let value = |of: &BTreeMap<K, i64>| of.get(name).copied().unwrap_or_default();
        findings.compare(&format!("{what} {name:?}"), value(expected), value(got));
    }
}

/// Tasks, for people.
fn told(tasks: &[Task]) -> String {
    let one = |task: &Task| {
        let outcome = task.outcome.as_deref().unwrap_or("open");
        format!("{} of {} {outcome}{}", task.part, task.parts, if task.is_created { "" } else { ", not created" })
    };
    format!("tasks [{}]", tasks.iter().map(one).collect::<Vec<_>>().join("; "))
}
