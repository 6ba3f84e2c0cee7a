//! Generated objects: prose in which, as in natural language, the n-th most frequent word is about 1/n as frequent as the
//! first ([Zipf's law](https://en.wikipedia.org/wiki/Zipf%27s_law)).

use bus::events::ObjectId;
use rand::{Rng, RngExt};

/// By frequency, the most frequent first.
const WORDS: [&str; 64] = [
    "the",
    "of",
    "and",
    "to",
    "a",
    "in",
    "that",
    "it",
    "is",
    "was",
    "for",
    "with",
    "on",
    "as",
    "by",
    "at",
    "from",
    "they",
    "we",
    "all",
    "one",
    "when",
    "water",
    "time",
    "day",
    "way",
    "word",
    "part",
    "place",
    "work",
    "light",
    "sound",
    "hand",
    "river",
    "house",
    "stone",
    "voice",
    "winter",
    "letter",
    "garden",
    "morning",
    "story",
    "market",
    "window",
    "bridge",
    "forest",
    "silver",
    "number",
    "island",
    "engine",
    "village",
    "mountain",
    "question",
    "painter",
    "harbour",
    "shadow",
    "lantern",
    "message",
    "orchard",
    "compass",
    "thunder",
    "library",
    "traveller",
    "horizon",
];
const SENTENCES: std::ops::RangeInclusive<usize> = 6..=12;
const WORDS_IN_A_SENTENCE: std::ops::RangeInclusive<usize> = 5..=14;

/// A text of some sentences, in ASCII; the same generator makes the same text.
pub fn text(random: &mut impl Rng) -> String {
    let mut text = String::new();
    for sentence in 0..random.random_range(SENTENCES) {
        if sentence > 0 {
            text.push(' ');
        }
        for number in 0..random.random_range(WORDS_IN_A_SENTENCE) {
            let word = pick(random);
            if number == 0 {
                text.extend(word[..1].chars().map(|first| first.to_ascii_uppercase()));
                text.push_str(&word[1..]);
            } else {
                text.push(' ');
                text.push_str(word);
            }
        }
        text.push('.');
    }
    text
}

/// What an object is called that nobody named: after the end of its id, which differs most.
pub(crate) fn name(id: ObjectId) -> String {
    let id = id.uuid().simple().to_string();
    format!("object-{}", &id[24..])
}

/// A word by its frequency: rank r with a likelihood in proportion to 1/r, by inverting the logarithm that the sum of
/// these is close to.
fn pick(random: &mut impl Rng) -> &'static str {
    let ranks = WORDS.len() as f64;
    let rank = (ranks + 1.0).powf(random.random::<f64>()) - 1.0;
    WORDS[(rank as usize).min(WORDS.len() - 1)]
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_text_and_another_seed_another() {
        let text = |seed| text(&mut ChaCha8Rng::seed_from_u64(seed));
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
    }

    #[test]
    fn frequent_words_are_frequent() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let picks: Vec<&str> = (0..10_000).map(|_| pick(&mut random)).collect();
        let count = |word| picks.iter().filter(|pick| **pick == word).count();
        assert!(count("the") > count("that") && count("that") > count("horizon"));
    }
}
