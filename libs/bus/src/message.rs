//! A message as it travels, whatever carries it.

use bytes::Bytes;
use jiff::Timestamp;

/// Headers by name. What a foreign client sends as a table or a list is kept as such.
pub type Headers = serde_json::Map<String, serde_json::Value>;

/// A message: an address, properties that brokers know, headers, and bytes.
///
/// The properties are those of AMQP 0-9-1; one travels durably, always.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// The exchange that it is published to, or came from.
    pub exchange: String,
    /// Words with dots between them, at most 255 bytes.
    pub routing_key: String,
    /// Names the message: two with one id say the same.
    pub id: String,
    /// What it belongs to.
    pub correlation_id: Option<String>,
    /// The kind of message, such as an event's type.
    pub kind: Option<String>,
    /// The program that sent it.
    pub app_id: Option<String>,
    /// When it was sent, to the second.
    pub timestamp: Option<Timestamp>,
    /// The media type of the body.
    pub content_type: Option<String>,
    /// Everything else that is said about the body.
    pub headers: Headers,
    /// The payload.
    pub body: Bytes,
}
