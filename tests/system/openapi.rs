//! The document of the interface is whole and true, and there is a page to read and to try it.

mod document;

use reqwest::{
    Method, StatusCode, Url,
    header::{CONTENT_TYPE, LOCATION},
};
use serde_json::{Value, json};
use testkit::{Options, System, shared_broker_url};

use self::document::{Document, parameters};
use crate::kit::everywhere;

everywhere! {
    the_document_is_openapi_and_knows_the_whole_interface,
    every_service_documents_itself,
    what_it_offers_can_be_had_as_it_stands,
    every_answer_is_one_that_the_document_allows,
    what_is_said_of_dead_letters_is_as_the_document_says,
    what_is_said_of_words_and_of_lines_and_to_whoever_waits_is_as_the_document_says,
    what_is_beyond_a_documented_bound_is_refused_and_what_is_not_is_not,
    the_page_consists_of_what_is_served_here,
}

async fn the_document_is_openapi_and_knows_the_whole_interface(options: Options) {
    let system = System::start(options).await.unwrap();
    let document = Document::of(&system).await;
    document.assert_valid();
    let operations: Vec<String> =
        document.operations().map(|(method, path, _)| format!("{} {path}", method.to_uppercase())).collect();
    for expected in [
        "POST /add-frequencies",
        "DELETE /delete-frequencies",
        "POST /api/objects",
        "GET /api/objects",
        "GET /api/objects/{id}",
        "GET /api/objects/{id}/status",
        "GET /api/dead-letters",
        "DELETE /api/dead-letters",
        "POST /api/dead-letters/replay",
        "GET /api/dead-letters/{id}",
        "DELETE /api/dead-letters/{id}",
        "POST /api/dead-letters/{id}/replay",
        "GET /api/events",
        "GET /api/operations",
        "GET /api/statistics",
        "GET /api/totals/{operation}",
        "DELETE /api/totals/{operation}",
        "GET /docs",
        "GET /health",
        "GET /livez",
        "GET /metrics",
        "GET /openapi.json",
        "GET /readyz",
    ] {
        assert!(operations.iter().any(|operation| operation == expected), "{expected} is not among {operations:?}");
    }
    let info = &document.0["info"];
    assert_eq!(info["title"], "EBS");
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(info["license"]["identifier"], "MIT OR Apache-2.0");
    assert!(info["description"].as_str().unwrap().contains("POST /api/objects"));
    assert!(!info["description"].as_str().unwrap().contains("Incomplete"));
}

async fn every_service_documents_itself(options: Options) {
    let system = System::start(options).await.unwrap();
    for name in system.names() {
        let answer = system.client().get(system.url_of(&name, "/openapi.json")).send().await.unwrap();
        let document = Document(answer.json().await.unwrap());
        document.assert_valid();
        assert!(document.operations().any(|(_, path, _)| path == "/readyz"), "{name}");
        let page = system.client().get(system.url_of(&name, "/docs")).send().await.unwrap();
        assert_eq!(page.status(), StatusCode::OK, "{name}");
    }
}

async fn what_it_offers_can_be_had_as_it_stands(options: Options) {
    let system = System::start(options).await.unwrap();
    let document = Document::of(&system).await;
    let submitted = &document.0["paths"]["/api/objects"]["post"]["requestBody"];
    assert_ne!(submitted["required"], true, "without a body an object is generated");
    let json = submitted["content"]["application/json"]["examples"].as_object().unwrap();
    let mut bodies: Vec<_> = json.values().map(|example| ("application/json", example["value"].to_string())).collect();
    let text = submitted["content"]["text/plain"]["example"].as_str().unwrap();
    bodies.push(("text/plain", text.to_owned()));
    for (media_type, body) in bodies {
        let request = system.client().post(system.url_of("datagen", "/api/objects"));
        let answer = request.header(CONTENT_TYPE, media_type).body(body.clone()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED, "{body}");
        let id = answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
        assert_eq!(system.finished(&id).await.unwrap()["status"], "succeeded", "{body}");
    }
    for (method, path, operation) in document.operations() {
        let mut path = path.to_owned();
        for parameter in parameters(operation, "path") {
            if let (Some(name), Some(example)) = (parameter["name"].as_str(), parameter["example"].as_str()) {
                path = path.replace(&format!("{{{name}}}"), example);
            }
        }
        if method == "get" && !path.contains('{') {
            let answer = system.client().get(system.url_of("datagen", &path)).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
        }
    }
}

