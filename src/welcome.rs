//! What is said at the start: where everything is, and what to try.

use std::{io::IsTerminal, net::SocketAddr, path::Path};

use chassis::{
    settings::{QueueUrl, Settings},
    telemetry::LogFormat,
};
use tracing::info;

/// Tells people on a terminal on standard output, and everybody else by a line of the log.
pub fn welcome(settings: &Settings<QueueUrl>, record: &Path, address: SocketAddr) {
    let version = env!("CARGO_PKG_VERSION");
    let record = absolute(record);
    let bus = match settings.queue_url() {
        QueueUrl::Embedded(file) => absolute(file),
        QueueUrl::Broker(address) => address.to_string(),
    };
    if settings.log_format == LogFormat::Json || !std::io::stdout().is_terminal() {
        info!("ebs {version} listens on http://{address}, bus: {bus}, record: {record}");
        return;
    }
    let url = url(address);
    println!("EBS {version} listens on {url}\n");
    for (command, purpose) in [
        (format!("curl -X POST {url}/api/objects"), "submits an object made up on the spot"),
        (format!("curl '{url}/api/objects/ID?wait=10'"), "what became of it; its ID is in the answer"),
        (format!("curl {url}/api/totals/word-frequencies"), "the words of all objects so far"),
        (format!("curl {url}/api/statistics"), "what has happened so far"),
    ] {
        println!("  {command:<62} {purpose}");
    }
    println!("\nAll of it, to read and to try in a browser: {url}/docs");
    println!("\nThe bus:    {bus}\nThe record: {record}");
    println!("Ctrl-C stops it; what has been accepted is kept, and the next start goes on with it.");
    if matches!(settings.queue_url(), QueueUrl::Embedded(_)) {
        println!(
            "To go on over RabbitMQ: wait until nothing is in progress (/api/statistics), stop, and start again with\n\
             QUEUE_URL=amqp://user:password@host:5672/%2f"
        );
    }
    println!();
}

/// As one would type it on this machine.
fn url(address: SocketAddr) -> String {
    match (address.ip(), address.port()) {
        (ip, port) if ip.is_loopback() || ip.is_unspecified() => format!("http://localhost:{port}"),
        (_, _) => format!("http://{address}"),
    }
}

fn absolute(file: &Path) -> String {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned()).display().to_string()
}
