//! The figures as people read them.

use std::fmt::Write as _;

use serde_json::Value;

use crate::{
    output::{Cell, Column, Table, heading, milliseconds, number, one_line, style_of},
    up::NAME,
};

/// All of them.
pub(super) fn all(answer: &Value, width: Option<usize>) -> String {
    let mut shown = objects(answer, width) + "\n" + &tasks(answer, width) + "\n" + &durations(answer, width);
    let rates = &answer["rates"];
    let rate = |span: &Value| {
        let [objects, tasks] = ["objects", "tasks"].map(|name| span[name].as_f64().unwrap_or_default());
        format!("{objects:.1} objects and {tasks:.1} tasks")
    };
    let _ = write!(
        shown,
        "\nfinished a second: {} (last 10 s)\n                   {} (last minute)\n",
        rate(&rates["last_10_s"]),
        rate(&rates["last_60_s"])
    );
    shown += &dead_letters(&answer["dead_letters"]);
    if let Some(unknown) = answer["unknown_events"].as_object().filter(|unknown| !unknown.is_empty()) {
        let unknown: Vec<String> =
            unknown.iter().map(|(kind, count)| format!("{} {}", number(count), one_line(kind))).collect();
        let _ = writeln!(shown, "events of unknown types: {}", unknown.join(", "));
    }
    shown + &operations(&answer["operations"], width) + &processors(&answer["processors"], width)
}

/// The most important of them, in a line.
pub(super) fn line(answer: &Value) -> String {
    let (objects, tasks, durations) = (&answer["objects"], &answer["tasks"], &answer["durations_ms"]["tasks"]);
    let failed = objects["failed"].as_u64().unwrap_or_default() + objects["timed_out"].as_u64().unwrap_or_default();
    let mut line = format!(
        "objects: {} created, {} finished, {failed} failed | tasks: {} distributed, {} in progress, {} processed, {} failed",
        objects["created"],
        objects["succeeded"],
        tasks["distributed"],
        tasks["in_progress"],
        tasks["processed"],
        tasks["failed"],
    );
    if let Some(waiting @ 1..) = answer["dead_letters"]["waiting"].as_u64() {
        let _ = write!(line, " | dead letters: {waiting}");
    }
    if !durations["mean"].is_null() {
        let (mean, p95) = (milliseconds(&durations["mean"]), milliseconds(&durations["p95"]));
        let _ = write!(line, " | task mean {mean}, p95 {p95}");
    }
    line + "\n"
}

const FIRST: Column = Column::text("").at_least("objects");

fn objects(answer: &Value, width: Option<usize>) -> String {
    let names = ["created", "in_progress", "succeeded", "failed", "timed_out"];
    let columns = ["created", "in progress", "succeeded", "failed", "timed out"];
    let mut table =
        Table::new([FIRST].into_iter().chain(columns.map(|name| Column::number(name).at_least("distributed"))));
    let [created, open, succeeded, failed, timed_out] = names.map(|name| count(&answer["objects"], name));
    table.row([Cell::of("objects"), created, open, succeeded, failed, timed_out]);
    table.shown(width)
}

fn tasks(answer: &Value, width: Option<usize>) -> String {
    let columns = ["distributed", "in progress", "processed", "failed"];
    let mut table =
        Table::new([FIRST].into_iter().chain(columns.map(|name| Column::number(name).at_least("distributed"))));
    let [distributed, open, processed, failed] =
        ["distributed", "in_progress", "processed", "failed"].map(|name| count(&answer["tasks"], name));
    table.row([Cell::of("tasks"), distributed, open, processed, failed]);
    table.shown(width)
}

fn durations(answer: &Value, width: Option<usize>) -> String {
    let columns = ["mean", "p50", "p95", "p99"];
    let mut table = Table::new(
        [Column::text("took").at_least("objects")]
            .into_iter()
            .chain(columns.map(|name| Column::number(name).at_least("distributed"))),
    );
    for of in ["objects", "tasks"] {
        let spread = &answer["durations_ms"][of];
        let [mean, p50, p95, p99] = columns.map(|name| Cell::of(milliseconds(&spread[name])));
        table.row([Cell::of(of), mean, p50, p95, p99]);
    }
    table.shown(width)
}

