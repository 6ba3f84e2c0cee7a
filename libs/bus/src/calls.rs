//! Calls of `publish` that wait for the one task of a transport that carries them out. They are bounded in number and in
//! bytes, those included whose caller has stopped waiting and that the task has not come to: while nothing can be
//! published, memory stays as it is, whoever goes on trying.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::timeout,
};

use crate::{message::Message, transport::PublishError};

/// Calls that wait for the task; more wait in `publish`, against their patience.
pub(crate) const WAITING_CALLS: usize = 1024;
/// Bytes of all messages of these calls. One call may have more, and then it waits alone: an object's tasks are one call.
const WAITING_BYTES: u32 = 64 << 20;
/// What a message counts for beside its body: its address, properties and headers, roughly.
const MESSAGE_OVERHEAD_BYTES: usize = 512;

/// What became of the messages of one call.
pub(crate) type Results = Vec<Result<(), PublishError>>;

/// One call of `publish`.
pub(crate) struct Call {
    pub(crate) messages: Vec<Message>,
    pub(crate) reply: Reply,
}

/// Who waits for the results, and the room that the call takes until it is answered or forgotten.
pub(crate) struct Reply {
    results: oneshot::Sender<Results>,
    _room: OwnedSemaphorePermit,
}

impl Reply {
    /// Whoever stopped waiting does not need the answer.
    pub(crate) fn send(self, results: Results) {
        let _ = self.results.send(results);
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.results.is_closed()
    }
}

/// The room for calls that wait.
pub(crate) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(WAITING_BYTES as usize)))
    }
}

impl Room {
    /// Hands a call to the task, as the order that `order` makes of it, and waits for what became of it: all of it takes no
    /// longer than `patience`. Safe to drop.
    pub(crate) async fn publish<T>(
        &self,
        task: &mpsc::Sender<T>,
        order: impl FnOnce(Call) -> T,
        messages: Vec<Message>,
        patience: Duration,
    ) -> Results {
        let count = messages.len();
        let call = async {
            let room = Arc::clone(&self.0).acquire_many_owned(weight(&messages)).await.ok()?;
            let (results, mut answer) = oneshot::channel();
            task.send(order(Call { messages, reply: Reply { results, _room: room } })).await.ok()?;
            tokio::select! {
                biased;
                answer = &mut answer => answer.ok(),
                // An order that comes in while the task drops its end stays in the channel for as long as there are senders.
                // What the task has answered, it has answered before that.
                () = task.closed() => answer.try_recv().ok(),
            }
        };
        match timeout(patience, call).await {
            Ok(Some(results)) => results,
            Ok(None) => vec![Err(PublishError::Closed); count],
            Err(_elapsed) => vec![Err(PublishError::Unknown(patience)); count],
        }
    }
}

/// The room that messages take: not more than there is, or they would wait for ever.
fn weight(messages: &[Message]) -> u32 {
    let bytes = messages.iter().map(|message| message.body.len() + MESSAGE_OVERHEAD_BYTES).sum::<usize>();
    u32::try_from(bytes).unwrap_or(u32::MAX).min(WAITING_BYTES)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn messages(bytes: usize) -> Vec<Message> {
        vec![Message { body: vec![0; bytes].into(), ..Message::default() }]
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_has_a_bound_in_bytes_also_when_nobody_waits_for_it_any_more() {
        let (room, (task, mut calls)) = (Room::default(), mpsc::channel(WAITING_CALLS));
        // Ten fit, and nobody takes them.
        for _ in 0..30 {
            let results = room.publish(&task, |call| call, messages(6 << 20), PATIENCE).await;
            assert_eq!(results, [Err(PublishError::Unknown(PATIENCE))]);
        }
        let mut waiting = Vec::new();
        while let Ok(call) = calls.try_recv() {
            waiting.push(call);
        }
        assert_eq!(waiting.len(), 10);
        assert!(waiting.iter().all(|call| call.reply.is_closed()));
        // They are forgotten: there is room again.
        drop(waiting);
        let answer = async { calls.recv().await.unwrap().reply.send(vec![Ok(())]) };
        let (results, ()) = tokio::join!(room.publish(&task, |call| call, messages(6 << 20), PATIENCE), answer);
        assert_eq!(results, [Ok(())]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_longer_than_all_the_room_waits_alone() {
        let (room, (task, mut calls)) = (Room::default(), mpsc::channel(WAITING_CALLS));
        let long = room.publish(&task, |call| call, messages(70 << 20), PATIENCE);
        let short = room.publish(&task, |call| call, messages(1), PATIENCE);
        let answers = async {
            for _ in 0..2 {
                let call: Call = calls.recv().await.unwrap();
                assert!(calls.try_recv().is_err(), "it is alone");
                call.reply.send(vec![Ok(())]);
            }
        };
        let (long, short, ()) = tokio::join!(long, short, answers);
        assert_eq!((long, short), (vec![Ok(())], vec![Ok(())]));
    }

    /// The other way round it is a matter of nanoseconds, and was seen once in some hundred ends under load.
    #[tokio::test]
    async fn what_comes_in_while_the_task_ends_is_answered() {
        let (task, mut calls) = mpsc::channel::<Call>(1);
        let room = Room::default();
        let end = async {
            while calls.is_empty() {
                tokio::task::yield_now().await;
            }
            // As if the call had come after the last look.
            calls.close();
        };
        let (results, ()) = tokio::join!(room.publish(&task, |call| call, messages(1), PATIENCE), end);
        assert_eq!(results, [Err(PublishError::Closed)]);
    }

    #[tokio::test]
    async fn a_transport_that_has_ended_says_so() {
        let (task, calls) = mpsc::channel::<Call>(1);
        drop(calls);
        let results = Room::default().publish(&task, |call| call, messages(1), PATIENCE).await;
        assert_eq!(results, [Err(PublishError::Closed)]);
    }
}
