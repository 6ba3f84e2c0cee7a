//! TLS, on a real broker: who is taken for the broker, and who is not.

use std::{path::Path, time::Duration};

use bus::{
    Source, Transport,
    amqp::{Address, Amqp, read_address},
};
use tempfile::TempDir;
use testkit::{Broker, eventually, unique_name};
use tokio::{net::TcpListener, time::timeout};

use crate::{
    certificates::{Authority, Valid},
    kit::{message, next, publish, queue, topic},
};

/// What the broker's certificate is for: not for its number.
const NAME: &str = "localhost";

/// A broker with TLS, the authority that vouches for it, and where its certificates are.
async fn broker(clients_show_theirs: bool) -> (Broker, Authority, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.write(folder.path(), NAME, Valid::Now);
    let mut broker = Broker::prepare_with_tls(folder.path(), clients_show_theirs).unwrap();
    broker.resume().await.unwrap();
    (broker, authority, folder)
}

fn connect(url: &str) -> Amqp {
    Amqp::connect(&Address::parse(url).unwrap(), "test")
}

/// Sends a message through the broker and takes it.
async fn works(transport: &dyn Transport) {
    let exchange = unique_name();
    let queue = queue(&exchange, "work", "a.#");
    transport.ensure(topic(&exchange), vec![queue.clone()]).await;
    publish(transport, vec![message(&exchange, "a.b", 1)]).await;
    let received = next(&mut *transport.subscribe(Source::Shared(queue), 1)).await;
    assert_eq!(received.message.id, "1");
}

/// Sees that the broker at this address is not used, and that it is said why.
async fn refused(url: &str, told: &str) {
    let transport = connect(url);
    let status = eventually(async || match transport.status() {
        Err(status) if status != "publishing: not connected yet" => Ok(status),
        other => Err(format!("{url}: {other:?}")),
    })
    .await;
    assert!(status.contains(told), "{url}: {status}");
    transport.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_only_whom_the_authority_vouches_for_by_the_name_that_was_asked_for_is_the_broker() {
    let (broker, authority, folder) = broker(false).await;
    let (port, plain) = (broker.tls_port().unwrap(), broker.port());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let ca = file("ca.pem");
    let at = |host: &str, query: &str| format!("amqps://guest:guest@{host}:{port}/%2f?{query}");
    let trusting = at(NAME, &format!("cacertfile={ca}"));

    let safe = connect(&trusting);
    works(&safe).await;
    works(&connect(&at("127.0.0.1", &format!("cacertfile={ca}&server_name_indication={NAME}")))).await;

    let another = Authority::new().write_ca(folder.path()).display().to_string();
    refused(&at(NAME, &format!("cacertfile={another}")), "no authority that is trusted has signed it").await;
    // The system may have authorities of its own, or none.
    refused(&at(NAME, ""), "trust").await;
    refused(&at("127.0.0.1", &format!("cacertfile={ca}")), "not valid for name").await;
    let missing = file("missing.pem");
    refused(&at(NAME, &format!("cacertfile={missing}")), &missing).await;
    let no_certificate = file("key.pem");
    refused(&at(NAME, &format!("cacertfile={no_certificate}")), "no certificate").await;
    refused(&format!("amqps://guest:guest@{NAME}:{plain}/%2f?cacertfile={ca}"), "in the clear").await;
    refused(&format!("amqp://guest:guest@{NAME}:{port}/%2f"), "publishing: ").await;

    authority.write(folder.path(), NAME, Valid::LongAgo);
    broker.ctl(&["eval", "ssl:clear_pem_cache()."]).await.unwrap();
    refused(&trusting, "expired").await;
    works(&safe).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_shows_its_certificate_to_a_broker_that_asks_for_one() {
    let (broker, authority, folder) = broker(true).await;
    let own = tempfile::tempdir().unwrap();
    authority.write(own.path(), "a client", Valid::Now);
    let file = |folder: &Path, name: &str| folder.join(name).display().to_string();
    let (ca, certificate) = (file(folder.path(), "ca.pem"), file(own.path(), "certificate.pem"));
    let anonymous = format!("amqps://guest:guest@{NAME}:{}/%2f?cacertfile={ca}", broker.tls_port().unwrap());
    let identified = format!("{anonymous}&certfile={certificate}&keyfile={}", file(own.path(), "key.pem"));
    works(&connect(&identified)).await;
    refused(&anonymous, "publishing: ").await;
    let stranger = tempfile::tempdir().unwrap();
    Authority::new().write(stranger.path(), "a client", Valid::Now);
    let (certificate, key) = (file(stranger.path(), "certificate.pem"), file(stranger.path(), "key.pem"));
    refused(&format!("{anonymous}&certfile={certificate}&keyfile={key}"), "publishing: ").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_silent_in_the_handshake_does_not_hold_us() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new().write_ca(folder.path());
    let port = silent.local_addr().unwrap().port();
    let transport = connect(&format!("amqps://{NAME}:{port}/%2f?cacertfile={}", ca.display()));
    let mut held = Vec::new();
    // The first connection stays silent; that there is a second one shows that the first was given up.
    for _ in 0..2 {
        held.push(timeout(Duration::from_secs(60), silent.accept()).await.unwrap().unwrap());
    }
    assert!(transport.status().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_changed_is_read_from_its_file_at_the_next_connect() {
    let broker = Broker::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    let write = |password: &str| {
        let url = format!("amqp://guest:{password}@127.0.0.1:{}/%2f\n", broker.port());
        std::fs::write(&file, url).unwrap();
    };
    write("guest");
    let address = Address::parse(&read_address(&file).unwrap()).unwrap().kept_in(file.clone());
    let transport = Amqp::connect(&address, "test");
    works(&transport).await;

    broker.ctl(&["change_password", "guest", "another"]).await.unwrap();
    broker.ctl(&["close_all_connections", "the password was changed"]).await.unwrap();
    eventually(async || match transport.status() {
        Err(status) if status.contains("ACCESS_REFUSED") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    write("another");
    eventually(async || transport.status()).await;
    works(&transport).await;
}
