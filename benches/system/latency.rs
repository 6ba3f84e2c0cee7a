//! How long a lone object takes: from its POST to the answer that it is finished, at a load that leaves the machine idle.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::client::Client;

/// Objects a second: far below what the slowest contender can do.
const RATE: u32 = 20;
/// Connections that take turns; an object that takes longer than their number over [`RATE`] delays a later one, which
/// counts for that one, because every time begins when the object was to be sent.
const CONNECTIONS: usize = 8;

/// Submits the texts one after another and waits for each; how long they took, in milliseconds.
pub async fn round(port: u16, texts: &[String]) -> anyhow::Result<Vec<f64>> {
    let begin = Instant::now() + Duration::from_millis(50);
    let turns = (0..CONNECTIONS).map(|turn| {
        let texts: Vec<(usize, String)> = texts.iter().cloned().enumerate().skip(turn).step_by(CONNECTIONS).collect();
        tokio::spawn(async move {
            let mut client = Client::connect(port).await?;
            let mut times = Vec::with_capacity(texts.len());
            for (number, text) in texts {
                let intended = begin + Duration::from_secs(1) * u32::try_from(number)? / RATE;
                sleep_until(intended).await;
                submit_and_wait(&mut client, &text).await?;
                times.push(intended.elapsed().as_secs_f64() * 1000.0);
            }
            anyhow::Ok(times)
        })
    });
    let times = try_join_all(turns).await?.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    Ok(times.into_iter().flatten().collect())
}

async fn submit_and_wait(client: &mut Client, text: &str) -> anyhow::Result<()> {
    let created: Value = serde_json::from_slice(&client.post(text).await?)?;
    let id = created["id"].as_str().context("no id")?;
    let object = client.get(&format!("/api/objects/{id}?wait=10")).await?;
    ensure!(object["status"] == "succeeded", "after ten seconds: {object}");
    Ok(())
}
