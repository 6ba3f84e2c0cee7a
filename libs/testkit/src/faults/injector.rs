//! Who decides what goes wrong, and counts it.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bus::Transport;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::Notify;

use super::{Fault, Faults, Faulty};

/// The death of one program, at one of the moments that an [`Injector`] counts: before each publish and acknowledgement,
/// after each of them, and after each delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// Which of these moments, from 1, from when the crash was planned on.
    pub moment: u64,
}

/// A promise that is broken, to see whether a test notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// What was dropped before it was published is confirmed.
    ConfirmsWhatIsDropped,
    /// What is delivered is acknowledged at once, before anybody has done anything about it.
    AcknowledgesWhatIsDelivered,
}

/// Decides, for all transports that it makes, what goes wrong. Clones share everything.
#[derive(Clone)]
pub struct Injector(Arc<Inner>);

struct Inner {
    seed: u64,
    state: Mutex<State>,
    crashed: Notify,
}

#[derive(Default)]
struct State {
    faults: Faults,
    breach: Option<Breach>,
    injected: BTreeMap<Fault, u64>,
    /// How many transports it made: each has random numbers of its own.
    transports: u64,
    moments: u64,
    /// The moment of the next crash.
    crash_at: Option<u64>,
    crashed: Option<String>,
}

impl State {
    fn count(&mut self, fault: Fault) {
        *self.injected.entry(fault).or_default() += 1;
    }
}

impl Injector {
    /// One that does what follows from the seed.
    pub fn new(seed: u64, faults: Faults) -> Self {
        let state = State { faults, ..State::default() };
        Self(Arc::new(Inner { seed, state: Mutex::new(state), crashed: Notify::new() }))
    }

    /// The transport as the program `name` shall see it.
    pub fn wrap(&self, name: &str, transport: Arc<dyn Transport>) -> Faulty {
        let mut state = self.state();
        let mut random = ChaCha8Rng::seed_from_u64(self.0.seed);
        random.set_stream(state.transports);
        state.transports += 1;
        drop(state);
        Faulty::new(name, transport, self.clone(), random)
    }

    /// From now on, faults are as probable as this table says.
    pub fn set(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// From now on, nothing goes wrong any more.
    pub fn calm(&self) {
        self.set(Faults::default());
        self.state().crash_at = None;
    }

    /// Breaks a promise from now on.
    pub fn breach(&self, breach: Breach) {
        self.state().breach = Some(breach);
    }

    /// Plans the next crash; counts from now on.
    pub fn plan(&self, crash: Crash) {
        let mut state = self.state();
        state.crash_at = Some(state.moments + crash.moment);
    }

    /// Waits for a planned crash: the name of the program that must die. Its transport does nothing any more.
    pub async fn crashed(&self) -> String {
        loop {
            let crashed = self.0.crashed.notified();
            if let Some(name) = self.state().crashed.take() {
                return name;
            }
            crashed.await;
        }
    }

    /// How many moments there were at which a program might have died. As long as it stays the same, nothing was
    /// published, delivered or acknowledged.
    pub fn moments(&self) -> u64 {
        self.state().moments
    }

    /// How often what went wrong.
    pub fn injected(&self) -> BTreeMap<Fault, u64> {
        self.state().injected.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn breaks(&self, breach: Breach) -> bool {
        self.state().breach == Some(breach)
    }

    /// Whether this moment is the one in which a program dies.
    fn is_last_moment(&self, name: &str, fault: Fault) -> bool {
        let mut state = self.state();
        state.moments += 1;
        if state.crash_at != Some(state.moments) {
            return false;
        }
        state.crash_at = None;
        state.crashed = Some(name.to_owned());
        state.count(fault);
        drop(state);
        self.0.crashed.notify_one();
        true
    }
}

/// What decides for one transport.
pub(super) struct Chance {
    name: String,
    injector: Injector,
    random: Mutex<(ChaCha8Rng, bool)>,
}

impl Chance {
    pub(super) fn new(name: &str, injector: Injector, random: ChaCha8Rng) -> Self {
        Self { name: name.to_owned(), injector, random: Mutex::new((random, false)) }
    }

    /// The random numbers, and whether the program has died.
    fn random(&self) -> MutexGuard<'_, (ChaCha8Rng, bool)> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this goes wrong now; counted.
    pub(super) fn strikes(&self, fault: Fault) -> bool {
        let strikes = self.draw(&[fault]).is_some();
        if strikes {
            self.count(fault);
        }
        strikes
    }

    /// Which of these shall go wrong now, one at most. Not counted: whoever asks may find that it cannot.
    pub(super) fn draw(&self, faults: &[Fault]) -> Option<Fault> {
        let mut left = self.random().0.random::<f64>();
        let table = self.injector.state().faults;
        let strikes = |fault: &&Fault| {
            left -= table.probability(**fault);
            left < 0.0
        };
        faults.iter().find(strikes).copied()
    }

    /// It has gone wrong.
    pub(super) fn count(&self, fault: Fault) {
        self.injector.state().count(fault);
    }

    /// Heads or tails.
    pub(super) fn coin(&self) -> bool {
        self.random().0.random()
    }

    /// Some time up to `max`.
    pub(super) fn pause(&self, max: Duration) -> Duration {
        max.mul_f64(self.random().0.random())
    }

    pub(super) fn breaks(&self, breach: Breach) -> bool {
        self.injector.breaks(breach)
    }

    /// A moment at which the program may die. Then it goes no further: whoever runs it is told to end it.
    pub(super) async fn survive(&self, fault: Fault) {
        if self.random().1 {
            return pending().await;
        }
        if self.injector.is_last_moment(&self.name, fault) {
            self.random().1 = true;
            pending().await
        }
    }
}
