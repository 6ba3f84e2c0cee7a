//! A client: it keeps to the least busy node, and goes to another one when that dies.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, bail};
use tokio::time::{Instant, interval, sleep_until};
use uuid::Uuid;

use crate::common;
use crate::node::{BEAT, Listed, View};

const USAGE: &str = "like: one like; like many: ten of them, half a second after one another";
const MANY: u32 = 10;
const DELAY: Duration = Duration::from_millis(500);
/// A node that does not answer within this is as good as dead.
const PATIENCE: Duration = Duration::from_secs(5);

struct Client {
    http: reqwest::Client,
    id: Uuid,
    /// Whoever was heard of.
    known: BTreeSet<String>,
    /// The node that it keeps to.
    node: String,
    likes: u64,
}

impl Client {
    /// Finds the nodes, and takes the least busy one that answers.
    async fn join(&mut self) -> anyhow::Result<()> {
        for address in self.known.clone() {
            let Ok(answer) = self.http.get(format!("http://{address}/api/nodes")).send().await else { continue };
            let mut view: View = answer.json().await.with_context(|| format!("{address} is not a node"))?;
            view.nodes.sort_by_key(|node| node.clients);
            for Listed { address, clients, .. } in view.nodes {
                self.node = address;
                // One that has just died is still in the list.
                if self.beat().await.is_ok() {
                    println!("at {}, which had {clients} clients", self.node);
                    return Ok(());
                }
            }
        }
        bail!("no node answers, of {:?}; to start one: likes node --port 6001", self.known)
    }

    /// Says that it is there, and hears what is new. Who does not for some seconds is no client any more.
    async fn beat(&mut self) -> reqwest::Result<()> {
        let request = self.http.put(format!("http://{}/api/clients/{}", self.node, self.id));
        let view: View = request.send().await?.error_for_status()?.json().await?;
        self.known.extend(view.nodes.into_iter().map(|node| node.address));
        if view.likes != self.likes {
            println!("{} likes", view.likes);
            self.likes = view.likes;
        }
        Ok(())
    }

    async fn like(&mut self) -> anyhow::Result<()> {
        loop {
            match self.http.post(format!("http://{}/api/likes", self.node)).send().await {
                Ok(answer) => {
                    println!("liked at {}: {}", self.node, answer.status());
                    return Ok(());
                }
                // It did not get there, so another node may have it. This ends, because joining does if all are dead.
                Err(error) if error.is_connect() => self.join().await?,
                // The node may have counted it before it died. Sent again, it might count twice.
                Err(error) => bail!("{} did not answer, and the like may count or not: {error}", self.node),
            }
        }
    }
}

/// Reads commands until the input ends, or Ctrl-C.
pub async fn run(known: &[&str]) -> anyhow::Result<()> {
    // A connection for each request: then it is certain that one was not sent if there was none.
    let http = reqwest::Client::builder().timeout(PATIENCE).pool_max_idle_per_host(0).no_proxy().build()?;
    let known = known.iter().map(|address| (*address).to_owned()).collect();
    let mut client = Client { http, id: Uuid::now_v7(), known, node: String::new(), likes: 0 };
    client.join().await?;
    println!("{USAGE}");
    let (shutdown, mut lines, mut beat) = (common::shutdown()?, common::lines(), interval(BEAT));
    // How many likes are still to come, and when the next one is.
    let (mut many, mut next) = (0, Instant::now());
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = beat.tick() => {
                if client.beat().await.is_err() {
                    println!("{} is gone", client.node);
                    client.join().await?;
                }
            }
            () = sleep_until(next), if many > 0 => {
                client.like().await.unwrap_or_else(|error| println!("{error:#}"));
                (many, next) = (many - 1, next + DELAY);
            }
            // The next command when this one is done.
            line = lines.recv(), if many == 0 => match line.as_deref() {
                Some("like") => (many, next) = (1, Instant::now()),
                Some("like many") => (many, next) = (MANY, Instant::now()),
                Some(line) => println!("unknown: {line}\n{USAGE}"),
                None => return Ok(()),
            }
        }
    }
}
