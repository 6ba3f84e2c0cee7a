//! Where it was measured: cores, memory, disk, versions. Figures say little without them.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::Command,
    thread::available_parallelism,
    time::Instant,
};

use anyhow::Context;
use testkit::Broker;

use crate::figures::Samples;

/// Writes that are timed to know the disk.
const DISK_WRITES: usize = 200;
const DISK_WRITE_BYTES: usize = 4096;

/// Describes the machine in one paragraph.
pub async fn describe(broker: &Broker) -> anyhow::Result<String> {
    let cores = available_parallelism()?;
    let cpu = line_of("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let memory = line_of("/proc/meminfo", "MemTotal").unwrap_or_default();
    let memory_gib = memory.trim_end_matches(" kB").parse::<f64>().unwrap_or_default() / 1024.0 / 1024.0;
    let folder = tempfile::tempdir()?;
    let file_system = said("df", &["--output=fstype", &folder.path().to_string_lossy()]);
    let file_system = file_system.lines().last().unwrap_or_default();
    let sync_ms = sync_ms(folder.path())?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let rust = said("rustc", &["--version"]);
    let rabbitmq = broker.ctl(&["version"]).await?;
    let sqlite = libsqlite3_sys::SQLITE_VERSION.to_str()?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let warning = if file_system == "tmpfs" { " (**in memory: nothing here is durable**)" } else { "" };
    Ok(format!(
        "{cores} cores ({cpu}), {memory_gib:.0} GiB; {file_system}{warning}, appending {DISK_WRITE_BYTES} bytes durably \
         takes {sync_ms:.2} ms; load average before the run {load}; Linux {}; RabbitMQ {rabbitmq}; SQLite {sqlite}; {rust}",
        kernel.trim()
    ))
}

fn line_of(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim_start_matches([' ', '\t', ':']).trim().to_owned())
}

fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map_or_else(|_| format!("no {program}"), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn sync_ms(folder: &Path) -> anyhow::Result<f64> {
    let mut file = File::create(folder.join("probe"))?;
    let mut times = Samples::default();
    for _ in 0..DISK_WRITES {
        let began = Instant::now();
        file.write_all(&[b'x'; DISK_WRITE_BYTES])?;
        file.sync_data()?;
        times.add(began.elapsed().as_secs_f64() * 1000.0);
    }
    times.median().context("no writes")
}
