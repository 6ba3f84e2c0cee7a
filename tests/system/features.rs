//! What its users know from the systems before it: a table of what each feature is and how to see it. Its commands are run as
//! they stand here, over RabbitMQ and embedded, and the README's table is written from it.

use std::{
    env, fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use testkit::{Options, System, service_binary, shared_broker_url};
use tokio::{process::Command, time::timeout};

use crate::kit::everywhere;

/// A feature, and the command that shows it. In a command, `localhost:8000` is the system, and `ID` the object that was
/// printed last.
struct Feature {
    what: &'static str,
    command: &'static str,
    seen: Seen,
}

/// How it is seen that the command does it.
enum Seen {
    /// It ends well, and all of this is in what it prints.
    Says(&'static [&'static str]),
    /// The same in the end, if it is run again and again: it changes nothing.
    Becomes(&'static [&'static str]),
    /// There are faults, terminals, containers or several processes in it: this test runs it, or this target of make.
    By(&'static str),
}
use Seen::{Becomes, By, Says};

const fn feature(what: &'static str, command: &'static str, seen: Seen) -> Feature {
    Feature { what, command, seen }
}

/// Of a system before it, with the order in which they are run.
type Part = (&'static str, &'static [Feature]);

const PARTS: [Part; 4] = [
    ("Services that talk by events", SERVICES),
    ("A word counter", WORD_COUNTER),
    ("Patterns of messaging", PATTERNS),
    ("Replicated likes", LIKES),
];

const SERVICES: &[Feature] = &[
    feature("health", "curl localhost:8000/health", Says(&["\"Ready\""])),
    feature("the API's document", "curl localhost:8000/openapi.json", Says(&["\"openapi\":\"3.1", "/api/objects"])),
    feature("a page to try it", "curl localhost:8000/docs", Says(&["swagger"])),
    feature(
        "an object without a body is generated",
        "curl -X POST localhost:8000/api/objects",
        Says(&["\"id\":\"", "\"status\":\"created\"", "\"tasks\":3"]),
    ),
    feature(
        "objects are kept, and can be read",
        "curl \"localhost:8000/api/objects/ID?wait=30\"",
        Says(&["\"status\":\"succeeded\"", "\"processor\":\"processor-", "\"result\":{"]),
    ),
    feature(
        "three tasks an object, or another number",
        "curl -H 'content-type: application/json' -d '{\"tasks\":5}' localhost:8000/api/objects",
        Says(&["\"tasks\":5"]),
    ),
    feature(
        "the same for all objects",
        "DISTRIBUTION_COUNT=5 make run",
        By("tests/system/first_object.rs::every_way_to_ask_leads_to_the_same_door"),
    ),
    feature(
        "one queue of work, any number of processors",
        "docker-compose up -d --scale processor=3",
        By("make check-containers"),
    ),
    feature(
        "tasks wait until there is a processor",
        "curl -X POST localhost:8000/api/objects, then cargo run -p processor",
        By("tests/system/first_object.rs::an_object_waits_for_a_processor_that_comes_later"),
    ),
    feature(
        "tasks that take their time, for demonstrations",
        "PROCESS_TIME=3s..5s make run",
        By("tests/system/spam.rs::what_it_reports_is_what_the_system_has_counted"),
    ),
    feature(
        "logs say who did what, and the figures as they change",
        "kubectl logs -f deployment/statistics, deployment/processor",
        By("tests/system/first_object.rs::the_figures_are_told_to_people_too"),
    ),
    feature(
        "figures in SQLite",
        "sqlite3 stats.db \"select * from statistics\"",
        Becomes(&["objects succeeded|2", "tasks processed|8"]),
    ),
    feature(
        "counts, mean and percentiles of times",
        "ebs statistics",
        Says(&["objects            2            0            2", "P50", "P99", "processor-0"]),
    ),
    feature("the same for programs", "curl localhost:8000/api/statistics", Says(&["\"succeeded\":2", "\"mean\":"])),
    feature(
        "figures as they change",
        "ebs statistics --watch",
        By("tests/system/command_line/watching.rs::the_figures_are_watched_while_the_system_comes_and_goes"),
    ),
    feature(
        "any order of start; a broker that comes back is used again",
        "make run-services",
        By(
            "tests/system/order_of_start.rs::services_wait_for_the_broker_and_resume_by_themselves_when_it_was_killed_under_load",
        ),
    ),
    feature(
        "what a processor had when it died is done by another one",
        "kill -9 $(pgrep processor)",
        By("tests/system/restarts.rs::exactly_the_accepted_objects_finish_whatever_is_killed"),
    ),
    feature(
        "a topic exchange that any AMQP client can read",
        "python examples/python/read_events.py 'object.finished.#'",
        By("tests/system/foreign.rs::a_client_of_twenty_lines_reads_the_events"),
    ),
    feature(
        "four terminals and a broker",
        "QUEUE_URL=localhost:5672 cargo run -p datagen, and so on",
        By(
            "tests/system/order_of_start.rs::services_wait_for_the_broker_and_resume_by_themselves_when_it_was_killed_under_load",
        ),
    ),
    feature("containers", "docker-compose up -d", By("make check-containers")),
    feature(
        "Kubernetes, published images",
        "kustomize build kustomize/hubbed | kubectl apply -f -",
        By("make validate-kubernetes"),
    ),
    feature(
        "minikube, local images",
        "kustomize build kustomize/minikube | kubectl apply -f -",
        By("make validate-kubernetes"),
    ),
    feature(
        "ports of a cluster",
        "kubectl port-forward deployment/datagen 8000:80, deployment/rabbit 15672",
        By("make validate-kubernetes"),
    ),
];

