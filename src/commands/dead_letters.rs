//! `ebs dead-letters`: what was set aside, and what is to become of it.

use std::{fmt::Write as _, process::ExitCode};

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    client::{self, Address, Client, ClientError, EXIT_CODES, said},
    failure::Failure,
    output::{self, Cell, Column, Format, Table, clock, harmless},
    up::NAME,
};

/// Shows, replays and discards what was set aside.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct DeadLetters {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    address: Address,
    #[command(flatten)]
    format: Format,
}

const REPLAY_USAGE: &str = "ebs dead-letters replay <ID>...\n       ebs dead-letters replay <OPTIONS>";
const DISCARD_USAGE: &str = "ebs dead-letters discard <ID>...\n       ebs dead-letters discard <OPTIONS>";

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists them: by cause, reason and operation, and one by one, the newest first
    List(Listing),
    /// Shows one whole
    Show {
        /// Its id, as the list has it
        #[arg(value_name = "ID", value_parser = client::id)]
        id: Uuid,
    },
    /// Has them tried again, in their next round
    #[command(override_usage = REPLAY_USAGE)]
    Replay(Which),
    /// Gives them up, and forgets their bodies
    #[command(override_usage = DISCARD_USAGE)]
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
    #[arg(long, value_name = "ID", value_parser = client::id)]
    object: Option<Uuid>,
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
    #[arg(value_name = "ID", value_parser = client::id)]
    #[arg(conflicts_with_all = ["cause", "operation", "queue", "object", "all"])]
    ids: Vec<Uuid>,
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
    #[arg(long, value_name = "ID", value_parser = client::id, conflicts_with = "all")]
    object: Option<Uuid>,
    /// All that wait
    #[arg(long)]
    all: bool,
}

