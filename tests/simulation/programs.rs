//! The services, each with a transport of its own, as if each were a program of its own. The code is the real one.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use bus::{Bus, Settings, Transport};
use chassis::{Context, Service};
use datagen::Datagen;
use distributor::Distributor;
use http::{Request, StatusCode};
use operations::Catalogue;
use processor::Processor;
use serde_json::{Value, json};
use statistics::Statistics;
use testkit::Injector;
use tokio::{
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// The topic exchange.
pub const EXCHANGE: &str = "sim";
/// How long what is in flight may take at the end.
const GRACE: Duration = Duration::from_secs(25);
/// A processor that is told to stop waits for the grace, at most.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// What each processor is set to: they compete for some operations, and not for all.
const PROCESSORS: [(&str, &str, &str); 3] = [
    ("processor-0", "word-frequencies,pow,plusone,nop,flaky", "0s"),
    ("processor-1", "word-frequencies,pow", "0s..2s"),
    ("processor-2", "pow,plusone,nop,flaky", "100ms"),
];

/// The programs that run.
pub struct Programs {
    injector: Injector,
    transport: Arc<dyn Transport>,
    database: PathBuf,
    door: Router,
    /// Where the record is asked.
    record: Router,
    running: JoinSet<(String, anyhow::Result<()>)>,
    by_name: HashMap<String, AbortHandle>,
    shutdown: CancellationToken,
}

impl Programs {
    /// Starts them all.
    pub async fn start(injector: Injector, transport: Arc<dyn Transport>, database: PathBuf) -> Self {
        let mut programs = Self {
            injector,
            transport,
            database,
            door: Router::new(),
            record: Router::new(),
            running: JoinSet::new(),
            by_name: HashMap::new(),
            shutdown: CancellationToken::new(),
        };
        let names = ["datagen", "distributor", "statistics"].into_iter().chain(PROCESSORS.map(|(name, ..)| name));
        for name in names {
            programs.start_one(name).await;
        }
        programs
    }

    /// Starts one, with another connection.
    async fn start_one(&mut self, name: &str) {
        match name {
            "datagen" => self.door = self.run::<Datagen>(name, json!({})).await,
            "distributor" => drop(self.run::<Distributor>(name, json!({})).await),
            "statistics" => {
                let config = json!({"database_url": self.database});
                self.record = self.run::<Statistics>(name, config).await;
            }
            _ => {
                let processor = PROCESSORS.iter().find(|(processor, ..)| *processor == name);
                let (name, operations, process_time) = processor.expect("there is no other program");
                let config = json!({
                    "processor": name, "operations": operations, "process_time": process_time, "concurrency": "2",
                    "max_attempts": "100",
                });
                drop(self.run::<Processor>(name, config).await);
            }
        }
    }

    async fn run<S: Service>(&mut self, name: &str, config: Value) -> Router {
        let settings = Settings { exchange: EXCHANGE.to_owned(), app: S::NAME.to_owned(), max_event_bytes: 1 << 20 };
        let bus = Bus::over(Arc::new(self.injector.wrap(name, self.transport.clone())), settings);
        let config: S::Config = serde_json::from_value(config).unwrap();
        let service = S::build(config, Context { bus, catalogue: Catalogue::built_in(), grace: GRACE }).await.unwrap();
        let (router, shutdown, owned) = (Router::from(service.router()), self.shutdown.clone(), name.to_owned());
        let running = self.running.spawn(async move { (owned, service.run(shutdown).await) });
        self.by_name.insert(name.to_owned(), running);
        router
    }

    /// Where clients submit.
    pub fn door(&self) -> Router {
        self.door.clone()
    }

    /// Has all dead letters replayed that wait.
    pub async fn replay_dead_letters(&self) {
        let request = Request::post("/api/dead-letters/replay").header("content-type", "application/json");
        let answer = self.record.clone().oneshot(request.body(Body::from(r#"{"all":true}"#)).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
    }

    /// Kills one, wherever it is, and starts it again. Not statistics, which has tasks of its own that only the end of the
    /// runtime ends.
    pub async fn restart(&mut self, name: &str) {
        assert_ne!(name, "statistics");
        if let Some(running) = self.by_name.remove(name) {
            running.abort();
            // The next one shall not meet it.
            while !running.is_finished() {
                tokio::task::yield_now().await;
            }
        }
        self.start_one(name).await;
    }

    /// Waits until one ends that nobody has killed.
    pub async fn ended(&mut self) -> String {
        loop {
            match self.running.join_next().await {
                Some(Ok((name, ended))) => return format!("{name} ended by itself: {ended:?}"),
                Some(Err(error)) if error.is_panic() => return format!("a program panicked: {error}"),
                Some(Err(_killed)) => {}
                None => return "no program is left".to_owned(),
            }
        }
    }

    /// Asks them all to stop, and waits until they have.
    pub async fn stop(mut self) -> Result<(), String> {
        self.shutdown.cancel();
        let running = &mut self.running;
        let all = async {
            while let Some(ended) = running.join_next().await {
                match ended {
                    Ok((_, Ok(()))) => {}
                    Ok((name, Err(error))) => return Err(format!("{name} failed at its end: {error:#}")),
                    Err(error) if error.is_panic() => return Err(format!("a program panicked at its end: {error}")),
                    Err(_killed) => {}
                }
            }
            Ok(())
        };
        timeout(STOP_PATIENCE, all).await.unwrap_or_else(|_| {
            let running = self.by_name.iter().filter(|(_, program)| !program.is_finished());
            Err(format!(
                "still run although they were told to stop: {:?}",
                running.map(|(name, _)| name).collect::<Vec<_>>()
            ))
        })
    }
}
