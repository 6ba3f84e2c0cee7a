//! # testkit
//!
//! What tests share: a real broker, services as real processes, real signals, a network that can be bad, faults on
//! purpose, and waiting without sleeping.
//!
//! Tests run inside `make test`, which starts the shared broker and builds the services. Without them a test
//! fails and says so; nothing is skipped.

mod broker;
mod faults;
mod process;
mod proxy;
mod system;
mod volume;
mod wait;

pub use nix::sys::signal::Signal;

pub use self::{
    broker::{Broker, shared_broker_url, waiting_messages},
    faults::{Breach, Crash, Fault, Faults, Faulty, Injector},
    process::{Memory, Process, service_binary},
    proxy::{Direction, Flow, Proxy},
    system::{Options, System, free_port},
    volume::Volume,
    wait::{eventually, eventually_within},
};

/// A name that no other test uses: for the exchange, and so for everything on the broker.
pub fn unique_name() -> String {
    // The end of it is random.
    format!("t{}", &uuid::Uuid::now_v7().simple().to_string()[20..])
}

/// The root of the repository.
pub fn repository() -> &'static std::path::Path {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this package is two folders below the root")
}
