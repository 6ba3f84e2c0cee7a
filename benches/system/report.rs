//! The report: Markdown on standard output, to be pasted into the README.

use std::collections::BTreeSet;

use crate::{
    figures::{Figures, Samples},
    options::Options,
    workload::EVENTS,
};

/// The whole systems, as they are called in the figures and for people.
const SYSTEMS: [(&str, &str); 3] = [
    ("embedded", "`ebs`, embedded bus"),
    ("services", "four services over RabbitMQ"),
    ("ebs-rabbitmq", "`ebs` over RabbitMQ"),
];

/// What was found beside the figures.
pub struct Findings {
    /// Where it was measured.
    pub machine: String,
    /// What could not be measured, and why.
    pub skipped: Vec<String>,
    /// How durability was seen.
    pub durability: Vec<String>,
}

/// Prints everything.
pub fn print(options: &Options, findings: &Findings, figures: &Figures) {
    println!("Measured on {}.", findings.machine);
    println!(
        "{} rounds of everybody in turn, {} objects over RabbitMQ in each; medians (least to most). An object is a text \
         of 30 to 100 words, split into 3 tasks: {EVENTS} events. Every round finished every object and counted every word.\n",
        options.rounds, options.objects,
    );
    for skipped in &findings.skipped {
        println!("Not measured: {skipped}.\n");
    }
    throughput(figures);
    alone(figures);
    ratios(figures);
    latency(figures);
    processes(figures);
    processor_time(figures);
    for line in &findings.durability {
        println!("{line}");
    }
}

fn throughput(figures: &Figures) {
    println!("| throughput | objects/s | events/s |\n| --- | ---: | ---: |");
    let others =
        [("ceiling", "RabbitMQ itself: plain lapin, no work"), ("celery", "Celery: chords of three, and a merge")];
    for (name, label) in SYSTEMS.into_iter().chain(others) {
        if let Some(samples) = figures.get(name) {
            let events = if name == "celery" { String::new() } else { shown(&samples.times(EVENTS as f64)) };
            println!("| {label} | {} | {events} |", shown(samples));
        }
    }
    println!();
}

fn alone(figures: &Figures) {
    println!("| alone, without the rest | events/s |\n| --- | ---: |");
    for (name, label) in [("embedded-bus", "the embedded bus"), ("merge", "statistics' merge, batches of 500")] {
        if let Some(samples) = figures.get(name) {
            println!("| {label} | {} |", shown(samples));
        }
    }
    println!();
}

fn ratios(figures: &Figures) {
    println!("| ratio, within the same round | is | first aim |\n| --- | ---: | ---: |");
    for (label, of, to, aim) in [
        ("four services over RabbitMQ to RabbitMQ itself", "services", "ceiling", "0.6"),
        ("`ebs` over RabbitMQ to RabbitMQ itself", "ebs-rabbitmq", "ceiling", "0.6"),
        ("`ebs` on the embedded bus to four services over RabbitMQ", "embedded", "services", "4"),
        ("four services over RabbitMQ to Celery", "services", "celery", "10"),
        ("`ebs` on the embedded bus to Celery", "embedded", "celery", "10"),
    ] {
        if let (Some(of), Some(to)) = (figures.get(of), figures.get(to)) {
            println!("| {label} | {} | {aim} |", shown(&of.over(to)));
        }
    }
    if let Some(merge) = figures.get("merge") {
        println!("| statistics' merge, events/s | {} | 50 000 |", shown(merge));
    }
    println!();
}

fn latency(figures: &Figures) {
    println!("| from POST to finished, at 20 objects/s | median | p99 | objects |\n| --- | ---: | ---: | ---: |");
    for (name, label) in SYSTEMS {
        if let Some(times) = figures.get(&format!("{name} ms")) {
            let ms = |value: Option<f64>| value.map(number).unwrap_or_default();
            println!("| {label} | {} ms | {} ms | {} |", ms(times.median()), ms(times.percentile(99.0)), times.len());
        }
    }
    println!();
}

fn processes(figures: &Figures) {
    println!("| process | start to ready | memory, idle | memory, peak |\n| --- | ---: | ---: | ---: |");
    for (name, label) in SYSTEMS {
        for (process, start) in figures.starting_with(&format!("{name} start ")) {
            let of = |what: &str| figures.get(&format!("{name} {what} {process}")).map(shown).unwrap_or_default();
            println!("| {process} ({label}) | {} ms | {} MiB | {} MiB |", shown(start), of("idle"), of("peak"));
        }
    }
    println!();
}

fn processor_time(figures: &Figures) {
    let names = ["embedded", "services", "ebs-rabbitmq", "ceiling"];
    let of = |name: &str| {
        figures.starting_with(&format!("{name} cpu ")).map(|(process, _)| process.to_owned()).collect::<Vec<_>>()
    };
    let processes: BTreeSet<String> = names.iter().flat_map(|name| of(name)).collect();
    println!("| processor time an object, µs | {} |", processes.iter().cloned().collect::<Vec<_>>().join(" | "));
    println!("| --- |{}", " ---: |".repeat(processes.len()));
    for name in names {
        let times = processes
            .iter()
            .map(|process| figures.get(&format!("{name} cpu {process}")).map(shown).unwrap_or_default());
        let times: Vec<String> = times.collect();
        if times.iter().any(|time| !time.is_empty()) {
            println!("| {name} | {} |", times.join(" | "));
        }
    }
    println!();
}

/// The median, and between which the samples lie.
fn shown(samples: &Samples) -> String {
    let (Some(median), Some((least, most))) = (samples.median(), samples.spread()) else {
        return String::new();
    };
    format!("{} ({}–{})", number(median), number(least), number(most))
}

/// Three digits, and more only before the point.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
