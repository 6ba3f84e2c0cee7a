//! `ebs dead-letters`: what was set aside, and what is to become of it.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Map, Value};

use crate::{
    client::{Address, Client, ClientError, EXIT_CODES},
    up::NAME,
};

/// More of a reason than this does not fit into a line, in characters; `show` has it all.
const SHOWN_REASON_CHARS: usize = 80;

/// Shows, replays and discards what was set aside.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct DeadLetters {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    address: Address,
    /// Prints what the system answers, as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists them: by cause, reason and operation, and one by one, the newest first
    List(Listing),
    /// Shows one whole
    Show {
        /// Its id, as the list has it
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Has them tried again, in their next round
    Replay(Which),
    /// Gives them up, and forgets their bodies
    Discard(Which),
}

#[derive(Debug, Args)]
struct Listing {
    /// Only those of this cause, such as rejected
    #[arg(long)]
    cause: Option<String>,
    /// Only those of this operation
    #[arg(long)]
    operation: Option<String>,
    /// Only those of this queue
    #[arg(long)]
    queue: Option<String>,
    /// Only those of this object
    #[arg(long, value_name = "ID")]
    object: Option<String>,
    /// In which state
    #[arg(long, value_enum, default_value_t = State::Waiting)]
    state: State,
    /// How many one by one
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Goes on where a list ended that says so
    #[arg(long)]
    cursor: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum State {
    Waiting,
    Replayed,
    Discarded,
    All,
}

/// One or several by their ids, or a group of those that wait, or all.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Which {
    /// Their ids, as the list has them
    #[arg(value_name = "ID", conflicts_with_all = ["cause", "operation", "queue", "object", "all"])]
    ids: Vec<String>,
    /// All that wait of this cause
    #[arg(long, conflicts_with = "all")]
    cause: Option<String>,
    /// All that wait of this operation
    #[arg(long, conflicts_with = "all")]
    operation: Option<String>,
    /// All that wait of this queue
    #[arg(long, conflicts_with = "all")]
    queue: Option<String>,
    /// All that wait of this object
    #[arg(long, value_name = "ID", conflicts_with = "all")]
    object: Option<String>,
    /// All that wait
    #[arg(long)]
    all: bool,
}

/// Does what is asked for.
pub async fn main(arguments: DeadLetters) -> ExitCode {
    let client = match Client::of(&arguments.address) {
        Ok(client) => client,
        Err(error) => return failed(&error),
    };
    let json = arguments.json;
    match arguments.command {
        Command::List(listing) => told(list(&client, &listing).await, json, shown_list),
        Command::Show { id } => told(client.ask(Method::GET, &path_of(&id), &[], None).await, json, shown_one),
        Command::Replay(which) => settle(&client, which, json, &REPLAY).await,
        Command::Discard(which) => settle(&client, which, json, &DISCARD).await,
    }
}

/// How something is done with dead letters.
struct Deed {
    method: Method,
    /// What follows on one's path, and on that of all.
    path: &'static str,
    /// Whether those that are meant are told in a body.
    has_body: bool,
    done: &'static str,
}

static REPLAY: Deed = Deed { method: Method::POST, path: "/replay", has_body: true, done: "replayed" };
static DISCARD: Deed = Deed { method: Method::DELETE, path: "", has_body: false, done: "discarded" };

fn path_of(id: &str) -> String {
    // What is no id shall not lead elsewhere.
    let id: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    format!("api/dead-letters/{id}")
}

async fn list(client: &Client, listing: &Listing) -> Result<Value, ClientError> {
    let state = listing.state.to_possible_value().map(|state| state.get_name().to_owned());
    let state = state.filter(|_| listing.state != State::All);
    let query = [
        ("cause", listing.cause.clone()),
        ("operation", listing.operation.clone()),
        ("queue", listing.queue.clone()),
        ("object", listing.object.clone()),
        ("state", state),
        ("limit", Some(listing.limit.to_string())),
        ("cursor", listing.cursor.clone()),
    ];
    client.ask(Method::GET, "api/dead-letters", &said(query), None).await
}

