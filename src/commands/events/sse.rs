//! Server-sent events ([HTML, section 9.2](https://html.spec.whatwg.org/multipage/server-sent-events.html)), as far as the
//! system sends them, and none of them longer than an event can be.

use std::collections::VecDeque;

/// More than one event, in bytes: `MAX_EVENT_BYTES` may be 15 MiB.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// A message that was sent; without data it only says where the stream is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// From where to go on after it.
    pub(super) id: Option<String>,
    /// What kind of message.
    pub(super) event: String,
    pub(super) data: String,
}

/// Makes messages of bytes as they come.
#[derive(Debug, Default)]
pub(super) struct Messages {
    line: Vec<u8>,
    begun: Sent,
    ready: VecDeque<Sent>,
}

/// A message that is too long to be one of ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Messages {
    /// Some more bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(&line);
            self.end_line(line.strip_suffix('\r').unwrap_or(&line));
        }
        self.line.extend_from_slice(bytes);
        if self.line.len() + self.begun.data.len() > MAX_BYTES { Err(TooLong) } else { Ok(()) }
    }

    /// The next message that has come whole.
    pub(super) fn next(&mut self) -> Option<Sent> {
        self.ready.pop_front()
    }

    fn end_line(&mut self, line: &str) {
        if line.is_empty() {
            let sent = std::mem::take(&mut self.begun);
            // An id alone says from where on it will be.
            if !sent.data.is_empty() || sent.id.is_some() {
                self.ready.push_back(sent);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.begun.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.begun.event),
            "data" => {
                if !self.begun.data.is_empty() {
                    self.begun.data.push('\n');
                }
                self.begun.data.push_str(value);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn messages_are_the_same_however_they_are_cut() {
        let stream = ": idle\n\nid: 6\n\nid: 7\nevent: TASK_FINISHED\ndata: {\"a\":\ndata: \"ü\"}\n\nretry: 5\r\nid:8\r\ndata:x\r\n\r\ndata: half";
        let sent =
            |id: &str, event: &str, data: &str| Sent { id: Some(id.into()), event: event.into(), data: data.into() };
        for size in [1, 2, 3, 7, 1000] {
            let mut messages = Messages::default();
            for chunk in stream.as_bytes().chunks(size) {
                messages.feed(chunk).unwrap();
            }
            assert_eq!(messages.next(), Some(sent("6", "", "")));
            assert_eq!(messages.next(), Some(sent("7", "TASK_FINISHED", "{\"a\":\n\"ü\"}")));
            assert_eq!(messages.next(), Some(sent("8", "", "x")));
            assert_eq!(messages.next(), None);
        }
    }

    #[test]
    fn a_message_has_an_end() {
        let mut messages = Messages::default();
        let megabyte = vec![b'x'; 1024 * 1024];
        assert!((0..40).any(|_| messages.feed(&megabyte) == Err(TooLong)));
    }
}
