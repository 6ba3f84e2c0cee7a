//! Long answers are compressed once, wherever they come from, and only for whoever takes that.

use std::io::Read;

use flate2::read::GzDecoder;
use reqwest::{
    Method, Response,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY},
};
use serde_json::{Value, json};
use testkit::{Options, System};

use crate::kit::everywhere;

everywhere! {
    long_answers_are_compressed_once_for_whoever_takes_that,
    what_the_front_door_passes_on_is_a_problem_as_well,
}

async fn ask(system: &System, method: Method, path: &str, accepted: &str) -> Response {
    let request = system.client().request(method, system.url_of("datagen", path));
    request.header(ACCEPT_ENCODING, accepted).send().await.unwrap()
}

fn unpacked(bytes: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

async fn long_answers_are_compressed_once_for_whoever_takes_that(options: Options) {
    let system = System::start(options).await.unwrap();
    let long = json!({"operation": "nop", "data": vec!["all the same"; 1000], "tasks": 1});
    let id = system.submit(&long).await.unwrap()["id"].as_str().unwrap().to_owned();
    system.finished(&id).await.unwrap();
    // From the record, which in four services is behind the door; and from the door itself.
    for path in [&format!("/api/objects/{id}"), "/openapi.json", "/metrics", "/api/operations"] {
        let plain = ask(&system, Method::GET, path, "identity").await;
        assert!(plain.headers().get(CONTENT_ENCODING).is_none(), "{path}");
        let media_type = plain.headers()[CONTENT_TYPE].clone();
        let plain = plain.text().await.unwrap();

        let packed = ask(&system, Method::GET, path, "br, gzip").await;
        assert_eq!(packed.headers()[CONTENT_ENCODING], "gzip", "{path}");
        assert_eq!(packed.headers()[VARY], "accept-encoding", "{path}");
        assert_eq!(packed.headers()[CONTENT_TYPE], media_type, "{path}");
        let packed = packed.bytes().await.unwrap();
        assert!(packed.len() * 2 < plain.len(), "{path}: {} of {} bytes", packed.len(), plain.len());
        if path != "/metrics" {
            assert_eq!(unpacked(&packed), plain, "{path}");
        }
    }
    let path = format!("/api/objects/{id}");
    for accepted in ["gzip", "identity"] {
        let (head, get) =
            (ask(&system, Method::HEAD, &path, accepted).await, ask(&system, Method::GET, &path, accepted).await);
        for name in [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY] {
            assert_eq!(head.headers().get(&name), get.headers().get(&name), "{name} {accepted}");
        }
    }
    for (path, accepted) in [("/api/events", "gzip"), ("/livez", "gzip"), (&path, "gzip;q=0"), (&path, "*;q=0")] {
        let answer = ask(&system, Method::GET, path, accepted).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert!(answer.headers().get(CONTENT_ENCODING).is_none(), "{path} {accepted}");
    }
    // Those are kept compressed, and sent as they are.
    let page = ask(&system, Method::GET, "/docs/swagger-ui-bundle.js", "gzip").await;
    assert_eq!(page.headers()[CONTENT_ENCODING], "gzip");
    assert!(unpacked(&page.bytes().await.unwrap()).contains("function"));
}

async fn what_the_front_door_passes_on_is_a_problem_as_well(options: Options) {
    let system = System::start(options).await.unwrap();
    let long = format!("/api/statistics?{}", "x".repeat(8 * 1024));
    for (method, path, status, allow) in [
        (Method::GET, "/api/nothing", 404, None),
        (Method::GET, "/api", 404, None),
        (Method::GET, "/nothing", 404, None),
        (Method::POST, "/api/statistics", 405, Some("GET,HEAD")),
        (Method::PATCH, "/api/dead-letters", 405, Some("DELETE,GET,HEAD")),
        (Method::PUT, "/api/dead-letters/replay", 405, None),
        (Method::DELETE, "/api/objects", 405, Some("GET,HEAD,POST")),
        (Method::GET, "/objects", 405, Some("POST")),
        (Method::POST, "/api/operations", 405, Some("GET,HEAD")),
        (Method::POST, "/livez", 405, Some("GET,HEAD")),
        (Method::GET, "/api/objects/%FF", 400, None),
        (Method::GET, "/api/objects?name=%zz", 400, None),
        (Method::GET, "/api/statistics/%", 400, None),
        (Method::GET, long.as_str(), 414, None),
    ] {
        let answer = system.client().request(method.clone(), raw(&system, path)).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{method} {path}");
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/problem+json", "{method} {path}");
        if status == 405 {
            let header = answer.headers()["allow"].to_str().unwrap();
            let mut allowed: Vec<&str> = header.split(',').map(str::trim).collect();
            allowed.sort_unstable();
            assert!(allow.is_none_or(|allow| allowed.join(",") == allow), "{method} {path}: {header}");
        }
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["status"], status, "{method} {path}");
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{method} {path}: {problem}");
    }
}

/// The path as it is: what is not percent-encoded is sent like that.
fn raw(system: &System, path: &str) -> reqwest::Url {
    system.url_of("datagen", path).parse().unwrap()
}
