//! The list of objects: in either order, by what people look for, page by page.

use reqwest::Url;
use serde_json::{Value, json};
use testkit::{Options, System};

use crate::kit::everywhere;

everywhere! {
    objects_are_found_by_name_time_and_state_in_either_order,
}

async fn objects_are_found_by_name_time_and_state_in_either_order(options: Options) {
    let system = System::start(options).await.unwrap();
    let mut objects = Vec::new();
    for (name, operation) in [("a rhyme", "nop"), ("ünïcode & more", "plusone"), ("a rhyme", "plusone"), ("a", "nop")]
    {
        let body = json!({"name": name, "operation": operation, "data": [1]});
        let object = system.submit(&body).await.unwrap();
        objects.push(system.finished(object["id"].as_str().unwrap()).await.unwrap());
    }
    let ids = |numbers: &[usize]| numbers.iter().map(|number| objects[*number]["id"].clone()).collect::<Vec<_>>();
    let time_of = |number: usize| objects[number]["created_at"].as_str().unwrap();

    for (query, expected) in [
        (vec![], vec![3, 2, 1, 0]),
        (vec![("order", "oldest")], vec![0, 1, 2, 3]),
        (vec![("name", "a rhyme")], vec![2, 0]),
        (vec![("name", "a rhyme"), ("order", "oldest")], vec![0, 2]),
        (vec![("name", "ünïcode & more")], vec![1]),
        (vec![("name", "rhyme")], vec![]),
        (vec![("name", "a rhyme"), ("operation", "plusone")], vec![2]),
        (vec![("since", time_of(1))], vec![3, 2, 1]),
        (vec![("until", time_of(1))], vec![0]),
        (vec![("since", time_of(1)), ("until", time_of(3)), ("order", "oldest")], vec![1, 2]),
        (vec![("status", "succeeded"), ("operation", "nop"), ("order", "oldest")], vec![0, 3]),
        (vec![("status", "failed")], vec![]),
    ] {
        assert_eq!(pages(&system, &query).await, ids(&expected), "{query:?}");
    }
}

/// The ids on all pages, of one object each.
async fn pages(system: &System, query: &[(&str, &str)]) -> Vec<Value> {
    let (mut ids, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut url = Url::parse_with_params(&system.url_of("datagen", "/api/objects?limit=1"), query).unwrap();
        if let Some(cursor) = &cursor {
            url.query_pairs_mut().append_pair("cursor", cursor);
        }
        let answer = system.client().get(url).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{query:?}");
        let page: Value = answer.json().await.unwrap();
        ids.extend(page["objects"].as_array().unwrap().iter().map(|object| object["id"].clone()));
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return ids,
        }
    }
}
