//! What came of it: for people, and as JSON.

use std::{fmt::Write as _, process::ExitCode, sync::Arc};

use serde::Serialize;
use serde_json::{Value, json};

use super::{follow::Followed, latency::Spread, load::Load, plan::Plan, tally::Counts};
use crate::{
    failure::{EXIT_NOT_YET, EXIT_UNAVAILABLE},
    output::one_line,
};

/// What each latency is.
const DEFINITIONS: [(&str, &str); 4] = [
    ("accepted", "from when it was due to be submitted until it was accepted (201)"),
    ("finished", "from when it was due to be submitted until its last task had ended"),
    ("recorded", "from its acceptance until its last task had ended, by the record"),
    ("statistics", "the same, as /api/statistics has it, in buckets of 1.6 %"),
];

/// All that is known at the end.
pub struct Report {
    /// What was asked for.
    pub plan: Arc<Plan>,
    /// How submitting went,
    pub load: Load,
    /// and what was counted meanwhile.
    pub counts: Counts,
    /// What became of what was accepted.
    pub followed: Followed,
    /// The system's own figures before,
    pub before: Figures,
    /// and after it, if it still answers.
    pub after: Option<Figures>,
}

/// The system's own figures of one operation, as `/api/statistics` has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Objects that it knows,
    pub created: u64,
    /// of which so many are not finished,
    pub in_progress: u64,
    /// and so many ended well,
    pub succeeded: u64,
    /// with an error,
    pub failed: u64,
    /// or by their deadline.
    pub timed_out: u64,
    /// How long they took.
    #[serde(skip)]
    pub durations: Spread,
}

impl Figures {
    /// Those of one operation.
    pub fn of(statistics: &Value, operation: &str) -> Self {
        let figures = &statistics["operations"][operation];
        let count = |name: &str| figures["objects"][name].as_u64().unwrap_or_default();
        let duration = |name: &str| figures["durations_ms"]["objects"][name].as_f64();
        Self {
            created: count("created"),
            in_progress: count("in_progress"),
            succeeded: count("succeeded"),
            failed: count("failed"),
            timed_out: count("timed_out"),
            durations: Spread {
                mean: duration("mean"),
                p50: duration("p50"),
                p95: duration("p95"),
                p99: duration("p99"),
                ..Spread::default()
            },
        }
    }
}

