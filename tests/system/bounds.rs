//! Too much at a time: it is refused clearly, memory has a bound, and nothing that was accepted is lost.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use reqwest::{StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};
use testkit::{Options, Signal, System, eventually_within, shared_broker_url};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use crate::kit::{all_finished, everywhere, figure, stopped_with_empty_queues};

/// For what takes long on a slow machine.
const LONG: Duration = Duration::from_secs(180);

everywhere! {
    while_too_much_waits_objects_are_refused_and_afterwards_accepted_again,
    many_clients_with_large_bodies_take_no_more_memory_than_there_is_room_for,
    many_connections_that_send_nothing_keep_nobody_out,
    a_full_service_answers_its_probes_and_tells_all_others_to_come_back,
    whoever_waits_leaves_connections_to_others,
}

/// Connections that are served at a time.
const SERVED: usize = 640;

/// `POST /api/objects` once: the object, or the problem with its status.
async fn post(system: &System, body: &Value) -> Result<Value, (StatusCode, Value)> {
    let request = system.client().post(system.url_of("datagen", "/api/objects")).json(body);
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let comes_again = answer.headers().contains_key("retry-after");
    let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    if status == 201 {
        return Ok(body);
    }
    assert!(comes_again || status != 503, "{body}");
    Err((status, body))
}

