//! Any message, read as an event.

use bus::{
    AnyEvent, Message, decode, decode_any, encode,
    events::{Event, ObjectCreated, ObjectFinished, TaskCreated, TaskFinished, TaskStarted},
};

use crate::line;

/// As short as makes sense, so that the bound is reached.
const MAX_BYTES: usize = 64 * 1024;

/// Far below what fits into a frame of AMQP, even if every byte is written as an escape of six.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Three parts: the content type in a line, the headers as JSON in a line, the body.
///
/// # Panics
/// If reading it panics; if it is read differently as an event of its type and as any event; or if what was read, written
/// and read again is something else.
pub fn decode_event(input: &[u8]) {
    let (content_type, rest) = line(input);
    let (headers, body) = line(rest);
    let message = Message {
        content_type: (!content_type.is_empty()).then(|| String::from_utf8_lossy(content_type).into_owned()),
        headers: serde_json::from_slice(headers).unwrap_or_default(),
        body: body.to_vec().into(),
        ..Message::default()
    };
    let any = decode_any(&message, MAX_BYTES);
    let as_its_type = [
        same_again::<ObjectCreated>(&message),
        same_again::<TaskCreated>(&message),
        same_again::<TaskStarted>(&message),
        same_again::<TaskFinished>(&message),
        same_again::<ObjectFinished>(&message),
    ];
    let types = as_its_type.iter().filter(|is| **is).count();
    let known = any.as_ref().is_ok_and(|received| received.event != AnyEvent::Unknown);
    assert_eq!(types, usize::from(known), "{any:?} as any event, and {as_its_type:?} as one of the types");
    if let Err(error) = any {
        assert!(!error.to_string().is_empty());
    }
}

/// Whether it is an event of type `E`; one is the same when it is written and read again, in fewer bytes or as many.
fn same_again<E: Event + PartialEq + std::fmt::Debug>(message: &Message) -> bool {
    let Ok(first) = decode::<E>(message, MAX_BYTES) else { return false };
    let time = first.envelope.time;
    let caused = encode(&first.event, "ebs", "fuzz", time, Some(&first.envelope)).expect("an event is JSON");
    let bytes = serde_json::to_vec(&caused.headers).expect("headers are JSON").len();
    assert!(bytes < MAX_HEADER_BYTES, "what it causes has {bytes} bytes of headers");
    let written = encode(&first.event, "ebs", "fuzz", time, None).expect("an event is JSON");
    let second = decode::<E>(&written, usize::MAX).expect("what is written can be read");
    assert_eq!(first.event, second.event);
    assert_eq!(time, second.envelope.time);
    assert_eq!(second.envelope.id, first.event.id().to_string());
    assert!(written.routing_key.len() <= 255, "{}", written.routing_key);
    let again = encode(&second.event, "ebs", "fuzz", second.envelope.time, None).expect("an event is JSON");
    assert_eq!(written, again);
    true
}
