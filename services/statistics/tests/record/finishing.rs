//! How objects close.

use bus::{
    AnyEvent,
    events::{Json, Object, ObjectCreated, ObjectFinished, ObjectOutcome, ObjectResult, Parameters, TaskOutcome},
};
use serde_json::json;

use crate::support::{Execution, Fixture, Work, received, time};

async fn announced(fixture: &Fixture) -> Vec<ObjectFinished> {
    let rows = fixture.rows("SELECT event FROM outbox ORDER BY id").await;
    rows.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}

#[tokio::test]
async fn an_object_closes_with_the_transaction_that_brings_its_last_part() {
    let fixture = Fixture::new().await;
    let work = Work::words("a b a", 3);
    let events = work.life();
    let (last, before) = events.split_last().unwrap();

    let open = fixture.record.merge(before).await.unwrap();
    assert_eq!((open.closed.len(), open.announced), (0, 0));
    let closed = fixture.record.merge(std::slice::from_ref(last)).await.unwrap();
    assert_eq!((closed.closed, closed.announced), (vec![work.id], 1));

    assert_eq!(fixture.rows("SELECT result FROM objects").await, [r#"{"a":2,"b":1}"#]);
    assert_eq!(fixture.rows("SELECT name || count FROM totals ORDER BY name").await, ["a2", "b1"]);
    let event = announced(&fixture).await.remove(0);
    assert_eq!((event.object_id, event.revision, event.duration_ms.get()), (work.id, 0, 12.0));
    let result = Json::of(&work.result()).unwrap();
    assert_eq!(event.outcome, ObjectOutcome::Succeeded(ObjectResult::Inline(result)));
}

#[tokio::test]
async fn a_late_success_turns_a_failed_object_and_announces_it_again() {
    let fixture = Fixture::new().await;
    let work = Work::words("a b c", 3);
    let mut events = work.life();
    events.pop();
    events.push(work.finished(2, &Execution::failed()));
    fixture.record.merge(&events).await.unwrap();
    assert_eq!(fixture.rows("SELECT status || revision FROM objects").await, ["failed0"]);
    assert_eq!(fixture.number("SELECT count(*) FROM totals").await, 0);

    let replayed = work.finished(2, &Execution { round: 1, ..Execution::ok() });
    for _ in 0..3 {
        fixture.record.merge(std::slice::from_ref(&replayed)).await.unwrap();
        fixture.record.merge(&events).await.unwrap();
    }
    assert_eq!(fixture.rows("SELECT status || revision FROM objects").await, ["succeeded1"]);
    assert_eq!(fixture.rows("SELECT name || count FROM totals ORDER BY name").await, ["a1", "b1", "c1"]);
    let events = announced(&fixture).await;
    assert_eq!(events.len(), 2);
    assert!(matches!(&events[0].outcome, ObjectOutcome::Failed(errors)
        if errors.len() == 1 && errors[0].part == Some(2) && errors[0].error == "part 2 broke"));
    assert!(matches!(&events[1].outcome, ObjectOutcome::Succeeded(_)));
    assert_eq!((events[0].revision, events[1].revision), (0, 1));
    assert_eq!(fixture.number("SELECT value FROM statistics WHERE figure = 'objects failed'").await, 0);
}

#[tokio::test]
async fn the_partials_of_a_succeeded_object_stay_as_they_were_gathered() {
    let fixture = Fixture::new().await;
    let work = Work::words("a", 1);
    fixture.record.merge(&work.life()).await.unwrap();
    let earlier = Execution { started_ms: 1001, processor: "p2".to_owned(), ..Execution::ok() };
    let other = TaskOutcome::Succeeded(Json::of(&json!({"b": 1})).unwrap());
    fixture.record.merge(&[work.ended(0, &earlier, other)]).await.unwrap();

    assert_eq!(fixture.rows("SELECT result FROM partials").await, [r#"{"a":1}"#]);
    assert_eq!(fixture.rows("SELECT processor FROM tasks").await, ["p2"]);
    assert_eq!(fixture.number("SELECT duration FROM objects").await, 11_000);
    assert_eq!(announced(&fixture).await.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_gathered_fails_with_the_reason_and_stops_nothing_else() {
    let fixture = Fixture::new().await;
    let broken = Work::words("a", 1);
    let nonsense = TaskOutcome::Succeeded(Json::of(&"no counts").unwrap());
    let lone_surrogate: Json = r#"{"\ud800": 1}"#.parse().unwrap();
    let unreadable = Work::words("a", 1);
    let unknown = Work { operation: "not-there".parse().unwrap(), ..Work::nop(json!([]), 1) };
    let healthy = Work::nop(json!([1, 2]), 2);
    let mut events = vec![broken.created(1), unreadable.created(1), unknown.created(1)];
    events.push(broken.ended(0, &Execution::ok(), nonsense));
    events.push(unreadable.ended(0, &Execution::ok(), TaskOutcome::Succeeded(lone_surrogate)));
    events.push(unknown.ended(0, &Execution::ok(), TaskOutcome::Succeeded(Json::of(&1).unwrap())));
    events.extend(healthy.life());
    fixture.record.merge(&events).await.unwrap();

    let errors = fixture.rows("SELECT error FROM objects WHERE status = 'failed' ORDER BY error").await;
    assert_eq!(errors.len(), 3);
    assert!(errors.iter().any(|error| error.contains("unknown operation `not-there`")), "{errors:?}");
    assert!(errors.iter().any(|error| error.contains("the result of part 0 cannot be read")), "{errors:?}");
    assert_eq!(fixture.rows("SELECT result FROM objects WHERE status = 'succeeded'").await, ["[1,2]"]);
    let first = announced(&fixture).await.remove(0);
    assert!(matches!(first.outcome, ObjectOutcome::Failed(errors) if errors[0].part.is_none()));
}

#[tokio::test]
async fn a_long_result_is_announced_by_its_length_and_place() {
    let fixture = Fixture::new().await;
    let work = Work::nop(json!(["x".repeat(70_000)]), 1);
    fixture.record.merge(&work.life()).await.unwrap();
    let event = announced(&fixture).await.remove(0);
    let location = format!("/api/objects/{}", work.id);
    let stored = ObjectResult::Stored { bytes: 70_004, location };
    assert_eq!(event.outcome, ObjectOutcome::Succeeded(stored));
}

#[tokio::test]
async fn at_most_a_hundred_errors_are_announced() {
    let fixture = Fixture::new().await;
    let work = Work::words("a", 150);
    let mut events = vec![work.created(1)];
    events.extend((0..150).map(|part| work.finished(part, &Execution::failed())));
    fixture.record.merge(&events).await.unwrap();
    let event = announced(&fixture).await.remove(0);
    assert!(matches!(event.outcome, ObjectOutcome::Failed(errors) if errors.len() == 100));
}

#[tokio::test]
async fn nothing_that_an_event_can_say_stops_the_record() {
    let fixture = Fixture::new().await;
    let first = Work::words("a", 2);
    let nul = Execution { processor: "p\0\u{7f}".to_owned(), ..Execution::ok() };
    let counts = |count: u64| TaskOutcome::Succeeded(Json::of(&json!({"a\0b": count})).unwrap());
    let strange = Object {
        id: first.id,
        name: "\0 '\" \\ \u{1f980} \r\n".repeat(1000),
        operation: first.operation.clone(),
        parameters: Parameters::new(),
        data: r#"{"\u0000": 123456789012345678901234567890, "x": [1e999, -0.0]}"#.parse().unwrap(),
        tasks: 2,
        deadline_ms: std::time::Duration::MAX.into(),
        created_at: jiff::Timestamp::MIN,
    };
    let mut events = vec![
        received(AnyEvent::ObjectCreated(ObjectCreated { object: strange }), 0),
        received(AnyEvent::Unknown, 0),
        first.started(0, &nul),
        first.ended(0, &nul, counts(i64::MAX as u64)),
        first.ended(1, &nul, counts(i64::MAX as u64)),
    ];
    let mut last = received(AnyEvent::Unknown, 0);
    last.envelope.time = jiff::Timestamp::MAX;
    last.envelope.kind = "\0".repeat(10_000);
    events.push(last);
    let second = Work::words("b", 1);
    let failed = TaskOutcome::Failed("\0".repeat(100_000));
    events.extend([second.created(time(0).as_millisecond()), second.ended(0, &nul, failed)]);
    // Each time the same object comes earlier, its duration is longer: sums must not overflow.
    fixture.record.merge(&events).await.unwrap();
    let third = Work::words("a", 1);
    let more = [third.created(1), third.ended(0, &nul, counts(i64::MAX as u64))];
    fixture.record.merge(&more).await.unwrap();

    assert_eq!(fixture.number("SELECT count FROM totals").await, i64::MAX);
    assert_eq!(fixture.rows("SELECT name FROM totals").await, ["a\u{fffd}b"]);
    assert_eq!(fixture.number("SELECT count(*) FROM objects WHERE status <> 'open'").await, 3);
    assert_eq!(fixture.rows("SELECT data FROM objects WHERE tasks = 2").await.len(), 1);
    assert_eq!(fixture.number("SELECT sum(count) FROM unknown_events").await, 2);
}

#[tokio::test]
async fn types_that_are_not_ours_are_counted_up_to_a_thousand_apart() {
    let fixture = Fixture::new().await;
    let events: Vec<_> = (0..1200)
        .map(|number| {
            let mut event = received(AnyEvent::Unknown, 0);
            event.envelope.kind = format!("TYPE_{number}");
            event
        })
        .collect();
    fixture.record.merge(&events).await.unwrap();
    fixture.record.merge(&events[..1]).await.unwrap();
    assert_eq!(fixture.number("SELECT count(*) FROM unknown_events").await, 1001);
    assert_eq!(fixture.number("SELECT sum(count) FROM unknown_events").await, 1201);
    assert_eq!(fixture.number("SELECT count FROM unknown_events WHERE type = 'TYPE_0'").await, 2);
}

#[tokio::test]
async fn the_split_that_succeeded_decides_whatever_other_splits_there_are() {
    let fixture = Fixture::new().await;
    let three = Work::words("a b c", 3);
    let later = Execution { started_ms: 2000, ..Execution::ok() };
    let two = Work { parts: 2, ..three.clone() };
    let mut events = vec![three.created(1)];
    events.extend((0..3).map(|part| three.finished(part, &Execution::failed())));
    events.push(two.finished(0, &later));
    fixture.record.merge(&events).await.unwrap();
    assert_eq!(fixture.rows("SELECT status || parts FROM objects").await, ["failed3"]);
    fixture.record.merge(&[two.finished(1, &later)]).await.unwrap();
    assert_eq!(fixture.rows("SELECT status || parts FROM objects").await, ["succeeded2"]);
}