impl Report {
    /// What the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        let outcomes = &self.followed.outcomes;
        let lost = if self.followed.waited && !self.plan.wait.is_zero() { outcomes.unknown } else { 0 };
        let bad = self.counts.refused + self.counts.given_up + outcomes.failed + outcomes.timed_out + lost;
        let bad = bad + self.never_sent() + self.missing();
        if bad > 0 || self.load.hopeless {
            ExitCode::FAILURE
        } else if self.followed.error.is_some() || self.after.is_none() {
            ExitCode::from(EXIT_UNAVAILABLE)
        } else if outcomes.unfinished + outcomes.unknown > 0 && !self.load.interrupted && !self.plan.wait.is_zero() {
            ExitCode::from(EXIT_NOT_YET)
        } else {
            ExitCode::SUCCESS
        }
    }

    /// How many were due and not even sent, because those before took too long.
    fn never_sent(&self) -> u64 {
        match self.load.due {
            Some(due) if !self.load.interrupted && !self.load.hopeless => due.saturating_sub(self.counts.submitted),
            _ => 0,
        }
    }

    /// How many objects the system has got to know meanwhile.
    fn created(&self) -> Option<u64> {
        Some(self.after?.created.saturating_sub(self.before.created))
    }

    /// How many it should have got to know beyond that, now that all it was waited for have finished.
    fn missing(&self) -> u64 {
        let all_seen = self.followed.error.is_none() && self.followed.outcomes.unfinished == 0;
        match self.created() {
            Some(created) if all_seen && self.followed.one_of == 1 && self.followed.outcomes.unknown == 0 => {
                self.counts.accepted.saturating_sub(created)
            }
            _ => 0,
        }
    }

    /// Whether the figures of the system are those of these objects and no others.
    fn is_alone(&self) -> bool {
        let finished = self.after.is_some_and(|after| after.in_progress == 0);
        self.before.created == 0 && finished && self.created() == Some(self.counts.accepted)
    }

    fn rate(&self, count: u64) -> f64 {
        count as f64 / self.load.took.as_secs_f64().max(0.001)
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let Self { plan, load, counts, followed, before, after } = self;
        let round = |number: f64| (number * 1000.0).round() / 1000.0;
        json!({
            "run": plan.run,
            "operation": plan.operation,
            "seconds": round(load.took.as_secs_f64()),
            "interrupted": load.interrupted,
            "stopped_because_all_was_refused": load.hopeless,
            "objects": {
                "due": load.due, "submitted": counts.submitted, "accepted": counts.accepted, "refused": counts.refused,
                "given_up": counts.given_up, "given_up_but_may_be_accepted": counts.given_up_unknown,
                "retried": counts.retried, "never_sent": self.never_sent(),
            },
            "accepted_per_second": round(self.rate(counts.accepted)),
            "trouble": counts.trouble,
            "followed": followed.all,
            "followed_one_of": followed.one_of,
            "outcomes": followed.outcomes,
            "record_error": followed.error,
            "system_clock_ahead_ms": followed.ahead_us as f64 / 1000.0,
            "latencies_ms": {
                "accepted": counts.accepting, "finished": followed.finished.spread(),
                "recorded": followed.recorded.spread(), "statistics": after.map(|after| after.durations),
            },
            "definitions": DEFINITIONS.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            "statistics": {
                "before": before, "after": after, "created": self.created(), "of_these_objects_alone": self.is_alone(),
            },
        })
    }

    /// For people: within 80 columns, but for what others say.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a text does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let Self { load, counts, .. } = self;
        let ended = match (load.interrupted, load.hopeless) {
            (true, _) => ", interrupted",
            (_, true) => ", stopped because all was refused",
            _ => "",
        };
        let rate = self.rate(counts.accepted);
        writeln!(text, "{} accepted in {:.1} s, {rate:.1}/s{ended}\n", counts.accepted, load.took.as_secs_f64())?;
        self.write_counts(text)?;
        self.write_latencies(text)?;
        self.write_comparison(text)
    }

    fn write_counts(&self, text: &mut String) -> std::fmt::Result {
        let Self { counts, followed, .. } = self;
        let outcomes = &followed.outcomes;
        let sample = match followed.one_of {
            0 | 1 => String::new(),
            one_of => format!("one of {one_of} was followed, "),
        };
        let maybe = format!("no yes within 30 s; {} may be accepted all the same", counts.given_up_unknown);
        for (name, count, note) in [
            ("submitted", counts.submitted, ""),
            ("accepted", counts.accepted, ""),
            ("refused", counts.refused, "for ever, as what they are"),
            ("given up", counts.given_up, maybe.as_str()),
            ("never sent", self.never_sent(), "due, but those before took too long: more --concurrency"),
            ("retried", counts.retried, "times, with the same Idempotency-Key"),
            ("succeeded", outcomes.succeeded, sample.as_str()),
            ("failed", outcomes.failed, ""),
            ("timed out", outcomes.timed_out, ""),
            ("deleted", outcomes.deleted, "after their RETENTION, so that they have finished"),
            ("unfinished", outcomes.unfinished, "when the waiting was over"),
            ("unknown", outcomes.unknown, "to the record: on their way to it, or lost"),
        ] {
            let always = ["submitted", "accepted", "refused", "given up", "retried", "succeeded", "failed"];
            if count > 0 || always.contains(&name) {
                writeln!(
                    text,
                    "{}",
                    format!("{name:<12}{count:>9}  {}", if count > 0 { note } else { "" }).trim_end()
                )?;
            }
        }
        for (kind, trouble) in &counts.trouble {
            writeln!(text, "  {} × {kind}: {}", trouble.count, one_line(&trouble.example))?;
        }
        if let Some(error) = &followed.error {
            writeln!(text, "The record could not be read to the end: {}", one_line(error))?;
        }
        Ok(())
    }

    fn write_latencies(&self, text: &mut String) -> std::fmt::Result {
        let Self { counts, followed, after, .. } = self;
        let spreads = [
            counts.accepting,
            followed.finished.spread(),
            followed.recorded.spread(),
            after.map(|after| after.durations).unwrap_or_default(),
        ];
        writeln!(text, "\n{:<12}{:>9} {:>9} {:>9} {:>9} {:>9} {:>9}", "ms", "mean", "p50", "p90", "p95", "p99", "max")?;
        for ((name, _), spread) in DEFINITIONS.iter().zip(spreads) {
            let Spread { mean, p50, p90, p95, p99, max } = spread;
            let cells = [mean, p50, p90, p95, p99, max];
            let cells = cells.map(|ms| ms.map_or_else(|| format!("{:>9}", "-"), |ms| format!("{ms:>9.1}")));
            writeln!(text, "{name:<12}{}", cells.join(" "))?;
        }
        writeln!(text)?;
        for (name, meaning) in DEFINITIONS {
            writeln!(text, "{name:<12}{meaning}")?;
        }
        if followed.ahead_us != 0 {
            let ahead = followed.ahead_us as f64 / 1000.0;
            writeln!(text, "The system's clock is ahead of this one by {ahead:.0} ms, which is accounted for.")?;
        }
        Ok(())
    }

    fn write_comparison(&self, text: &mut String) -> std::fmt::Result {
        let Self { counts, before, .. } = self;
        writeln!(text)?;
        let Some(created) = self.created() else {
            return writeln!(text, "/api/statistics did not answer at the end.");
        };
        let accepted = counts.accepted;
        let judged = match created {
            created if created == accepted => "as many as were accepted here".to_owned(),
            created if created > accepted && created - accepted <= counts.given_up_unknown => {
                format!("{} of those given up among them", created - accepted)
            }
            created if created > accepted => format!("{} of them by others", created - accepted),
            created if self.missing() > 0 => format!("{} LESS than were accepted here", accepted - created),
            created => format!("{} less than were accepted here, so far", accepted - created),
        };
        writeln!(text, "/api/statistics: {created} new objects, {judged}.")?;
        if !self.is_alone() {
            writeln!(text, "Its durations are over all it ever had: {} before.", before.created)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::commands::spam::{follow::Outcomes, tally::Trouble, texts::Texts};

    /// Of a run in which all went well.
    fn report() -> Report {
        let plan = Plan {
            run: uuid::Uuid::nil(),
            texts: Texts::Given(vec!["a".to_owned()]),
            operation: "word-frequencies".to_owned(),
            parameters: None,
            tasks: None,
            count: Some(10),
            duration: None,
            rate: Some(5.0),
            concurrency: 1,
            wait: Duration::from_secs(60),
        };
        let mut followed = Followed { all: 10, one_of: 1, waited: true, ..Followed::default() };
        followed.outcomes.succeeded = 10;
        (1..=10).for_each(|ms| followed.recorded.record(Duration::from_millis(ms)));
        let figures = |created| Figures { created, succeeded: created, ..Figures::default() };
        Report {
            plan: Arc::new(plan),
            load: Load { took: Duration::from_secs(2), due: Some(10), interrupted: false, hopeless: false },
            counts: Counts { submitted: 10, accepted: 10, ..Counts::default() },
            followed,
            before: figures(0),
            after: Some(figures(10)),
        }
    }

    fn code(change: impl FnOnce(&mut Report)) -> String {
        let mut report = report();
        change(&mut report);
        format!("{:?}", report.exit_code())
    }

    #[test]
    fn the_exit_code_says_whether_all_went_well() {
        let code_of = |number: u8| format!("{:?}", ExitCode::from(number));
        assert_eq!(code(|_| {}), code_of(0));
        let bad: [fn(&mut Report); 8] = [
            |report| report.counts.refused = 1,
            |report| report.counts.given_up = 1,
            |report| report.followed.outcomes.failed = 1,
            |report| report.followed.outcomes.timed_out = 1,
            |report| report.followed.outcomes.unknown = 1,
            |report| report.load.due = Some(11),
            |report| report.load.hopeless = true,
            |report| report.after = report.after.map(|after| Figures { created: 9, ..after }),
        ];
        bad.into_iter().for_each(|bad| assert_eq!(code(bad), code_of(1)));
        let unfinished = |report: &mut Report| {
            report.followed.outcomes = Outcomes { succeeded: 9, unfinished: 1, ..Outcomes::default() }
        };
        assert_eq!(code(unfinished), code_of(75));
        assert_eq!(code(|report| report.after = None), code_of(69));
        let stopped = |report: &mut Report| {
            unfinished(report);
            report.load.due = Some(11);
            report.load.interrupted = true;
        };
        assert_eq!(code(stopped), code_of(0), "whoever interrupts it does not want more");
    }

    #[test]
    fn the_report_fits_a_terminal_and_says_what_each_latency_is() {
        let mut report = report();
        let text = report.text();
        for (name, meaning) in DEFINITIONS {
            assert!(text.contains(name) && text.contains(meaning), "{text}");
        }
        assert!(text.contains("as many as were accepted here"), "{text}");
        assert!(!text.contains("before"), "{text}");
        report.before.created = 90;
        report.after = Some(Figures { created: 105, ..Figures::default() });
        report.counts.trouble.insert("503".to_owned(), Trouble { count: 3, example: "\u{1b}[31m".to_owned() });
        let text = report.text();
        assert!(text.contains("5 of them by others") && text.contains("90 before"), "{text}");
        assert!(text.contains("3 × 503") && !text.contains('\u{1b}'), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn the_json_has_the_same() {
        let told = report().json();
        assert_eq!(told["objects"]["accepted"], 10);
        assert_eq!(told["statistics"]["of_these_objects_alone"], true);
        assert!(told["latencies_ms"]["recorded"]["p50"].as_f64().is_some_and(|p50| (p50 - 5.0).abs() < 0.01), "{told}");
    }
}
