//! A client: it keeps to the least busy node, and goes to another one when that dies.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, bail};
use tokio::time::{Instant, interval, sleep_until};
use uuid::Uuid;

use crate::{
    common,
    node::{BEAT, Listed, View},
};

const USAGE: &str = "\
like                one like
like many [COUNT]   so many, or 10, half a second after one another
nodes               the nodes, and how many clients each has";

/// A node that does not answer within this is as good as dead.
const PATIENCE: Duration = Duration::from_secs(5);
const DELAY: Duration = Duration::from_millis(500);
const MAX_COUNT: u32 = 10_000;

struct Client {
    http: reqwest::Client,
    id: Uuid,
    /// Whoever was heard of.
    known: BTreeSet<String>,
    /// The node that it keeps to, and what that says.
    node: String,
    view: View,
}

impl Client {
    /// Finds the nodes, and takes the least busy one that answers.
    async fn join(&mut self) -> anyhow::Result<()> {
        for address in self.known.clone() {
            let answer = self.http.get(format!("http://{address}/api/nodes")).send().await;
            let Ok(answer) = answer else { continue };
            let mut view: View = answer.json().await.with_context(|| format!("{address} is not a node"))?;
            view.nodes.sort_by_key(|node| node.clients);
            for Listed { address, clients, .. } in view.nodes {
                self.node = address;
                // One that has just died is still in the list.
                if self.beat().await.is_ok() {
                    println!("at {}, which had {clients} clients; {} likes", self.node, self.view.likes);
                    return Ok(());
                }
            }
        }
        bail!("no node answers, of {:?}; to start one: likes node --port 6001", self.known)
    }

    /// Says that it is there, and hears what is new. Who does not for some seconds is no client any more.
    async fn beat(&mut self) -> reqwest::Result<()> {
        let request = self.http.put(format!("http://{}/api/clients/{}", self.node, self.id));
        self.view = request.send().await?.error_for_status()?.json().await?;
        self.known.extend(self.view.nodes.iter().map(|node| node.address.clone()));
        Ok(())
    }

    async fn like(&mut self) -> anyhow::Result<()> {
        loop {
            match self.http.post(format!("http://{}/api/likes", self.node)).send().await {
                Ok(answer) => {
                    let later = if answer.status() == 200 { "" } else { "; the others hear of it later" };
                    println!("liked at {}{later}", self.node);
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
    let mut client = Client { http, id: Uuid::now_v7(), known, node: String::new(), view: View::default() };
    client.join().await?;
    println!("{USAGE}");
    let (shutdown, mut lines, mut beat) = (common::shutdown()?, common::lines(), interval(BEAT));
    // How many likes are still to come, and when the next one is.
    let (mut many, mut next, mut shown) = (0, Instant::now(), client.view.likes);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = beat.tick() => {
                if client.beat().await.is_err() {
                    println!("{} is gone", client.node);
                    client.join().await?;
                }
                if client.view.likes != shown {
                    shown = client.view.likes;
                    println!("{shown} likes");
                }
            }
            () = sleep_until(next), if many > 0 => {
                client.like().await.unwrap_or_else(|error| println!("{error:#}"));
                (many, next) = (many - 1, next + DELAY);
            }
            // The next command when this one is done.
            line = lines.recv(), if many == 0 => {
                let Some(line) = line else { return Ok(()) };
                next = Instant::now();
                match line.split_whitespace().collect::<Vec<_>>()[..] {
                    ["like"] => many = 1,
                    ["like", "many"] => many = 10,
                    ["like", "many", count] => match count.parse() {
                        Ok(count @ 1..=MAX_COUNT) => many = count,
                        _ => println!("COUNT: 1 to {MAX_COUNT} are allowed"),
                    },
                    ["nodes"] => for Listed { id, address, clients } in &client.view.nodes {
                        println!("{address}  {id}  {clients} clients");
                    },
                    _ => println!("unknown: {line}\n{USAGE}"),
                }
            }
        }
    }
}
