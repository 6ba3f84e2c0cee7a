//! There is one record: a second statistics waits, is not ready, and says so.

use serde_json::json;
use testkit::{Options, Process, System, eventually, free_port, service_binary, shared_broker_url};
use tokio::process::Command;

fn second(system: &System, port: u16, database: &str) -> Process {
    let mut command = Command::new(service_binary("statistics"));
    command
        .env("QUEUE_URL", shared_broker_url())
        .env("EXCHANGE", system.exchange())
        .env("LISTEN", format!("127.0.0.1:{port}"))
        .env("DATABASE_URL", database);
    Process::start("second statistics", command).unwrap()
}

async fn says_it_waits(system: &System, port: u16) {
    eventually(async || {
        let answer = system.client().get(format!("http://127.0.0.1:{port}/readyz")).send().await;
        let answer = answer.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        if status == 503 && text.contains("waiting") { Ok(()) } else { Err(format!("{status} {text}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_statistics_waits_whichever_file_it_has_and_takes_over() {
    let mut system = System::start(Options::on(shared_broker_url())).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let own_file = format!("sqlite://{}", folder.path().join("own.db").display());
    let same_file = format!("sqlite://{}", system.database().display());
    let (own_port, same_port) = (free_port().unwrap(), free_port().unwrap());
    let mut with_own_file = second(&system, own_port, &own_file);
    says_it_waits(&system, own_port).await;
    with_own_file.kill().await.unwrap();

    let _with_same_file = second(&system, same_port, &same_file);
    says_it_waits(&system, same_port).await;
    let first = system.submit(&json!({})).await.unwrap();
    system.finished(first["id"].as_str().unwrap()).await.unwrap();
    system.kill("statistics").await.unwrap();
    let id = first["id"].as_str().unwrap();
    eventually(async || {
        let url = format!("http://127.0.0.1:{same_port}/api/objects/{id}");
        let answer = system.client().get(url).send().await.map_err(|error| error.to_string())?;
        if answer.status() == 200 { Ok(()) } else { Err(answer.text().await.unwrap()) }
    })
    .await;
}
