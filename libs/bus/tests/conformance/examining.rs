//! What an examination of a broker finds, step by step; and that it changes nothing.

use std::time::{Duration, Instant};

use bus::{
    Topology,
    amqp::{Address, Finding, Verdict, examine},
};
use lapin::{options::QueueDeclareOptions, types::FieldTable};
use testkit::{Broker, eventually, unique_name};
use tokio::net::TcpListener;

use crate::{
    certificates::{Authority, Valid},
    kit::{message, publish},
    subject::{Foreign, RabbitMq, Subject},
};

async fn found(url: &str, exchange: &str) -> Vec<Finding> {
    let operations = ["pow".parse().unwrap()];
    examine(&Address::parse(url).unwrap(), exchange, &operations).await
}

/// Sees that it was found, in words that hold these.
fn has(found: &[Finding], subject: &str, verdict: Verdict, told: &str) {
    let fits = |finding: &&Finding| {
        let says = finding.says.contains(told) || finding.advice.contains(told);
        finding.subject == subject && finding.verdict == verdict && says
    };
    let finding = found.iter().find(fits).unwrap_or_else(|| panic!("{subject} {verdict:?} {told}: {found:#?}"));
    assert_eq!(finding.advice.is_empty(), verdict == Verdict::Ok, "{finding:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_examination_finds_what_is_there_and_what_is_otherwise_and_changes_nothing() {
    let subject = RabbitMq::fresh().await;
    let (topology, url) = (Topology::new(subject.exchange()), testkit::shared_broker_url());
    let look = async || found(&url, subject.exchange()).await;
    let told = look().await;
    has(&told, "version", Verdict::Ok, "RabbitMQ");
    has(&told, "queues", Verdict::Ok, "none is there yet");
    has(&look().await, "queues", Verdict::Ok, "none is there yet");

    let transport = subject.transport();
    let distributor = topology.distributor();
    transport.ensure(topology.events(), vec![distributor.clone()]).await;
    publish(&*transport, vec![message(subject.exchange(), "object.created.pow", 1)]).await;
    let told = look().await;
    has(&told, "queues", Verdict::Warning, &topology.statistics().name);
    eventually(async || match look().await.iter().find(|finding| finding.subject == "work") {
        Some(finding) if finding.says.contains(&format!("1 wait in {}", distributor.name)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;

    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let name = topology.statistics().name;
    let channel = subject.foreign_client().await;
    channel.queue_declare(name.as_str().into(), durable, FieldTable::default()).await.unwrap();
    has(&look().await, "queues", Verdict::Problem, &name);
    has(&look().await, "work", Verdict::Warning, "1 wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_examination_tells_whom_tls_trusts_and_whom_it_does_not() {
    const NAME: &str = "localhost";
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.write(folder.path(), NAME, Valid::Now);
    let mut broker = Broker::prepare_with_tls(folder.path(), false).unwrap();
    broker.resume().await.unwrap();
    let (port, exchange) = (broker.tls_port().unwrap(), unique_name());
    let ca = folder.path().join("ca.pem").display().to_string();
    let at = |host: &str, query: &str| format!("amqps://guest:guest@{host}:{port}/%2f?{query}");

    let told = found(&at(NAME, &format!("cacertfile={ca}")), &exchange).await;
    has(&told, "tls", Verdict::Ok, "trusted");
    has(&told, "user", Verdict::Ok, "guest");
    let another = Authority::new().write_ca(folder.path()).display().to_string();
    let told = found(&at(NAME, &format!("cacertfile={another}")), &exchange).await;
    has(&told, "tls", Verdict::Problem, "the broker's certificate is refused");
    let told = found(&at("127.0.0.1", &format!("cacertfile={ca}")), &exchange).await;
    has(&told, "tls", Verdict::Problem, "server_name_indication");
    let told = found(&at(NAME, "cacertfile=/no/such/file"), &exchange).await;
    has(&told, "tls", Verdict::Problem, "/no/such/file");
    let told = found(&format!("amqps://{NAME}:{}/%2f?cacertfile={ca}", broker.port()), &exchange).await;
    has(&told, "tls", Verdict::Problem, "5671");
    let told = found(&format!("amqp://{NAME}:{port}/%2f"), &exchange).await;
    has(&told, "broker", Verdict::Problem, "amqps://");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_examination_of_whoever_is_silent_ends() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("127.0.0.1:{}", silent.local_addr().unwrap().port());
    let began = Instant::now();
    has(&found(&url, "ebs").await, "broker", Verdict::Problem, "silent");
    assert!(began.elapsed() < Duration::from_secs(20));
}
