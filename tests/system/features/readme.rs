//! The README's table.

use std::{env, fs, path::Path};

use super::table::{Feature, PARTS, Seen};

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// With `EBS_WRITE_FEATURES=1` it writes them instead.
#[test]
fn the_readme_has_them_all() {
    const BEGIN: &str = "<!-- The table is written by tests/system/features/readme.rs. -->\n";
    const END: &str = "<!-- Until here. -->\n";
    let readme = file("README.md");
    let (before, rest) = readme.split_once(BEGIN).expect("where the table begins");
    let (table, after) = rest.split_once(END).expect("where it ends");
    if env::var_os("EBS_WRITE_FEATURES").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        fs::write(path, [before, BEGIN, &written(), END, after].concat()).unwrap();
        return;
    }
    assert!(table == written(), "`EBS_WRITE_FEATURES=1 make test` writes the README's table anew");
}

fn written() -> String {
    let mut table = "| | see it | by |\n| --- | --- | --- |\n".to_owned();
    for part in PARTS {
        table += &format!("| **{}** | | |\n", part.name);
        for Feature { what, lines, seen, needs_broker } in part.features {
            // Whether it fails as it should is for the test.
            let lines =
                lines.iter().map(|line| format!("`{}`", line.split(" || ").next().unwrap().replace('|', "\\|")));
            let by = match seen {
                Seen::By(whom) => match whom.split_once("::") {
                    Some((path, _)) => format!("[{}]({path})", path.rsplit('/').next().unwrap()),
                    None => format!("`{whom}`"),
                },
                _ if *needs_broker => "over RabbitMQ".to_owned(),
                _ => String::new(),
            };
            table += &format!("| {what} | {} | {by} |\n", lines.collect::<Vec<_>>().join("<br>"));
        }
    }
    table
}

#[test]
fn whatever_is_said_to_show_a_feature_is_there() {
    for feature in PARTS.iter().flat_map(|part| part.features) {
        let Seen::By(whom) = feature.seen else { continue };
        let (path, text) = match (whom.split_once("::"), whom.strip_prefix("make ")) {
            (Some((path, test)), _) => (path, format!("fn {test}(")),
            (None, Some(target)) => ("Makefile", format!("\n{target}: ")),
            (None, None) => panic!("{whom:?} is neither a test nor a target"),
        };
        assert!(file(path).contains(&text), "{whom}: not there");
    }
}
