//! `ebs statistics`: the figures, once or as they change.

mod shown;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use console::{Term, is_dumb};
use jiff::Zoned;
use reqwest::Method;
use serde_json::Value;
use tokio::{
    signal::ctrl_c,
    time::{sleep, timeout},
};

use crate::{
    client::{Address, Client, ClientError},
    failure::Failure,
    output::{self, Format, compact, one_line, seconds, wrapped},
    time::Time,
};

/// How often the figures are asked for, unless it is said.
const DEFAULT_PAUSE: &str = "1";
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// How long an answer may take while they are watched.
const PATIENCE: Duration = Duration::from_secs(10);

const HELP: &str = "\
--watch goes on until Ctrl-C: in place on a terminal, below one another on one
that cannot do that (TERM=dumb); else, or with --json, a line each time. When
the system goes away, it says so and goes on.

Exit codes: 0 done, 1 the system says no, 64 wrong usage, 69 the system cannot
be reached (with --watch: at first).
A token, if the system wants one, is taken from API_TOKEN.";

/// Shows what has happened so far: counts, rates and durations
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Statistics {
    /// Shows them every so many seconds, or a time like 250ms [default: every second]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = DEFAULT_PAUSE)]
    watch: Option<Time>,
    #[command(flatten)]
    address: Address,
    #[command(flatten)]
    format: Format,
}

/// Shows them.
///
/// # Errors
/// If the system says no, or is not there at first.
pub async fn run(arguments: Statistics) -> Result<ExitCode, Failure> {
    let client = Client::of(&arguments.address)?;
    let first = ask(&client).await?;
    let Some(pause) = arguments.watch else {
        arguments.format.print(&first, |answer| shown::all(answer, output::width()))?;
        return Ok(ExitCode::SUCCESS);
    };
    tokio::select! {
        ended = watch(&client, first, pause.duration().max(MIN_PAUSE), arguments.format) => ended?,
        // For want of a signal nobody can end it so.
        Ok(()) = ctrl_c() => output::after_interrupt(),
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(client: &Client) -> Result<Value, ClientError> {
    client.ask(Method::GET, "api/statistics", &[], None).await
}

async fn watch(client: &Client, first: Value, pause: Duration, format: Format) -> Result<(), Failure> {
    let mut answer = Ok(first.clone());
    let mut last = first;
    let mut away_since: Option<Instant> = None;
    let mut screen = Screen::default();
    let on_terminal = output::width().is_some() && !format.json;
    let in_place = on_terminal && !is_dumb();
    loop {
        let told = match answer {
            Ok(figures) => {
                last = figures;
                let back = away_since.take().map(|_| "the system is back".to_owned());
                back.filter(|_| !in_place)
            }
            Err(error) if ClientError::may_pass(&error) => {
                let is_news = away_since.is_none();
                let since = *away_since.get_or_insert_with(Instant::now);
                if in_place {
                    Some(format!("away for {}: {error}", seconds(since.elapsed().as_secs_f64())))
                } else {
                    is_news.then(|| format!("{error}; going on when it is back"))
                }
            }
            Err(error) => return Err(error.into()),
        };
        if in_place {
            screen.show(&last, told.as_deref(), pause)?;
        } else {
            if let Some(told) = told {
                output::tell(&told);
            }
            if away_since.is_none() {
                output::print(&match (format.json, on_terminal) {
                    (true, _) => compact(&last) + "\n",
                    (_, true) => block(&last, pause) + "\n",
                    _ => shown::line(&last),
                })?;
            }
        }
        sleep(pause).await;
        answer = timeout(PATIENCE, ask(client))
            .await
            .unwrap_or_else(|_| Err(ClientError::Unavailable(format!("no answer within {} s", PATIENCE.as_secs()))));
    }
}

/// All figures under the time.
fn block(figures: &Value, pause: Duration) -> String {
    let (now, pause) = (Zoned::now().strftime("%H:%M:%S"), seconds(pause.as_secs_f64()));
    format!("{now}, every {pause}; Ctrl-C ends it\n\n{}", shown::all(figures, output::width()))
}

/// What stands on the terminal, to be replaced.
#[derive(Default)]
struct Screen {
    lines: usize,
}

impl Screen {
    fn show(&mut self, figures: &Value, told: Option<&str>, pause: Duration) -> Result<(), Failure> {
        let (rows, columns) = Term::stdout().size();
        let mut text = block(figures, pause);
        if let Some(told) = told {
            let red = output::style_of("failed");
            text.push('\n');
            for line in wrapped(&one_line(told), columns.into(), "").lines() {
                text += &format!("{}\n", red.apply_to(line));
            }
        }
        // What does not fit cannot be replaced.
        let lines: Vec<&str> = text.lines().take(usize::from(rows).saturating_sub(1)).collect();
        let back = if self.lines > 0 { format!("\u{1b}[{}F", self.lines) } else { String::new() };
        let replaced: String = lines.iter().map(|line| format!("{line}\u{1b}[K\n")).collect();
        self.lines = lines.len();
        // In one piece, so that it does not flicker.
        output::print(&format!("{back}{replaced}\u{1b}[J"))?;
        Ok(())
    }
}
