//! What goes wrong, where and when: data, which follows from the seed and from nothing else.

use std::{collections::BTreeMap, time::Duration};

use rand::{
    RngExt, SeedableRng,
    seq::{IndexedRandom, SliceRandom},
};
use rand_chacha::ChaCha8Rng;
use testkit::Direction;

/// Before the first fault: queues that are quite new do not survive a kill of RabbitMQ 3.10.
const CALM: Duration = Duration::from_secs(3);
/// The last fault begins so long before the end.
const LAST: Duration = Duration::from_secs(1);
/// Within this time everything that is owed happens.
const ROUND: Duration = Duration::from_secs(60);

/// A kind of fault. Each must happen, or a run says nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A process is killed and started again.
    Kill,
    /// A process is stopped as by Ctrl-Z, and goes on.
    Freeze,
    /// A process is told to end, must end well, and is started again.
    Restart,
    /// The broker is killed and started again.
    KillBroker,
    /// The broker is stopped as by Ctrl-Z, and goes on.
    FreezeBroker,
    /// Connections between a process and the broker are reset.
    Cut,
    /// They are slow.
    Slow,
    /// They carry nothing, and say nothing.
    Silence,
    /// They carry one direction only.
    HalfClose,
    /// They are reset, and so is every new one.
    Partition,
}

/// What a fault happens to; processes and their links to the broker by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A process.
    Process(usize),
    /// Its link to the broker.
    Link(usize),
    /// The broker.
    Broker,
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// It is killed, and is down for so long.
    Kill { down: Duration },
    /// It does nothing for so long.
    Freeze { lasts: Duration },
    /// It is told to end, and is down for so long.
    Restart { down: Duration },
    /// Its connections are reset, or the oldest of them.
    Cut { all: bool },
    /// Its bytes come later.
    Slow { by: Duration, lasts: Duration },
    /// Its bytes do not come.
    Silence { lasts: Duration },
    /// Its bytes in one direction end.
    HalfClose { closed: Direction, lasts: Duration },
    /// It has no connections.
    Partition { lasts: Duration },
}

/// A fault in its time, from the beginning of the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Planned {
    pub at: Duration,
    pub kind: Kind,
    pub target: Target,
    pub fault: Fault,
}

/// What there is that faults can happen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// So many processes,
    pub processes: usize,
    /// each with a link to a broker, if there is one.
    pub broker: bool,
}

/// All faults of a run, in order. No target has two at a time.
pub fn plan(seed: u64, span: Duration, site: Site) -> Vec<Planned> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // What is owed comes first in each round; then the frequent ones more often.
    let mut owed: Vec<Owed> = Vec::new();
    let mut round = Duration::ZERO;
    let mut busy_until: BTreeMap<Target, Duration> = BTreeMap::new();
    let mut plan = Vec::new();
    let mut at = CALM;
    loop {
        let (least, most) = site.gap();
        at += random.random_range(least..most);
        if at + LAST > span {
            return plan;
        }
        if at >= round {
            owed.extend(site.owed());
            owed.shuffle(&mut random);
            round += ROUND;
        }
        let is_free = |target: &Target| busy_until.get(target).is_none_or(|until| *until <= at);
        let place = owed.iter().position(|owed| owed.targets.iter().any(is_free));
        let Owed { kind, mut targets } = place.map(|place| owed.remove(place)).unwrap_or_else(|| site.any(&mut random));
        targets.retain(is_free);
        let Some(target) = targets.choose(&mut random).copied() else { continue };
        let fault = Fault::any(kind, &mut random, span - at);
        busy_until.insert(target, at + fault.lasts() + kind.recovery());
        plan.push(Planned { at, kind, target, fault });
    }
}

/// A fault that has to happen, to one of these.
#[derive(Clone, Debug)]
struct Owed {
    kind: Kind,
    targets: Vec<Target>,
}

impl Site {
    /// One of each kind, and every process killed: of two that stand by for each other, the one that works is among them.
    fn owed(self) -> impl Iterator<Item = Owed> {
        let kinds = self.kinds().iter().filter(|kind| **kind != Kind::Kill);
        let kinds = kinds.map(move |kind| Owed { kind: *kind, targets: self.targets(*kind) });
        kinds.chain((0..self.processes).map(|n| Owed { kind: Kind::Kill, targets: vec![Target::Process(n)] }))
    }

    fn any(self, random: &mut ChaCha8Rng) -> Owed {
        let kind = *self.kinds().choose_weighted(random, |kind| kind.weight()).expect("weights are positive");
        Owed { kind, targets: self.targets(kind) }
    }

    /// What can go wrong here.
    pub fn kinds(self) -> &'static [Kind] {
        use Kind::{Cut, Freeze, FreezeBroker, HalfClose, Kill, KillBroker, Partition, Restart, Silence, Slow};
        match self.broker {
            true => &[Kill, Freeze, Restart, KillBroker, FreezeBroker, Cut, Slow, Silence, HalfClose, Partition],
            false => &[Kill, Freeze, Restart],
        }
    }

    fn targets(self, kind: Kind) -> Vec<Target> {
        match kind {
            Kind::Kill | Kind::Freeze | Kind::Restart => (0..self.processes).map(Target::Process).collect(),
            Kind::KillBroker | Kind::FreezeBroker => vec![Target::Broker],
            Kind::Cut | Kind::Slow | Kind::Silence | Kind::HalfClose | Kind::Partition => {
                (0..self.processes).map(Target::Link).collect()
            }
        }
    }

    /// How long it takes from one fault to the next, at least and at most: work must get done in between.
    fn gap(self) -> (Duration, Duration) {
        let milliseconds = if self.processes > 1 { (300, 2300) } else { (500, 3500) };
        (Duration::from_millis(milliseconds.0), Duration::from_millis(milliseconds.1))
    }
}

