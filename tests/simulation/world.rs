//! One simulation: lives of the system, one after the other, until everything is quiet.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use bus::{
    Transport,
    embedded::{Embedded, Limits, Memory},
};
use tempfile::TempDir;
use testkit::{Breach, Crash, Fault, Faults, Injector};
use tokio::{
    runtime::Builder,
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{clock, follower::Follower, foreign, programs::Programs, state::State, submissions::Submission};

/// How long things go wrong, in each life.
const UNQUIET: Duration = Duration::from_secs(60);
/// From when on nothing more can follow: longer than the longest wait before something is tried again, which is of 30 s.
const QUIET: Duration = Duration::from_secs(45);
/// When nothing goes wrong any more, all is done long before.
const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_secs(1);

/// What is to be simulated.
#[derive(Clone, Debug)]
pub struct Case {
    pub seed: u64,
    pub submissions: Vec<Submission>,
    pub faults: Faults,
    /// One after the other.
    pub crashes: VecDeque<PlannedCrash>,
    pub limits: Limits,
    pub breach: Option<Breach>,
}

/// A crash, and of what.
#[derive(Clone, Copy, Debug)]
pub struct PlannedCrash {
    pub crash: Crash,
    /// Everything dies, the bus included; else the one program that is at this moment. Statistics never dies alone.
    pub of_everything: bool,
}

/// What became of it.
#[derive(Debug)]
pub struct Simulated {
    pub state: State,
    /// How often what went wrong.
    pub injected: BTreeMap<Fault, u64>,
    /// How many moments there were at which a program might have died.
    pub moments: u64,
}

/// What outlives a crash.
struct World {
    case: Case,
    injector: Injector,
    memory: Memory,
    folder: TempDir,
    follower: Follower,
    /// The ids of what was accepted, by submission.
    accepted: Arc<Mutex<BTreeMap<usize, String>>>,
}

enum End {
    Crash,
    /// So many moments there were before somebody came to clear up.
    Quiet {
        state: State,
        moments: u64,
    },
}

impl Case {
    /// The same, and nothing goes wrong.
    pub fn without_faults(&self) -> Self {
        Self { faults: Faults::default(), crashes: VecDeque::new(), breach: None, ..self.clone() }
    }

    /// Simulates it; the error is why it did not come to an end.
    pub fn simulate(self) -> Result<Simulated, String> {
        let injector = Injector::new(self.seed, self.faults);
        self.breach.into_iter().for_each(|breach| injector.breach(breach));
        let mut world = World {
            case: self,
            injector,
            memory: Memory::default(),
            folder: folder(),
            follower: Follower::default(),
            accepted: Arc::default(),
        };
        loop {
            let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            let end = runtime.block_on(world.life());
            // The end of everything that is not on a disk, wherever it is.
            drop(runtime);
            if let End::Quiet { state, moments } = end? {
                return Ok(Simulated { state, injected: world.injector.injected(), moments });
            }
        }
    }
}

/// In memory if there is such a place: only the power's loss is not simulated, and synchronising takes most of the time.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap()
}

impl World {
    fn database(&self) -> PathBuf {
        self.folder.path().join("stats.db")
    }

    /// From a start until everything is quiet, or to the next crash of everything.
    async fn life(&mut self) -> Result<End, String> {
        tokio::spawn(clock::run());
        let transport: Arc<dyn Transport> = Arc::new(Embedded::in_memory(&self.memory, self.case.limits));
        let follower_ends = CancellationToken::new();
        let following = tokio::spawn(self.follower.follow(transport.clone(), follower_ends.clone()).await);
        foreign::send_garbage(&*transport).await;
        let mut programs = Programs::start(self.injector.clone(), transport.clone(), self.database()).await;
        let mut clients = self.clients(&programs);
        let mut planned = self.plan_next_crash();
        let injector = self.injector.clone();
        let began = Instant::now();
        let until_quiet =
            || quiet(self.injector.clone(), self.follower.clone(), self.accepted.clone(), self.case.submissions.len());
        let (mut first, again) = (Box::pin(until_quiet()), until_quiet());
        loop {
            tokio::select! {
                name = injector.crashed() => {
                    if name == "statistics" || planned.is_some_and(|planned| planned.of_everything) {
                        return Ok(End::Crash);
                    }
                    programs.restart(&name).await;
                    if name == "datagen" {
                        // Their requests died with it.
                        clients = self.clients(&programs);
                    }
                    planned = if began.elapsed() < UNQUIET { self.plan_next_crash() } else { None };
                }
                Some(done) = clients.join_next() => done.map_err(|error| error.to_string())?,
                ended = programs.ended() => return Err(ended),
                quiet = &mut first => break quiet?,
            }
        }
        // What died dies again, in its next round: nothing has changed that it died of.
        let moments = injector.moments();
        programs.replay_dead_letters().await;
        again.await?;
        programs.stop().await?;
        follower_ends.cancel();
        following.await.map_err(|error| error.to_string())?;
        let state = State::read(&self.database(), transport, self.follower.heard()).await;
        Ok(End::Quiet { state, moments })
    }

    /// A client for each object that is not accepted yet.
    fn clients(&self, programs: &Programs) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for (number, submission) in self.case.submissions.iter().cloned().enumerate() {
            if self.accepted.lock().unwrap().contains_key(&number) {
                continue;
            }
            let (door, accepted) = (programs.door(), self.accepted.clone());
            clients.spawn(async move {
                let id = submission.submit(door).await;
                accepted.lock().unwrap().insert(number, id);
            });
        }
        clients
    }

    fn plan_next_crash(&mut self) -> Option<PlannedCrash> {
        let planned = self.case.crashes.pop_front()?;
        self.injector.plan(planned.crash);
        Some(planned)
    }
}

/// Waits until every object was accepted and its end announced, and then for silence.
async fn quiet(
    injector: Injector,
    follower: Follower,
    accepted: Arc<Mutex<BTreeMap<usize, String>>>,
    submissions: usize,
) -> Result<(), String> {
    let began = Instant::now();
    let (mut moments, mut last_change) = (0, began);
    loop {
        sleep(PAUSE).await;
        if began.elapsed() >= UNQUIET {
            injector.calm();
        }
        if injector.moments() != moments {
            (moments, last_change) = (injector.moments(), Instant::now());
        }
        let (accepted, heard) = (accepted.lock().unwrap().clone(), follower.heard());
        let unheard: Vec<_> = accepted.values().filter(|id| !heard.contains_key(*id)).collect();
        let done = accepted.len() == submissions && unheard.is_empty();
        if done && last_change.elapsed() >= QUIET {
            injector.calm();
            return Ok(());
        }
        if began.elapsed() >= UNQUIET + PATIENCE {
            let count = accepted.len();
            return Err(format!(
                "{count} of {submissions} objects accepted; accepted, but its end never announced: {unheard:?}"
            ));
        }
    }
}