/// Does what is asked for.
///
/// # Errors
/// If the system does not answer with yes.
pub async fn run(arguments: DeadLetters) -> Result<ExitCode, Failure> {
    let client = Client::of(&arguments.address)?;
    let format = arguments.format;
    match arguments.command {
        Command::List(listing) => format.print(&list(&client, &listing).await?, shown_list)?,
        Command::Show { id } => {
            format.print(&client.ask(Method::GET, &path_of(id), &[], None).await?, shown_one)?;
        }
        Command::Replay(which) => return settle(&client, which, format, &REPLAY).await,
        Command::Discard(which) => return settle(&client, which, format, &DISCARD).await,
    }
    Ok(ExitCode::SUCCESS)
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

fn path_of(id: Uuid) -> String {
    format!("api/dead-letters/{id}")
}

async fn list(client: &Client, listing: &Listing) -> Result<Value, ClientError> {
    let state = listing.state.to_possible_value().map(|state| state.get_name().to_owned());
    let state = state.filter(|_| listing.state != State::All);
    let query = [
        ("cause", listing.cause.clone()),
        ("operation", listing.operation.clone()),
        ("queue", listing.queue.clone()),
        ("object", listing.object.map(|id| id.to_string())),
        ("state", state),
        ("limit", Some(listing.limit.to_string())),
        ("cursor", listing.cursor.clone()),
    ];
    client.ask(Method::GET, "api/dead-letters", &said(query), None).await
}

/// By ids one by one, so that each has an answer of its own; else all in one request.
async fn settle(client: &Client, which: Which, format: Format, deed: &Deed) -> Result<ExitCode, Failure> {
    if which.ids.is_empty() {
        let all = which.all.then(|| "true".to_owned());
        let Which { cause, operation, queue, object, .. } = which;
        let object = object.map(|id| id.to_string());
        let pairs = said([("cause", cause), ("operation", operation), ("queue", queue), ("object", object)]);
        let path = format!("api/dead-letters{}", deed.path);
        let answer = if deed.has_body {
            let mut body: Map<String, Value> =
                pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            body.extend(all.map(|_| ("all".to_owned(), true.into())));
            client.ask(deed.method.clone(), &path, &[], Some(&body.into())).await?
        } else {
            let query: Vec<_> = pairs.into_iter().chain(all.map(|all| ("all", all))).collect();
            client.ask(deed.method.clone(), &path, &query, None).await?
        };
        format.print(&answer, |answer| shown_counts(answer, deed))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut worst = None;
    for id in which.ids {
        let answer = client.ask(deed.method.clone(), &format!("{}{}", path_of(id), deed.path), &[], None).await;
        match answer {
            Ok(answer) if format.json => output::report(&format!("{}\n", output::compact(&answer)))?,
            Ok(_) => output::report(&format!("{id} is {}\n", deed.done))?,
            // Whoever is not there now will not be for the next one either.
            Err(error) if error.may_pass() => return Err(error.into()),
            Err(error) => {
                output::tell(&error.to_string());
                worst = Some(error.exit_code());
            }
        }
    }
    Ok(worst.unwrap_or(ExitCode::SUCCESS))
}

fn shown_counts(answer: &Value, deed: &Deed) -> String {
    let mut shown = format!("{} {}\n", answer[deed.done], deed.done);
    if let Some(refused @ 1..) = answer["refused"].as_u64() {
        let _ = writeln!(shown, "{refused} cannot be replayed, and still wait: `{NAME} dead-letters show ID` says why");
    }
    shown
}

const GROUP: [Column; 6] = [
    Column::number("count"),
    Column::text("cause"),
    Column::text("operation"),
    Column::text("oldest").optional(2),
    Column::text("newest").optional(1),
    Column::text("reason").giving_way(24),
];

const LETTER: [Column; 9] = [
    Column::text("id"),
    Column::text("state").optional(2),
    Column::text("died at").optional(1),
    Column::text("cause").optional(3),
    Column::text("type").optional(7),
    Column::text("operation").optional(4),
    Column::text("object").optional(5),
    Column::number("part").optional(6),
    Column::text("reason").giving_way(24),
];

fn shown_list(answer: &Value) -> String {
    let rows = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
    let (groups, letters) = (rows("groups"), rows("dead_letters"));
    if letters.is_empty() {
        return "none\n".to_owned();
    }
    let mut by_reason = Table::new(GROUP);
    for group in &groups {
        let cell = |name: &str| Cell::value(&group[name]);
        let time = |name: &str| clock(&group[name]).into();
        by_reason.row([
            cell("count"),
            cell("cause"),
            cell("operation"),
            time("oldest"),
            time("newest"),
            cell("reason"),
        ]);
    }
    let mut one_by_one = Table::new(LETTER);
    for letter in &letters {
        let cell = |name: &str| Cell::value(&letter[name]);
        let (state, died_at) = (output::status(&letter["state"]), clock(&letter["died_at"]).into());
        one_by_one.row([
            cell("id"),
            state,
            died_at,
            cell("cause"),
            cell("type"),
            cell("operation"),
            cell("object_id"),
            cell("part"),
            cell("reason"),
        ]);
    }
    let width = output::width();
    let mut shown = format!("{}\n{}", by_reason.shown(width), one_by_one.shown(width));
    if let Some(next) = answer["next"].as_str() {
        let _ = writeln!(shown, "\nThere are more:\n  --cursor {}", harmless(next));
    }
    shown
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    fn id_or_word(word: &str) -> &str {
        if word == "ID" { ID } else { word }
    }

    fn parses(line: &str) -> bool {
        let command = DeadLetters::augment_args(clap::Command::new("dead-letters"));
        command.try_get_matches_from(["dead-letters"].into_iter().chain(line.split(' ').map(id_or_word))).is_ok()
    }

    #[test]
    fn it_must_be_said_which_ones_and_in_one_way() {
        for line in [
            "list",
            "list --cause rejected --json",
            "show ID",
            "replay ID",
            "replay ID ID --url http://a",
            "replay --cause rejected --operation pow",
            "discard --all",
            "discard --object ID --json",
        ] {
            assert!(parses(line), "{line}");
        }
        for line in [
            "replay",
            "discard --json",
            "replay ID --all",
            "replay ID --cause c",
            "replay --all --cause c",
            "show",
            "show 7",
        ] {
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
}
