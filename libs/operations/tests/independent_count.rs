//! Words counted here and by a program that shares only the rule: `tests/word-counts/count-words.pl`.
//!
//! Needs `perl` (5.26 or younger, its core modules only) and, as a long text that every Debian and Ubuntu has, the
//! licences in `/usr/share/common-licenses` (package `base-files`). Without them the tests fail; they are never skipped.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use operations::{Parameters, WordFrequencies, run};
use serde_json::Value;

const LICENCES: &str = "/usr/share/common-licenses";

#[test]
fn a_long_text_is_counted_as_by_an_independent_program() {
    let path = longest_licence();
    let text = fs::read_to_string(&path).unwrap();
    let perl = counted_by_perl(Some(&path), Stdio::null());
    assert!(perl["the"].as_u64() > Some(100), "{} is no long English text", path.display());
    for parts in [1, 3, 1000] {
        assert_same_counts(&counted_here(&text, parts), &perl);
    }
}

#[test]
fn a_tricky_text_is_counted_as_by_an_independent_program() {
    let path = word_counts("tricky.txt");
    let text = fs::read_to_string(&path).unwrap();
    let perl = counted_by_perl(None, File::open(&path).unwrap().into());
    for parts in 1..100 {
        assert_same_counts(&counted_here(&text, parts), &perl);
    }
}

#[test]
fn a_tricky_text_is_counted_as_by_a_person() {
    let counts = counted_here(&fs::read_to_string(word_counts("tricky.txt")).unwrap(), 3);
    let found_by_a_person = [
        ("don't", 3),
        ("don’t", 3),
        ("l’été", 1),
        ("naïve", 4),
        ("café", 2),
        ("ångström", 3),
        ("việt", 3),
        ("ǰ", 2),
        ("ΐ", 3),
        ("οδος", 1),
        ("οδός", 1),
        ("σίσυφος", 3),
        ("straße", 3),
        ("strasse", 1),
        ("мир", 3),
        ("й", 3),
        ("3.14", 1),
        ("1\u{202F}000", 1),
        ("000", 1),
        ("soft\u{AD}hyphen", 1),
        ("漢", 1),
        ("한국어", 2),
        ("ok", 2),
    ];
    for (word, count) in found_by_a_person {
        assert_eq!(counts[word], count, "{word}");
    }
    for no_word in ["", "'", "—", "😀", "🇩🇪", "©", "...", "__"] {
        assert_eq!(counts.get(no_word), None, "{no_word}");
    }
}

fn word_counts(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/word-counts").join(file)
}

fn longest_licence() -> PathBuf {
    let files = fs::read_dir(LICENCES).unwrap_or_else(|error| panic!("{LICENCES} is needed as a long text: {error}"));
    let paths = files.map(|entry| entry.unwrap().path());
    // By size and then by name: some are links to others.
    let longest = paths.max_by_key(|path| (fs::metadata(path).map_or(0, |metadata| metadata.len()), path.clone()));
    longest.unwrap_or_else(|| panic!("{LICENCES} is needed as a long text and is empty"))
}

/// From the file, or without one from the standard input.
fn counted_by_perl(file: Option<&Path>, input: Stdio) -> Value {
    let output = Command::new("perl")
        .arg(word_counts("count-words.pl"))
        .args(file)
        .stdin(input)
        .output()
        .unwrap_or_else(|error| panic!("perl cannot be started, and this test is nothing without it: {error}"));
    assert!(output.status.success(), "count-words.pl failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn counted_here(text: &str, parts: usize) -> Value {
    run(&WordFrequencies, &text.into(), &Parameters::new(), NonZeroUsize::new(parts).unwrap()).unwrap()
}

/// Shows the words that differ; the whole would be thousands of lines.
fn assert_same_counts(here: &Value, perl: &Value) {
    let (here, perl) = (here.as_object().unwrap(), perl.as_object().unwrap());
    let differing: Vec<_> = here
        .keys()
        .chain(perl.keys())
        .filter(|word| here.get(*word) != perl.get(*word))
        .map(|word| format!("{word:?}: {:?} here, {:?} in Perl", here.get(word), perl.get(word)))
        .collect();
    assert!(differing.is_empty(), "{differing:#?}");
}
