//! Bad input gets a clear answer that says what is allowed, and nothing is published.

use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::{Value, json};
use testkit::{Options, System};

use crate::kit::{everywhere, figure};

everywhere! {
    bad_requests_are_problems_that_say_what_is_allowed,
    an_object_whose_event_would_be_too_long_is_refused_at_the_door,
}

async fn bad_requests_are_problems_that_say_what_is_allowed(options: Options) {
    let system = System::start(options.set("MAX_EVENT_BYTES", "64KiB")).await.unwrap();
    let long = "word ".repeat(20_000);
    let nested = format!(r#"{{"operation":"nop","data":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    for (method, path, media_type, body, status, told) in [
        (Method::POST, "/api/objects", "application/json", r#"{"operation":"juggle"}"#, 422, "unknown operation"),
        (Method::POST, "/api/objects", "application/json", r#"{"operation":"Not A Name"}"#, 422, "a-z"),
        (Method::POST, "/api/objects", "application/json", r#"{"operation":"pow","data":[1]}"#, 422, "exponent"),
        (Method::POST, "/api/objects", "application/json", r#"{"operation":"pow"}"#, 422, "data is missing"),
        (Method::POST, "/api/objects", "application/json", r#"{"operation":"plusone","data":["a"]}"#, 422, "number"),
        (
            Method::POST,
            "/api/objects",
            "application/json",
            r#"{"operation":"nop","data":[18446744073709551616]}"#,
            422,
            "2^64-1",
        ),
        (
            Method::POST,
            "/api/objects",
            "application/json",
            r#"{"operation":"nop","parameters":{"a":18446744073709551616}}"#,
            422,
            "2^64-1",
        ),
        (Method::POST, "/api/objects", "application/json", r#"{"tasks":0}"#, 422, "1 to 10000"),
        (Method::POST, "/api/objects", "application/json", r#"{"colour":"red"}"#, 422, "colour"),
        (Method::POST, "/api/objects", "application/json", r#"{"data":"#, 400, "JSON"),
        (Method::POST, "/api/objects", "application/json", r#"["a","nop",{},[1],1,1000]"#, 422, "a JSON object"),
        (
            Method::POST,
            "/api/dead-letters/replay",
            "application/json",
            "[null,null,null,null,null,true]",
            422,
            "a JSON object",
        ),
        (Method::POST, "/add-frequencies", "application/x-www-form-urlencoded", "words=a", 422, "text"),
        (Method::POST, "/add-frequencies", "application/x-www-form-urlencoded", "text=AT&T", 422, "unknown field `T`"),
        (Method::POST, "/add-frequencies", "text/plain", "a", 415, "x-www-form-urlencoded"),
        (Method::DELETE, "/api/totals/juggle", "", "", 404, "word-frequencies"),
        (Method::POST, "/api/objects", "application/json", nested.as_str(), 422, "recursion"),
        (Method::POST, "/api/objects", "application/x-www-form-urlencoded", "text=a", 415, "text/plain"),
        (Method::POST, "/api/objects", "text/plain", long.as_str(), 413, "longer"),
        (Method::PUT, "/api/objects", "text/plain", "", 405, "Allow"),
        (Method::GET, "/api/objects/not-an-id", "", "", 400, "UUID"),
        (Method::GET, "/api/objects/01970000-0000-7000-8000-000000000001", "", "", 404, "01970000"),
        (Method::GET, "/api/objects/01970000-0000-7000-8000-000000000001?wait=forever", "", "", 400, "wait"),
        (Method::GET, "/api/objects?limit=0", "", "", 400, "limit"),
        (Method::GET, "/api/totals/juggle", "", "", 404, "word-frequencies"),
        (Method::GET, "/nowhere", "", "", 404, "nothing"),
    ] {
        let shown = body.chars().take(60).collect::<String>();
        let mut request = system.client().request(method.clone(), system.url_of("datagen", path));
        if !media_type.is_empty() {
            request = request.header(CONTENT_TYPE, media_type).body(body.to_owned());
        }
        let answer = request.send().await.unwrap();
        let got = answer.status().as_u16();
        let problem = answer.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap().to_owned());
        let text = answer.text().await.unwrap();
        assert_eq!(got, status, "{method} {path} {shown}: {text}");
        assert_eq!(problem.as_deref(), Some("application/problem+json"), "{method} {path} {shown}: {text}");
        let body: Value = serde_json::from_str(&text).unwrap();
        assert!(body.to_string().contains(told), "{method} {path} {shown}: {body}");
    }
    let object = system.submit(&json!({})).await.unwrap();
    system.finished(object["id"].as_str().unwrap()).await.unwrap();
    assert_eq!(figure(&system, "objects created").await, 1.0, "nothing that was refused is counted");
}

async fn an_object_whose_event_would_be_too_long_is_refused_at_the_door(options: Options) {
    let system = System::start(options.set("MAX_EVENT_BYTES", "64KiB")).await.unwrap();
    // Short enough as a body, too long as the event that it would become: each quote takes two bytes in JSON.
    let quotes = "\"".repeat(60_000);
    let request = system.client().post(system.url_of("datagen", "/api/objects"));
    let answer = request.header(CONTENT_TYPE, "text/plain").body(quotes).send().await.unwrap();
    assert_eq!(answer.status(), 413);
    assert!(answer.text().await.unwrap().contains("65536"));
}