const WORD_COUNTER: &[Feature] = &[
    feature("reset", "curl -X DELETE localhost:8000/delete-frequencies", Says(&["Deleted"])),
    feature(
        "a text in by a form, the most frequent words of all texts out",
        "curl -d \"text=a b c d\" localhost:8000/add-frequencies",
        Says(&["{\"name\":\"a\",\"count\":1}"]),
    ),
    feature(
        "again: the counts double",
        "curl -d \"text=a b c d\" localhost:8000/add-frequencies",
        Says(&["{\"name\":\"a\",\"count\":2}", "{\"name\":\"d\",\"count\":2}"]),
    ),
    feature(
        "case and punctuation make no other word",
        "curl -d 'text=A, a! “a”' localhost:8000/add-frequencies",
        Says(&["{\"name\":\"a\",\"count\":5}"]),
    ),
    feature(
        "words are those of Unicode",
        "curl -d \"text=don't naïve – don't naïve\" localhost:8000/add-frequencies",
        Says(&["{\"name\":\"don't\",\"count\":2}", "{\"name\":\"naïve\",\"count\":2}"]),
    ),
    feature(
        "the report is in the log, too",
        "docker-compose logs datagen",
        By("tests/system/add_frequencies.rs::the_report_is_about_everything_submitted_so_far"),
    ),
    feature(
        "a text is split among the processors",
        "curl \"localhost:8000/api/objects/ID?wait=30\"",
        Says(&["\"part\":0", "\"part\":1", "\"part\":2"]),
    ),
    feature("totals on the command line", "ebs totals", Says(&["don't"])),
    feature("reset on the command line", "ebs totals --reset", Says(&["word-frequencies"])),
    feature("after it, counting begins anew", "ebs submit --data '\"b b\"' --wait", Says(&["{\"b\":2}"])),
    feature(
        "totals outlive any restart, and no count is lost among eight clients",
        "curl -d text@… localhost:8000/add-frequencies, eight times at once, with kill -9",
        By("tests/system/add_frequencies.rs::eight_clients_lose_no_word_while_processors_are_killed"),
    ),
    feature(
        "load, and an honest report of it",
        "ebs spam --count 20 --rate 50 --concurrency 4 --size 200",
        Says(&["20", "p99"]),
    ),
    feature("load without meaning", "ebs spam --random-strings --count 10", Says(&["10", "p99"])),
    feature("help lists all commands", "ebs --help", Says(&["submit", "spam", "doctor", "dead-letters"])),
];

