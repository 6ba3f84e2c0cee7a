//! Many objects in one request: a line for each, there and back.

use std::{collections::HashSet, path::Path, process::Output, time::Duration};

use serde_json::{Value, json};
use testkit::{Options, System, eventually, eventually_within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};

use crate::kit::{all_finished, everywhere, figure, stopped_with_empty_queues};

everywhere! {
    lines_become_objects_and_each_is_told_of,
    a_hundred_thousand_objects_are_one_request_of_curl,
    a_client_that_sends_everything_before_it_reads_gets_the_whole_answer,
    objects_are_told_of_while_others_are_still_to_come,
    an_upload_that_broke_off_is_sent_again_and_every_object_is_there_once,
    while_too_much_waits_an_upload_waits,
    an_upload_without_progress_is_stopped_and_told_where,
}

const NDJSON: &str = "application/x-ndjson";
/// For what takes long on a slow machine.
const LONG: Duration = Duration::from_secs(400);
const MANY: usize = 100_000;
/// So that nothing waits for the objects of others.
const NO_BACKLOG: u64 = 1_000_000_000;

/// A line for each of so many objects, as little work as can be.
fn lines(count: usize) -> String {
    (0..count).map(|number| format!("{{\"operation\":\"nop\",\"tasks\":1,\"data\":{number}}}\n")).collect()
}

/// A system of which only the door is of interest: where that can be, objects wait for being split.
async fn only_the_door(options: Options) -> System {
    let mut system = System::start(options.set("MAX_BACKLOG", NO_BACKLOG)).await.unwrap();
    if system.broker().is_some() {
        system.stop("distributor").await.unwrap();
    }
    system
}

/// The lines of an answer.
fn read(answer: &str) -> Vec<Value> {
    answer.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The ids of an answer, in the order of their lines.
fn ids(answer: &[Value]) -> Vec<String> {
    let ids = answer.iter().filter_map(|line| line["ids"].as_array()).flatten();
    ids.map(|id| id.as_str().unwrap().to_owned()).collect()
}

async fn upload(system: &System, key: Option<&str>, body: impl Into<reqwest::Body>) -> Vec<Value> {
    let mut request = system.client().post(system.url_of("datagen", "/api/objects")).header("content-type", NDJSON);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let answer = request.body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], NDJSON);
    read(&answer.text().await.unwrap())
}

/// A request by hand whose body comes piece by piece.
struct Upload(TcpStream);

impl Upload {
    async fn begin(system: &System, key: &str) -> Self {
        let url = system.url_of("datagen", "");
        let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
        let head = format!(
            "POST /api/objects HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-type: {NDJSON}\r\nidempotency-key: {key}\r\n\
             transfer-encoding: chunked\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        Self(stream)
    }

    /// Whether it could be sent.
    async fn send(&mut self, piece: &str) -> bool {
        self.0.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).await.is_ok()
    }

    async fn end(&mut self) {
        self.0.write_all(b"0\r\n\r\n").await.unwrap();
    }

    /// Reads until a line of the answer has this in it; the answer so far.
    async fn read_until(&mut self, expected: &str) -> String {
        let mut answer = String::new();
        tokio::time::timeout(LONG, async {
            while !answer.contains(expected) {
                let mut bytes = [0; 65_536];
                let count = self.0.read(&mut bytes).await.unwrap();
                assert!(count > 0, "the answer has ended: {answer}");
                answer.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
            }
        })
        .await
        .unwrap_or_else(|_| panic!("no {expected} in {answer}"));
        answer
    }

    /// The lines of what is left of the answer.
    async fn read_all(mut self) -> Vec<Value> {
        let mut bytes = Vec::new();
        tokio::time::timeout(LONG, self.0.read_to_end(&mut bytes)).await.unwrap().unwrap();
        let answer = String::from_utf8(bytes).unwrap();
        // Each line is a chunk of its own; the others are headers and the lengths of chunks.
        read(&answer.lines().filter(|line| line.starts_with('{')).collect::<Vec<_>>().join("\n"))
    }
}

