//! What Linux says of a process: processor time and memory.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::Context;

/// Ticks a second in /proc; Linux has had 100 for userspace on every architecture for decades.
const TICKS: u64 = 100;

/// Processes whose processor time is watched, this one, the client, always among them.
pub struct Watch {
    processes: Vec<(String, u32, Duration)>,
}

impl Watch {
    /// Begins to watch the client and these.
    pub fn begin(others: impl IntoIterator<Item = (String, u32)>) -> anyhow::Result<Self> {
        let client = [("client".to_owned(), std::process::id())];
        let processes = client.into_iter().chain(others).map(|(name, id)| Ok((name, id, cpu_time(id)?)));
        Ok(Self { processes: processes.collect::<anyhow::Result<_>>()? })
    }

    /// What each has used since for one of `objects`, in microseconds.
    pub fn end(self, objects: usize) -> anyhow::Result<BTreeMap<String, f64>> {
        let used = self.processes.into_iter().map(|(name, id, before)| {
            let used = cpu_time(id)?.saturating_sub(before);
            Ok((name, used.as_micros() as f64 / objects as f64))
        });
        used.collect()
    }
}

/// Processor time that a process has used so far, all its threads, in user and kernel mode.
fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold anything. After it come state (field 3), …, utime (14), stime (15).
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat")?;
    let mut fields = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let mut next = || fields.next().context("/proc/PID/stat is short");
    let ticks = next()?? + next()??;
    Ok(Duration::from_millis(ticks * 1000 / TICKS))
}

/// Memory of a process.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident now, in MiB.
    pub now_mib: f64,
    /// Resident at its peak, in MiB.
    pub peak_mib: f64,
}

/// What a process has in memory.
pub fn memory(pid: u32) -> anyhow::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mib = |name: &str| -> anyhow::Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
        let kib = line.trim().trim_end_matches("kB").trim();
        Ok(kib.parse::<f64>()? / 1024.0)
    };
    Ok(Memory { now_mib: mib("VmRSS:")?, peak_mib: mib("VmHWM:")? })
}
