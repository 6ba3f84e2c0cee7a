//! Every word of a long text, counted by three processors, against a program that shares nothing with ours.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::Value;
use testkit::{Options, System, repository};
use tokio::process::Command;

use crate::kit::everywhere;

const LICENSES: &str = "/usr/share/common-licenses";

/// What `count-words.pl` counts.
pub async fn counted_elsewhere(text: &str) -> BTreeMap<String, u64> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    let program = repository().join("tests/word-counts/count-words.pl");
    let output = Command::new("perl").arg(program).arg(file.path()).output().await.expect("perl is missing");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn licenses() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(LICENSES)
        .unwrap_or_else(|error| panic!("{LICENSES}: {error}; it is part of every Debian and Ubuntu"))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// The longest licence.
pub fn longest_license() -> String {
    licenses().into_iter().filter_map(|file| fs::read_to_string(file).ok()).max_by_key(String::len).unwrap()
}

/// 3 MB: every licence over and over, each round with words of its own in several scripts.
fn three_megabytes() -> String {
    let tricky = fs::read_to_string(repository().join("tests/word-counts/tricky.txt")).unwrap();
    let mut text = String::new();
    for round in 0.. {
        for license in licenses().into_iter().filter_map(|file| fs::read_to_string(file).ok()) {
            text.push_str(&license);
            text.push_str(&format!(" round-{round} naïve{round} Σίσυφος{round}’s {tricky} "));
            if text.len() > 3_000_000 {
                text.truncate(text.floor_char_boundary(3_000_000));
                return text;
            }
        }
    }
    text
}

async fn count_through_the_system(system: &System, text: String) -> BTreeMap<String, u64> {
    let request = system.client().post(system.url_of("datagen", "/api/objects")).header("content-type", "text/plain");
    let answer = request.body(text).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let created: Value = answer.json().await.unwrap();
    let object = system.finished(created["id"].as_str().unwrap()).await.unwrap();
    assert_eq!(object["status"], "succeeded", "{}", object["errors"]);
    assert_eq!(object["tasks"].as_array().unwrap().len(), 3);
    serde_json::from_value(object["result"].clone()).unwrap()
}

everywhere! {
    every_word_of_long_texts_is_counted_as_an_independent_program_counts_it,
}

async fn every_word_of_long_texts_is_counted_as_an_independent_program_counts_it(options: Options) {
    let system = System::start(options.processors(3)).await.unwrap();
    let mut sum = BTreeMap::<String, u64>::new();
    for text in [longest_license(), three_megabytes()] {
        let expected = counted_elsewhere(&text).await;
        assert!(expected.len() > 500);
        let counted = count_through_the_system(&system, text).await;
        assert_eq!(counted, expected);
        for (word, count) in expected {
            *sum.entry(word).or_default() += count;
        }
    }
    let totals = system.get("/api/totals/word-frequencies?limit=1").await.unwrap();
    assert_eq!(totals["distinct"], sum.len());
    assert_eq!(totals["total"], sum.values().sum::<u64>());
    assert_eq!(totals["totals"][0]["count"], *sum.values().max().unwrap());
}