async fn lines_become_objects_and_each_is_told_of(options: Options) {
    let system = System::start(options.set("MAX_EVENT_BYTES", "64KiB")).await.unwrap();
    let long = format!("{{\"data\":\"{}\"}}", "x".repeat(65_536));
    let body = [
        r#"{"operation": "plusone", "data": [1, 2]}"#,
        r#"{"operation": "plusone", "data": ["a"]}"#,
        "",
        r#"["a", "nop", {}, [1], 1, 1000]"#,
        "{}",
        "{}",
        r#"{"data": "#,
        &long,
        r#"{"data": "b a b"}"#,
    ]
    .join("\r\n");
    let answer = upload(&system, None, body).await;
    let accepted: Vec<_> = answer.iter().filter(|line| line.get("ids").is_some()).map(|line| &line["lines"]).collect();
    assert_eq!(accepted, [&json!([1, 1]), &json!([5, 6]), &json!([9, 9])]);
    let refused = |line: &Value| Some((line["line"].as_u64()?, line["error"]["status"].as_u64()?));
    let refused: Vec<_> = answer.iter().filter_map(refused).collect();
    assert_eq!(refused, [(2, 422), (4, 422), (7, 400), (8, 413)]);
    assert!(
        answer.iter().any(|line| line["error"]["detail"].as_str().is_some_and(|why| why.contains("a JSON object")))
    );
    assert_eq!(*answer.last().unwrap(), json!({"done": true, "accepted": 4, "refused": 4, "lines": 9}));

    let ids = ids(&answer);
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 4);
    assert_eq!(system.finished(&ids[0]).await.unwrap()["result"], json!([2, 3]));
    assert_eq!(system.finished(&ids[3]).await.unwrap()["result"], json!({"a": 1, "b": 2}));
    all_finished(&system, 4).await;
    assert_eq!(upload(&system, None, "").await, [json!({"done": true, "accepted": 0, "refused": 0, "lines": 0})]);
}

/// What curl says of an upload by these arguments.
async fn curl(system: &System, key: &str, file: Option<&Path>, arguments: &[&str]) -> Vec<Value> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "-X", "POST", "-H", "content-type: application/x-ndjson"]);
    command
        .args(["-H", &format!("idempotency-key: {key}")])
        .args(arguments)
        .arg(system.url_of("datagen", "/api/objects"));
    if let Some(file) = file {
        command.stdin(std::fs::File::open(file).unwrap());
    }
    let Output { status, stdout, stderr } = command.output().await.expect("curl is missing");
    assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
    read(&String::from_utf8(stdout).unwrap())
}

async fn a_hundred_thousand_objects_are_one_request_of_curl(options: Options) {
    let system = only_the_door(options).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("objects.ndjson");
    std::fs::write(&file, lines(MANY)).unwrap();
    let path = file.to_str().unwrap();
    let all = curl(&system, "many", None, &["--data-binary", &format!("@{path}")]).await;
    assert_eq!(*all.last().unwrap(), json!({"done": true, "accepted": MANY, "refused": 0, "lines": MANY}));
    assert_eq!(ids(&all).iter().collect::<HashSet<_>>().len(), MANY);

    // However it is sent, it is the same.
    const FEW: usize = 2000;
    std::fs::write(&file, lines(FEW)).unwrap();
    let few = ids(&all)[..FEW].to_vec();
    for (stdin, arguments) in
        [(None, ["-T", path]), (Some(file.as_path()), ["-T", "-"]), (Some(file.as_path()), ["--data-binary", "@-"])]
    {
        assert_eq!(ids(&curl(&system, "many", stdin, &arguments).await), few, "{arguments:?}");
    }
    eventually_within(LONG, async || {
        let created = figure(&system, "objects created").await;
        if created == MANY as f64 { Ok(()) } else { Err(format!("{created} are counted")) }
    })
    .await;
}

async fn a_client_that_sends_everything_before_it_reads_gets_the_whole_answer(options: Options) {
    /// What is not read of the answer, several times; and whatever the events of all these objects take in other parts.
    const MAX_DATAGEN: u64 = 150 << 20;
    let one_process = options.is_one_process();
    let system = only_the_door(options).await;
    let mut upload = Upload::begin(&system, "first-all").await;
    let body = lines(MANY);
    let (mut begin, step) = (0, 200_000);
    while begin < body.len() {
        let end = (begin + step).min(body.len());
        assert!(upload.send(&body[begin..end]).await, "the connection was closed at byte {begin}");
        begin = end;
    }
    upload.end().await;
    let answer = upload.read_all().await;
    assert_eq!(*answer.last().unwrap(), json!({"done": true, "accepted": MANY, "refused": 0, "lines": MANY}));
    assert_eq!(ids(&answer).iter().collect::<HashSet<_>>().len(), MANY);
    let peak = system.process("datagen").memory().unwrap().peak;
    assert!(one_process || peak <= MAX_DATAGEN, "{} MiB", peak >> 20);
}

