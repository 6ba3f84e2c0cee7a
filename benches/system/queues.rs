//! Leaves the broker as it was, so that a round does not pay for those before it.

use anyhow::ensure;
use bus::{RETRY_DELAYS, Topology};
use lapin::{Connection, ConnectionProperties, options::QueueDeleteOptions};
use operations::Catalogue;

/// Deletes the queues of a system that has ended; fails if it had set a message aside.
pub async fn remove(url: &str, exchange: &str) -> anyhow::Result<()> {
    let topology = Topology::new(exchange);
    let mut queues = vec![topology.distributor(), topology.statistics()];
    for name in Catalogue::built_in().names() {
        queues.push(topology.processor(&name.parse()?));
    }
    queues.extend(RETRY_DELAYS.map(|delay| topology.retry(delay)));
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    for queue in queues {
        // One that was never there is no error.
        channel.queue_delete(queue.name.as_str().into(), QueueDeleteOptions::default()).await?;
    }
    let dead = topology.dead_letters().name;
    let set_aside = channel.queue_delete(dead.as_str().into(), QueueDeleteOptions::default()).await?;
    ensure!(set_aside == 0, "{set_aside} messages were set aside");
    connection.close(200, "done".into()).await?;
    Ok(())
}
