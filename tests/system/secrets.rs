//! Passwords and tokens come out nowhere: not in logs at their most talkative, not in answers, not among the arguments of
//! processes. They are marked, and everything is searched for the marks in every form that they may have.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::Method;
use tempfile::TempDir;
use testkit::{Broker, Options, System, eventually, service_binary};
use tokio::process::{Child, Command};

/// With characters that a URL has to escape.
const PASSWORD: &str = "pa55w0rd:m@rk/Zq7";
const PASSWORD_IN_URL: &str = "pa55w0rd%3Am%40rk%2FZq7";
const TOKEN: &str = "t0ken-m4rk/Xw3+Zq9==";

#[tokio::test(flavor = "multi_thread")]
async fn four_services_show_no_secret() {
    show_no_secret(Options::on).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_shows_no_secret() {
    show_no_secret(Options::one_process_on).await;
}

async fn show_no_secret(options: impl Fn(String) -> Options) {
    let mut broker = Broker::start().await.unwrap();
    broker.ctl(&["change_password", "guest", PASSWORD]).await.unwrap();
    let url = format!("amqp://guest:{PASSWORD_IN_URL}@127.0.0.1:{}/%2f", broker.port());
    // Nor does a lack of authorities matter where there is no TLS.
    let options =
        options(url.clone()).set("API_TOKEN", TOKEN).set("SSL_CERT_FILE", "/nonexistent").set("RUST_LOG", "trace");
    let system = System::prepare(options).unwrap();
    let mut seen = Seen::default();

    let running: Vec<(String, Child)> = system.names().into_iter().map(|name| seen.start(&system, &name)).collect();
    system.all_ready().await;
    for (name, child) in &running {
        let arguments = fs::read(format!("/proc/{}/cmdline", child.id().unwrap())).unwrap();
        seen.take(&format!("arguments of {name}"), arguments);
    }
    let object = seen.ask(&system, Method::POST, "/api/objects", Some(TOKEN), 201).await;
    let id = object.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    seen.ask(&system, Method::GET, &format!("/api/objects/{id}?wait=60"), Some(TOKEN), 200).await;
    seen.ask(&system, Method::GET, "/api/statistics", None, 401).await;
    seen.ask(&system, Method::GET, "/api/statistics", Some(&format!("{TOKEN}x")), 401).await;
    seen.ask(&system, Method::GET, "/api/totals/juggle", Some(TOKEN), 404).await;

    // The password is wrong from now on, and then there is nobody to tell it to.
    broker.ctl(&["change_password", "guest", "another"]).await.unwrap();
    broker.ctl(&["close_all_connections", "the password was changed"]).await.unwrap();
    seen.unready_with(&system, "ACCESS_REFUSED").await;
    broker.kill().await.unwrap();
    seen.unready_with(&system, "onnection").await;
    seen.ask(&system, Method::POST, "/api/objects", Some(TOKEN), 503).await;
    for (name, mut child) in running {
        child.kill().await.unwrap();
        assert!(seen.log_of(&name).contains("TRACE"), "{name} was not talkative");
    }

    for (program, arguments, variables) in [
        ("datagen", vec![], vec![("QUEUE_URL", format!("http://guest:{PASSWORD_IN_URL}@host"))]),
        ("datagen", vec![], vec![("QUEUE_URL", format!("{url}?cacertfile=x"))]),
        ("statistics", vec![], vec![("API_TOKEN", format!("{TOKEN},,"))]),
        ("statistics", vec![], vec![("API_TOKEN_FILE", TOKEN.to_owned())]),
        ("processor", vec![], vec![("QUEUE_URL_FILE", url.clone())]),
        ("ebs", vec!["up".to_owned(), "--queue-url".to_owned(), url.clone()], vec![]),
        ("ebs", vec!["up".to_owned(), "--api-token".to_owned(), TOKEN.to_owned()], vec![]),
        ("ebs", vec!["up".to_owned(), format!("--api-token={TOKEN}")], vec![]),
    ] {
        let mut command = Command::new(service_binary(program));
        command.args(&arguments).env("LISTEN", "127.0.0.1:0").env("RUST_LOG", "trace").envs(variables);
        let output = command.current_dir(seen.folder.path()).output().await.unwrap();
        assert_eq!(output.status.code(), Some(64), "{program} {}", String::from_utf8_lossy(&output.stderr));
        seen.take(&format!("{program} ends"), [output.stdout, output.stderr].concat());
    }
    seen.search();
}

/// All that came out of the system, with where it came from.
struct Seen {
    folder: TempDir,
    things: Vec<(String, Vec<u8>)>,
    logs: Vec<(String, PathBuf)>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), things: Vec::new(), logs: Vec::new() }
    }
}

