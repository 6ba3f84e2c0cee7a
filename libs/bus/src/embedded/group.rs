//! What one commit adds to the journal, as bytes.
//!
//! A row holds everything that was published and acknowledged together, and ends with a CRC-32 of itself: a row that was
//! damaged on its disk is noticed, whatever was damaged in it.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::state::{Number, QueueId};
use crate::message::Message;

/// The checksum's length.
const CRC_BYTES: usize = 4;

/// Everything that one commit adds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Group {
    /// Milliseconds since 1970.
    pub(super) written_at_ms: i64,
    /// The number of the first message; the others follow.
    pub(super) first: Number,
    pub(super) published: Vec<Published>,
    pub(super) acknowledged: Vec<(QueueId, Number)>,
    /// How often messages were delivered until now without being acknowledged.
    pub(super) deliveries: Vec<(QueueId, Number, u32)>,
}

/// A message and the queues that got it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Published {
    pub(super) queues: Vec<QueueId>,
    #[serde(with = "stored")]
    pub(super) message: Arc<Message>,
}

/// Bytes that are not what was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("its checksum is wrong")]
    Checksum,
    #[error("{0}")]
    Content(#[from] postcard::Error),
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.published.is_empty() && self.acknowledged.is_empty() && self.deliveries.is_empty()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        seal(postcard::to_allocvec(self).expect("plain data in memory can be written"))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        Ok(postcard::from_bytes(unseal(bytes)?)?)
    }
}

/// One message as bytes, for the backlog.
pub(super) fn encode_message(message: &Message) -> Vec<u8> {
    seal(postcard::to_allocvec(&stored::Stored::from(message)).expect("plain data in memory can be written"))
}

pub(super) fn decode_message(bytes: &[u8]) -> Result<Message, Unreadable> {
    Ok(postcard::from_bytes::<stored::Stored>(unseal(bytes)?)?.into())
}

fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

fn unseal(bytes: &[u8]) -> Result<&[u8], Unreadable> {
    let (content, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or(Unreadable::Checksum)?;
    if crc32fast::hash(content) == u32::from_le_bytes(*crc) { Ok(content) } else { Err(Unreadable::Checksum) }
}

/// A message with its headers as JSON, because they are of any shape.
mod stored {
    use serde::{Deserializer, Serializer};

    use super::*;

    #[derive(Serialize, Deserialize)]
    pub(super) struct Stored<'a> {
        exchange: Cow<'a, str>,
        routing_key: Cow<'a, str>,
        id: Cow<'a, str>,
        correlation_id: Option<Cow<'a, str>>,
        kind: Option<Cow<'a, str>>,
        app_id: Option<Cow<'a, str>>,
        timestamp: Option<i64>,
        content_type: Option<Cow<'a, str>>,
        headers: Cow<'a, str>,
        #[serde(borrow, with = "serde_bytes")]
        body: Cow<'a, [u8]>,
    }

    impl<'a> From<&'a Message> for Stored<'a> {
        fn from(message: &'a Message) -> Self {
            let optional = |text: &'a Option<String>| text.as_deref().map(Cow::Borrowed);
            Self {
                exchange: Cow::Borrowed(&message.exchange),
                routing_key: Cow::Borrowed(&message.routing_key),
                id: Cow::Borrowed(&message.id),
                correlation_id: optional(&message.correlation_id),
                kind: optional(&message.kind),
                app_id: optional(&message.app_id),
                timestamp: message.timestamp.map(Timestamp::as_second),
                content_type: optional(&message.content_type),
                headers: serde_json::to_string(&message.headers).unwrap_or_default().into(),
                body: Cow::Borrowed(&message.body),
            }
        }
    }

    impl From<Stored<'_>> for Message {
        fn from(stored: Stored<'_>) -> Self {
            let optional = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
            Self {
                exchange: stored.exchange.into_owned(),
                routing_key: stored.routing_key.into_owned(),
                id: stored.id.into_owned(),
                correlation_id: optional(stored.correlation_id),
                kind: optional(stored.kind),
                app_id: optional(stored.app_id),
                timestamp: stored.timestamp.and_then(|seconds| Timestamp::from_second(seconds).ok()),
                content_type: optional(stored.content_type),
                // The checksum vouches for it.
                headers: serde_json::from_str(&stored.headers).unwrap_or_default(),
                body: Bytes::from(stored.body.into_owned()),
            }
        }
    }

    pub(super) fn serialize<S: Serializer>(message: &Message, serializer: S) -> Result<S::Ok, S::Error> {
        Stored::from(message).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Message>, D::Error> {
        Ok(Arc::new(Stored::deserialize(deserializer)?.into()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn group(bodies: Vec<Vec<u8>>) -> Group {
        let message = |body: Vec<u8>| Message {
            exchange: "ebs".to_owned(),
            routing_key: "a.b".to_owned(),
            id: "1".to_owned(),
            timestamp: Timestamp::from_second(1_700_000_000).ok(),
            headers: serde_json::from_str(r#"{"a":{"b":[1,2.5,null,"é"]}}"#).unwrap(),
            body: body.into(),
            ..Message::default()
        };
        let published = |body| Published { queues: vec![0, 7], message: Arc::new(message(body)) };
        Group {
            written_at_ms: -1,
            first: u64::MAX,
            published: bodies.into_iter().map(published).collect(),
            acknowledged: vec![(1, 2), (3, u64::MAX)],
            deliveries: vec![(1, 2, 3)],
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..4)) {
            let written = group(bodies);
            let read = Group::decode(&written.encode()).unwrap();
            prop_assert_eq!(format!("{written:?}"), format!("{read:?}"));
            for published in &written.published {
                let message = decode_message(&encode_message(&published.message)).unwrap();
                prop_assert_eq!(&message, &*published.message);
            }
        }

        #[test]
        fn a_single_changed_byte_is_noticed(at in any::<prop::sample::Index>(), change in 1..=255u8) {
            let mut bytes = group(vec![vec![1, 2, 3]]).encode();
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            prop_assert!(Group::decode(&bytes).is_err());
            prop_assert!(Group::decode(&bytes[..at]).is_err());
        }
    }
}
