//! What is submitted: texts, made or read.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use datagen::generated_text;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// All files together, in bytes: they stay in memory.
const MAX_FILES_BYTES: u64 = 256 << 20;
/// How long random strings are, if nothing says anything about it: about as long as generated prose.
const DEFAULT_RANDOM_BYTES: usize = 400;
/// Letters of a word of random ones.
const RANDOM_WORD: std::ops::RangeInclusive<usize> = 3..=12;

/// Texts by their number. The same number is the same text, whoever asks and when.
#[derive(Debug)]
pub enum Texts {
    /// As natural language.
    Prose {
        /// Decides all of them.
        seed: u64,
        /// How long each is.
        size: Option<usize>,
    },
    /// Words of random letters.
    RandomStrings {
        /// Decides all of them.
        seed: u64,
        /// How long each is.
        size: Option<usize>,
    },
    /// Given ones.
    Given(Vec<String>),
}

impl Texts {
    /// Reads files, each of which is a text.
    ///
    /// # Errors
    /// If one cannot be read or is no text, or if they are too much.
    pub fn read(files: &[PathBuf]) -> Result<Self, String> {
        let mut left = MAX_FILES_BYTES;
        let mut texts = Vec::with_capacity(files.len());
        for file in files {
            let text = read(file, left).map_err(|reason| format!("{}: {reason}", file.display()))?;
            left -= text.len() as u64;
            texts.push(text);
        }
        Ok(Self::Given(texts))
    }

    /// How many different ones there are, if they are given.
    pub fn different(&self) -> Option<u64> {
        match self {
            Self::Given(texts) => Some(texts.len() as u64),
            Self::Prose { .. } | Self::RandomStrings { .. } => None,
        }
    }

    /// The text of this number.
    pub fn of(&self, number: u64) -> Cow<'_, str> {
        match self {
            Self::Prose { seed, size } => prose(&mut random(*seed, number), *size).into(),
            Self::RandomStrings { seed, size } => {
                random_strings(&mut random(*seed, number), size.unwrap_or(DEFAULT_RANDOM_BYTES)).into()
            }
            Self::Given(texts) => {
                let index = number % texts.len().max(1) as u64;
                texts.get(usize::try_from(index).unwrap_or_default()).map_or("", String::as_str).into()
            }
        }
    }
}

fn read(file: &Path, most: u64) -> Result<String, String> {
    let told = |error: io::Error| match error.kind() {
        io::ErrorKind::IsADirectory => "it is a directory: name files".to_owned(),
        io::ErrorKind::InvalidData => "it is no text in UTF-8".to_owned(),
        _ => error.to_string(),
    };
    let mut text = String::new();
    let length = File::open(file).and_then(|file| file.take(most + 1).read_to_string(&mut text)).map_err(told)?;
    if length as u64 > most {
        return Err(format!("all files together may have {} MiB", MAX_FILES_BYTES >> 20));
    }
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    Ok(text)
}

/// A generator of its own for each text, so that it does not matter who makes which, and when.
fn random(seed: u64, number: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(number);
    random
}

/// As the system itself generates it, or so much of that as is asked for.
fn prose(random: &mut ChaCha8Rng, size: Option<usize>) -> String {
    let mut text = generated_text(random);
    if let Some(size) = size {
        while text.len() < size {
            text.push(' ');
            text += &generated_text(random);
        }
        // It is ASCII.
        text.truncate(size);
    }
    text
}

fn random_strings(random: &mut ChaCha8Rng, size: usize) -> String {
    let mut text = String::with_capacity(size + *RANDOM_WORD.end() + 1);
    while text.len() < size {
        if !text.is_empty() {
            text.push(' ');
        }
        for _ in 0..random.random_range(RANDOM_WORD) {
            text.push(char::from(random.random_range(b'a'..=b'z')));
        }
    }
    text.truncate(size);
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_number_is_the_same_text_and_another_one_another() {
        for texts in [Texts::Prose { seed: 1, size: None }, Texts::RandomStrings { seed: 1, size: None }] {
            assert_eq!(texts.of(3), texts.of(3));
            assert_ne!(texts.of(3), texts.of(4));
        }
        let other = Texts::Prose { seed: 2, size: None };
        assert_ne!(other.of(3), Texts::Prose { seed: 1, size: None }.of(3));
    }

    #[test]
    fn each_text_is_as_long_as_was_asked_for() {
        for size in [1, 500, 10_000] {
            assert_eq!(Texts::Prose { seed: 1, size: Some(size) }.of(0).len(), size);
            assert_eq!(Texts::RandomStrings { seed: 1, size: Some(size) }.of(0).len(), size);
        }
    }

    #[test]
    fn words_of_prose_come_again_and_random_ones_do_not() {
        let different = |texts: &Texts| {
            let text = texts.of(0).into_owned();
            let words = text.split_whitespace().count();
            (words, text.to_lowercase().split_whitespace().collect::<BTreeSet<_>>().len())
        };
        let (words, few) = different(&Texts::Prose { seed: 1, size: Some(20_000) });
        assert!(few * 10 < words, "{few} of {words}");
        let (words, many) = different(&Texts::RandomStrings { seed: 1, size: Some(20_000) });
        assert!(many * 10 > words * 9, "{many} of {words}");
    }

    #[test]
    fn files_are_taken_in_turns_and_bad_ones_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let file = folder.path().join(name);
            std::fs::write(&file, content).unwrap();
            file
        };
        let texts = Texts::read(&[file("a", b"one"), file("b", b"two")]).unwrap();
        assert_eq!([0, 1, 2].map(|number| texts.of(number).into_owned()), ["one", "two", "one"]);
        for (bad, told) in [
            (folder.path().to_owned(), "directory"),
            (file("c", &[0xff]), "UTF-8"),
            (file("d", b""), "empty"),
            (folder.path().join("missing"), "missing"),
        ] {
            let error = Texts::read(&[bad]).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