async fn every_answer_is_one_that_the_document_allows(options: Options) {
    let system = System::start(options).await.unwrap();
    let document = Document::of(&system).await;
    let ask = async |method: Method, documented: &str, path: &str, body: Option<(&str, &str)>| -> (u16, Value) {
        let mut request = system.client().request(method.clone(), system.url_of("datagen", path));
        if let Some((media_type, body)) = body {
            request = request.header(CONTENT_TYPE, media_type).body(body.to_owned());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, document.assert_allows(&method.as_str().to_lowercase(), documented, answer).await)
    };
    let submit = async |body: Option<(&str, &str)>| ask(Method::POST, "/api/objects", "/api/objects", body).await;

    let (_, generated) = submit(None).await;
    let json = "application/json";
    let (_, powers) =
        submit(Some((json, r#"{"operation": "pow", "parameters": {"exponent": 2}, "data": [1, 2]}"#))).await;
    // Too much for 64 bits, which turns out only when it is executed.
    let (_, failing) =
        submit(Some((json, r#"{"operation": "pow", "parameters": {"exponent": 99}, "data": [1, 9]}"#))).await;
    for (expected, body) in [
        (400, (json, "{")),
        (415, ("text/html", "a")),
        (422, (json, r#"{"operation": "juggle"}"#)),
        (422, (json, r#"{"tasks": "many"}"#)),
    ] {
        assert_eq!(submit(Some(body)).await.0, expected, "{body:?}");
    }
    for (object, status) in [(generated, "succeeded"), (powers, "succeeded"), (failing, "failed")] {
        // Seen in whatever state it is, and when it is done.
        for wait in [0, 60] {
            let path = format!("/api/objects/{}?wait={wait}", object["id"].as_str().unwrap());
            let (_, shown) = ask(Method::GET, "/api/objects/{id}", &path, None).await;
            assert!(wait == 0 || shown["status"] == status, "{shown}");
        }
    }
    for (documented, path, expected) in [
        ("/api/objects", "/api/objects", 200),
        ("/api/objects", "/api/objects?limit=1", 200),
        ("/api/objects", "/api/objects?status=failed", 200),
        ("/api/objects", "/api/objects?status=lost", 400),
        ("/api/objects", "/api/objects?cursor=x", 400),
        ("/api/objects", "/api/objects?order=oldest&name=a&since=2026-01-01T00:00:00Z", 200),
        ("/api/objects", "/api/objects?until=tomorrow", 400),
        ("/api/events", "/api/events?pattern=a..b", 400),
        ("/api/objects/{id}", "/api/objects/x", 400),
        ("/api/objects/{id}", "/api/objects/01970000-0000-7000-8000-000000000001", 404),
        ("/api/statistics", "/api/statistics", 200),
        ("/api/totals/{operation}", "/api/totals/word-frequencies", 200),
        ("/api/totals/{operation}", "/api/totals/nop", 200),
        ("/api/totals/{operation}", "/api/totals/juggle", 404),
        ("/api/operations", "/api/operations", 200),
        ("/livez", "/livez", 200),
        ("/readyz", "/readyz", 200),
        ("/health", "/health", 200),
        ("/metrics", "/metrics", 200),
        ("/openapi.json", "/openapi.json", 200),
        ("/docs", "/docs", 200),
    ] {
        assert_eq!(ask(Method::GET, documented, path, None).await.0, expected, "{path}");
    }
}

async fn what_is_said_of_dead_letters_is_as_the_document_says(options: Options) {
    let system = System::start(options).await.unwrap();
    let document = Document::of(&system).await;
    let too_much = json!({"operation": "pow", "parameters": {"exponent": 99}, "data": [9, 9], "tasks": 2});
    system.submit(&too_much).await.unwrap();
    let list = "/api/dead-letters";
    let waiting = async || system.get(list).await.unwrap()["dead_letters"].as_array().unwrap().clone();
    testkit::eventually(async || if waiting().await.len() == 2 { Ok(()) } else { Err("not set aside yet".to_owned()) })
        .await;
    let id = waiting().await[0]["id"].as_str().unwrap().to_owned();

    let (one, replay, replay_all) =
        ("/api/dead-letters/{id}", "/api/dead-letters/{id}/replay", "/api/dead-letters/replay");
    let unknown = "01970000-0000-7000-8000-000000000001";
    for (method, documented, id, body, expected) in [
        (Method::GET, list, "", None, 200),
        (Method::GET, one, id.as_str(), None, 200),
        (Method::GET, one, unknown, None, 404),
        (Method::GET, one, "x", None, 400),
        (Method::DELETE, one, unknown, None, 404),
        (Method::DELETE, one, id.as_str(), None, 200),
        (Method::DELETE, one, id.as_str(), None, 409),
        (Method::POST, replay, id.as_str(), None, 409),
        (Method::POST, replay, unknown, None, 404),
        (Method::POST, replay_all, "", Some("{"), 400),
        (Method::POST, replay_all, "", Some("{}"), 422),
        (Method::POST, replay_all, "", Some(r#"{"all": true}"#), 202),
        (Method::DELETE, list, "", None, 422),
    ] {
        let mut request =
            system.client().request(method.clone(), system.url_of("datagen", &documented.replace("{id}", id)));
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{method} {documented} {id} {body:?}");
        document.assert_allows(&method.as_str().to_lowercase(), documented, answer).await;
    }
}

async fn what_is_said_of_words_and_of_lines_and_to_whoever_waits_is_as_the_document_says(options: Options) {
    let system = System::start(options.set("MAX_EVENT_BYTES", "64KiB")).await.unwrap();
    let document = Document::of(&system).await;
    let form = "application/x-www-form-urlencoded";
    let (add, delete, reset) = ("/add-frequencies", "/delete-frequencies", "/api/totals/{operation}");
    for (method, documented, path, body, expected) in [
        (Method::POST, add, add, "text=a+b+a", 200),
        (Method::POST, add, add, "word=a", 422),
        (Method::DELETE, delete, delete, "", 200),
        (Method::DELETE, reset, "/api/totals/word-frequencies", "", 200),
        (Method::DELETE, reset, "/api/totals/juggle", "", 404),
    ] {
        let request = system.client().request(method.clone(), system.url_of("datagen", path));
        let answer = request.header(CONTENT_TYPE, form).body(body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{method} {path} {body}");
        document.assert_allows(&method.as_str().to_lowercase(), documented, answer).await;
    }
    let request = system.client().post(system.url_of("datagen", "/api/objects")).header("prefer", "wait=60");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["preference-applied"], "wait=60");
    let shown = document.assert_allows("post", "/api/objects", answer).await;
    let path = format!("/api/objects/{}/status", shown["id"].as_str().unwrap());
    let answer = system.client().get(system.url_of("datagen", &path)).send().await.unwrap();
    document.assert_allows("get", "/api/objects/{id}/status", answer).await;

    // Each line of the answer, and the last one of an upload that is stopped.
    for (body, last) in [("{}\n{}\n[]\n".to_owned(), "done"), (format!("{{}}{}", "\n".repeat(1002)), "next_line")] {
        let request = system.client().post(system.url_of("datagen", "/api/objects"));
        let answer = request.header(CONTENT_TYPE, "application/x-ndjson").body(body).send().await.unwrap();
        let response = &document.0["paths"]["/api/objects"]["post"]["responses"][answer.status().as_str()];
        let media_type = answer.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
        let line = document.validator(&response["content"][&media_type]["schema"]);
        let answer = answer.text().await.unwrap();
        let lines: Vec<Value> = answer.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.len() >= 2 && lines.last().unwrap().get(last).is_some(), "{answer}");
        for said in lines {
            line.validate(&said).unwrap_or_else(|error| panic!("{said}: {error}"));
        }
    }
}

async fn what_is_beyond_a_documented_bound_is_refused_and_what_is_not_is_not(options: Options) {
    let system = System::start(options).await.unwrap();
    let document = Document::of(&system).await;
    let submitted = system.submit(&json!({"operation": "nop", "data": []})).await.unwrap();
    system.finished(submitted["id"].as_str().unwrap()).await.unwrap();
    let mut tried = 0;

    for (method, path, operation) in document.operations().filter(|(method, ..)| *method == "get") {
        let path = path.replace("{id}", submitted["id"].as_str().unwrap()).replace("{operation}", "nop");
        for parameter in parameters(operation, "query") {
            for (value, allowed) in at_the_bounds(&parameter["schema"]) {
                let name = parameter["name"].as_str().unwrap();
                let url = Url::parse_with_params(&system.url_of("datagen", &path), [(name, as_text(&value))]).unwrap();
                let answer = system.client().get(url.clone()).send().await.unwrap();
                let expected = if allowed { StatusCode::OK } else { StatusCode::BAD_REQUEST };
                assert_eq!(answer.status(), expected, "{method} {url}");
                tried += 1;
            }
        }
    }

    let schema = &document.0["components"]["schemas"]["Submission"];
    for (name, property) in schema["properties"].as_object().unwrap() {
        for (value, allowed) in at_the_bounds(property) {
            // A name that an operation could have may be one that none has.
            if allowed && name == "operation" {
                continue;
            }
            let body = json!({name: value});
            let request = system.client().post(system.url_of("datagen", "/api/objects")).json(&body);
            let expected = if allowed { StatusCode::CREATED } else { StatusCode::UNPROCESSABLE_ENTITY };
            assert_eq!(request.send().await.unwrap().status(), expected, "{body}");
            tried += 1;
        }
    }
    assert_eq!(schema["additionalProperties"], false);

    for parameter in parameters(&document.0["paths"]["/api/objects"]["post"], "header") {
        for (value, allowed) in at_the_bounds(&parameter["schema"]) {
            let name = parameter["name"].as_str().unwrap();
            let request = system.client().post(system.url_of("datagen", "/api/objects")).header(name, as_text(&value));
            let expected = if allowed { StatusCode::CREATED } else { StatusCode::BAD_REQUEST };
            assert_eq!(request.send().await.unwrap().status(), expected, "{name}: {value}");
            tried += 1;
        }
    }
    assert!(tried >= 30, "the document has hardly any bounds: {tried}");
}

/// What a schema just allows, and what it just does not.
fn at_the_bounds(schema: &Value) -> Vec<(Value, bool)> {
    let mut values = Vec::new();
    if let Some(least) = schema["minimum"].as_i64() {
        values.extend([(json!(least), true), (json!(least - 1), false)]);
    }
    if let Some(most) = schema["maximum"].as_i64() {
        values.extend([(json!(most), true), (json!(most + 1), false)]);
    }
    if let Some(least) = schema["minLength"].as_u64() {
        values.extend([(json!("x".repeat(least as usize)), true), (json!("x".repeat(least as usize - 1)), false)]);
    }
    if let Some(most) = schema["maxLength"].as_u64() {
        values.extend([(json!("x".repeat(most as usize)), true), (json!("x".repeat(most as usize + 1)), false)]);
    }
    if let Some(one_of) = schema["enum"].as_array() {
        values.extend(one_of.iter().map(|value| (value.clone(), true)));
        values.push((json!("none of them"), false));
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        let matching = jsonschema::validator_for(&json!({"pattern": pattern})).unwrap();
        let names = ["a", "9_lives", "A", "a.b", "", "-a"].map(str::to_owned).into_iter();
        let names = names.chain([64, 65].map(|length| "a".repeat(length)));
        values.extend(names.map(|name| (json!(name), matching.is_valid(&json!(name)))));
    }
    values
}

fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

async fn the_page_consists_of_what_is_served_here(options: Options) {
    let system = System::start(options).await.unwrap();
    for path in ["/docs", "/docs/"] {
        let answer = system.client().get(system.url_of("datagen", path)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert_eq!(answer.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        let (page, html) = (answer.url().clone(), answer.text().await.unwrap());
        let names: Vec<&str> = ["href=\"", "src=\""]
            .iter()
            .flat_map(|attribute| html.split(attribute).skip(1))
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert!(names.len() >= 5, "{names:?}");
        for name in names {
            assert!(Url::parse(name).is_err() && !name.starts_with('/'), "{name} is not relative to the page");
            let answer = system.client().get(page.join(name).unwrap()).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{name}");
            assert!(!answer.bytes().await.unwrap().is_empty(), "{name}");
        }
    }
    let lost = system.client().get(system.url_of("datagen", "/docs/nothing.js")).send().await.unwrap();
    assert_eq!(lost.status(), StatusCode::NOT_FOUND);
    let without_redirects = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let answer = without_redirects.get(system.url_of("datagen", "/docs/")).send().await.unwrap();
    assert_eq!(answer.headers()[LOCATION], "../docs", "it may be behind any path");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_front_door_documents_what_it_forwards_as_soon_as_somebody_serves_it() {
    let mut system = System::prepare(Options::on(shared_broker_url())).unwrap();
    system.start_service("datagen").unwrap();
    system.ready("datagen").await;
    let alone = Document::of(&system).await;
    alone.assert_valid();
    assert!(alone.0["paths"]["/api/objects"]["post"].is_object());
    assert!(alone.0["paths"]["/api/objects"]["get"].is_null() && alone.0["paths"]["/api/statistics"].is_null());
    let described = alone.0["info"]["description"].as_str().unwrap();
    assert!(described.contains("statistics cannot be reached"), "{described}");

    system.start_service("statistics").unwrap();
    system.ready("statistics").await;
    let one_process = System::start(Options::embedded()).await.unwrap();
    let [whole, same] =
        [Document::of(&system).await, Document::of(&one_process).await].map(|Document(mut document)| {
            // Who forwards waits for another.
            for item in document["paths"].as_object_mut().unwrap().values_mut() {
                for operation in item.as_object_mut().unwrap().values_mut() {
                    operation["responses"].as_object_mut().unwrap().remove("504");
                }
            }
            document
        });
    assert_eq!(whole, same, "the same as where nothing is forwarded");
}
