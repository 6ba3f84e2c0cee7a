//! The door: what it takes to accept an object, and whether anybody may come in now.
//!
//! A handler that reads bodies of objects asks for [`Entered`] before it asks for the body: who is refused is told so
//! before the body is read.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use bus::Bus;
use chassis::http::Problem;
use http::request::Parts;
use operations::Catalogue;
use tokio::sync::Semaphore;

use crate::{
    backlog::Backlog,
    config::Config,
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
    pub(crate) checks: Semaphore,
    room: Room,
}

impl Door {
    pub(crate) fn new(bus: Bus, catalogue: Catalogue, config: Config) -> anyhow::Result<Self> {
        let operations = catalogue.names().map(str::parse).collect::<Result<Vec<_>, _>>()?;
        let backlog = Backlog::new(config.max_backlog, bus.topology(), &operations);
        Ok(Self { bus, catalogue, config, backlog, checks: Semaphore::new(CHECKS), room: Room::default() })
    }
}

/// Whoever has this may come in: not too much waits behind the door, and there is room. The room is free again when it is
/// dropped, which is to be when nothing is left of the body.
pub(crate) struct Entered {
    _room: Taken,
}

impl FromRequestParts<Arc<Door>> for Entered {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, door: &Arc<Door>) -> Result<Self, Problem> {
        let room = door.room.take(&parts.headers, door.bus.max_event_bytes())?;
        door.backlog.check()?;
        Ok(Self { _room: room })
    }
}
