//! `ebs totals`: what accumulated over all objects of an operation.

use std::{fmt::Write as _, process::ExitCode};

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use crate::{
    client::{Address, Client, EXIT_CODES, segment},
    failure::Failure,
    output::{self, Cell, Column, Format, Table, number, one_line},
};

/// Shows what accumulated over all objects, the highest first
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Totals {
    /// Which operation
    #[arg(default_value = "word-frequencies")]
    operation: String,
    /// How many of them
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Deletes them all: they begin at nothing again
    #[arg(long, conflicts_with = "limit")]
    reset: bool,
    #[command(flatten)]
    address: Address,
    #[command(flatten)]
    format: Format,
}

/// Shows or deletes them.
///
/// # Errors
/// If the system does not answer with yes.
pub async fn run(arguments: Totals) -> Result<ExitCode, Failure> {
    let client = Client::of(&arguments.address)?;
    let path = format!("api/totals/{}", segment(&arguments.operation));
    if arguments.reset {
        let answer = client.ask(Method::DELETE, &path, &[], None).await?;
        arguments.format.print(&answer, shown_reset)?;
    } else {
        let query = [("limit", arguments.limit.to_string())];
        arguments.format.print(&client.ask(Method::GET, &path, &query, None).await?, shown)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn shown_reset(answer: &Value) -> String {
    let operation = one_line(answer["operation"].as_str().unwrap_or_default());
    format!("Deleted: {} totals of {operation}\n", number(&answer["deleted"]))
}

fn shown(answer: &Value) -> String {
    let totals = answer["totals"].as_array().map(Vec::as_slice).unwrap_or_default();
    if totals.is_empty() {
        return "none\n".to_owned();
    }
    let mut table = Table::new([Column::number("count"), Column::text("name").giving_way(12)]);
    for total in totals {
        table.row([Cell::value(&total["count"]), Cell::value(&total["name"])]);
    }
    let mut shown = table.shown(output::width());
    let (distinct, total) = (number(&answer["distinct"]), number(&answer["total"]));
    let _ = writeln!(shown, "\n{} of {distinct} names; {total} counted in all", totals.len());
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_counts_stand_below_one_another_and_the_sum_below_them() {
        let totals = json!([{"name": "a", "count": 12}, {"name": "b\u{1b}c", "count": 3}]);
        let answer = json!({"operation": "word-frequencies", "distinct": 20, "total": 12345, "totals": totals});
        assert_eq!(
            shown(&answer),
            "COUNT  NAME\n   12  a\n    3  b\u{fffd}c\n\n2 of 20 names; 12 345 counted in all\n"
        );
        assert_eq!(shown(&json!({"totals": []})), "none\n");
    }
}
