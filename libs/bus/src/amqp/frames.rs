//! Makes readable what a foreign client wrote and the broker passed on as it was.
//!
//! AMQP's short strings are text in UTF-8, and its tables lie in each other as deep as one likes. The broker looks at neither;
//! lapin gives up the whole connection at the first byte that is no text, and its stack at some thousand tables. Such a message
//! would end each connection that it is delivered to, and never be one that can be set aside.
//!
//! Nothing changes its length, so that a frame is mended where it stands:
//! [AMQP 0-9-1](https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf), sections 4.2.3 to 4.2.6.

use std::str::from_utf8;

/// What stands before a frame's payload: its type, its channel, and the payload's length in bytes.
pub(super) const HEAD_BYTES: usize = 7;
/// What ends a frame.
const END_BYTES: usize = 1;

/// The longest frame that is mended, in bytes; RabbitMQ sends none above 128 KiB, unless it is configured to.
pub(super) const MAX_MENDED_BYTES: usize = 1 << 20;

/// How deep tables and lists may lie in each other. What is deeper becomes bytes, unread.
const MAX_DEPTH: usize = 32;

/// Stands for each byte that is no text.
const REPLACEMENT: u8 = b'?';

const METHOD: u8 = 1;
const HEADER: u8 = 2;

/// The class of methods that carry messages, and those of its methods that say what a client wrote.
const BASIC: u16 = 60;
const RETURN: u16 = 50;
const DELIVER: u16 = 60;
const GET_OK: u16 = 71;

/// A frame, as far as its head says.
pub(super) struct Head {
    kind: u8,
    /// With head and end.
    pub bytes: usize,
}

impl Head {
    /// Reads a head; `None` if it is not there in full.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let [kind, _, _, length @ ..] = bytes.first_chunk::<HEAD_BYTES>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        Some(Self { kind: *kind, bytes: HEAD_BYTES + length + END_BYTES })
    }

    /// Whether such a frame says what a client wrote, other than a message's body.
    pub fn may_need_mending(&self) -> bool {
        matches!(self.kind, METHOD | HEADER) && self.bytes <= MAX_MENDED_BYTES
    }
}

/// Mends a frame that is there in full. One that is not as it should be stays so from there on.
pub(super) fn mend(frame: &mut [u8]) {
    let kind = frame[0];
    let payload = HEAD_BYTES..frame.len() - END_BYTES;
    let mut fields = Fields { left: &mut frame[payload] };
    let _ = if kind == HEADER { fields.content_header() } else { fields.method() };
}

