//! What its users know from the systems before it: a table of what each feature is and what one types to see it. It is typed as
//! it stands here, over RabbitMQ and embedded, and the README's table is written from it.

mod readme;
mod shell;
mod table;

use testkit::{Options, System, eventually};

use self::{
    shell::Shell,
    table::{Feature, LIKES, PATTERNS, Part, SERVICES, Seen, WORD_COUNTER},
};
use crate::kit::everywhere;

everywhere! {
    services_that_talk_by_events,
    a_word_counter,
    patterns_of_messaging,
    replicated_likes,
}

async fn services_that_talk_by_events(options: Options) {
    see(&SERVICES, options).await;
}

async fn a_word_counter(options: Options) {
    see(&WORD_COUNTER, options).await;
}

async fn patterns_of_messaging(options: Options) {
    see(&PATTERNS, options).await;
}

async fn replicated_likes(options: Options) {
    see(&LIKES, options).await;
}

/// Types all of a part that can be typed here, one feature after the other, each in a shell of its own.
async fn see(part: &Part, options: Options) {
    let system = System::start(options).await.unwrap();
    let broker = system.broker();
    // The one that was printed last.
    let mut object = None;
    for Feature { what, lines, seen, needs_broker } in part.features {
        let (texts, again) = match seen {
            Seen::Says(texts) => (texts, false),
            Seen::Becomes(texts) => (texts, true),
            Seen::By(_) => continue,
        };
        if *needs_broker && broker.is_none() {
            continue;
        }
        println!("{what}");
        let own = own_system(lines, broker);
        let mut shell = Shell::beside(own.as_ref().unwrap_or(&system));
        for line in *lines {
            shell.enter(line, object.as_deref()).await;
            object = shell.object().or(object);
        }
        let texts: Vec<String> = texts.iter().map(|text| shell.here(text)).collect();
        eventually(async || {
            let printed = shell.printed();
            let missing: Vec<&String> = texts.iter().filter(|text| !printed.contains(*text)).collect();
            if missing.is_empty() {
                return Ok(());
            }
            // Whatever is typed ends a line that was printed without an end.
            let next = if again { lines[lines.len() - 1] } else { "sleep .2" };
            shell.enter(next, object.as_deref()).await;
            Err(format!("{what}: {lines:#?} did not print {missing:?}"))
        })
        .await;
    }
}

/// Whoever starts a system by themselves has one of their own, of which nothing runs yet.
fn own_system(lines: &[&str], broker: Option<&str>) -> Option<System> {
    let starts = |what: &str| lines.iter().any(|line| line.contains(what));
    let options = match broker {
        Some(url) if starts("cargo run -p ") => Options::on(url),
        Some(url) if starts("cargo run --release") => Options::one_process_on(url),
        None if starts("cargo run --release") => Options::embedded(),
        _ => return None,
    };
    Some(System::prepare(options).unwrap())
}