const PATTERNS: &[Feature] = &[
    feature(
        "a queue of work: what was produced is confirmed, and kept until it is done",
        "cargo run --example work_queue -- produce my message",
        Says(&["produced: my message"]),
    ),
    feature(
        "a consumer that starts later gets it",
        "cargo run --example work_queue -- consume",
        By(
            "libs/bus/tests/examples/work_queue.rs::a_consumer_that_starts_later_does_what_was_produced_before_and_acknowledges_it",
        ),
    ),
    feature(
        "a chat: all hear everything, but what was said before they came",
        "cargo run --example chat",
        By("libs/bus/tests/examples/chat.rs::everybody_hears_everything_but_what_was_said_before_they_came"),
    ),
    feature("operations", "curl localhost:8000/api/operations", Says(&["nop", "plusone", "pow", "word-frequencies"])),
    feature(
        "submitting returns at once",
        "ebs submit --operation pow --parameters '{\"exponent\":3}' --data '[0,1,2,3,4]'",
        Says(&["-"]),
    ),
    feature("its result, when there is one", "ebs result", Says(&["[0,1,8,27,64]"])),
    feature(
        "partial results in order, each with who made it",
        "curl localhost:8000/api/objects/ID",
        Says(&["\"processor\":\"processor-", "\"result\":[0,1,8,27,64]"]),
    ),
    feature(
        "more parts than elements",
        "ebs submit --operation plusone --data '[1,2]' --tasks 5 --wait",
        Says(&["[2,3]"]),
    ),
    feature("no elements", "ebs submit --operation plusone --data '[]' --wait", Says(&["[]"])),
    feature(
        "elements that do not divide evenly",
        "ebs submit --operation plusone --data '[1,2,3,4,5,6,7]' --tasks 3 --wait",
        Says(&["[2,3,4,5,6,7,8]"]),
    ),
    feature(
        "an unknown operation is refused, with the known ones",
        "ebs submit --operation guess --data '[1]' 2>&1 || [[ $? == 1 ]]",
        Says(&["guess", "plusone", "word-frequencies"]),
    ),
    feature(
        "an operation of one's own: any program",
        "OPERATIONS_FILE=examples/operations/operations.toml make run",
        By("tests/system/operations_file.rs::commands_give_the_same_result_whatever_the_number_of_parts"),
    ),
    feature(
        "or a processor in another language",
        "python examples/python/processor.py",
        By("tests/system/operations_file.rs::a_processor_in_another_language_executes_an_external_operation"),
    ),
    feature(
        "a client that gathers by itself, before and after servers run",
        "cargo run --example scatter_gather",
        By(
            "libs/bus/tests/examples/scatter_gather.rs::jobs_are_called_before_and_after_servers_run_and_each_is_gathered_in_order",
        ),
    ),
    feature(
        "a processor that dies does not hang who waits",
        "cargo run --example scatter_gather, and kill -9",
        By(
            "libs/bus/tests/examples/scatter_gather.rs::a_processor_that_dies_does_not_hang_the_caller_and_another_one_does_its_work",
        ),
    ),
];

const LIKES: &[Feature] = &[
    feature(
        "equal nodes find each other",
        "cargo run --example likes -- node --port 6001, and 6002, 6003",
        By(
            "libs/bus/tests/examples/likes.rs::the_dead_disappear_a_new_leader_is_elected_and_who_comes_late_or_back_catches_up",
        ),
    ),
    feature(
        "a like on one is seen on all, and none is lost or doubled",
        "curl -X POST localhost:6001/api/likes; curl localhost:6002/api/likes",
        By("libs/bus/tests/examples/likes.rs::a_like_on_one_node_is_seen_on_all_and_many_at_once_are_all_counted"),
    ),
    feature(
        "a client is given the least busy node, and another one when it dies",
        "cargo run --example likes -- client",
        By("libs/bus/tests/examples/likes.rs::clients_get_the_least_busy_node_and_another_one_when_it_dies"),
    ),
    feature(
        "a leader, and another one when it dies; who comes late, or back, catches up",
        "kill -9 $(pgrep likes)",
        By(
            "libs/bus/tests/examples/likes.rs::the_dead_disappear_a_new_leader_is_elected_and_who_comes_late_or_back_catches_up",
        ),
    ),
    feature(
        "several nodes in one process",
        "QUEUE_URL=embedded: cargo run --example likes -- node --port 6001 --port 6002",
        By("libs/bus/tests/examples/likes.rs::on_the_embedded_bus_several_nodes_are_one_process"),
    ),
    feature(
        "bad commands, and ports in use, are told",
        "cargo run --example likes -- dislike 2>&1 || [[ $? == 64 ]]",
        Says(&["likes node --port", "likes client"]),
    ),
];

everywhere! { every_feature_is_seen }

/// As long as anything takes that is run here.
const PATIENCE: Duration = Duration::from_secs(30);

