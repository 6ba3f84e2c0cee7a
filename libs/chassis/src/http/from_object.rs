//! What is read from a JSON object, and from nothing else.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// What a JSON object says. By itself, serde reads a struct from an array, too: its fields in their order, whatever they are
/// called.
#[derive(Debug, Clone, Copy, Default)]
pub struct FromObject<T>(pub T);

struct Members<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for FromObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members(PhantomData)).map(Self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Named {
        name: Option<String>,
        data: Option<Box<RawValue>>,
    }

    fn read(json: &str) -> Result<Named, serde_json::Error> {
        serde_json::from_str(json).map(|FromObject(named)| named)
    }

    #[test]
    fn an_object_is_read_as_ever() {
        let named = read(r#"{"name": "a", "data": [1, 0.10]}"#).unwrap();
        assert_eq!((named.name.unwrap(), named.data.unwrap().get()), ("a".to_owned(), "[1, 0.10]"));
        let error = read(r#"{"nome": 1}"#).unwrap_err();
        assert!(error.is_data() && error.to_string().starts_with("unknown field `nome`"), "{error}");
        assert!(read(r#"{"name": "#).unwrap_err().is_eof());
    }

    #[test]
    fn nothing_else_is_taken_for_one() {
        for json in [r#"["a", 1]"#, "[]", "null", "\"a\"", "7"] {
            let error = read(json).unwrap_err();
            assert!(error.is_data() && error.to_string().contains("expected a JSON object"), "{json}: {error}");
        }
    }
}
