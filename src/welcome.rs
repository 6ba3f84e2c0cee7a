//! What is said at the start: where everything is, and what to try.

use std::{io::IsTerminal, net::SocketAddr, path::Path};

use chassis::{
    settings::{QueueUrl, Settings},
    telemetry::LogFormat,
};
use tracing::info;

use crate::output;

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
    let mut text = format!("EBS {version} listens on {url}\n\n");
    for (purpose, command) in [
        ("submits an object made up on the spot", format!("curl -X POST {url}/api/objects")),
        ("what became of it; its ID is in the answer", format!("curl '{url}/api/objects/ID?wait=10'")),
        ("the words of all objects so far", format!("curl {url}/api/totals/word-frequencies")),
        ("what has happened so far", format!("curl {url}/api/statistics")),
    ] {
        text += &format!("  {command}\n      {purpose}\n");
    }
    text += &format!(
        "\nAll of it, to read and to try in a browser: {url}/docs\n\nThe bus:    {bus}\nThe record: {record}\nCtrl-C stops \
         it; what has been accepted is kept, and the next start goes on\nwith it.\n"
    );
    if matches!(settings.queue_url(), QueueUrl::Embedded(_)) {
        text += "To go on over RabbitMQ: wait until nothing is in progress (/api/statistics),\nstop, and start again with \
                 QUEUE_URL=amqp://user:password@host:5672/%2f\n";
    }
    // Whoever started it may have gone.
    let _ = output::print(&format!("{text}\n"));
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
