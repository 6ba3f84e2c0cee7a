//! What a run has shown, for people.

use std::time::Duration;

use crate::{
    checker::{Damage, Findings},
    ledger::Entries,
    options::Transport,
    plan::Site,
    rest::Rest,
    tally::Counts,
};

/// So many findings of a kind are shown.
const SHOWN: usize = 8;

/// All of it.
pub struct Report<'a> {
    pub transport: Transport,
    pub span: Duration,
    pub site: Site,
    pub entries: &'a Entries,
    pub tally: &'a Counts,
    pub rest: &'a Rest,
    pub findings: &'a Findings,
}

impl Report<'_> {
    /// Prints it.
    pub fn print(&self) {
        println!("\nfaults injected over {}, {} s:", self.transport.name(), self.span.as_secs());
        for kind in self.site.kinds() {
            println!("{:>8}  {}", self.tally.injected.get(kind).copied().unwrap_or_default(), kind.name());
        }
        println!("requests and objects:");
        println!("{:>8}  objects accepted", self.entries.accepted.len());
        println!("{:>8}  requests with an unknown outcome, all repeated until it was known", self.entries.unknown);
        println!("{:>8}  requests put off (429, 5xx)", self.entries.put_off);
        let announcements = self.rest.heard.announcements.values();
        let heard: u64 = announcements.clone().flat_map(|ids| ids.values()).sum();
        println!("{heard:>8}  announcements heard, of {} objects and revisions", announcements.count());
        match self.rest.took {
            Some(took) => {
                println!("{:>8.1}  seconds after the last fault at rest, all queues empty", took.as_secs_f64())
            }
            None => println!("{:>8}  at rest in time", "never"),
        }
        println!("outcome:");
        for damage in Damage::ALL {
            println!("{:>8}  {}", self.findings.count(damage), damage.name());
            let of_kind = self.findings.0.iter().filter(|(kind, _)| *kind == damage);
            for (_, what) in of_kind.clone().take(SHOWN) {
                println!("{:>8}    {what}", "");
            }
            if of_kind.count() > SHOWN {
                println!("{:>8}    ...", "");
            }
        }
    }
}