fn operations(operations: &Value, width: Option<usize>) -> String {
    let mut table = Table::new([
        Column::text("operation").giving_way(12),
        Column::number("created"),
        Column::number("open"),
        Column::number("succeeded"),
        Column::number("failed"),
        Column::number("timed out"),
        Column::number("mean").optional(1),
        Column::number("p95").optional(2),
    ]);
    let mut has_rows = false;
    for (name, figures) in operations.as_object().into_iter().flatten() {
        let [created, open, succeeded, failed, timed_out] =
            ["created", "in_progress", "succeeded", "failed", "timed_out"].map(|name| count(&figures["objects"], name));
        let took = &figures["durations_ms"]["objects"];
        let [mean, p95] = ["mean", "p95"].map(|name| Cell::of(milliseconds(&took[name])));
        table.row([Cell::of(name), created, open, succeeded, failed, timed_out, mean, p95]);
        has_rows = true;
    }
    if has_rows { format!("\n{}", table.shown(width)) } else { String::new() }
}

fn processors(processors: &Value, width: Option<usize>) -> String {
    let mut table = Table::new([
        Column::text("processor").giving_way(12),
        Column::number("in progress"),
        Column::number("processed"),
        Column::number("failed"),
        Column::number("mean").optional(1),
    ]);
    let mut has_rows = false;
    for (name, figures) in processors.as_object().into_iter().flatten() {
        let [open, processed, failed] = ["in_progress", "processed", "failed"].map(|name| count(figures, name));
        table.row([Cell::of(name), open, processed, failed, Cell::of(milliseconds(&figures["mean_ms"]))]);
        has_rows = true;
    }
    if has_rows { format!("\n{}", table.shown(width)) } else { String::new() }
}

fn dead_letters(letters: &Value) -> String {
    let Some(waiting @ 1..) = letters["waiting"].as_u64() else { return String::new() };
    let causes = letters["by_cause"].as_object().into_iter().flatten();
    let causes: Vec<String> = causes.map(|(cause, count)| format!("{} {}", number(count), one_line(cause))).collect();
    let text = format!("{} ({})", number(&waiting.into()), causes.join(", "));
    format!("{} {text}: `{NAME} dead-letters list`\n", heading("dead letters:"))
}

/// A count; what should not be there is marked.
fn count(figures: &Value, name: &str) -> Cell {
    let cell = Cell::value(&figures[name]);
    let is_bad = matches!(name, "failed" | "timed_out") && figures[name].as_u64() > Some(0);
    if is_bad { cell.styled(style_of("failed")) } else { cell }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer() -> Value {
        let spread = json!({"mean": 13.0, "p50": 12.0, "p95": 20.0, "p99": null});
        let figures = json!({
            "objects": {"created": 12_345, "in_progress": 1, "succeeded": 12_340, "failed": 3, "timed_out": 1},
            "tasks": {"distributed": 37_035, "in_progress": 2, "processed": 37_030, "failed": 3},
            "durations_ms": {"objects": spread, "tasks": spread}
        });
        let mut answer = figures.clone();
        answer["rates"] =
            json!({"last_10_s": {"objects": 1.26, "tasks": 3.0}, "last_60_s": {"objects": 0.0, "tasks": 0.0}});
        answer["operations"] = json!({"word-frequencies": figures});
        answer["processors"] = json!({"p\u{1b}0": {"in_progress": 2, "processed": 7, "failed": 0, "mean_ms": 1500.0}});
        answer["unknown_events"] = json!({"OBJECT_PAINTED": 2});
        answer["dead_letters"] = json!({"waiting": 2, "by_cause": {"rejected": 2}});
        answer
    }

    #[test]
    fn all_figures_fit_into_eighty_columns() {
        let shown = all(&answer(), Some(80));
        for said in [
            "         CREATED  IN PROGRESS    SUCCEEDED       FAILED    TIMED OUT\nobjects",
            "12 345            1       12 340            3            1\n",
            "1.3 objects and 3.0 tasks (last 10 s)",
            "dead letters: 2 (2 rejected)",
            "2 OBJECT_PAINTED",
            "word-frequencies",
            "p\u{fffd}0",
        ] {
            assert!(shown.contains(said), "{said:?} in\n{shown}");
        }
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    }

    #[test]
    fn in_a_line_they_are_as_in_the_log_of_statistics() {
        assert_eq!(
            line(&answer()),
            "objects: 12345 created, 12340 finished, 4 failed | tasks: 37035 distributed, 2 in progress, 37030 processed, 3 \
             failed | dead letters: 2 | task mean 13 ms, p95 20 ms\n"
        );
    }
}
