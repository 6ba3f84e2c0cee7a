//! The command line as people use it, and as scripts do: by what it prints, and where, and how it ends.

mod alone;
mod kit;
mod strange_systems;
mod terminal;
mod watching;
mod whole;

use std::fs;

use serde_json::{Value, json};
use testkit::{Options, System, eventually};

use self::kit::{Ran, ebs, ebs_reading};
use crate::kit::everywhere;

everywhere! {
    what_is_submitted_comes_back_as_its_result,
    what_is_open_or_fails_is_told_with_what_to_do,
    everything_there_is_is_listed_for_people_and_for_programs,
    a_token_is_taken_from_the_environment,
}

async fn what_is_submitted_comes_back_as_its_result(options: Options) {
    let system = System::start(options).await.unwrap();
    let cubes = ["--operation", "pow", "--parameters", r#"{"exponent":3}"#, "--data", "[0,1,2,3]"];
    let submitted = ebs(&system, &[&["submit"], &cubes[..]].concat()).await.ok();
    let id = submitted.strip_suffix('\n').unwrap();
    assert_eq!(id.len(), 36, "an id and nothing else: {submitted}");
    assert_eq!(ebs(&system, &["result", id]).await.ok(), "[0,1,8,27]\n");

    let newest = ebs(&system, &["result"]).await;
    assert!(newest.told.contains(id), "{newest:?}");
    assert_eq!(newest.ok(), "[0,1,8,27]\n");

    let whole = ebs(&system, &["result", id, "--json"]).await.json();
    assert_eq!(
        (&whole["id"], &whole["status"], &whole["result"]),
        (&json!(id), &json!("succeeded"), &json!([0, 1, 8, 27]))
    );

    let counted = ebs_reading(&system, &["submit", "-", "--wait"], "b a, \"B\"").await.ok();
    assert_eq!(counted.lines().last(), Some(r#"{"a":1,"b":2}"#), "{counted}");

    let file = |name: &str, text: &str| {
        let path = system.folder().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (text, numbers) = (file("a.txt", "[1]"), file("a.json", "[1, 2]"));
    let counted = ebs(&system, &["submit", "--wait", &text]).await.ok();
    assert_eq!(counted.lines().last(), Some(r#"{"1":1}"#), "{counted}");
    let one_more = ebs(&system, &["submit", &numbers, "--operation", "plusone", "--wait", "30", "--json"]).await.json();
    assert_eq!(one_more["result"], json!([2, 3]));

    let chosen = ["submit", "--name", "mine", "--tasks", "2", "--deadline", "5m", "--key", "k", "--json"];
    let first = ebs(&system, &chosen).await.json();
    assert_eq!(
        (&first["name"], &first["tasks"], &first["deadline_ms"]),
        (&json!("mine"), &json!(2), &json!(300_000.0))
    );
    assert_eq!(ebs(&system, &chosen).await.json()["id"], first["id"], "the same key is the same object");
    let generated = ebs(&system, &["submit", "--json"]).await.json();
    assert!(generated["data"].as_str().is_some_and(|text| text.contains(' ')), "{generated}");
}

async fn what_is_open_or_fails_is_told_with_what_to_do(options: Options) {
    let system = System::start(options.set("OPERATIONS", "flaky,plusone")).await.unwrap();
    let fail = ["--operation", "flaky", "--parameters", r#"{"permanent":1}"#, "--data", "[1,2]", "--tasks", "2"];
    let failed = ebs(&system, &[&["submit", "--wait"], &fail[..]].concat()).await;
    assert_eq!(failed.code, 1, "{failed:?}");
    assert_eq!(failed.said.lines().count(), 1, "its id and no result: {failed:?}");
    assert!(failed.told.contains("part 0: "), "{failed:?}");
    // What was set aside comes by a queue of its own.
    eventually(async || {
        let again = ebs(&system, &["result", failed.said.trim()]).await;
        if again.told.contains("ebs dead-letters list") { Ok(()) } else { Err(format!("{again:?}")) }
    })
    .await;
    let whole = ebs(&system, &["result", failed.said.trim(), "--json"]).await;
    assert_eq!((whole.code, &whole.json()["status"]), (1, &json!("failed")));

    // Nobody does this here, so that it stays open.
    let open = ["submit", "--operation", "nop", "--data"];
    let first = ebs(&system, &[&open[..], &["1"]].concat()).await.ok();
    let first = first.trim();
    let late = ebs(&system, &["result", first, "--timeout", "1"]).await;
    assert_eq!((late.code, late.said.as_str()), (75, ""), "{late:?}");
    assert!(late.told.contains(&format!("ebs result {first}")), "{late:?}");
    let only = ebs(&system, &["result", "--timeout", "100ms"]).await;
    assert!(only.code == 75 && only.told.contains(first), "{only:?}");
    let second = ebs(&system, &[&open[..], &["2", "--wait", "1"]].concat()).await;
    assert_eq!(second.code, 75, "{second:?}");
    let which = ebs(&system, &["result"]).await;
    assert!(which.code == 64 && which.told.contains(first) && which.told.contains(second.said.trim()), "{which:?}");

    let unknown = ebs(&system, &["result", "00000000-0000-0000-0000-000000000000", "--timeout", "6s"]).await;
    assert!(unknown.code == 75 && unknown.told.contains("does not know 00000000-"), "{unknown:?}");

    for (arguments, told) in [
        (&["submit", "--operation", "juggle", "--data", "1"][..], "word-frequencies"),
        (&["submit", "--operation", "plusone", "--data", "a"], "number"),
        (&["result", "00000000-0000-0000-0000-000000000000"], "no object"),
        (&["totals", "juggle"], "word-frequencies"),
        (&["objects", "--cursor", "x"], "cursor"),
    ] {
        let refused = ebs(&system, arguments).await;
        assert_eq!((refused.code, refused.said.as_str()), (1, ""), "{arguments:?}: {refused:?}");
        assert!(refused.told.contains(told), "{arguments:?}: {refused:?}");
    }
}

async fn everything_there_is_is_listed_for_people_and_for_programs(options: Options) {
    let system = System::start(options).await.unwrap();
    assert_eq!(ebs(&system, &["objects"]).await.ok(), "none\n");
    assert_eq!(ebs(&system, &["totals"]).await.ok(), "none\n");
    let nothing = ebs(&system, &["result"]).await;
    assert!(nothing.code == 1 && nothing.told.contains("ebs submit"), "{nothing:?}");
    for text in ["a b a", "b a", "\u{202e}a"] {
        ebs(&system, &["submit", "--data", text, "--wait"]).await.ok();
    }
    ebs(&system, &["submit", "--operation", "plusone", "--data", "[1]", "--wait"]).await.ok();

    let listed = ebs(&system, &["objects"]).await.ok();
    assert_eq!(listed.lines().count(), 5, "{listed}");
    assert!(listed.starts_with("ID ") && listed.contains("succeeded  plusone"), "{listed}");
    let page = ebs(&system, &["objects", "--limit", "1", "--operation", "word-frequencies", "--json"]).await.json();
    assert_eq!(page["objects"].as_array().map(Vec::len), Some(1));
    let rest = ["objects", "--operation", "word-frequencies", "--cursor", page["next"].as_str().unwrap()];
    assert_eq!(
        ebs(&system, &[&rest[..], &["--json"]].concat()).await.json()["objects"].as_array().map(Vec::len),
        Some(2)
    );
    assert_eq!(ebs(&system, &[&rest[..], &["--all"]].concat()).await.ok().lines().count(), 3);
    assert_eq!(ebs(&system, &["objects", "--all", "--json"]).await.json_lines().len(), 4);
    assert_eq!(ebs(&system, &["objects", "--status", "timed_out"]).await.ok(), "none\n");
    let oldest = ebs(&system, &["objects", "--order", "oldest", "--limit", "1", "--json"]).await.json();
    let oldest = &oldest["objects"][0];
    let chosen = ["objects", "--json", "--name", oldest["name"].as_str().unwrap()];
    assert_eq!(ebs(&system, &chosen).await.json()["objects"], json!([oldest]));
    let after = ["objects", "--json", "--since", oldest["finished_at"].as_str().unwrap()];
    assert_eq!(ebs(&system, &after).await.json()["objects"].as_array().map(Vec::len), Some(3));
    let before = ["objects", "--json", "--until", oldest["finished_at"].as_str().unwrap()];
    assert_eq!(ebs(&system, &before).await.json()["objects"], json!([oldest]));

    let totals = ebs(&system, &["totals", "--limit", "1"]).await.ok();
    assert_eq!(totals, "COUNT  NAME\n    4  a\n\n1 of 2 names; 6 counted in all\n");
    assert_eq!(ebs(&system, &["totals", "word-frequencies", "--json"]).await.json()["total"], 6);

    let operations = ebs(&system, &["operations"]).await.ok();
    assert!(
        operations.contains("exponent: integer") && operations.lines().all(|line| line.chars().count() <= 80),
        "{operations}"
    );
    assert!(ebs(&system, &["operations", "--json"]).await.json()["operations"].is_array());

    let statistics = ebs(&system, &["statistics"]).await.ok();
    assert!(statistics.contains("processor-0") && statistics.contains("\nword-frequencies "), "{statistics}");
    assert_eq!(ebs(&system, &["statistics", "--json"]).await.json()["objects"]["succeeded"], 4);
}

async fn a_token_is_taken_from_the_environment(options: Options) {
    // As the services have it: of several, any opens.
    let token = "a-token-that-is-long-enough-0123456789, another-that-is-long-enough-0123456789";
    let system = System::start(options.set("API_TOKEN", token)).await.unwrap();
    for command in ["submit", "result", "totals", "objects", "statistics", "operations"] {
        let without = ebs(&system, &[command]).await;
        assert!(without.code == 1 && without.told.contains("API_TOKEN"), "{command}: {without:?}");
    }
    let with =
        kit::command(&system, &["submit", "--data", "a", "--wait", "--json"]).env("API_TOKEN", token).output().await;
    let with: Value = Ran::of(with.unwrap()).json();
    assert_eq!(with["result"], json!({"a": 1}));
}