impl Seen {
    /// Starts a process with all that it says in a file: at this level it says much.
    fn start(&mut self, system: &System, name: &str) -> (String, Child) {
        let path = self.folder.path().join(name);
        let file = File::create(&path).unwrap();
        self.logs.push((name.to_owned(), path));
        let mut command = system.command(name);
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).kill_on_drop(true);
        (name.to_owned(), command.spawn().unwrap())
    }

    fn log_of(&self, name: &str) -> String {
        let (_, path) = self.logs.iter().find(|(known, _)| known == name).unwrap();
        String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
    }

    fn take(&mut self, from: &str, bytes: impl Into<Vec<u8>>) {
        self.things.push((from.to_owned(), bytes.into()));
    }

    /// A request with its answer, headers included.
    async fn ask(&mut self, system: &System, method: Method, path: &str, token: Option<&str>, status: u16) -> String {
        let mut request = system.client().request(method.clone(), system.url_of("datagen", path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        let (got, headers) = (answer.status(), format!("{:?}", answer.headers()));
        let body = answer.text().await.unwrap();
        assert_eq!(got, status, "{method} {path}: {body}");
        self.take(&format!("{method} {path}"), format!("{headers} {body}"));
        body
    }

    /// Waits until every process says that it is not ready, for this reason; takes that, and all that is measured.
    async fn unready_with(&mut self, system: &System, reason: &str) {
        for name in system.names() {
            for path in ["/readyz", "/health"] {
                let body = eventually(async || {
                    let answer = system.client().get(system.url_of(&name, path)).send().await;
                    let body = answer.map_err(|error| error.to_string())?.text().await.unwrap();
                    if body.contains(reason) { Ok(body) } else { Err(body) }
                })
                .await;
                self.take(&format!("{name} {path}"), body);
            }
            let measured = system.client().get(system.url_of(&name, "/metrics")).send().await.unwrap();
            self.take(&format!("{name} /metrics"), measured.text().await.unwrap());
        }
    }

    fn search(mut self) {
        for (name, path) in std::mem::take(&mut self.logs) {
            self.take(&format!("log of {name}"), fs::read(path).unwrap());
        }
        let marks = marks();
        for (from, bytes) in &self.things {
            for mark in &marks {
                let at = bytes.windows(mark.len()).position(|window| window == mark.as_slice());
                if let Some(at) = at {
                    let around = &bytes[at.saturating_sub(300)..(at + 100).min(bytes.len())];
                    panic!("{from} shows {:?}: …{}…", String::from_utf8_lossy(mark), String::from_utf8_lossy(around));
                }
            }
        }
        assert!(self.things.len() > 15, "{} things were searched", self.things.len());
        assert!(Path::new(self.folder.path()).exists());
    }
}

/// The secrets as they are, as URLs have them, in base64 as HTTP and SASL have it, wherever they begin, and as a list of
/// bytes.
fn marks() -> Vec<Vec<u8>> {
    let mut marks = vec![PASSWORD_IN_URL.as_bytes().to_vec()];
    for secret in [PASSWORD, TOKEN] {
        marks.push(secret.as_bytes().to_vec());
        marks.push(secret.escape_debug().to_string().into_bytes());
        let list = format!("{:?}", secret.as_bytes());
        marks.push(list.trim_matches(['[', ']']).as_bytes().to_vec());
        for before in 0..3 {
            // Three bytes are four letters; what shares a letter with its neighbours is left out.
            let skipped = (3 - before) % 3;
            let whole = (secret.len() - skipped) / 3 * 3;
            marks.push(BASE64_STANDARD.encode(&secret.as_bytes()[skipped..skipped + whole]).into_bytes());
        }
    }
    marks
}

#[test]
fn the_marks_are_what_they_are_meant_to_be() {
    assert_eq!(BASE64_STANDARD.encode(b"Man is"), "TWFuIGlz");
    let marks = marks();
    for whole in ["\0guest\0pa55w0rd:m@rk/Zq7..", ":pa55w0rd:m@rk/Zq7.", "pa55w0rd:m@rk/Zq7."] {
        let groups = whole.len() / 3 * 3;
        let encoded = BASE64_STANDARD.encode(&whole.as_bytes()[..groups]);
        assert!(marks.iter().any(|mark| encoded.contains(std::str::from_utf8(mark).unwrap())), "{encoded}");
    }
}
