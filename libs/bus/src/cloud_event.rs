//! What can travel: the system's own events, and types of your own on an exchange of your own.

use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::events::{Event, EventId, InvalidEvent};

/// Something that travels as a CloudEvent. Every [`Event`] does. A type of your own does when it has a name and an address:
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// #[derive(Serialize, Deserialize)]
/// struct LightSwitched {
///     room: String,
///     on: bool,
/// }
///
/// impl bus::CloudEvent for LightSwitched {
///     const TYPE: &'static str = "LIGHT_SWITCHED";
///
///     fn routing_key(&self) -> String {
///         format!("light.{}", self.room)
///     }
/// }
/// ```
///
/// [`Bus::publish_to`] publishes it, [`Bus::listen`] hears it, and a [`WorkQueue`] gives each to one consumer. Keep it away from
/// the system's exchange, whose record knows only the system's events.
///
/// [`Bus::publish_to`]: crate::Bus::publish_to
/// [`Bus::listen`]: crate::Bus::listen
/// [`WorkQueue`]: crate::WorkQueue
pub trait CloudEvent: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The type on the wire.
    const TYPE: &'static str;

    /// The routing key: words with dots between them, at most 255 bytes.
    fn routing_key(&self) -> String;

    /// The event's own id, asked for once each time it is published. A new one, unless you say what the same fact is: then
    /// whoever gets it twice can tell.
    fn id(&self) -> EventId {
        EventId::from(Uuid::now_v7())
    }

    /// What it is about.
    fn subject(&self) -> Option<String> {
        None
    }

    /// What it belongs to.
    fn correlation_id(&self) -> Option<String> {
        None
    }

    /// Checks what the types alone do not say.
    ///
    /// # Errors
    /// If the event contradicts itself.
    fn validate(&self) -> Result<(), InvalidEvent> {
        Ok(())
    }
}

impl<E: Event> CloudEvent for E {
    const TYPE: &'static str = <E as Event>::TYPE;

    fn routing_key(&self) -> String {
        Event::routing_key(self)
    }

    fn id(&self) -> EventId {
        Event::id(self)
    }

    fn subject(&self) -> Option<String> {
        Some(Event::subject(self).to_string())
    }

    fn correlation_id(&self) -> Option<String> {
        Some(self.object_id().to_string())
    }

    fn validate(&self) -> Result<(), InvalidEvent> {
        Event::validate(self)
    }
}
