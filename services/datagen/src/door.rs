//! The door: what it takes to accept an object, and whether anybody may come in now.
//!
//! A handler that reads bodies of objects asks for [`Entered`] before it asks for the body: who is refused is told so
//! before the body is read.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use bus::Bus;
use chassis::http::Problem;
use http::request::Parts;
use operations::Catalogue;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    backlog::Backlog,
    config::Config,
    record::Record,
    room::{Room, Taken},
};

/// How many bodies are looked through at a time, of those for which that takes time: numbers in memory take up to
/// thirty times the bytes of their JSON.
const CHECKS: usize = 2;

/// What it takes to accept an object.
pub(crate) struct Door {
    pub(crate) bus: Bus,
    pub(crate) catalogue: Catalogue,
    pub(crate) config: Config,
    pub(crate) backlog: Backlog,
    pub(crate) checks: Arc<Semaphore>,
    pub(crate) room: Room,
    /// Cancelled when this service stops: nobody is to wait, or to send, any longer.
    pub(crate) stopping: CancellationToken,
}

/// What the handlers work with.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) door: Arc<Door>,
    pub(crate) record: Record,
}

impl FromRef<Front> for Arc<Door> {
    fn from_ref(front: &Front) -> Self {
        Self::clone(&front.door)
    }
}

impl FromRef<Front> for Record {
    fn from_ref(front: &Front) -> Self {
        front.record.clone()
    }
}

impl Door {
    pub(crate) fn new(bus: Bus, catalogue: Catalogue, config: Config) -> anyhow::Result<Self> {
        let operations = catalogue.names().map(str::parse).collect::<Result<Vec<_>, _>>()?;
        let backlog = Backlog::new(config.max_backlog, bus.topology(), &operations);
        let (checks, room, stopping) = (Arc::new(Semaphore::new(CHECKS)), Room::default(), CancellationToken::new());
        Ok(Self { bus, catalogue, config, backlog, checks, room, stopping })
    }
}

/// Whoever has this may come in: not too much waits behind the door, and there is room. The room is free again when it is
/// dropped, which is to be when nothing is left of the body. In the body, a byte of the data may be up to `ENCODED` bytes.
pub(crate) struct Entered<const ENCODED: usize = 1> {
    _room: Taken,
}

impl<const ENCODED: usize> FromRequestParts<Front> for Entered<ENCODED> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, front: &Front) -> Result<Self, Problem> {
        let door = &front.door;
        let room = door.room.take(&parts.headers, ENCODED * door.bus.max_event_bytes())?;
        door.backlog.check()?;
        Ok(Self { _room: room })
    }
}
