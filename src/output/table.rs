//! A line a row, the columns as wide as what is in them; on a terminal no wider than it.

use console::{Style, measure_text_width};
use serde_json::Value;

use super::{
    heading,
    text::{cut, number, one_line},
};

/// More than this of a text does not help in a table, in columns.
const MAX_CELL: usize = 80;
const GAP: usize = 2;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    name: &'static str,
    is_number: bool,
    /// How much it keeps when it is cut; none if it must not be.
    keeps: Option<usize>,
    /// The highest are left out first where there is no room for all.
    rank: u8,
    min_width: usize,
}

impl Column {
    /// One of text, which must not be missing.
    pub const fn text(name: &'static str) -> Self {
        Self { name, is_number: false, keeps: None, rank: 0, min_width: 0 }
    }

    /// One of numbers, which end below one another.
    pub const fn number(name: &'static str) -> Self {
        Self { is_number: true, ..Self::text(name) }
    }

    /// It may be cut, but keeps so many columns.
    #[must_use]
    pub const fn giving_way(self, keeps: usize) -> Self {
        Self { keeps: Some(keeps), ..self }
    }

    /// It is as wide as this in any case, so that several tables look like one.
    #[must_use]
    pub const fn at_least(self, text: &str) -> Self {
        Self { min_width: text.len(), ..self }
    }

    /// It is left out where there is no room for it; the highest first.
    #[must_use]
    pub const fn optional(self, rank: u8) -> Self {
        Self { rank, ..self }
    }
}

/// What stands in one place.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A text, in one line.
    pub fn of(text: impl AsRef<str>) -> Self {
        Self { text: cut(&one_line(text.as_ref()), MAX_CELL), style: Style::new() }
    }

    /// A value of JSON: `-` if it is none.
    pub fn value(value: &Value) -> Self {
        match value {
            Value::Null => Self::of("-"),
            Value::String(text) => Self::of(text),
            other => Self::of(number(other)),
        }
    }

    /// In this style.
    #[must_use]
    pub fn styled(self, style: Style) -> Self {
        Self { style, ..self }
    }
}

impl From<&Value> for Cell {
    fn from(value: &Value) -> Self {
        Self::value(value)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::of(text)
    }
}

/// A table that is made row by row.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// One without rows.
    pub fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// One more row: a cell for each column.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(N, self.columns.len());
        self.rows.push(cells.into());
    }

    /// The lines, the first of them the names; no wider than so many columns, if it is said.
    pub fn shown(&self, width: Option<usize>) -> String {
        let widths = self.widths(width);
        let heads = self.columns.iter().map(|column| Cell::of(column.name.to_uppercase()));
        let mut shown = heading(self.line(&heads.collect::<Vec<_>>(), &widths).trim_end()) + "\n";
        for row in &self.rows {
            shown += self.line(row, &widths).trim_end();
            shown.push('\n');
        }
        shown
    }

    /// How wide each column is; none if it is left out.
    fn widths(&self, width: Option<usize>) -> Vec<Option<usize>> {
        let natural = |(at, column): (usize, &Column)| {
            let cells = self.rows.iter().map(|row| measure_text_width(&row[at].text)).max().unwrap_or_default();
            Some(cells.max(measure_text_width(column.name)).max(column.min_width))
        };
        let mut widths: Vec<Option<usize>> = self.columns.iter().enumerate().map(natural).collect();
        let Some(available) = width else { return widths };
        loop {
            let used: usize = widths.iter().flatten().map(|width| width + GAP).sum();
            let excess = used.saturating_sub(GAP + available);
            if excess == 0 {
                return widths;
            }
            // First the one that may be cut is cut, then what is least wanted is left out.
            let flexible = (0..widths.len()).find_map(|at| Some((at, self.columns[at].keeps?)));
            let spare = flexible.map_or(0, |(at, keeps)| widths[at].unwrap_or_default().saturating_sub(keeps));
            let least = (0..widths.len()).filter(|at| widths[*at].is_some()).max_by_key(|at| self.columns[*at].rank);
            match (flexible, least) {
                (Some((at, _)), _) if spare >= excess => widths[at] = widths[at].map(|width| width - excess),
                (_, Some(at)) if self.columns[at].rank > 0 => widths[at] = None,
                // Too narrow for it: lines that are too long are better than none.
                _ => return widths,
            }
        }
    }

    fn line(&self, cells: &[Cell], widths: &[Option<usize>]) -> String {
        let cell = |((column, cell), width): ((&Column, &Cell), &Option<usize>)| {
            let width = (*width)?;
            let text = cut(&cell.text, width);
            let gap = " ".repeat(width.saturating_sub(measure_text_width(&text)));
            let text = cell.style.apply_to(text);
            Some(if column.is_number { format!("{gap}{text}") } else { format!("{text}{gap}") })
        };
        let cells: Vec<String> = self.columns.iter().zip(cells).zip(widths).filter_map(cell).collect();
        cells.join(&" ".repeat(GAP))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new([
            Column::text("id"),
            Column::number("count").optional(2),
            Column::text("operation").optional(1),
            Column::text("reason").giving_way(12),
        ]);
        table.row([Cell::of("a"), Cell::of("12"), Cell::of("pow"), Cell::of("x".repeat(40))]);
        table.row([Cell::of("bcd"), Cell::of("7"), Cell::of("漢字"), Cell::of("short")]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them_and_numbers_end_below_one_another() {
        let shown = table().shown(None);
        let x = "x".repeat(40);
        assert_eq!(
            shown,
            format!("ID   COUNT  OPERATION  REASON\na       12  pow        {x}\nbcd      7  漢字       short\n")
        );
    }

    #[test]
    fn on_a_narrow_terminal_what_may_be_cut_is_cut_and_then_what_is_least_wanted_is_left_out() {
        for (width, heads) in
            [(40, "ID COUNT OPERATION REASON"), (30, "ID OPERATION REASON"), (20, "ID REASON"), (5, "ID REASON")]
        {
            let shown = table().shown(Some(width));
            let first: Vec<&str> = shown.lines().next().unwrap_or_default().split_whitespace().collect();
            assert_eq!(first.join(" "), heads, "{width}");
            if width > 5 {
                assert!(shown.lines().all(|line| measure_text_width(line) <= width), "{width}: {shown}");
            }
        }
    }
}
