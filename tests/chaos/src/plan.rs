//! What goes wrong, where and when: data, which follows from the seed and from nothing else.

use std::{collections::BTreeMap, ops::Range, time::Duration};

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
    /// The processes, those of one service after each other: `datagen`, `datagen-1`, `distributor` …,
    pub processes: &'static [&'static str],
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
        let is_free =
            |group: &Vec<Target>| group.iter().all(|target| busy_until.get(target).is_none_or(|until| *until <= at));
        let Owed { kind, mut groups } = if owed.is_empty() {
            site.any(&mut random)
        } else {
            // Nothing else meanwhile, or a service would never be undisturbed as a whole.
            let Some(place) = owed.iter().position(|owed| owed.groups.iter().any(is_free)) else { continue };
            owed.remove(place)
        };
        groups.retain(is_free);
        for target in groups.choose(&mut random).cloned().unwrap_or_default() {
            let fault = Fault::any(kind, &mut random, span - at);
            busy_until.insert(target, at + fault.lasts() + kind.recovery());
            plan.push(Planned { at, kind, target, fault });
        }
    }
}

/// A kind of fault that has to happen, to all of one of these groups at once.
#[derive(Clone, Debug)]
struct Owed {
    kind: Kind,
    groups: Vec<Vec<Target>>,
}

impl Owed {
    /// To one of these.
    fn one(kind: Kind, targets: Vec<Target>) -> Self {
        Self { kind, groups: targets.into_iter().map(|target| vec![target]).collect() }
    }

    fn all(kind: Kind, targets: Vec<Target>) -> Self {
        Self { kind, groups: vec![targets] }
    }
}

impl Site {
    /// Each kind once, and each service killed as a whole: nobody is left who could stand in.
    fn owed(self) -> impl Iterator<Item = Owed> {
        let kinds = self.kinds().iter().map(move |kind| Owed::one(*kind, self.targets(*kind)));
        kinds.chain(self.services().map(|service| Owed::all(Kind::Kill, service.map(Target::Process).collect())))
    }

    fn any(self, random: &mut ChaCha8Rng) -> Owed {
        let kind = *self.kinds().choose_weighted(random, |kind| kind.weight()).expect("weights are positive");
        Owed::one(kind, self.targets(kind))
    }

    /// The processes of each service, by number.
    fn services(self) -> impl Iterator<Item = Range<usize>> {
        let mut end = 0;
        self.processes.chunk_by(|one, next| service(one) == service(next)).map(move |same| {
            let start = end;
            end += same.len();
            start..end
        })
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
            Kind::Kill | Kind::Freeze | Kind::Restart => (0..self.processes.len()).map(Target::Process).collect(),
            Kind::KillBroker | Kind::FreezeBroker => vec![Target::Broker],
            Kind::Cut | Kind::Slow | Kind::Silence | Kind::HalfClose | Kind::Partition => {
                (0..self.processes.len()).map(Target::Link).collect()
            }
        }
    }

    /// How long it takes from one fault to the next, at least and at most: work must get done in between.
    fn gap(self) -> (Duration, Duration) {
        let milliseconds = if self.processes.len() > 1 { (300, 2300) } else { (500, 3500) };
        (Duration::from_millis(milliseconds.0), Duration::from_millis(milliseconds.1))
    }
}

/// The service that a process is.
pub fn service(name: &str) -> &str {
    name.split('-').next().unwrap_or(name)
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
            Self::Kill => 8,
            Self::Cut => 4,
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
    use crate::stage::{EMBEDDED, ON_BROKER};

    const MINUTE: Duration = Duration::from_secs(60);
    const SITES: [Site; 2] = [ON_BROKER, EMBEDDED];

    #[test]
    fn a_seed_always_makes_the_same_plan_and_another_one_another() {
        for site in SITES {
            assert_eq!(plan(1, MINUTE, site), plan(1, MINUTE, site));
            assert_ne!(plan(1, MINUTE, site), plan(2, MINUTE, site));
        }
    }

    #[test]
    fn every_kind_happens_in_every_minute_and_every_service_is_killed_as_a_whole() {
        for (seed, site) in (0..1000).flat_map(|seed| SITES.map(|site| (seed, site))) {
            let whole = plan(seed, 3 * MINUTE, site);
            for minute in whole.chunk_by(|one, next| one.at.as_secs() / 60 == next.at.as_secs() / 60) {
                for kind in site.kinds() {
                    assert!(
                        minute.iter().any(|planned| planned.kind == *kind),
                        "seed {seed}: no {kind:?} in {minute:#?}"
                    );
                }
                for service in site.services() {
                    let is_whole = |at_once: &[Planned]| {
                        let killed = at_once.iter().filter(|planned| planned.kind == Kind::Kill);
                        killed.map(|planned| planned.target).eq(service.clone().map(Target::Process))
                    };
                    let mut moments = minute.chunk_by(|one, next| one.at == next.at);
                    assert!(moments.any(is_whole), "seed {seed}: {service:?} is not killed in {minute:#?}");
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
