//! # Replicated likes
//!
//! Nodes that are equal: any of them serves any client, they find each other over the bus, and all come to the same number,
//! whoever dies or joins meanwhile.
//!
//! ```sh
//! cargo run --example likes -- node --port 6001      # and 6002, and 6003, each in a terminal
//! curl -X POST localhost:6001/api/likes
//! curl localhost:6002/api/likes
//! curl localhost:6003/api/nodes
//! cargo run --example likes -- client                # then: like, like many
//! ```
//!
//! Without a broker, the nodes are tasks of one process:
//! `QUEUE_URL=embedded: cargo run --example likes -- node --port 6001 --port 6002 --port 6003`.
//!
//! **The number** is a [G-Counter](https://inria.hal.science/inria-00555588): one counter a node, which only that node raises; their
//! sum is the number of likes. States are merged by taking the greater of each counter, so in whatever order and however often
//! they are heard, no like is lost or doubled. A node says all that it knows, again and again: who joins late, or was cut off,
//! has caught up with the next thing that it hears. Each start is a new node with a new id, which need not know what it had
//! counted before; the price is a counter for each start that was liked.
//!
//! **A like** that is answered with 200 was sent to every node that listens: it is gone only when all of them die, as nothing
//! is on disk. 202: it counts here, and the others hear of it when the bus is back.
//!
//! **The leader** is the living node with the smallest id, which is the oldest; alive is who was heard in the last three
//! seconds. That takes no votes, and promises little: until a death is noticed there is none, and two when the bus is cut in two. It is
//! good for what one should do and two may (here, to print the likes). For the rest there is `Source::Exclusive`.

mod client;
#[path = "../common/mod.rs"]
mod common;
mod node;

use futures_util::future::try_join_all;

const USAGE: &str = "\
likes node --port PORT [--port PORT ...]   a node, or several in this process; QUEUE_URL says where the bus is
likes client [HOST:PORT ...]               a client of them; HOST:PORT are nodes to ask, if not 127.0.0.1:6001 to 6003";

#[tokio::main]
async fn main() -> common::Ended {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["node", ref ports @ ..] if !ports.is_empty() => nodes(ports).await?,
        ["client"] => client::run(&["127.0.0.1:6001", "127.0.0.1:6002", "127.0.0.1:6003"]).await?,
        ["client", ref nodes @ ..] if nodes.iter().all(|node| node.contains(':')) => client::run(nodes).await?,
        _ => common::usage(USAGE),
    }
    Ok(())
}

async fn nodes(arguments: &[&str]) -> anyhow::Result<()> {
    let port = |pair: &[&str]| if let ["--port", port] = pair { port.parse().ok().filter(|p| *p > 0) } else { None };
    let ports: Option<Vec<u16>> = arguments.chunks(2).map(port).collect();
    let ports = ports.unwrap_or_else(|| common::usage(&format!("--port takes a number from 1 to 65535\n\n{USAGE}")));
    let (shutdown, bus) = (common::shutdown()?, common::bus("likes", "likes").await?);
    let nodes = ports.iter().map(|port| node::run(bus.clone(), *port, shutdown.clone()));
    shutdown.run_until_cancelled(try_join_all(nodes)).await.transpose()?;
    bus.close().await;
    Ok(())
}
