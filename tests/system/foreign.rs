//! Clients that are none of ours, in another language: they read events, submit objects, and find on the broker what the
//! document of the bus says. The examples are those that people copy.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::Stdio,
};

use serde_json::{Value, json};
use testkit::{Broker, Options, Process, System, eventually, repository, shared_broker_url, unique_name};
use tokio::{io::AsyncWriteExt, process::Command};

/// A script of `folder`, with a Python that has pika.
fn script(folder: &str, name: &str, url: &str, exchange: &str) -> Command {
    let python = repository().join("target/tools/pika/bin/python");
    assert!(python.exists(), "{} is missing: run the tests by `make test`, which installs it", python.display());
    let mut command = Command::new(python);
    command.arg(repository().join(folder).join(name)).env("QUEUE_URL", url).env("EXCHANGE", exchange);
    command
}

fn example(system: &System, name: &str) -> Command {
    script("examples/python", name, system.broker().unwrap(), system.exchange())
}

/// Runs a command to its end: what it prints.
async fn printed(mut command: Command) -> String {
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_twenty_lines_reads_the_events() {
    let system = System::start(Options::on(shared_broker_url())).await.unwrap();
    let reader = Process::start("read_events.py", example(&system, "read_events.py")).unwrap();
    let mut only_ends = example(&system, "read_events.py");
    only_ends.arg("object.finished.#");
    let only_ends = Process::start("read_events.py object.finished.#", only_ends).unwrap();
    for process in [&reader, &only_ends] {
        let is_bound = async || {
            let lines = process.lines();
            if lines.iter().any(|line| line.starts_with("listening")) { Ok(()) } else { Err(format!("{lines:?}")) }
        };
        eventually(is_bound).await;
    }

    let body = json!({"operation": "plusone", "data": [1, 2, 3], "tasks": 3});
    let id = system.submit(&body).await.unwrap()["id"].as_str().unwrap().to_owned();
    let events = async |process: &Process, count: usize| {
        let lines = eventually(async || {
            let lines: Vec<String> = process.lines().into_iter().filter(|line| line.contains(&id)).collect();
            if lines.len() >= count { Ok(lines) } else { Err(format!("{lines:?}")) }
        });
        let lines = lines.await;
        let mut keys: Vec<String> = lines.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
        keys.sort();
        let ids: BTreeSet<&str> = lines.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
        assert_eq!(ids.len(), lines.len(), "each event has an id of its own: {lines:?}");
        keys
    };
    let three = |key: &str| vec![format!("{key}.plusone"); 3];
    let expected = [
        vec!["object.created.plusone".to_owned(), "object.finished.plusone".to_owned()],
        three("task.created"),
        three("task.finished"),
        three("task.started"),
    ];
    assert_eq!(events(&reader, 11).await, expected.concat());
    assert_eq!(events(&only_ends, 1).await, ["object.finished.plusone"]);
}

/// What there is to say of a finished object, but for its name, and for what is different each time.
fn comparable(mut object: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                let differs = |name: &str| {
                    ["id", "name", "processor", "at"].contains(&name) || name.ends_with("_at") || name.ends_with("_ms")
                };
                fields.retain(|name, _| !differs(name));
                fields.values_mut().for_each(strip);
            }
            Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut object);
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_a_client_publishes_by_itself_is_finished_like_any_other() {
    let system = System::start(Options::on(shared_broker_url())).await.unwrap();
    let body = json!({"operation": "pow", "parameters": {"exponent": 3}, "data": [1, 2, 3, 4], "tasks": 3});
    let ours = system.submit(&body).await.unwrap()["id"].as_str().unwrap().to_owned();
    let ours = system.finished(&ours).await.unwrap();

    let mut submit = example(&system, "submit_object.py");
    submit.args(["pow", "[1, 2, 3, 4]", r#"{"exponent": 3}"#]);
    let id = printed(submit).await;
    let theirs = system.finished(&id).await.unwrap();

    assert_eq!((&theirs["status"], &theirs["result"]), (&json!("succeeded"), &json!([1, 8, 27, 64])));
    assert_eq!(theirs["name"], "from Python");
    assert_eq!(comparable(theirs), comparable(ours));
    let statistics = system.get("/api/statistics").await.unwrap();
    assert_eq!(statistics["objects"]["succeeded"], 2, "{statistics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_when_nobody_would_split_what_it_submits() {
    let mut submit = script("examples/python", "submit_object.py", &shared_broker_url(), &unique_name());
    let output = submit.args(["nop", "[1]"]).output().await.unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("no queue"), "{error}");
    assert_eq!(output.stdout, b"", "there is no object");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_in_structured_mode_is_one_like_any_other() {
    let system = System::start(Options::on(shared_broker_url())).await.unwrap();
    let id = "0b2d1f4e-3c5a-4b6d-8e7f-90a1b2c3d4e5";
    let event = json!({
        "specversion": "1.0", "id": "1", "source": "/elsewhere", "type": "OBJECT_CREATED",
        "time": "2026-01-02T03:04:05+01:00", "subject": id, "datacontenttype": "application/json", "an": "extension",
        "data": {"object": {
            "id": id, "name": "structured", "operation": "plusone", "data": [1, 2], "tasks": 2, "deadline_ms": 60_000,
            "created_at": "2026-01-02T02:04:05Z",
        }},
    });
    let (url, exchange) = (system.broker().unwrap(), system.exchange());
    let mut publish = script("tests/system/foreign", "publish_structured.py", url, exchange);
    publish.args([exchange, "object.created.plusone"]).stdin(Stdio::piped());
    let mut publishing = publish.spawn().unwrap();
    publishing.stdin.take().unwrap().write_all(event.to_string().as_bytes()).await.unwrap();
    assert!(publishing.wait().await.unwrap().success());
    let object = system.finished(id).await.unwrap();
    assert_eq!((&object["status"], &object["result"]), (&json!("succeeded"), &json!([2, 3])), "{object}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_library_cannot_read_is_set_aside_and_the_rest_goes_on() {
    let system = System::start(Options::on(shared_broker_url())).await.unwrap();
    let (url, exchange) = (system.broker().unwrap(), system.exchange());
    let mut publish = script("tests/system/foreign", "publish_unreadable.py", url, exchange);
    publish.args([exchange, "object.created.plusone"]);
    assert_eq!(printed(publish).await, "published");

    let id = system.submit(&json!({"operation": "plusone", "data": [1], "tasks": 1})).await.unwrap();
    let object = system.finished(id["id"].as_str().unwrap()).await.unwrap();
    assert_eq!(object["status"], "succeeded", "{object}");
    // Each twice: the distributor could not understand it, and the record could not.
    let letters = eventually(async || {
        let list = system.get("/api/dead-letters").await.map_err(|error| error.to_string())?;
        let letters = list["dead_letters"].as_array().cloned().unwrap_or_default();
        if letters.len() == 4 { Ok(letters) } else { Err(list.to_string()) }
    });
    let mut said = Vec::new();
    for letter in letters.await {
        let letter = system.get(&format!("/api/dead-letters/{}", letter["id"].as_str().unwrap())).await.unwrap();
        said.push(["queue", "routing_key", "body"].map(|field| letter[field].as_str().unwrap().to_owned()));
    }
    said.sort();
    let [distributor, statistics] = ["distributor", "statistics"].map(|service| format!("{exchange}.{service}"));
    let key = "object.created.plusone";
    let expected = [&distributor, &statistics].map(|queue| {
        [[queue, key, "deep"], [queue, "object.created.plusone.na?ve", "in Latin-1"]].map(|all| all.map(str::to_owned))
    });
    assert_eq!(said, expected.concat());
}

/// The rows of a `list_` command of rabbitmqctl.
async fn listed(broker: &Broker, arguments: &[&str]) -> Vec<Value> {
    let listed = broker.ctl(&[&["-q", "--formatter", "json"], arguments].concat()).await.unwrap();
    serde_json::from_str(&listed).unwrap_or_else(|error| panic!("{error}: {listed}"))
}

/// A queue's arguments, as triples of name, type and value, or by name, as it depends on the version.
fn arguments(listed: &Value) -> BTreeMap<String, Value> {
    match listed {
        Value::Array(triples) => {
            triples.iter().map(|triple| (triple[0].as_str().unwrap().to_owned(), triple[2].clone())).collect()
        }
        _ => listed.as_object().unwrap().clone().into_iter().collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_has_the_queues_and_bindings_that_the_document_says() {
    let path: PathBuf = repository().join("asyncapi.json");
    let document: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let broker = Broker::start().await.unwrap();
    let system = System::start(Options::on(broker.url())).await.unwrap();
    let exchange = system.exchange();

    let exchanges = listed(&broker, &["list_exchanges", "name", "type", "durable"]).await;
    assert!(exchanges.contains(&json!({"name": exchange, "type": "topic", "durable": true})), "{exchanges:?}");

    let bindings = listed(&broker, &["list_bindings", "source_name", "destination_name", "routing_key"]).await;
    let queues = listed(&broker, &["list_queues", "name", "durable", "auto_delete", "exclusive", "arguments"]).await;
    let (mut met, owner) = (BTreeSet::new(), format!("{exchange}.statistics.owner"));
    for queue in queues.iter().filter(|queue| queue["name"] != owner) {
        // The document has the name that the exchange has unless another one is chosen.
        let name = queue["name"].as_str().unwrap().replacen(exchange, "ebs", 1);
        let channels = document["channels"].as_object().unwrap();
        let (id, channel) = channels
            .iter()
            .filter(|(_, channel)| channel["bindings"]["amqp"]["is"] == "queue")
            .find(|(id, channel)| {
                **id == name || channel.get("parameters").is_some() && name.starts_with(&format!("{id}."))
            })
            .unwrap_or_else(|| panic!("the document has no queue {name}"));
        met.insert(id.clone());
        let word = name.strip_prefix(&format!("{id}.")).unwrap_or_default();
        let said = channel["description"].as_str().unwrap();

        let binding = &channel["bindings"]["amqp"]["queue"];
        for (property, documented) in
            [("durable", "durable"), ("auto_delete", "autoDelete"), ("exclusive", "exclusive")]
        {
            // It says "" of what a quorum queue cannot be.
            assert_eq!(Value::from(queue[property] == true), binding[documented], "{name}: {property}");
        }
        let arguments = arguments(&queue["arguments"]);
        for (argument, value) in &arguments {
            let value = value.as_str().map_or_else(|| value.to_string(), |text| text.replacen(exchange, "ebs", 1));
            let is_said = match argument.as_str() {
                "x-message-ttl" => value == word.replace('s', "000") && said.contains("- `x-message-ttl`: the delay"),
                _ if value.is_empty() => said.contains(&format!("- `{argument}`: the default exchange")),
                _ => said.contains(&format!("- `{argument}`: `{value}`")),
            };
            assert!(is_said, "{name}: {argument} is {value}, and the document says: {said}");
        }
        assert_eq!(said.matches("- `x-").count(), arguments.len(), "{name}: {arguments:?}, {said}");

        let bound: Vec<&Value> = bindings
            .iter()
            .filter(|binding| binding["source_name"] != "" && binding["destination_name"] == queue["name"])
            .collect();
        assert_eq!(bound.len(), 1, "{name}: {bound:?}");
        let general = |text: &str, parameter: &str| match text.strip_suffix(word) {
            Some(rest) if !word.is_empty() => format!("{rest}<{parameter}>"),
            _ => text.to_owned(),
        };
        let source = bound[0]["source_name"].as_str().unwrap().replacen(exchange, "ebs", 1);
        let source = general(&source, "delay");
        let pattern = general(bound[0]["routing_key"].as_str().unwrap(), "operation");
        let by = if pattern.is_empty() { String::new() } else { format!(" by `{pattern}`") };
        assert!(said.contains(&format!("exchange `{source}`{by}.")), "{name}: bound to {source}{by}, but: {said}");
    }
    let documented: BTreeSet<String> = document["channels"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, channel)| channel["bindings"]["amqp"]["is"] == "queue")
        .map(|(id, _)| id.clone())
        .collect();
    assert_eq!(met, documented, "queues that the document has and the broker has not, or the other way round");
}
