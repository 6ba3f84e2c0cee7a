//! What every service shares, so that a service is only what makes it different.
//!
//! | module | for |
//! | --- | --- |
//! | [`config`] | settings from the environment into flat structs; a bad value names itself |
//! | [`telemetry`] | logs on standard error, for people or as JSON |
//! | [`metrics`] | Prometheus metrics, among them every HTTP request by route |
//! | [`http`] | one error type, extractors that answer with it, a server with a bound on everything, health |
//! | [`healthcheck`] | asks a running service whether it is ready, for containers without a shell |
//! | [`shutdown`] | SIGTERM and SIGINT as a token that everybody can wait for |
//! | [`settings`] | the settings that every service has |
//! | [`work`] | computing where it holds up nobody |
//! | [`process`] | what serves HTTP and runs services until it is told to stop |
//! | [`runtime`] | the threads that a process has, which nobody waits for at its end |
//! | [`service`] | a service, and all of it together: the `main` of one |
//!
//! A service implements [`Service`]; its `main` is one line:
//!
//! ```text
//! chassis::main::<datagen::Datagen>()
//! ```

pub mod config;
pub mod healthcheck;
pub mod http;
pub mod metrics;
pub mod process;
pub mod runtime;
pub mod service;
pub mod settings;
pub mod shutdown;
pub mod telemetry;
pub mod work;

pub use self::service::{Context, Service, main};

/// Events are many small pieces of memory that one thread makes and another one frees: with the system's allocator a fifth
/// of all processor time went there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
