//! What cannot be answered otherwise is a problem document, and says why.

use axum::{Router, routing::get};
use chassis::http::Limits;
use tokio::io::AsyncWriteExt;

use crate::kit::{Server, echo};

#[tokio::test]
async fn a_panic_is_a_500_and_the_server_lives_on() {
    async fn panics() -> &'static str {
        panic!("swordfish")
    }
    let server = Server::start(Router::new().route("/panics", get(panics)), Limits::default()).await;
    let answer = server.get("/panics").await;
    assert!(answer.starts_with("HTTP/1.1 500 ") && !answer.contains("swordfish"), "{answer}");
    assert!(server.get("/livez").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn what_nobody_serves_is_a_problem() {
    let server = Server::start(echo(), Limits::default()).await;
    let answer = server.get("/nonsense").await;
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("application/problem+json"), "{answer}");
    let answer = server.get("/echo").await;
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("application/problem+json"), "{answer}");
    assert!(answer.contains("allow: POST"), "{answer}");
}

#[tokio::test]
async fn a_request_that_nobody_could_understand_is_a_problem_wherever_it_goes() {
    let server = Server::start(echo(), Limits::default()).await;
    let long = format!("GET /items/7?limit={}", "1".repeat(8 * 1024));
    for (method_and_path, header, status, why) in [
        ("GET /nonsense/%zz", "x: y", 400, "percent-encoded UTF-8"),
        ("GET /items/%FF", "x: y", 400, "percent-encoded UTF-8"),
        ("GET /items/7?limit=%", "x: y", 400, "percent-encoded UTF-8"),
        (long.as_str(), "x: y", 414, "8192 are allowed"),
        ("POST /echo", "content-encoding: gzip", 415, "without Content-Encoding"),
        ("DELETE /items/7", "x: y", 405, "Allow"),
        ("BREW /items/7", "x: y", 405, "Allow"),
    ] {
        let answer = server.request(method_and_path, header, "").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method_and_path}: {answer}");
        assert!(answer.contains("content-type: application/problem+json"), "{method_and_path}: {answer}");
        assert!(answer.contains(why), "{method_and_path}: {answer}");
    }
    let answer = server.request("POST /echo", "content-encoding: identity", "body").await;
    assert!(answer.ends_with("body"), "{answer}");
}

#[tokio::test]
async fn what_is_no_http_is_refused_and_its_connection_closed() {
    let server = Server::start(echo(), Limits::default()).await;
    // hyper answers these by itself: no request comes of them that could have a problem for an answer.
    for nonsense in [
        "nonsense\r\n\r\n",
        "POST /echo HTTP/1.1\r\nhost: h\r\ncontent-length: many\r\n\r\n",
        "POST /echo HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        "POST /echo HTTP/1.1\r\nhost: h\r\ncontent-length: -1\r\n\r\n",
    ] {
        let mut client = server.connect().await;
        client.send(nonsense).await;
        let answer = client.read_all().await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{nonsense:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_body_that_ends_too_soon_is_a_problem() {
    let server = Server::start(echo(), Limits::default()).await;
    let mut client = server.connect().await;
    client.send("POST /echo HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nhalf").await;
    client.0.shutdown().await.unwrap();
    let answer = client.read_all().await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("did not arrive whole"), "{answer}");
}

#[tokio::test]
async fn what_extractors_refuse_is_a_problem_that_says_why() {
    let server = Server::start(echo(), Limits::default()).await;
    let json = "content-type: application/json";
    let form = "content-type: application/x-www-form-urlencoded";
    let long = "x".repeat(3_000_000);
    for (method_and_path, header, body, status, why) in [
        ("POST /json", json, "{", 400, "EOF while parsing"),
        ("POST /json", json, r#"["x"]"#, 422, "invalid type: sequence, expected a JSON object"),
        ("POST /json", json, r#"{"name": 7}"#, 422, "name: invalid type: integer `7`, expected a string"),
        ("POST /json", "x: y", "{}", 415, r#""accepted":["application/json"]"#),
        ("POST /json", json, &long, 413, "longer than is accepted"),
        ("POST /form", form, "nome=x", 422, "missing field `name`"),
        ("POST /form", json, "{}", 415, "application/x-www-form-urlencoded"),
        ("POST /echo", json, &long, 413, "longer than is accepted"),
        ("GET /items/seven", "x: y", "", 400, "Cannot parse `seven` to a `u32`"),
        ("GET /items/7?limit=many", "x: y", "", 400, "limit: invalid digit found in string"),
    ] {
        let answer = server.request(method_and_path, header, body).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method_and_path}: {answer}");
        assert!(answer.contains("content-type: application/problem+json"), "{method_and_path}: {answer}");
        assert!(answer.contains(&serde_free(why)), "{method_and_path}: {answer}");
    }
    let answer = server.request("POST /json", json, r#"{"name": "x"}"#).await;
    assert!(answer.ends_with("\"x\""), "{answer}");
}

/// `text` as it stands in a JSON string, unless it is JSON itself.
fn serde_free(text: &str) -> String {
    if text.starts_with('"') { text.to_owned() } else { text.replace('"', "\\\"") }
}
