//! `scatter_gather`.

use serde_json::{Value, json};
use testkit::{Options, Process, System, eventually, shared_broker_url};

use crate::kit::{Place, interrupt, line};

async fn client(place: &Place) -> Process {
    let client = place.start("scatter_gather", "");
    line(&client, "ready").await;
    client
}

/// Types a command; the line of the answer that has this text.
async fn ask(client: &mut Process, command: &str, answer: &str) -> String {
    client.type_line(command).await.unwrap();
    line(client, answer).await
}

/// Calls a job; its id.
async fn call(client: &mut Process, number: usize, command: &str) -> String {
    let beginning = format!("job {number} is ");
    ask(client, command, &beginning).await.trim_start_matches(&beginning).to_owned()
}

/// The parts that a result lists, in its order: processor and partial result.
fn parts(client: &Process, parts: usize, result: &str) -> Vec<(String, Value)> {
    let lines = client.lines();
    let end = lines.iter().position(|line| line == result).unwrap();
    let told = lines[end - parts..end].iter().enumerate().map(|(number, line)| {
        let rest = line.strip_prefix(&format!("part {number} of {parts} by "));
        let (processor, partial) = rest.unwrap_or_else(|| panic!("{line}")).split_once(": ").unwrap();
        (processor.to_owned(), serde_json::from_str(partial).unwrap())
    });
    told.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_called_before_and_after_servers_run_and_each_is_gathered_in_order() {
    let options = Options::on(shared_broker_url()).processors(2).set("CONCURRENCY", 1).set("PROCESS_TIME", "300ms");
    let mut system = System::prepare(options).unwrap();
    let mut client = client(&Place::on_exchange(system.exchange())).await;
    let first = call(&mut client, 1, r#"call pow [0,1,2,3,4,5,6] {"exponent":3} 4"#).await;
    call(&mut client, 2, "call plusone [10,20,30]").await;
    ask(&mut client, "result 1 1", "job 1 is not finished after 1s").await;

    system.start_all().unwrap();
    system.all_ready().await;
    call(&mut client, 3, r#"call word-frequencies "to be or not to be" {} 2"#).await;
    // While they are under way, in another order than they were called.
    ask(&mut client, "result 3", r#"job 3: {"be":2,"not":1,"or":1,"to":2}"#).await;
    ask(&mut client, "result 2", "job 2: [11,21,31]").await;
    ask(&mut client, "result 1", "job 1: [0,1,8,27,64,125,216]").await;
    let gathered = parts(&client, 4, "job 1: [0,1,8,27,64,125,216]");
    let partials: Vec<_> = gathered.iter().map(|(_, partial)| partial.clone()).collect();
    assert_eq!(partials, [json!([0, 1]), json!([8, 27]), json!([64, 125]), json!([216])]);
    assert!(gathered.iter().all(|(processor, _)| processor.starts_with("processor-")), "{gathered:?}");

    // The record has the same, of the same processors.
    let object = system.finished(&first).await.unwrap();
    let told = |task: &Value| (task["processor"].as_str().unwrap().to_owned(), task["result"].clone());
    let recorded: Vec<_> = object["tasks"].as_array().unwrap().iter().map(told).collect();
    assert_eq!(gathered, recorded);
    interrupt(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_that_dies_does_not_hang_the_caller_and_another_one_does_its_work() {
    let options = Options::on(shared_broker_url()).set("PROCESS_TIME", "50s");
    let mut system = System::start(options).await.unwrap();
    let mut client = client(&Place::on_exchange(system.exchange())).await;
    let id = call(&mut client, 1, "call plusone [1,2]").await;
    eventually(async || {
        let object = system.get(&format!("/api/objects/{id}")).await.map_err(|error| error.to_string())?;
        if object["status"] == "running" { Ok(()) } else { Err(object.to_string()) }
    })
    .await;
    system.kill("processor-0").await.unwrap();
    ask(&mut client, "result 1 2", "job 1 is not finished after 2s").await;
    system.set("PROCESS_TIME", "0s");
    system.start_service("processor-0").unwrap();
    ask(&mut client, "result", "job 1: [2,3]").await;
}

#[tokio::test]
async fn any_number_of_parts_fits_any_number_of_elements() {
    let mut client = client(&Place::embedded()).await;
    for (number, (call_of, parts_made, result)) in [
        ("[1,2] {} 5", 2, "[2,3]"),
        ("[] {} 5", 1, "[]"),
        ("[1,2,3,4,5,6,7] {} 3", 3, "[2,3,4,5,6,7,8]"),
        ("[1,2,3] {} 1", 1, "[2,3,4]"),
        ("7", 1, "8"),
    ]
    .into_iter()
    .enumerate()
    {
        let number = number + 1;
        call(&mut client, number, &format!("call plusone {call_of}")).await;
        let result = ask(&mut client, &format!("result {number}"), &format!("job {number}: {result}")).await;
        let made = parts(&client, parts_made, &result);
        assert!(made.iter().all(|(processor, _)| processor.starts_with("processor-")), "{made:?}");
    }
    client.end_input();
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_at_once() {
    let mut client = client(&Place::embedded()).await;
    for (command, told) in [
        ("call sqrt [1]", "unknown operation `sqrt`; known: nop, plusone, pow, word-frequencies"),
        ("call plusone", "DATA is missing"),
        ("call nop {", "DATA: JSON is expected"),
        ("call plusone [\"a\"]", "invalid data"),
        ("call pow [1]", "`exponent`, which is needed"),
        ("call nop 1 2", "PARAMETERS: invalid type"),
        ("call nop 1 {} 0", "PARTS: 1 to 10000 are allowed"),
        ("call nop 1 {} many", "PARTS: expected value"),
        ("result", "which JOB? there are 0"),
        ("result 1", "JOB: there are 0"),
        ("result one", "JOB: a number is expected"),
        ("dance", "unknown: dance"),
    ] {
        ask(&mut client, command, told).await;
    }
    // None of them was a job.
    call(&mut client, 1, "call nop 1").await;
    let ended = Place::embedded().run("scatter_gather", "pow").await;
    assert!(ended.code == Some(64) && ended.errors.contains("call OPERATION"), "{ended:?}");
}
