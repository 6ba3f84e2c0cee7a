//! The flow as a picture.

use std::{collections::BTreeMap, fmt};

use bus::Topology;

use crate::{
    event_types::EVENT_TYPES,
    flow::{Copied, EXCHANGE, Flow, Published},
    places::places,
};

/// From the left to the right: each cell with what leads to it.
type Line<'a> = Vec<(&'static str, &'a str)>;

const LINE: &str = "─── ";
const TO: &str = "──▶ ";
const NOTHING: &str = "    ";

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Who publishes which event to the topic exchange {EXCHANGE}, and who gets it, by which queue:\n")?;
        draw(f, &self.events())?;
        writeln!(f, "\nBy which patterns these queues are bound; others bind queues of their own:\n")?;
        let places = places(&Topology::new(EXCHANGE));
        let bound = places.iter().flat_map(|place| place.patterns.iter().map(|pattern| (pattern, &place.name)));
        draw(f, &bound.map(|(pattern, queue)| vec![("", &**pattern), (TO, queue)]).collect::<Vec<_>>())?;

        // What is in a queue that nobody consumes goes on when its time is over.
        let consumers: BTreeMap<_, _> =
            places.iter().map(|place| (&place.name, self.consumers_of(&place.name).join(", "))).collect();
        let (again, dead): (Vec<_>, Vec<_>) = self.copied.iter().partition(|copy| consumers[&copy.through].is_empty());
        writeln!(f, "\nCopies for one queue, where they come when a delay is over: retries, replays, fences:\n")?;
        let lines = again.into_iter().map(|Copied { kind, through, queue, service }| {
            vec![("", *service), (LINE, kind), (TO, through), (TO, queue), (TO, &consumers[queue])]
        });
        draw(f, &lines.collect::<Vec<_>>())?;
        writeln!(f, "\nDead letters, copies of what was set aside: out of which queue, and by whom:\n")?;
        let lines = dead.into_iter().map(|Copied { kind, through, queue, service }| {
            vec![("", &**queue), (LINE, kind), (LINE, service), (TO, through), (TO, &consumers[through])]
        });
        draw(f, &lines.collect::<Vec<_>>())
    }
}

impl Flow {
    fn events(&self) -> Vec<Line<'_>> {
        let mut lines = Vec::new();
        for Published { kind, routing_key, service } in EVENT_TYPES.iter().flat_map(|event| self.writers(event.name)) {
            let readers = self.readers(kind);
            for (number, (queue, reader)) in readers.iter().enumerate() {
                let is_last = number + 1 == readers.len();
                let (begin, way) = match number {
                    0 => (vec![("", *service), (LINE, kind), (LINE, routing_key)], if is_last { TO } else { "┬─▶ " }),
                    _ => (vec![("", ""), (NOTHING, ""), (NOTHING, "")], if is_last { "└─▶ " } else { "├─▶ " }),
                };
                lines.push([begin, vec![(way, queue), (TO, reader)]].concat());
            }
        }
        lines
    }
}

/// Draws lines with their cells below each other.
fn draw(f: &mut fmt::Formatter<'_>, lines: &[Line<'_>]) -> fmt::Result {
    let width = |column: usize| lines.iter().map(|line| line[column].1.chars().count()).max().unwrap_or_default();
    for line in lines {
        for (column, (way, cell)) in line.iter().enumerate() {
            write!(f, "{way}{cell}")?;
            if column + 1 < line.len() {
                let filling = if cell.is_empty() { " " } else { "─" };
                write!(f, " {}", filling.repeat(width(column) - cell.chars().count()))?;
            }
        }
        writeln!(f)?;
    }
    Ok(())
}