async fn while_too_much_waits_objects_are_refused_and_afterwards_accepted_again(options: Options) {
    const MAX_BACKLOG: u64 = 40;
    // Three tasks each, of which two are done in a second.
    let options = options.set("MAX_BACKLOG", MAX_BACKLOG).set("CONCURRENCY", 1).set("PROCESS_TIME", "500ms");
    let mut system = System::start(options).await.unwrap();
    let object = json!({"operation": "plusone", "data": [1, 2, 3]});
    let mut accepted = 0;
    // What is let in counts for more than it is until it is counted, so that one refusal says little.
    let queue = eventually_within(LONG, async || match post(&system, &object).await {
        Ok(_) => {
            accepted += 1;
            Err(format!("{accepted} are accepted"))
        }
        Err((status, problem)) => {
            assert_eq!(status, 503, "{problem}");
            assert_eq!(problem["max_backlog"], MAX_BACKLOG, "{problem}");
            assert!(problem["depth"].as_u64().unwrap() > MAX_BACKLOG, "{problem}");
            let queue = problem["queue"].as_str().unwrap().to_owned();
            assert!(problem["detail"].as_str().unwrap().contains(&queue), "{problem}");
            if queue.ends_with(".processor.plusone") { Ok(queue) } else { Err(format!("{queue} is full")) }
        }
    })
    .await;
    // Each brings three tasks: no more wait than the bound, those of one object, and what was on its way.
    assert!(accepted <= 3 * MAX_BACKLOG as usize, "{accepted} were accepted before {queue} was full");
    let metrics = system.client().get(system.url_of("datagen", "/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains(&format!("ebs_queue_messages{{queue=\"{queue}\"}}")), "{metrics}");
    // What is refused is refused whatever it is, and unread.
    let long = "word ".repeat(600_000);
    // A reading may have let it in: then it is filled again.
    eventually_within(LONG, async || {
        let request = system.client().post(system.url_of("datagen", "/objects")).header(CONTENT_TYPE, "text/plain");
        let status = request.body(long.clone()).send().await.unwrap().status();
        if status == 503 {
            return Ok(());
        }
        assert_eq!(status, 201);
        accepted += 1;
        while post(&system, &object).await.is_ok() {
            accepted += 1;
        }
        Err("it was let in".to_owned())
    })
    .await;
    eventually_within(LONG, async || match post(&system, &object).await {
        Ok(_) => {
            accepted += 1;
            Ok(())
        }
        Err((_, problem)) => Err(problem.to_string()),
    })
    .await;
    eventually_within(LONG, async || {
        let finished = figure(&system, "objects succeeded").await;
        if finished == accepted as f64 { Ok(()) } else { Err(format!("{finished} of {accepted} finished")) }
    })
    .await;
    stopped_with_empty_queues(&mut system).await;
}

async fn many_clients_with_large_bodies_take_no_more_memory_than_there_is_room_for(options: Options) {
    const CLIENTS: usize = 100;
    const ROUNDS: usize = 3;
    /// A little less than the longest event.
    const BYTES: usize = 4_000_000;
    /// Five copies of the 64 MiB for which there is room, what two of them are while they are looked through, and the rest of
    /// a process. All bodies at once would be 400 MB, and 2 GB of copies.
    const MAX_DATAGEN: u64 = 700 << 20;
    /// The same beside the other three, each of which holds 32 MiB, or twice that, and several times that in work.
    const MAX_ALL: u64 = 1600 << 20;
    let one_process = options.is_one_process();
    let system = System::start(options).await.unwrap();
    let body = format!(r#"{{"operation":"nop","tasks":1,"data":"{}"}}"#, "x".repeat(BYTES));
    let (accepted, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    join_all((0..CLIENTS).map(async |_| {
        for _ in 0..ROUNDS {
            let request = system.client().post(system.url_of("datagen", "/api/objects"));
            let answer = request.header(CONTENT_TYPE, "application/json").body(body.clone()).send().await.unwrap();
            match answer.status().as_u16() {
                201 => accepted.fetch_add(1, Ordering::SeqCst),
                503 => refused.fetch_add(1, Ordering::SeqCst),
                other => panic!("{other}: {}", answer.text().await.unwrap()),
            };
        }
    }))
    .await;
    let (accepted, refused) = (accepted.into_inner(), refused.into_inner());
    assert!(accepted > 0 && refused > 0, "{accepted} were accepted, {refused} refused");
    let peak = system.process("datagen").memory().unwrap().peak;
    let most = if one_process { MAX_ALL } else { MAX_DATAGEN };
    assert!(peak <= most, "{} MiB", peak >> 20);
    all_finished(&system, accepted).await;
}

async fn many_connections_that_send_nothing_keep_nobody_out(options: Options) {
    /// Fewer wait than the 1024 that the kernel lets wait: it may forget others without a word.
    const CONNECTIONS: usize = SERVED + 480;
    const MAX_GROWTH: u64 = 100 << 20;
    let system = System::start(options).await.unwrap();
    let url = system.url_of("datagen", "");
    let address = url.strip_prefix("http://").unwrap();
    let before = system.process("datagen").memory().unwrap().resident;
    let mut idle = join_all((0..CONNECTIONS).map(|_| TcpStream::connect(address))).await;
    // Those that send nothing are closed after ten seconds.
    let object = eventually_within(Duration::from_secs(80), async || {
        system.submit(&json!({})).await.map_err(|error| error.to_string())
    });
    let object = object.await;
    system.finished(object["id"].as_str().unwrap()).await.unwrap();
    let grown = system.process("datagen").memory().unwrap().peak.saturating_sub(before);
    assert!(grown <= MAX_GROWTH, "{} MiB", grown >> 20);
    // Whoever sends nothing is closed.
    for connection in &mut idle {
        let Ok(connection) = connection else { continue };
        let closed = tokio::time::timeout(Duration::from_secs(120), connection.read(&mut [0; 1])).await;
        assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
    }
}

/// Asks by a connection of its own, which the service closes: the answer as it came.
async fn ask_once(system: &System, method_and_path: &str) -> String {
    let url = system.url_of("datagen", "");
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
    let request = format!("{method_and_path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn a_full_service_answers_its_probes_and_tells_all_others_to_come_back(options: Options) {
    let system = System::start(options).await.unwrap();
    let url = system.url_of("datagen", "");
    let address = url.strip_prefix("http://").unwrap();
    // Connections of before may still be there.
    let idle = join_all((0..SERVED).map(|_| TcpStream::connect(address))).await;
    let began = Instant::now();
    for path in ["/livez", "/readyz", "/health", "/metrics"] {
        let answer = ask_once(&system, &format!("GET {path}")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
    for request in ["POST /api/objects", "GET /api/objects", "GET /docs"] {
        let answer = ask_once(&system, request).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after"), "{request}: {answer}");
    }
    // They are closed after ten seconds.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    drop(idle);
    eventually_within(LONG, async || {
        let answer = ask_once(&system, "POST /api/objects").await;
        if answer.starts_with("HTTP/1.1 201 ") { Ok(()) } else { Err(answer) }
    })
    .await;
}

async fn whoever_waits_leaves_connections_to_others(options: Options) {
    /// More than may wait, and fewer than are served.
    const CLIENTS: usize = SERVED - 20;
    const MAX_WAITING: usize = 240;
    let system = System::start(options).await.unwrap();
    let url = system.url_of("datagen", "");
    let address = url.strip_prefix("http://").unwrap();
    let mut clients = join_all((0..CLIENTS).map(async |number| {
        let mut client = TcpStream::connect(address).await.unwrap();
        let path = format!("/api/objects/01970000-0000-7000-8000-{number:012}?wait=60");
        client.write_all(format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes()).await.unwrap();
        client
    }))
    .await;
    let refused = join_all(clients.iter_mut().map(async |client| {
        let mut begin = [0; 12];
        let answered = tokio::time::timeout(Duration::from_secs(30), client.read_exact(&mut begin)).await;
        answered.is_ok_and(|read| read.is_ok() && begin == *b"HTTP/1.1 503")
    }))
    .await;
    assert_eq!(refused.iter().filter(|refused| **refused).count(), CLIENTS - MAX_WAITING);
    let began = Instant::now();
    for request in ["POST /api/objects", "GET /api/objects", "GET /api/statistics"] {
        let answer = ask_once(&system, request).await;
        assert!(answer.starts_with("HTTP/1.1 20"), "{request}: {answer}");
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// Nothing says that it has stopped: its machine, and so its connections, go on.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_ends_when_statistics_stops_in_the_middle_of_it() {
    let system = System::start(Options::on(shared_broker_url())).await.unwrap();
    let mut events = system.client().get(system.url_of("datagen", "/api/events")).send().await.unwrap();
    assert!(events.chunk().await.unwrap().is_some());
    system.process("statistics").signal(Signal::SIGSTOP).unwrap();
    let began = Instant::now();
    while let Ok(Some(_)) = events.chunk().await {}
    // The client itself gives up after ninety seconds.
    assert!(began.elapsed() < Duration::from_secs(75), "{:?}", began.elapsed());
    system.process("statistics").signal(Signal::SIGCONT).unwrap();
    system.ready("statistics").await;
}
