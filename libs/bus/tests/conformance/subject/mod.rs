//! What the cases run on, and in what two transports may differ.
//!
//! A feature is a trait: a case that needs one asks for it by its type, so it cannot be made for a subject that lacks
//! it, and no case ever passes because it had nothing to do.

mod embedded;
mod rabbitmq;

use std::sync::Arc;

use bus::Transport;

pub use self::{
    embedded::{Embedded, bus_file, obey, open},
    rabbitmq::RabbitMq,
};
use crate::work::{Ledger, Manner};

/// A place for messages that no other case uses.
pub trait Subject: Sized + 'static {
    /// One with names of its own.
    async fn fresh() -> Self;

    /// The name of its topic exchange.
    fn exchange(&self) -> &str;

    /// A transport on it: over RabbitMQ another pair of connections each time. In one process it is always the same one,
    /// because a process has its file open once.
    fn transport(&self) -> Arc<dyn Transport>;

    /// Ends what goes with a transport when its process ends: over RabbitMQ what belongs to its connections. In one process
    /// nothing ends that others share.
    async fn leave(&self, transport: &dyn Transport);

    /// Closes every transport that it gave and opens another one on the same messages.
    async fn reopen(&self) -> Arc<dyn Transport>;
}

/// Can be made to take no more for now. RabbitMQ has an alarm for its memory; in one process there is a bound on the
/// bytes that wait.
pub trait Pressured: Subject {
    /// One of its own: to block a shared one would block every case beside this.
    async fn alone() -> Self;

    /// Takes nothing more from now on.
    async fn block(&self);

    /// Takes messages again.
    async fn unblock(&self);
}

/// Survives a kill of what holds the messages: RabbitMQ itself, or the process that has the file open, and whoever
/// publishes and consumes in it with it.
pub trait Mortal: Subject {
    /// One of its own, in which the [work](crate::work) goes on.
    async fn at_work(manner: Manner) -> Self;

    /// What was done.
    fn ledger(&self) -> &Ledger;

    /// Kills it as `kill -9` does.
    async fn kill(&mut self);

    /// Lets the work go on with what is left.
    async fn resume(&mut self);

    /// Ends the work, as a kill does unless it was killed already, and opens what is left.
    async fn remains(&mut self) -> Arc<dyn Transport>;
}

/// Others have access to it without us: queues with a length limit, queues deleted behind our back. Nobody else is
/// inside one process.
pub trait Foreign: Subject {
    /// Someone else's client.
    async fn foreign_client(&self) -> lapin::Channel;
}

/// Has a network between us and the messages, whose other end may be silent. In one process there is none.
pub trait Network: Subject {
    /// A transport that goes to this port of this machine.
    fn transport_to(port: u16) -> Arc<dyn Transport>;

    /// One of its own.
    async fn alone() -> Self;

    /// Stops it without ending it, and lets it go on.
    async fn freeze(&self, frozen: bool);
}