async fn objects_are_told_of_while_others_are_still_to_come(options: Options) {
    let mut system = System::start(options).await.unwrap();
    let mut upload = Upload::begin(&system, "one-by-one").await;
    let two = lines(2);
    let (first, second) = two.split_once('\n').unwrap();
    // Not even a whole line is taken for one.
    assert!(upload.send(&format!("{first}\n{}", &second[..10])).await);
    let answer = upload.read_until("\"ids\"").await;
    assert!(answer.contains("\"lines\":[1,1]"), "{answer}");
    let [id] = &ids(&read(answer.lines().find(|line| line.starts_with('{')).unwrap()))[..] else { panic!("{answer}") };
    assert_eq!(system.finished(id).await.unwrap()["result"], 0, "it is done before the request is");
    assert!(upload.send(&second[10..]).await);
    upload.read_until("\"lines\":[2,2]").await;

    // A service that stops says how far it got.
    assert!(upload.send(first).await);
    let (stopped, answer) = tokio::join!(system.stop("datagen"), upload.read_all());
    stopped.unwrap();
    let last = answer.last().unwrap();
    assert_eq!((&last["done"], &last["accepted"], &last["next_line"]), (&json!(false), &json!(2), &json!(3)), "{last}");
    assert_eq!(last["error"]["status"], 503, "{last}");
}

async fn an_upload_that_broke_off_is_sent_again_and_every_object_is_there_once(options: Options) {
    const COUNT: usize = 600;
    let mut system = System::start(options).await.unwrap();
    let body = lines(COUNT);
    let half = body.len() / 2;
    let mut broken = Upload::begin(&system, "again").await;
    assert!(broken.send(&body[..half]).await);
    broken.read_until("\"ids\"").await;
    system.kill("datagen").await.unwrap();
    system.start_service("datagen").unwrap();
    system.all_ready().await;
    // The client breaks off, too, in the middle of a line.
    let mut broken = Upload::begin(&system, "again").await;
    assert!(broken.send(&body[..half]).await);
    broken.read_until("\"ids\"").await;
    drop(broken);

    let answer = upload(&system, Some("again"), body.clone()).await;
    assert_eq!(*answer.last().unwrap(), json!({"done": true, "accepted": COUNT, "refused": 0, "lines": COUNT}));
    assert_eq!(ids(&upload(&system, Some("again"), body.clone()).await), ids(&answer));
    all_finished(&system, COUNT).await;
    assert_eq!(figure(&system, "objects created").await, COUNT as f64);
    // Another key means others.
    let others = upload(&system, Some("other"), body).await;
    assert!(ids(&others).iter().all(|id| !ids(&answer).contains(id)));
    all_finished(&system, 2 * COUNT).await;
    stopped_with_empty_queues(&mut system).await;
}

async fn while_too_much_waits_an_upload_waits(options: Options) {
    const COUNT: usize = 100;
    // Each object is five events.
    let options = options.set("MAX_BACKLOG", 40).set("CONCURRENCY", 4).set("PROCESS_TIME", "50ms");
    let mut system = System::start(options).await.unwrap();
    let answer = upload(&system, None, lines(COUNT)).await;
    assert_eq!(*answer.last().unwrap(), json!({"done": true, "accepted": COUNT, "refused": 0, "lines": COUNT}));
    assert!(answer.len() > 4, "it came in portions: {answer:?}");
    all_finished(&system, COUNT).await;
    stopped_with_empty_queues(&mut system).await;
}

async fn an_upload_without_progress_is_stopped_and_told_where(options: Options) {
    const COUNT: usize = 500;
    let options = options.set("MAX_BACKLOG", 20).set("CONCURRENCY", 1).set("PROCESS_TIME", "50s");
    let system = System::start(options).await.unwrap();
    let answer = upload(&system, None, lines(COUNT)).await;
    let last = answer.last().unwrap();
    assert_eq!((&last["done"], &last["error"]["status"]), (&json!(false), &json!(503)), "{last}");
    assert_eq!(last["error"]["max_backlog"], 20, "{last}");
    let accepted = last["accepted"].as_u64().unwrap();
    assert!((1..COUNT as u64).contains(&accepted), "{last}");
    assert_eq!((ids(&answer).len() as u64, &last["next_line"]), (accepted, &json!(accepted + 1)));
    eventually(async || {
        let created = figure(&system, "objects created").await;
        if created == accepted as f64 { Ok(()) } else { Err(format!("{created} of {accepted} are counted")) }
    })
    .await;
}