impl Kind {
    /// As the report names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "process killed (-9)",
            Self::Freeze => "process stopped (SIGSTOP)",
            Self::Restart => "process restarted (SIGTERM)",
            Self::KillBroker => "broker killed (-9)",
            Self::FreezeBroker => "broker stopped (SIGSTOP)",
            Self::Cut => "connections cut",
            Self::Slow => "connections delayed",
            Self::Silence => "connections silent",
            Self::HalfClose => "connections half-closed",
            Self::Partition => "connections refused",
        }
    }

    /// How frequent it is beside the others.
    fn weight(self) -> u32 {
        match self {
            Self::Kill | Self::Cut => 4,
            Self::Restart => 3,
            Self::Freeze | Self::Slow | Self::Silence | Self::HalfClose => 2,
            Self::KillBroker | Self::FreezeBroker | Self::Partition => 1,
        }
    }

    /// How long the target is left alone afterwards: until it works again, as a rule.
    fn recovery(self) -> Duration {
        Duration::from_secs(match self {
            Self::KillBroker => 20,
            Self::FreezeBroker | Self::Restart => 5,
            Self::Kill | Self::Freeze => 3,
            Self::Cut | Self::Slow | Self::Silence | Self::HalfClose | Self::Partition => 1,
        })
    }
}

impl Fault {
    /// Any fault of a kind that is over after `longest`.
    fn any(kind: Kind, random: &mut ChaCha8Rng, longest: Duration) -> Self {
        // Mostly short, now and then so long that heartbeats miss it.
        let mut between = |least: f64, most: f64| {
            let seconds = least + (most - least) * random.random::<f64>().powi(3);
            Duration::from_secs_f64(seconds).min(longest)
        };
        match kind {
            Kind::Kill | Kind::KillBroker => Self::Kill { down: between(0.0, 5.0) },
            Kind::Freeze | Kind::FreezeBroker => Self::Freeze { lasts: between(1.0, 20.0) },
            Kind::Restart => Self::Restart { down: between(0.0, 5.0) },
            Kind::Cut => Self::Cut { all: random.random_bool(0.5) },
            Kind::Slow => Self::Slow { by: between(0.01, 0.5), lasts: between(1.0, 10.0) },
            Kind::Silence => Self::Silence { lasts: between(1.0, 20.0) },
            Kind::HalfClose => Self::HalfClose {
                lasts: between(1.0, 10.0),
                closed: if random.random_bool(0.5) { Direction::ToServer } else { Direction::ToClient },
            },
            Kind::Partition => Self::Partition { lasts: between(0.5, 10.0) },
        }
    }

    /// How long it goes on.
    pub fn lasts(self) -> Duration {
        match self {
            Self::Kill { down } | Self::Restart { down } => down,
            Self::Freeze { lasts }
            | Self::Slow { lasts, .. }
            | Self::Silence { lasts }
            | Self::HalfClose { lasts, .. }
            | Self::Partition { lasts } => lasts,
            Self::Cut { .. } => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const SITES: [Site; 2] = [Site { processes: 9, broker: true }, Site { processes: 1, broker: false }];

    #[test]
    fn a_seed_always_makes_the_same_plan_and_another_one_another() {
        for site in SITES {
            assert_eq!(plan(1, MINUTE, site), plan(1, MINUTE, site));
            assert_ne!(plan(1, MINUTE, site), plan(2, MINUTE, site));
        }
    }

    #[test]
    fn every_kind_happens_in_every_minute_and_every_process_is_killed() {
        for (seed, site) in (0..1000).flat_map(|seed| SITES.map(|site| (seed, site))) {
            let whole = plan(seed, 3 * MINUTE, site);
            for minute in whole.chunk_by(|one, next| one.at.as_secs() / 60 == next.at.as_secs() / 60) {
                for kind in site.kinds() {
                    assert!(
                        minute.iter().any(|planned| planned.kind == *kind),
                        "seed {seed}: no {kind:?} in {minute:#?}"
                    );
                }
                for target in (0..site.processes).map(Target::Process) {
                    let is_killed = |planned: &Planned| planned.kind == Kind::Kill && planned.target == target;
                    assert!(minute.iter().any(is_killed), "seed {seed}: {target:?} is not killed in {minute:#?}");
                }
            }
        }
    }

    #[test]
    fn no_target_has_two_faults_at_a_time_and_all_are_over_at_the_end() {
        for (seed, site) in (0..100).flat_map(|seed| SITES.map(|site| (seed, site))) {
            let mut busy_until: BTreeMap<Target, Duration> = BTreeMap::new();
            for planned in plan(seed, MINUTE, site) {
                let end = planned.at + planned.fault.lasts();
                let before = busy_until.insert(planned.target, end);
                assert!(before.is_none_or(|before| before < planned.at), "seed {seed}: {planned:?}");
                assert!(planned.at >= CALM && end <= MINUTE, "seed {seed}: {planned:?}");
            }
        }
    }
}
