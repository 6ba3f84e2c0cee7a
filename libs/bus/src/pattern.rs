//! Topic patterns as AMQP 0-9-1 defines them
//! ([section 3.1.3.3](https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf)).

/// A pattern of routing keys: words between dots, where `*` is one word and `#` any number of words, none included.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(Vec<Word>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Word {
    Literal(Box<str>),
    One,
    Any,
}

impl Pattern {
    /// Reads a pattern. Every text is one: what is neither `*` nor `#` between dots stands for itself.
    pub fn new(pattern: &str) -> Self {
        let word = |word: &str| match word {
            "*" => Word::One,
            "#" => Word::Any,
            literal => Word::Literal(literal.into()),
        };
        Self(words(pattern).map(word).collect())
    }

    /// Whether a routing key matches. Takes time in proportion to the words of both, multiplied at worst.
    pub fn matches(&self, routing_key: &str) -> bool {
        let mut patterns = self.0.as_slice();
        let mut key = words(routing_key);
        // Where to go on if the last `#` must take one word more.
        let mut again = None;
        loop {
            if let [Word::Any, rest @ ..] = patterns {
                patterns = rest;
                again = Some((rest, key.clone()));
                continue;
            }
            let word = key.next();
            match (patterns, word) {
                ([], None) => return true,
                ([Word::One, rest @ ..], Some(_)) => patterns = rest,
                ([Word::Literal(literal), rest @ ..], Some(word)) if **literal == *word => patterns = rest,
                _ => {
                    let Some((rest, mut longer)) = again.take() else { return false };
                    if longer.next().is_none() {
                        return false;
                    }
                    (patterns, key) = (rest, longer.clone());
                    again = Some((rest, longer));
                }
            }
        }
    }
}

/// The words between the dots; an empty text has none.
fn words(text: &str) -> impl Iterator<Item = &str> + Clone {
    text.split('.').filter(move |_| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the specification says it, without any thought of speed.
    fn reference(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern, key) {
            ([], []) => true,
            (["#", rest @ ..], key) => (0..=key.len()).any(|taken| reference(rest, &key[taken..])),
            (["*", pattern @ ..], [_, key @ ..]) => reference(pattern, key),
            ([a, pattern @ ..], [b, key @ ..]) => a == b && reference(pattern, key),
            _ => false,
        }
    }

    #[test]
    fn a_star_is_one_word_and_a_hash_any_number_of_words() {
        for (pattern, matching, others) in [
            ("a.b", &["a.b"][..], &["a", "a.b.c", "b.a", ""][..]),
            ("a.*", &["a.b", "a."], &["a", "a.b.c", "b.a"]),
            ("*", &["a"], &["", "a.b"]),
            ("#", &["", "a", "a.b.c"], &[]),
            ("a.#", &["a", "a.b", "a.b.c"], &["b", "", "ab"]),
            ("#.z", &["z", "a.z", "z.z", "a.b.z"], &["z.a", ""]),
            ("a.#.z", &["a.z", "a.b.z", "a.z.z"], &["a", "z", "a.z.b"]),
            ("#.b.#.d.*", &["b.d.x", "a.b.b.c.d.d"], &["b.d", "d.b.x"]),
            ("", &[""], &["a"]),
        ] {
            for key in matching {
                assert!(Pattern::new(pattern).matches(key), "{pattern:?} matches {key:?}");
            }
            for key in others {
                assert!(!Pattern::new(pattern).matches(key), "{pattern:?} does not match {key:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_specification(
            pattern in prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "#"]), 1..7),
            key in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..8),
        ) {
            let matches = Pattern::new(&pattern.join(".")).matches(&key.join("."));
            prop_assert_eq!(matches, reference(&pattern, &key));
        }
    }
}