/// What was not read yet of a payload. Reading returns `None` where it is not as it should be.
struct Fields<'a> {
    left: &'a mut [u8],
}

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a mut [u8]> {
        let (taken, left) = std::mem::take(&mut self.left).split_at_mut_checked(bytes)?;
        self.left = left;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.as_ref().try_into().ok()
    }

    fn short(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// What follows a length of four bytes.
    fn long(&mut self) -> Option<&'a mut [u8]> {
        let length = u32::from_be_bytes(self.array()?);
        self.take(length.try_into().ok()?)
    }

    fn method(&mut self) -> Option<()> {
        match (self.short()?, self.short()?) {
            (BASIC, DELIVER) => {
                let (tag, is_redelivered) = (8, 1);
                self.short_string()?;
                self.take(tag + is_redelivered)?;
            }
            (BASIC, GET_OK) => {
                let (tag, is_redelivered) = (8, 1);
                self.take(tag + is_redelivered)?;
            }
            (BASIC, RETURN) => {
                let code = 2;
                self.take(code)?;
                self.short_string()?;
            }
            _ => return Some(()),
        }
        // The exchange, and the routing key.
        self.short_string()?;
        self.short_string()
    }

    fn content_header(&mut self) -> Option<()> {
        let (class_and_weight, body_length) = (4, 8);
        self.take(class_and_weight + body_length)?;
        let flags = self.short()?;
        // In this order: content type and encoding, headers, delivery mode, priority, correlation id, reply to, expiration,
        // message id, timestamp, type, user id, app id, and one that is no longer used.
        for (bit, property) in (2..16).rev().zip(*b"ssFbbssssTssss") {
            if flags & (1 << bit) == 0 {
                continue;
            }
            match property {
                b's' => self.short_string()?,
                b'F' => Fields { left: self.long()? }.table(0)?,
                b'b' => drop(self.take(1)?),
                _ => drop(self.take(8)?),
            }
        }
        Some(())
    }

    fn short_string(&mut self) -> Option<()> {
        let [length] = self.array()?;
        let mut text = self.take(length.into())?;
        while let Err(error) = from_utf8(text) {
            let (from, bytes) = (error.valid_up_to(), error.error_len());
            let to = bytes.map_or(text.len(), |bytes| from + bytes);
            text[from..to].fill(REPLACEMENT);
            text = &mut text[to..];
        }
        Some(())
    }

    fn table(mut self, depth: usize) -> Option<()> {
        while !self.left.is_empty() {
            self.short_string()?;
            self.value(depth)?;
        }
        Some(())
    }

    fn list(mut self, depth: usize) -> Option<()> {
        while !self.left.is_empty() {
            self.value(depth)?;
        }
        Some(())
    }

    /// A value of a table or list; its types are those that [RabbitMQ](https://www.rabbitmq.com/amqp-0-9-1-errata#section_3)
    /// has.
    fn value(&mut self, depth: usize) -> Option<()> {
        let kind = self.take(1)?;
        let bytes = match kind[0] {
            b'F' | b'A' if depth >= MAX_DEPTH => {
                // Bytes have the same form: a length, and so many.
                kind[0] = b'x';
                self.long()?;
                0
            }
            b'F' => return Fields { left: self.long()? }.table(depth + 1),
            b'A' => return Fields { left: self.long()? }.list(depth + 1),
            b'S' | b'x' => {
                self.long()?;
                0
            }
            b'V' => 0,
            b't' | b'b' | b'B' => 1,
            b's' | b'u' | b'U' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            b'L' | b'l' | b'd' | b'T' => 8,
            _ => return None,
        };
        self.take(bytes)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use lapin::{
        protocol::basic::{AMQPProperties, parse_properties},
        types::AMQPValue,
    };
    use proptest::prelude::*;

    use super::*;

    fn short_string(text: &[u8]) -> Vec<u8> {
        [&[u8::try_from(text.len()).unwrap()], text].concat()
    }

    fn long(kind: u8, content: &[u8]) -> Vec<u8> {
        [&[kind], &u32::try_from(content.len()).unwrap().to_be_bytes()[..], content].concat()
    }

    fn nested(levels: usize) -> Vec<u8> {
        (0..levels).fold(vec![b'V'], |inner, level| match level % 2 {
            0 => long(b'A', &inner),
            _ => long(b'F', &[short_string(b"\xff"), inner].concat()),
        })
    }

    /// A content header with every property, of these texts, and a header of this name and value.
    fn header_frame(texts: &[Vec<u8>], name: &[u8], value: &[u8]) -> Vec<u8> {
        let text = |index: usize| short_string(&texts[index % texts.len()]);
        let table = long(b'F', &[&short_string(name), value].concat()).split_off(1);
        let payload = [
            vec![0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0xff, 0xfc],
            text(0),
            text(1),
            table,
            vec![2, 0],
            text(2),
            text(3),
            text(4),
            text(5),
            7_u64.to_be_bytes().to_vec(),
            text(6),
            text(7),
            text(8),
            text(9),
        ]
        .concat();
        let length = u32::try_from(payload.len()).unwrap();
        [&[HEADER, 0, 1], &length.to_be_bytes()[..], &payload, &[0xce]].concat()
    }

    fn properties(frame: &[u8]) -> AMQPProperties {
        let (rest, properties) = parse_properties(&frame[HEAD_BYTES + 12..frame.len() - END_BYTES]).unwrap();
        assert!(rest.is_empty());
        properties
    }

    fn depth(value: &AMQPValue) -> usize {
        match value {
            AMQPValue::FieldArray(values) => 1 + values.as_slice().iter().map(depth).max().unwrap_or(0),
            AMQPValue::FieldTable(table) => 1 + table.inner().values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    #[test]
    fn what_is_no_text_becomes_question_marks_and_the_rest_stays() {
        let texts = [b"na\xefve".to_vec(), "naïve".as_bytes().to_vec(), b"cut \xe2\x82".to_vec()];
        let mut frame = header_frame(&texts, b"h\xe9", &long(b'S', b"\xff"));
        assert!(parse_properties(&frame[HEAD_BYTES + 12..]).is_err(), "a frame that lapin reads needs no mending");
        mend(&mut frame);
        let properties = properties(&frame);
        let text = |text: &Option<lapin::types::ShortString>| text.as_ref().unwrap().to_string();
        assert_eq!(text(properties.content_type()), "na?ve");
        assert_eq!(text(properties.content_encoding()), "naïve");
        assert_eq!(text(properties.correlation_id()), "cut ??");
        let headers = properties.headers().as_ref().unwrap().inner();
        assert_eq!(headers["h?"], AMQPValue::LongString(b"\xff".to_vec().into()));
    }

    #[test]
    fn a_delivery_says_its_routing_key_in_text() {
        let method = |number: u8, before: &[u8]| {
            let payload = [&[0, 60, 0, number], before, &short_string(b"ebs"), &short_string(b"object.\xff")].concat();
            let length = u32::try_from(payload.len()).unwrap();
            [&[METHOD, 0, 1], &length.to_be_bytes()[..], &payload, &[0xce]].concat()
        };
        for (number, before) in [
            (60, [short_string(b"tag"), vec![0; 9]].concat()),
            (71, vec![0; 9]),
            (50, [vec![1, 56], short_string(b"")].concat()),
        ] {
            let mut frame = method(number, &before);
            mend(&mut frame);
            assert!(frame.ends_with(b"\x08object.?\xce"), "{frame:?}");
        }
    }

    #[test]
    fn tables_that_lie_too_deep_become_bytes() {
        let at = |levels: usize| {
            let mut frame = header_frame(&[Vec::new()], b"deep", &nested(levels));
            mend(&mut frame);
            depth(&properties(&frame).headers().as_ref().unwrap().inner()["deep"])
        };
        assert_eq!((at(3), at(MAX_DEPTH), at(MAX_DEPTH + 1), at(10_000)), (3, MAX_DEPTH, MAX_DEPTH, MAX_DEPTH));
    }

    proptest! {
        #[test]
        fn whatever_a_client_wrote_can_be_read(
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..=255), 1..10),
            name in prop::collection::vec(any::<u8>(), 0..=255),
            levels in 0..100_usize,
        ) {
            let mut frame = header_frame(&texts, &name, &nested(levels));
            mend(&mut frame);
            let app = properties(&frame).app_id().as_ref().unwrap().as_str().len();
            prop_assert_eq!(app, texts[8 % texts.len()].len());
        }

        #[test]
        fn what_is_no_frame_harms_nothing(kind in 1..=2_u8, content in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut frame = [&[kind, 0, 1, 0, 0, 0, 0], &content[..], &[0xce]].concat();
            let before = frame.len();
            mend(&mut frame);
            prop_assert_eq!(frame.len(), before);
        }
    }
}
