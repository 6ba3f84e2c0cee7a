//! A client of somebody else's, that sends what nobody understands.

use std::time::Duration;

use bus::{Message, Topology, Transport};

use crate::programs::EXCHANGE;

const PATIENCE: Duration = Duration::from_secs(10);

/// Sends garbage to everybody that objects are sent to: the same in each life, as somebody does who never was told that it
/// arrived.
pub async fn send_garbage(transport: &dyn Transport) {
    let topology = Topology::new(EXCHANGE);
    transport.ensure(topology.events(), vec![topology.distributor(), topology.statistics()]).await;
    let garbage = Message {
        exchange: EXCHANGE.to_owned(),
        routing_key: "object.created.nop".to_owned(),
        id: "garbage".to_owned(),
        content_type: Some("application/json".to_owned()),
        body: "{".into(),
        ..Message::default()
    };
    for result in transport.publish(vec![garbage], PATIENCE).await {
        result.unwrap();
    }
}
