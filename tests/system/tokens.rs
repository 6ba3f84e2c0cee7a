//! With tokens, only who shows one may change or see anything.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::{Options, System, eventually};

use crate::kit::{everywhere, figure};

everywhere! {
    without_a_token_nothing_is_shown_and_nothing_changes,
    the_same_key_with_another_token_is_another_object,
    a_token_is_taken_away_while_the_service_runs,
}

const FIRST: &str = "first-0123456789abcdef";
const SECOND: &str = "second-0123456789abcdef";

async fn ask(system: &System, method: Method, path: &str, token: Option<&str>, body: &str) -> (StatusCode, Value) {
    let mut request = system.client().request(method, system.url_of("datagen", path)).body(body.to_owned());
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.header("idempotency-key", "a-key").header("content-type", "text/plain").send().await.unwrap();
    let status = answer.status();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
}

async fn without_a_token_nothing_is_shown_and_nothing_changes(options: Options) {
    let options = options.set("API_TOKEN", format!("{FIRST},{SECOND}")).set("MAX_EVENT_BYTES", "64KiB");
    let system = System::start(options).await.unwrap();
    let long = "word ".repeat(20_000);
    let id = "01970000-0000-7000-8000-000000000001";
    for token in [None, Some("wrong-0123456789abcdef"), Some("")] {
        for (method, path, body) in [
            (Method::POST, "/api/objects", "a text"),
            (Method::POST, "/objects", "a text"),
            (Method::POST, "/api/objects/", "a text"),
            // Refused before it is read, and so not for its length.
            (Method::POST, "/api/objects", long.as_str()),
            (Method::GET, "/api/objects", ""),
            (Method::GET, &format!("/api/objects/{id}"), ""),
            (Method::GET, "/api/operations", ""),
            (Method::GET, "/api/statistics", ""),
            (Method::GET, "/api/totals/word-frequencies", ""),
            (Method::DELETE, "/api/totals/word-frequencies", ""),
            (Method::POST, "/add-frequencies", "text=a"),
            (Method::DELETE, "/delete-frequencies", ""),
            (Method::GET, "/api/%6fperations", ""),
        ] {
            let (status, answer) = ask(&system, method.clone(), path, token, body).await;
            let refused = status == 401 || (token.is_some() && status == 429);
            assert!(refused, "{method} {path} {token:?}: {status} {answer}");
            assert!(answer["detail"].as_str().unwrap().contains("oken"), "{answer}");
        }
    }
    for name in system.names() {
        for path in ["/livez", "/readyz", "/health", "/metrics"] {
            let answer = system.client().get(system.url_of(&name, path)).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{name} {path}");
        }
    }
    // The record itself is no way round.
    let answer = system.client().get(system.url_of("statistics", "/api/statistics")).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(figure(&system, "objects created").await, 0.0);

    let (status, object) = ask(&system, Method::POST, "/api/objects", Some(FIRST), "a text").await;
    assert_eq!(status, 201, "{object}");
    let path = format!("/api/objects/{}?wait=60", object["id"].as_str().unwrap());
    let (status, object) = ask(&system, Method::GET, &path, Some(SECOND), "").await;
    assert_eq!((status, &object["status"]), (StatusCode::OK, &json!("succeeded")), "{object}");
}

async fn the_same_key_with_another_token_is_another_object(options: Options) {
    let system = System::start(options.set("API_TOKEN", format!("{FIRST},{SECOND}"))).await.unwrap();
    let mut ids = Vec::new();
    for token in [FIRST, SECOND, FIRST] {
        let (status, object) = ask(&system, Method::POST, "/api/objects", Some(token), "a text").await;
        assert_eq!(status, 201, "{object}");
        ids.push(object["id"].clone());
    }
    assert_eq!(ids[0], ids[2]);
    assert_ne!(ids[0], ids[1]);
}

async fn a_token_is_taken_away_while_the_service_runs(options: Options) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(&file, format!("{FIRST}\n{SECOND}\n")).unwrap();
    let system = System::start(options.set("API_TOKEN_FILE", file.display())).await.unwrap();
    let status = async |token| ask(&system, Method::GET, "/api/statistics", Some(token), "").await.0;
    assert_eq!((status(FIRST).await, status(SECOND).await), (StatusCode::OK, StatusCode::OK));
    std::fs::write(&file, SECOND).unwrap();
    eventually(async || match status(FIRST).await {
        StatusCode::UNAUTHORIZED => Ok(()),
        other => Err(format!("{other}")),
    })
    .await;
    assert_eq!(status(SECOND).await, StatusCode::OK);
}
