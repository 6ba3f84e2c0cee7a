//! What cannot be done is set aside with its reason, shown, replayed and discarded.

use std::process::Output;

use bus::{
    DEAD_QUEUE, DEAD_REASON, Headers, Message, Topology, Transport,
    amqp::{Address, Amqp},
    embedded::{Embedded, Limits},
    encode,
    events::{Json, ObjectId, Parameters, Task, TaskCreated, TaskId},
    now,
};
use serde_json::{Value, json};
use testkit::{Options, System, eventually, service_binary};
use tokio::process::Command;

use crate::kit::everywhere;

everywhere! {
    what_nobody_understands_is_listed_shown_replayed_and_discarded_by_hand,
    a_dead_task_fails_its_object_until_it_is_replayed_and_succeeds,
}

/// Publishes a message as somebody else does, or, where nobody else has access, before the process starts again.
pub async fn publish(system: &mut System, message: Message) {
    let topology = Topology::new(system.exchange().to_owned());
    let transport: Box<dyn Transport> = match system.broker() {
        Some(url) => Box::new(Amqp::connect(&Address::parse(url).unwrap(), "somebody else")),
        None => {
            system.stop("ebs").await.unwrap();
            Box::new(Embedded::open(&system.bus_file(), Limits::default()).await.unwrap())
        }
    };
    transport.ensure(topology.dead_letters_exchange(), vec![topology.dead_letters()]).await;
    for result in transport.publish(vec![message], bus::PATIENCE).await {
        result.unwrap();
    }
    transport.close().await;
    system.start_all().unwrap();
    system.all_ready().await;
}

/// Waits until so many dead letters are listed.
pub async fn listed(system: &System, query: &str, count: usize) -> Vec<Value> {
    eventually(async || {
        let list = system.get(&format!("/api/dead-letters?{query}")).await.map_err(|error| format!("{error:#}"))?;
        let letters = list["dead_letters"].as_array().unwrap().clone();
        if letters.len() == count { Ok(letters) } else { Err(list.to_string()) }
    })
    .await
}

/// `ebs dead-letters …`: exit code and what it prints.
async fn ebs(system: &System, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(service_binary("ebs"));
    command.arg("dead-letters").args(arguments).env("EBS_URL", system.url_of("datagen", ""));
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

async fn what_nobody_understands_is_listed_shown_replayed_and_discarded_by_hand(options: Options) {
    let mut system = System::start(options).await.unwrap();
    let garbage = Message {
        exchange: system.exchange().to_owned(),
        routing_key: "object.created.nop".to_owned(),
        id: "garbage".to_owned(),
        headers: Headers::from_iter([("colour".to_owned(), "red".into())]),
        body: "no \u{1b}[31mJSON".into(),
        ..Message::default()
    };
    publish(&mut system, garbage).await;
    // The distributor and the statistics each set it aside.
    listed(&system, "state=waiting", 2).await;
    let queue = format!("{}.distributor", system.exchange());
    let letter = listed(&system, &format!("queue={queue}"), 1).await.remove(0);
    let id = letter["id"].as_str().unwrap();
    let (code, shown, _) = ebs(&system, &["list"]).await;
    assert_eq!(code, 0);
    assert!(shown.contains(id) && shown.contains("nop") && shown.contains("content type"), "{shown}");
    let (code, shown, _) = ebs(&system, &["show", id]).await;
    assert_eq!(code, 0);
    assert!(shown.contains("JSON") && shown.contains("red") && !shown.contains('\u{1b}'), "{shown}");

    let (code, shown, told) = ebs(&system, &["replay", id]).await;
    assert_eq!((code, shown.as_str()), (0, format!("{id} is replayed\n").as_str()), "{told}");
    let (code, _, told) = ebs(&system, &["replay", id]).await;
    assert!(code == 1 && told.contains("replayed already"), "{code} {told}");
    let again = listed(&system, &format!("queue={queue}&state=waiting"), 1).await.remove(0);
    assert_eq!((&again["round"], &again["message_id"]), (&json!(1), &json!("garbage")));

    let (code, shown, told) = ebs(&system, &["discard", "--all"]).await;
    assert_eq!((code, shown.as_str()), (0, "2 discarded\n"), "{told}");
    let (_, shown, _) = ebs(&system, &["list"]).await;
    assert_eq!(shown, "none\n");
    let (_, shown, _) = ebs(&system, &["list", "--state", "all", "--json"]).await;
    let list: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(list["dead_letters"].as_array().unwrap().len(), 3, "{list}");
    for (arguments, code, says) in [
        (&["show", "00000000-0000-0000-0000-000000000000"][..], 1, "no dead letter"),
        (&["replay"], 64, "ID"),
        (&["list", "--url", "nowhere"], 64, "EBS_URL"),
        (&["list", "--url", "http://127.0.0.1:1"], 69, "ebs up"),
    ] {
        let (got, _, told) = ebs(&system, arguments).await;
        assert!(got == code && told.contains(says), "{arguments:?}: {got} {told}");
    }
}

async fn a_dead_task_fails_its_object_until_it_is_replayed_and_succeeds(options: Options) {
    let mut system = System::start(options.set("OPERATIONS", "nop")).await.unwrap();
    let object = system.submit(&json!({"operation": "plusone", "data": [1], "tasks": 1})).await.unwrap();
    let id: ObjectId = object["id"].as_str().unwrap().parse().unwrap();
    let path = format!("/api/objects/{id}");
    eventually(async || {
        let object = system.get(&path).await.map_err(|error| format!("{error:#}"))?;
        if object["tasks"].as_array().unwrap().len() == 1 { Ok(()) } else { Err(object.to_string()) }
    })
    .await;
    let topology = Topology::new(system.exchange().to_owned());
    publish(&mut system, dead_task(&topology, id)).await;
    let failed = system.finished(&id.to_string()).await.unwrap();
    assert_eq!((&failed["status"], &failed["errors"][0]["error"]), (&json!("failed"), &json!("given up")), "{failed}");
    let letter = listed(&system, "operation=plusone", 1).await.remove(0);
    assert_eq!(failed["dead_letters"], json!([letter["id"]]));

    let (code, shown, told) = ebs(&system, &["replay", "--operation", "plusone"]).await;
    assert_eq!((code, shown.as_str()), (0, "1 replayed\n"), "{told}");
    system.stop("processor-0").await.unwrap();
    system.set("OPERATIONS", "plusone");
    system.start_service("processor-0").unwrap();
    let turned = eventually(async || {
        let object = system.get(&path).await.map_err(|error| format!("{error:#}"))?;
        let round = object["tasks"][0]["round"].as_u64();
        if object["status"] == "succeeded" && round == Some(1) { Ok(object) } else { Err(object.to_string()) }
    })
    .await;
    assert_eq!((&turned["result"], &turned["revision"]), (&json!([2]), &json!(1)), "{turned}");
}

/// The object's only task, as its processors set it aside.
fn dead_task(topology: &Topology, object: ObjectId) -> Message {
    let task = Task {
        id: TaskId::of(object, 1, 0),
        object_id: object,
        part: 0,
        parts: 1,
        operation: "plusone".parse().unwrap(),
        parameters: Parameters::new(),
        data: Json::of(&[1]).unwrap(),
        round: 0,
    };
    let queue = topology.processor(&task.operation).name;
    let mut message = encode(&TaskCreated { task }, &topology.events().name, "test", now(), None).unwrap();
    message.headers.insert(DEAD_QUEUE.to_owned(), queue.into());
    message.headers.insert(DEAD_REASON.to_owned(), "given up".into());
    message.exchange = topology.dead_letters_exchange().name;
    message
}
