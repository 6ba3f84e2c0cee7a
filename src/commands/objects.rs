//! `ebs objects`: which objects there are, page by page.

use std::{fmt::Write as _, process::ExitCode};

use clap::{Args, ValueEnum};
use reqwest::Method;
use serde_json::Value;

use crate::{
    client::{Address, Client, ClientError, EXIT_CODES, said},
    failure::Failure,
    output::{self, Cell, Column, Format, Table, clock, compact, milliseconds, one_line},
};

/// As many as the system gives at once.
const PAGE: u32 = 500;

/// Lists the objects, the newest first unless it is told otherwise
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Objects {
    /// Only those that stand there
    #[arg(long, value_enum)]
    status: Option<Status>,
    /// Only those of this operation
    #[arg(long)]
    operation: Option<String>,
    /// Only those of exactly this name
    #[arg(long)]
    name: Option<String>,
    /// Only those accepted from then on, as 2026-11-28T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only those accepted before then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Which ones come first
    #[arg(long, value_enum, default_value_t = Order::Newest)]
    order: Order,
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE)))]
    limit: u32,
    /// Goes on where a list ended that says so
    #[arg(long)]
    cursor: Option<String>,
    /// All of them, however many; with --json a line an object
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    #[command(flatten)]
    address: Address,
    #[command(flatten)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Status {
    Created,
    Running,
    Succeeded,
    Failed,
    #[value(name = "timed_out", alias = "timed-out")]
    TimedOut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Order {
    Newest,
    Oldest,
}

/// Lists them.
///
/// # Errors
/// If the system does not answer with yes.
pub async fn run(arguments: Objects) -> Result<ExitCode, Failure> {
    let client = Client::of(&arguments.address)?;
    if arguments.all {
        list_all(&client, &arguments).await?;
    } else {
        let answer = page(&client, &arguments, arguments.limit, arguments.cursor.clone()).await?;
        arguments.format.print(&answer, shown)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn page(client: &Client, arguments: &Objects, limit: u32, cursor: Option<String>) -> Result<Value, ClientError> {
    let query = [
        ("status", arguments.status.and_then(named)),
        ("operation", arguments.operation.clone()),
        ("name", arguments.name.clone()),
        ("since", arguments.since.clone()),
        ("until", arguments.until.clone()),
        ("order", named(arguments.order)),
        ("limit", Some(limit.to_string())),
        ("cursor", cursor),
    ];
    client.ask(Method::GET, "api/objects", &said(query), None).await
}

/// As the interface names it, too.
fn named(value: impl ValueEnum) -> Option<String> {
    Some(value.to_possible_value()?.get_name().to_owned())
}

/// Page by page, so that it does not matter how many there are.
async fn list_all(client: &Client, arguments: &Objects) -> Result<(), Failure> {
    let mut cursor = arguments.cursor.clone();
    let mut is_first = true;
    loop {
        let answer = page(client, arguments, PAGE, cursor).await?;
        let objects = rows(&answer);
        if arguments.format.json {
            let lines: Vec<String> = objects.iter().map(|object| compact(object) + "\n").collect();
            output::print(&lines.concat())?;
        } else if is_first && objects.is_empty() {
            output::print("none\n")?;
        } else {
            let shown = table(objects).shown(output::width());
            let names = shown.find('\n').map_or(0, |end| end + 1);
            output::print(if is_first { &shown } else { &shown[names..] })?;
        }
        is_first = false;
        match answer["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(()),
        }
    }
}

fn rows(answer: &Value) -> &[Value] {
    answer["objects"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn table(objects: &[Value]) -> Table {
    let mut table = Table::new([
        Column::text("id"),
        Column::text("status").at_least("timed out"),
        Column::text("operation"),
        Column::text("created").optional(1),
        Column::number("duration").optional(2),
        Column::number("tasks").optional(4),
        Column::text("name").optional(3).giving_way(12),
    ]);
    for object in objects {
        table.row([
            Cell::value(&object["id"]),
            output::status(&object["status"]),
            Cell::value(&object["operation"]),
            clock(&object["created_at"]).into(),
            milliseconds(&object["duration_ms"]).into(),
            Cell::value(&object["tasks"]),
            Cell::value(&object["name"]),
        ]);
    }
    table
}

fn shown(answer: &Value) -> String {
    let objects = rows(answer);
    if objects.is_empty() {
        return "none\n".to_owned();
    }
    let mut shown = table(objects).shown(output::width());
    if let Some(next) = answer["next"].as_str() {
        let _ = writeln!(shown, "\nThere are more: --all, or\n  --cursor {}", one_line(next));
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_says_where_the_next_one_begins() {
        let object = json!({"id": "1", "status": "timed_out", "operation": "pow", "created_at": "2001-02-03T04:05:06Z",
            "duration_ms": null, "tasks": 3, "name": "a\nname"});
        let shown = shown(&json!({"objects": [object], "next": "7"}));
        assert!(shown.contains("timed out") && shown.contains("a name\n") && shown.contains("--cursor 7"), "{shown}");
        assert_eq!(super::shown(&json!({"objects": [], "next": null})), "none\n");
    }
}