fn said<const N: usize>(pairs: [(&'static str, Option<String>); N]) -> Vec<(&'static str, String)> {
    pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// By ids one by one, so that each has an answer of its own; else all in one request.
async fn settle(client: &Client, which: Which, json: bool, deed: &Deed) -> ExitCode {
    if which.ids.is_empty() {
        let all = which.all.then(|| "true".to_owned());
        let Which { cause, operation, queue, object, .. } = which;
        let pairs = said([("cause", cause), ("operation", operation), ("queue", queue), ("object", object)]);
        let path = format!("api/dead-letters{}", deed.path);
        let answer = if deed.has_body {
            let mut body: Map<String, Value> =
                pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            body.extend(all.map(|_| ("all".to_owned(), true.into())));
            client.ask(deed.method.clone(), &path, &[], Some(&body.into())).await
        } else {
            let query: Vec<_> = pairs.into_iter().chain(all.map(|all| ("all", all))).collect();
            client.ask(deed.method.clone(), &path, &query, None).await
        };
        return told(answer, json, |answer| shown_counts(answer, deed));
    }
    let mut worst = None;
    for id in &which.ids {
        let answer = client.ask(deed.method.clone(), &format!("{}{}", path_of(id), deed.path), &[], None).await;
        match answer {
            Ok(answer) => print(&if json { pretty(&answer) } else { format!("{id} is {}\n", deed.done) }),
            Err(error) => {
                let code = failed(&error);
                // Whoever is not there now will not be for the next one either.
                if !matches!(error, ClientError::Refused(_)) {
                    return code;
                }
                worst = Some(code);
            }
        }
    }
    worst.unwrap_or(ExitCode::SUCCESS)
}

fn told(answer: Result<Value, ClientError>, json: bool, shown: impl Fn(&Value) -> String) -> ExitCode {
    match answer {
        Ok(answer) => {
            print(&if json { pretty(&answer) } else { shown(&answer) });
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &ClientError) -> ExitCode {
    eprintln!("{NAME}: {}", harmless(&error.to_string()));
    error.exit_code()
}

/// Whoever reads may have read enough.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn shown_counts(answer: &Value, deed: &Deed) -> String {
    let mut shown = format!("{} {}\n", answer[deed.done], deed.done);
    if let Some(refused @ 1..) = answer["refused"].as_u64() {
        let _ = writeln!(shown, "{refused} cannot be replayed, and still wait: `{NAME} dead-letters show ID` says why");
    }
    shown
}

fn shown_list(answer: &Value) -> String {
    let rows = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
    let (groups, letters) = (rows("groups"), rows("dead_letters"));
    if letters.is_empty() {
        return "none\n".to_owned();
    }
    let mut shown = table(&groups, &["count", "cause", "operation", "oldest", "newest", "reason"]);
    shown.push('\n');
    shown += &table(&letters, &["id", "state", "died_at", "cause", "type", "operation", "object_id", "part", "reason"]);
    if let Some(next) = answer["next"].as_str() {
        let _ = writeln!(shown, "\nThere are more: --cursor {}", harmless(next));
    }
    shown
}

/// A line a row, the columns as wide as what is in them.
fn table(rows: &[Value], columns: &[&str]) -> String {
    let mut lines = vec![columns.iter().map(|name| name.to_uppercase().replace('_', " ")).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| columns.iter().map(|name| cell(&row[*name])).collect()));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |cells: &Vec<String>| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    lines.iter().map(line).collect()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.chars().count() > SHOWN_REASON_CHARS => {
            let shown: String = text.chars().take(SHOWN_REASON_CHARS - 1).collect();
            format!("{}…", harmless(&shown).replace(['\n', '\t'], " "))
        }
        Value::String(text) => harmless(text).replace(['\n', '\t'], " "),
        other => other.to_string(),
    }
}

fn shown_one(letter: &Value) -> String {
    let mut shown = String::new();
    let fields = letter.as_object().into_iter().flatten();
    for (name, value) in fields.filter(|(name, value)| *name != "body" && !value.is_null()) {
        let value = match value {
            Value::String(text) => harmless(text),
            Value::Object(_) => harmless(&format!("{value:#}")),
            other => other.to_string(),
        };
        let _ = writeln!(shown, "{:<15} {value}", name.replace('_', " "));
    }
    let _ = writeln!(shown, "\n{}", harmless(letter["body"].as_str().unwrap_or_default()));
    shown
}

/// What others wrote must not steer the terminal.
fn harmless(text: &str) -> String {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    text.chars().map(|c| if steers(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn parses(line: &str) -> bool {
        let command = DeadLetters::augment_args(clap::Command::new("dead-letters"));
        command.try_get_matches_from(["dead-letters"].into_iter().chain(line.split(' '))).is_ok()
    }

    #[test]
    fn it_must_be_said_which_ones_and_in_one_way() {
        for line in [
            "list",
            "list --cause rejected --json",
            "show ID",
            "replay ID",
            "replay ID OTHER --url http://a",
            "replay --cause rejected --operation pow",
            "discard --all",
            "discard --object ID --json",
        ] {
            assert!(parses(line), "{line}");
        }
        for line in
            ["replay", "discard --json", "replay ID --all", "replay ID --cause c", "replay --all --cause c", "show"]
        {
            assert!(!parses(line), "{line}");
        }
    }

    #[test]
    fn the_list_is_a_table_and_what_others_wrote_steers_no_terminal() {
        let reason = format!("\u{1b}[31mred\n{}", "x".repeat(200));
        let letter = json!({"id": "1", "cause": "rejected", "reason": reason, "operation": null});
        let shown = shown_list(&json!({"groups": [], "dead_letters": [letter], "next": "7"}));
        assert!(!shown.contains('\u{1b}') && shown.contains("[31mred x"), "{shown}");
        assert!(shown.contains("--cursor 7"), "{shown}");
        let longest = shown.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(longest < 200, "{shown}");
        assert_eq!(shown_list(&json!({"groups": [], "dead_letters": []})), "none\n");
    }

    #[test]
    fn what_is_no_id_leads_nowhere_else() {
        assert_eq!(path_of("../objects?a=b"), "api/dead-letters/objectsab");
    }
}