async fn every_feature_is_seen(options: Options) {
    let system = System::start(options).await.unwrap();
    let mut object = String::new();
    let mut unseen = String::new();
    for (part, features) in PARTS {
        for Feature { what, command, seen } in features {
            let command = command.replace("/ID", &format!("/{object}"));
            let told = match seen {
                Says(texts) => says(&system, &command, texts).await,
                Becomes(texts) => becomes(&system, &command, texts).await,
                By(whom) => by(whom),
            };
            match told {
                Ok(printed) => object = id_in(&printed).map_or(object, str::to_owned),
                Err(told) => unseen += &format!("{part}, {what}:\n{command}\n{told}\n\n"),
            }
        }
    }
    assert!(unseen.is_empty(), "{unseen}");
}

async fn becomes(system: &System, command: &str, texts: &[&str]) -> Result<String, String> {
    let began = Instant::now();
    loop {
        let told = says(system, command, texts).await;
        if told.is_ok() || began.elapsed() > PATIENCE {
            return told;
        }
    }
}

/// Runs the command, as in a shell beside the system; what it prints.
async fn says(system: &System, command: &str, texts: &[&str]) -> Result<String, String> {
    let programs = service_binary("ebs");
    let programs = programs.parent().unwrap().display();
    let examples = format!("{programs}/examples/");
    let address = system.url_of("datagen", "");
    let address = address.strip_prefix("http://").unwrap();
    let line = command.replace("localhost:8000", address);
    let line = line.replace(" -- ", " ").replace("cargo run --example ", &examples);
    let mut shell = Command::new("bash");
    shell.args(["-ceuo", "pipefail", &line]).current_dir(system.folder()).stdin(Stdio::null()).kill_on_drop(true);
    shell.env("PATH", format!("{programs}:{}", env::var("PATH").unwrap()));
    shell.env("EBS_URL", format!("http://{address}")).env("EXCHANGE", system.exchange());
    // What is embedded is the system's own: an example has a file for itself.
    let beside = format!("embedded:{}", system.folder().join("examples.db").display());
    shell.env("QUEUE_URL", if system.broker().is_some() { shared_broker_url() } else { beside });
    let output = timeout(PATIENCE, shell.output()).await.map_err(|_| format!("longer than {PATIENCE:?}"))?;
    let output = output.map_err(|error| error.to_string())?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let missing: Vec<&&str> = texts.iter().filter(|text| !printed.contains(**text)).collect();
    match output.status.success() && missing.is_empty() {
        true => Ok(printed),
        false => Err(format!("of what is expected this is missing: {missing:?}\n{output:#?}")),
    }
}

/// The first id of an object in a text.
fn id_in(text: &str) -> Option<&str> {
    const LENGTH: usize = 36;
    text.split(|c: char| !c.is_ascii_hexdigit() && c != '-').find(|word| word.len() == LENGTH)
}

/// Whether there is this test or target.
fn by(whom: &str) -> Result<String, String> {
    let (path, text) = match (whom.split_once("::"), whom.strip_prefix("make ")) {
        (Some((path, test)), _) => (path, format!("fn {test}(")),
        (None, Some(target)) => ("Makefile", format!("\n{target}: ")),
        (None, None) => return Err(format!("{whom:?} is neither a test nor a target")),
    };
    if repository_file(path).contains(&text) { Ok(String::new()) } else { Err(format!("{whom}: not there")) }
}

fn repository_file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// With `EBS_WRITE_FEATURES=1` it writes them instead.
#[test]
fn the_readme_has_them_all() {
    const BEGIN: &str = "<!-- The table is written by tests/system/features.rs. -->\n";
    const END: &str = "<!-- Until here. -->\n";
    let readme = repository_file("README.md");
    let (before, rest) = readme.split_once(BEGIN).expect("where the table begins");
    let (table, after) = rest.split_once(END).expect("where it ends");
    if env::var_os("EBS_WRITE_FEATURES").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        fs::write(path, [before, BEGIN, &written(), END, after].concat()).unwrap();
        return;
    }
    assert!(table == written(), "`EBS_WRITE_FEATURES=1 make test` writes the README's table anew");
}

fn written() -> String {
    let mut table = "| | see it | by |\n| --- | --- | --- |\n".to_owned();
    for (part, features) in PARTS {
        table += &format!("| **{part}** | | |\n");
        for Feature { what, command, seen } in features {
            let command = command.split(" 2>&1").next().unwrap().replace('|', "\\|");
            let by = match seen {
                Says(_) | Becomes(_) => String::new(),
                By(whom) => match whom.split_once("::") {
                    Some((path, _)) => format!("[{}]({path})", path.rsplit('/').next().unwrap()),
                    None => format!("`{whom}`"),
                },
            };
            table += &format!("| {what} | `{command}` | {by} |\n");
        }
    }
    table
}
