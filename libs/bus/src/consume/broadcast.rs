//! Every subscriber hears every event that is published while it listens.

use std::{future::Future, sync::Arc};

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    bus::Bus,
    cloud_event::CloudEvent,
    envelope::{Received, decode},
    topology::Binding,
    transport::{Acknowledge, Source},
};

/// How many events are held here: they are small and heard one by one, in order.
const PREFETCH: u16 = 100;

/// Hears one type of event.
pub trait Hear<E: CloudEvent>: Send + Sync + 'static {
    /// Hears `event`. What is said while nobody listens, or while the connection is lost, is not heard.
    fn hear(&self, event: Received<E>) -> impl Future<Output = ()> + Send;
}

impl Bus {
    /// Listens to what the bindings' exchanges get, until `shutdown`. It begins with the call, before the future is first
    /// polled; over a broker, as soon as there is a connection: [`Bus::status`] is good when it has begun.
    pub fn listen<E: CloudEvent, H: Hear<E>>(
        &self,
        bindings: Vec<Binding>,
        listener: Arc<H>,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<E, H> {
        let mut subscription = self.subscribe(Source::Broadcast(bindings), PREFETCH);
        let max_event_bytes = self.max_event_bytes();
        async move {
            loop {
                let delivery = tokio::select! {
                    () = shutdown.cancelled() => return,
                    delivery = subscription.next() => delivery,
                };
                let Some(delivery) = delivery else { return };
                match decode::<E>(&delivery.message, max_event_bytes) {
                    Ok(event) => listener.hear(event).await,
                    // Others hear it as well: there is nothing to keep.
                    Err(error) => warn!(message.id = delivery.message.id, "not understood: {error}"),
                }
                let _ = subscription.acknowledge(delivery.receipt, Acknowledge::UpTo).await;
            }
        }
    }
}
