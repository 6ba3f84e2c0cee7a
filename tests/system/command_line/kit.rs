//! What these tests share.

use std::process::{Output, Stdio};

use serde_json::Value;
use testkit::{System, service_binary};
use tokio::{io::AsyncWriteExt, process::Command};

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    /// On standard output.
    pub said: String,
    /// On standard error.
    pub told: String,
}

impl Ran {
    pub fn of(Output { status, stdout, stderr }: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let ran = Self { code: status.code().expect("no signal ended it"), said: text(stdout), told: text(stderr) };
        // No terminal is there to be steered, or to be coloured.
        for text in [&ran.said, &ran.told] {
            assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{ran:?}");
            assert!(!text.contains('\u{202e}'), "{ran:?}");
        }
        ran
    }

    /// What it said, if it ended well.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.said
    }

    /// The JSON that it said, and nothing else.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.said).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The same of each line.
    pub fn json_lines(&self) -> Vec<Value> {
        let parsed = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        self.said.lines().map(parsed).collect()
    }
}

/// An `ebs` that asks somewhere, as in a shell that says nothing else.
pub fn command_at(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(service_binary("ebs"));
    command.args(arguments).env("EBS_URL", url).env_remove("API_TOKEN").env_remove("NO_COLOR");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// An `ebs` that asks the system.
pub fn command(system: &System, arguments: &[&str]) -> Command {
    command_at(&system.url_of("datagen", ""), arguments)
}

pub async fn ebs(system: &System, arguments: &[&str]) -> Ran {
    Ran::of(command(system, arguments).output().await.unwrap())
}

pub async fn ebs_at(url: &str, arguments: &[&str]) -> Ran {
    Ran::of(command_at(url, arguments).output().await.unwrap())
}

/// The same with something on standard input.
pub async fn ebs_reading(system: &System, arguments: &[&str], input: &str) -> Ran {
    let mut child = command(system, arguments).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    Ran::of(child.wait_with_output().await.unwrap())
}
