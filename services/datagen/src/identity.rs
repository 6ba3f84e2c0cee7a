//! Who an object will be: known before what is said of it is understood.

use bus::events::ObjectId;
use chassis::http::{Problem, Submitter};
use http::HeaderMap;
use rand::{rand_core::UnwrapErr, rngs::SysRng};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The header that makes a repeated request the same request
/// ([draft](https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/)).
const IDEMPOTENCY_KEY: &str = "idempotency-key";
const MAX_KEY_BYTES: usize = 255;

/// Who submits where no token is needed: one submitter, whoever it is.
const ANONYMOUS: Uuid = Uuid::from_u128(0x6562_7300_0000_5000_8000_616e_6f6e_796d);

/// The id of an object, and what a generated body derives from.
pub(crate) struct Identity {
    pub(crate) id: ObjectId,
    pub(crate) seed: [u8; 32],
}

/// What makes a repeated request the same request: the same key of the same submitter only, so that nobody gets at another's
/// object by guessing its key.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    submitter: Uuid,
    text: String,
}

impl Identity {
    /// That of a request: with a key, the same for the same content.
    ///
    /// # Errors
    /// 400 if the key is none.
    pub(crate) fn of(submitter: Option<Submitter>, headers: &HeaderMap, content: &[u8]) -> Result<Self, Problem> {
        let key = Key::of(submitter, headers)?;
        Ok(key.map_or_else(Self::new, |key| key.of_content(content)))
    }

    /// That of a request whose content is a text, which may read like JSON and is not.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(crate) fn of_text(submitter: Option<Submitter>, headers: &HeaderMap, text: &[u8]) -> Result<Self, Problem> {
        let key = Key::of(submitter, headers)?;
        Ok(key.map_or_else(Self::new, |key| key.of_text(text)))
    }

    /// One that nobody has.
    pub(crate) fn new() -> Self {
        let mut seed = [0; 32];
        rand::Rng::fill_bytes(&mut UnwrapErr(SysRng), &mut seed);
        Self { id: ObjectId::new(), seed }
    }
}

impl Key {
    /// That of a request, if it has one.
    ///
    /// # Errors
    /// 400 if it is longer than is allowed, or nothing that can be read.
    pub(crate) fn of(submitter: Option<Submitter>, headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
        let key = key.to_str().ok().filter(|key| (1..=MAX_KEY_BYTES).contains(&key.len())).ok_or_else(|| {
            Problem::bad_request(format!("Idempotency-Key: 1 to {MAX_KEY_BYTES} visible ASCII characters are allowed."))
        })?;
        let submitter = submitter.map_or(ANONYMOUS, |Submitter(id)| id);
        Ok(Some(Self { submitter, text: key.to_owned() }))
    }

    fn of_content(&self, content: &[u8]) -> Identity {
        Identity {
            id: ObjectId::idempotent(self.submitter, &self.text, &Sha256::digest(content).into()),
            seed: Sha256::digest(&self.text).into(),
        }
    }

    fn of_text(&self, text: &[u8]) -> Identity {
        Self { submitter: Uuid::new_v5(&self.submitter, b"text"), text: self.text.clone() }.of_content(text)
    }

    /// That of one of many objects: the same for the same line at the same place, and none of a whole request.
    pub(crate) fn of_line(&self, number: u64, line: &str) -> Identity {
        let submitter = Uuid::new_v5(&self.submitter, b"lines");
        let place = number.to_be_bytes();
        let digest = Sha256::new().chain_update(place).chain_update(line).finalize();
        Identity {
            id: ObjectId::idempotent(submitter, &self.text, &digest.into()),
            seed: Sha256::new().chain_update(place).chain_update(&self.text).finalize().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashSet;

    use super::*;

    fn key(submitter: u128, text: &str) -> Key {
        let headers = [(http::HeaderName::from_static(IDEMPOTENCY_KEY), text.parse().unwrap())].into_iter().collect();
        Key::of(Some(Submitter(Uuid::from_u128(submitter))), &headers).unwrap().unwrap()
    }

    #[test]
    fn a_line_is_the_same_object_for_the_same_submitter_key_place_and_line_only() {
        let id = |submitter, text, number, line| key(submitter, text).of_line(number, line).id;
        assert_eq!(id(1, "a", 1, "{}"), id(1, "a", 1, "{}"));
        let ids = HashSet::from([
            id(1, "a", 1, "{}"),
            id(2, "a", 1, "{}"),
            id(1, "b", 1, "{}"),
            id(1, "a", 2, "{}"),
            id(1, "a", 1, "{ }"),
            key(1, "a").of_content(b"{}").id,
            key(1, "a").of_text(b"{}").id,
            key(1, "a").of_content(b"\0\0\0\0\0\0\0\x01{}").id,
        ]);
        assert_eq!(ids.len(), 8);
    }

    #[test]
    fn what_is_generated_for_two_lines_differs() {
        let key = key(1, "a");
        assert_eq!(key.of_line(1, "{}").seed, key.of_line(1, "{}").seed);
        assert_ne!(key.of_line(1, "{}").seed, key.of_line(2, "{}").seed);
    }

    #[test]
    fn a_key_has_a_length() {
        for (text, is_allowed) in [("x".repeat(255), true), ("x".repeat(256), false), (String::new(), false)] {
            let name = http::HeaderName::from_static(IDEMPOTENCY_KEY);
            let headers = [(name, text.parse().unwrap())].into_iter().collect();
            assert_eq!(Key::of(None, &headers).is_ok(), is_allowed, "{} bytes", text.len());
        }
    }
}
