//! Whether what is called durable is: `strace` counts how often a process makes a file's content durable (fsync, fdatasync)
//! while objects are submitted one after another. With `synchronous=FULL` every commit syncs the WAL; with anything less,
//! only checkpoints do, and the count would be next to none.

use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, ensure};
use testkit::{Process, Signal};
use tokio::{fs, process::Command, time::sleep};

use crate::{deployment::Part, latency};

/// How long `strace` may take to attach and to leave.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// How often each file was made durable while these objects were finished one by one, by the file's name. None, and
/// why, where nobody can look.
pub async fn count(
    part: &Part,
    port: u16,
    texts: &[String],
    scratch: &Path,
) -> anyhow::Result<Result<BTreeMap<String, usize>, String>> {
    let output = scratch.join("syncs");
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-e", "trace=fsync,fdatasync", "-o"]).arg(&output);
    command.args(["-p", &part.id()?.to_string()]).stdin(Stdio::null());
    let Ok(mut strace) = Process::start("strace", command) else {
        return Ok(Err("strace is not installed".to_owned()));
    };
    let began = tokio::time::Instant::now();
    while !strace.lines().iter().any(|line| line.contains("attached")) {
        if strace.has_ended() || began.elapsed() > PATIENCE {
            return Ok(Err(format!("strace cannot attach: {}", strace.lines().join(" "))));
        }
        sleep(POLL).await;
    }
    for text in texts {
        latency::round(port, std::slice::from_ref(text)).await?;
    }
    strace.signal(Signal::SIGINT)?;
    strace.ended(PATIENCE).await?;
    let mut files = BTreeMap::new();
    for line in fs::read_to_string(&output).await?.lines() {
        // 123 fdatasync(9</some/where/bus.db-wal>) = 0, and sometimes a second line, 123 <... fdatasync resumed>) = 0
        let path = line.split_once('<').and_then(|(_, rest)| Some(rest.split_once('>')?.0));
        if let Some(path) = path.filter(|path| path.starts_with('/')) {
            let name = Path::new(path).file_name().context("a file without a name")?;
            *files.entry(name.to_string_lossy().into_owned()).or_default() += 1;
        }
    }
    for (name, syncs) in files.iter().filter(|(name, _)| name.ends_with("-wal")) {
        ensure!(*syncs >= texts.len(), "{} objects, and {name} was made durable {syncs} times", texts.len());
    }
    Ok(Ok(files))
}
