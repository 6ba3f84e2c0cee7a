//! A shell in which is typed what stands in the table.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use testkit::{Process, System, eventually, free_port, repository, service_binary, unique_name};
use tokio::process::Command;

/// Each has its own ports instead of these.
const PORTS: [&str; 3] = ["6001", "6002", "6003"];
const SERVICES: [(&str, &str); 4] = [
    ("datagen", "datagen"),
    ("distributor", "distributor"),
    ("processor", "processor-0"),
    ("statistics", "statistics"),
];
/// What curl says of itself is no progress, and an answer that is an error fails.
const CURL: &str = "fail-with-body\nno-progress-meter\n";

/// A shell in the folder of a system. What is started in it is killed when it is dropped.
pub struct Shell<'a> {
    system: &'a System,
    ports: [u16; 3],
    process: Process,
    typed: usize,
}

impl<'a> Shell<'a> {
    pub fn beside(system: &'a System) -> Self {
        let folder = system.folder();
        fs::write(folder.join(".curlrc"), CURL).unwrap();
        for name in ["README.md", "ARCHITECTURE.md", "examples"] {
            // They are there from the shell before.
            let _ = symlink(repository().join(name), folder.join(name));
        }
        let python = repository().join("target/tools/pika/bin");
        let path = format!("{}:{}:{}", programs().display(), python.display(), env::var("PATH").unwrap());
        // What is embedded is the system's own: an example has a file for itself.
        let own_bus = format!("embedded:{}", folder.join(unique_name()).display());
        let mut bash = Command::new("bash");
        bash.current_dir(folder).process_group(0).env("PATH", path).env("CURL_HOME", folder).env("TERM", "xterm");
        bash.env("EBS_URL", system.url_of("datagen", "")).env("EXCHANGE", system.exchange());
        bash.env("QUEUE_URL", system.broker().unwrap_or(&own_bus));
        let process = Process::start_interactive("the shell", bash).unwrap();
        Self { system, ports: PORTS.map(|_| free_port().unwrap()), process, typed: 0 }
    }

    /// Types a line again until it ends well, as people do who do not know when everything is there that they have started.
    pub async fn enter(&mut self, line: &str, object: Option<&str>) {
        let line = self.here(line).replace("/ID", &format!("/{}", object.unwrap_or("ID")));
        eventually(async || {
            self.typed += 1;
            let end = format!("line {} ended with ", self.typed);
            self.process.type_line(&format!("{{ {line}\n}} </dev/null; printf '\\n{end}%s\\n' $?")).await.unwrap();
            let code = eventually(async || {
                let lines = self.process.lines();
                lines.iter().find_map(|told| told.strip_prefix(&end).map(str::to_owned)).ok_or_else(|| line.clone())
            });
            if code.await == "0" { Ok(()) } else { Err(format!("it fails: {line}")) }
        })
        .await;
    }

    pub fn printed(&self) -> String {
        self.process.lines().join("\n")
    }

    /// The id of an object that was printed last: alone, or as the first one of some JSON.
    pub fn object(&self) -> Option<String> {
        const LENGTH: usize = 36;
        let is_id = |word: &&str| word.len() == LENGTH && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        let id = |line: String| line.split('"').find(is_id).map(str::to_owned);
        self.process
            .lines()
            .into_iter()
            .rev()
            .filter(|line| line.starts_with('{') || is_id(&line.as_str()))
            .find_map(id)
    }

    /// What it is here: this system's addresses, and programs that are built already.
    pub fn here(&self, text: &str) -> String {
        let address = self.system.url_of("datagen", "");
        let mut text = text.replace("localhost:8000", address.trim_start_matches("http://"));
        for (port, own) in PORTS.iter().zip(self.ports) {
            text = text.replace(port, &own.to_string());
        }
        if let Some(url) = self.system.broker() {
            text = text.replace("amqp://guest:guest@localhost:5672/%2f", url).replace("localhost:5672", url);
        }
        for (service, process) in SERVICES {
            let run = format!("cargo run -p {service}");
            if text.contains(&run) {
                text = text.replace(&run, &self.started(process));
            }
        }
        if text.contains("cargo run --release") {
            text = text.replace("cargo run --release", &self.started("ebs"));
        }
        text.replace("cargo run --example ", &format!("{}/examples/", programs().display())).replace(" -- ", " ")
    }

    /// What starts a process of the system.
    fn started(&self, process: &str) -> String {
        let command = self.system.command(process);
        let command = command.as_std();
        // Where the broker is, is said in the line or known to the shell.
        let is_needed = |name: &str| name != "QUEUE_URL" || self.system.broker().is_none();
        let variables = command.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?)));
        let variables = variables.filter(|(name, _)| is_needed(name)).map(|(name, value)| format!("{name}='{value}' "));
        format!("env {}{}", variables.collect::<String>(), Path::new(command.get_program()).display())
    }
}

impl Drop for Shell<'_> {
    fn drop(&mut self) {
        let id = self.process.id().and_then(|id| i32::try_from(id).ok());
        let _ = id.map(|id| killpg(Pid::from_raw(id), Signal::SIGKILL));
    }
}

/// The folder of all programs.
fn programs() -> PathBuf {
    service_binary("ebs").parent().unwrap().to_owned()
}
