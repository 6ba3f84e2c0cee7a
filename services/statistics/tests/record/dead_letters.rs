//! What was set aside: kept whatever it is, and what follows from it.

use bus::{DeadLetter, Headers, Message, events::ObjectFinished};
use statistics::record::{Selection, Settled, SettledAll};

use crate::support::{Execution, Fixture, Work, dead_letter, message, topology};

async fn merge(fixture: &Fixture, letters: &[DeadLetter]) -> Vec<String> {
    fixture.record.merge_dead_letters(letters, &topology()).await.unwrap().dead
}

async fn objects(fixture: &Fixture) -> Vec<String> {
    fixture.rows("SELECT json_array(status, revision, error) FROM objects").await
}

async fn ids(fixture: &Fixture) -> Vec<String> {
    fixture.rows("SELECT id FROM dead_letters ORDER BY number").await
}

#[tokio::test]
async fn a_dead_task_fails_its_object_and_is_one_row_however_often_it_comes() {
    let fixture = Fixture::new().await;
    let work = Work::words("a b", 2);
    let mut events = work.life();
    events.pop();
    fixture.record.merge(&events).await.unwrap();
    let dead = work.dead_task(1, 0, 2000);
    let merged = fixture.record.merge_dead_letters(&[dead.clone(), dead.clone()], &topology()).await.unwrap();
    assert_eq!((merged.closed, merged.announced, merged.dead), (vec![work.id], 1, vec!["crash-loop".to_owned()]));
    assert!(merge(&fixture, std::slice::from_ref(&dead)).await.is_empty(), "nothing is new");
    assert_eq!(objects(&fixture).await, [r#"["failed",0,null]"#]);
    let task =
        fixture.rows("SELECT json_array(outcome, finish_round, processor, error) FROM tasks WHERE part = 1").await;
    assert_eq!(task, [r#"["failed",0,null,"it crashes whoever executes it"]"#]);
    assert_eq!(fixture.number("SELECT sum(tasks_in_progress) FROM processor_figures").await, 0);
    assert_eq!(fixture.number("SELECT value FROM statistics WHERE figure = 'dead letters waiting'").await, 1);
    let row = fixture.rows("SELECT json_array(operation, part, parts, round, state, died_at) FROM dead_letters").await;
    assert_eq!(row, [r#"["word-frequencies",1,2,0,"waiting",2000000]"#]);
}

#[tokio::test]
async fn what_the_processor_said_itself_counts_before_that_its_task_was_set_aside() {
    let fixture = Fixture::new().await;
    let work = Work::words("a", 1);
    merge(&fixture, &[work.dead_task(0, 0, 2000)]).await;
    fixture.record.merge(&[work.created(1), work.finished(0, &Execution::failed())]).await.unwrap();
    let task = fixture.rows("SELECT processor || ': ' || error FROM tasks").await;
    assert_eq!(task, ["p1: part 0 broke"]);
    assert_eq!(fixture.number("SELECT tasks_failed FROM processor_figures").await, 1);
    assert_eq!(fixture.number("SELECT tasks_failed FROM figures").await, 1);
}

#[tokio::test]
async fn a_task_that_is_replayed_and_succeeds_turns_its_object_once() {
    let fixture = Fixture::new().await;
    let work = Work::words("a b", 2);
    let mut events = work.life();
    events.pop();
    fixture.record.merge(&events).await.unwrap();
    merge(&fixture, &[work.dead_task(1, 0, 2000)]).await;
    let id = ids(&fixture).await.remove(0);
    assert_eq!(fixture.record.replay_dead_letter(&id).await.unwrap(), Settled::Done);
    let again = fixture.record.replay_dead_letter(&id).await.unwrap();
    assert_eq!(again, Settled::Already("replayed".to_owned()));
    assert_eq!(fixture.number("SELECT count(*) FROM outbox WHERE kind = 'replay'").await, 1);
    // It dies again, and then does not.
    assert_eq!(merge(&fixture, &[work.dead_task(1, 1, 3000)]).await.len(), 1);
    assert_eq!(fixture.rows("SELECT state FROM dead_letters ORDER BY round").await, ["replayed", "waiting"]);
    assert_eq!(objects(&fixture).await, [r#"["failed",0,null]"#]);
    let success = work.finished(1, &Execution { round: 2, ..Execution::ok() });
    for _ in 0..2 {
        fixture.record.merge(std::slice::from_ref(&success)).await.unwrap();
    }
    assert_eq!(objects(&fixture).await, [r#"["succeeded",1,null]"#]);
    assert_eq!(fixture.rows("SELECT name || count FROM totals ORDER BY name").await, ["a1", "b1"]);
    let announced = fixture.rows("SELECT event FROM outbox WHERE kind = 'event' ORDER BY id").await;
    let revisions = announced.iter().map(|event| serde_json::from_str::<ObjectFinished>(event).unwrap().revision);
    assert_eq!(revisions.collect::<Vec<_>>(), [0, 1]);
}

#[tokio::test]
async fn an_object_that_is_not_split_fails_and_succeeds_when_it_is_after_all() {
    let fixture = Fixture::new().await;
    let work = Work::words("a", 1);
    // Before anybody has heard of it.
    merge(&fixture, &[work.dead_object(0, 2000)]).await;
    fixture.record.merge(&[work.created(1000)]).await.unwrap();
    assert_eq!(objects(&fixture).await, [r#"["failed",0,"it crashes whoever executes it"]"#]);
    assert_eq!(fixture.number("SELECT duration FROM objects").await, 1_000_000);
    merge(&fixture, &[work.dead_object(1, 5000)]).await;
    assert_eq!(fixture.number("SELECT duration FROM objects").await, 4_000_000, "the later round counts");
    fixture.record.merge(&work.life()).await.unwrap();
    assert_eq!(objects(&fixture).await, [r#"["succeeded",1,null]"#]);
    merge(&fixture, &[work.dead_object(2, 9000)]).await;
    assert_eq!(objects(&fixture).await, [r#"["succeeded",1,null]"#], "a success counts before any failure");
}

#[tokio::test]
async fn what_was_set_aside_elsewhere_or_is_no_event_fails_nothing() {
    let fixture = Fixture::new().await;
    let work = Work::words("a", 1);
    fixture.record.merge(&[work.created(1), work.split_off(0, 1)]).await.unwrap();
    let of_ours = topology().statistics().name;
    let mut letters: Vec<_> = [work.dead_task(0, 0, 2000), work.dead_object(0, 2000)]
        .into_iter()
        .map(|letter| DeadLetter { queue: Some(of_ours.clone()), ..letter })
        .collect();
    let garbage = Message { id: "1".to_owned(), body: vec![0xff, 0, 7].into(), ..message_of(&work) };
    letters.push(dead_letter(garbage.clone(), Some(&topology().processor(&work.operation).name), 0, 2000));
    letters.push(dead_letter(Message::default(), None, 0, 2000));
    letters.push(dead_letter(Message::default(), Some("a\0b"), 0, 2000));
    assert_eq!(merge(&fixture, &letters).await.len(), 5);
    assert_eq!(objects(&fixture).await, [r#"["open",0,null]"#]);
    let row = "SELECT json_array(hex(body), operation, object_id) FROM dead_letters WHERE message_id = '1'";
    assert_eq!(fixture.rows(row).await, [r#"["FF0007","word-frequencies",null]"#]);
    let obstacles = fixture.rows("SELECT obstacle FROM dead_letters WHERE obstacle IS NOT NULL ORDER BY number").await;
    assert_eq!(obstacles.len(), 2, "{obstacles:?}");
    assert!(obstacles[0].contains("does not say") && obstacles[1].contains("no queue of this system"), "{obstacles:?}");
}

fn message_of(work: &Work) -> Message {
    work.dead_task(0, 0, 0).message
}

#[tokio::test]
async fn messages_without_an_id_are_told_apart_by_what_they_say() {
    let fixture = Fixture::new().await;
    let queue = topology().distributor().name;
    let without_id = |body: &'static str| Message { body: body.into(), headers: Headers::new(), ..Message::default() };
    let letter = |body, round| dead_letter(without_id(body), Some(&queue), round, 2000);
    merge(&fixture, &[letter("x", 0), letter("x", 0), letter("y", 0), letter("x", 1)]).await;
    assert_eq!(fixture.number("SELECT count(*) FROM dead_letters").await, 3);
    assert_eq!(fixture.number("SELECT count(DISTINCT message_id) FROM dead_letters").await, 2);
}

#[tokio::test]
async fn of_what_is_too_long_the_beginning_is_kept_and_it_is_not_replayed() {
    let fixture = Fixture::new().await;
    let long = Message { body: vec![b'x'; 16 * 1024 * 1024 + 1].into(), ..message_of(&Work::words("a", 1)) };
    merge(&fixture, &[dead_letter(long, Some(&topology().distributor().name), 0, 2000)]).await;
    let sizes = fixture.rows("SELECT json_array(body_bytes, octet_length(body)) FROM dead_letters").await;
    assert_eq!(sizes, ["[16777217,65536]"]);
    let id = ids(&fixture).await.remove(0);
    let Settled::Refused(reason) = fixture.record.replay_dead_letter(&id).await.unwrap() else { panic!("it was not") };
    assert!(reason.contains("16777217"), "{reason}");
    let all = fixture.record.replay_dead_letters(&Selection::default()).await.unwrap();
    assert_eq!(all, SettledAll { done: 0, refused: 1 });
    assert_eq!(fixture.record.discard_dead_letter(&id).await.unwrap(), Settled::Done);
    assert_eq!(fixture.number("SELECT octet_length(body) FROM dead_letters").await, 0);
}

#[tokio::test]
async fn a_group_is_settled_whole_in_portions_and_nothing_else_is() {
    let fixture = Fixture::new().await;
    let (words, nop) = (Work::words("a", 250), Work::nop(1.into(), 3));
    let letters: Vec<_> = (0..250).map(|part| words.dead_task(part, 0, 2000)).collect();
    merge(&fixture, &letters).await;
    let mut others: Vec<_> = (0..3).map(|part| nop.dead_task(part, 0, 2000)).collect();
    others[0].cause = Some("rejected".to_owned());
    merge(&fixture, &others).await;
    let of_words = Selection { operation: Some("word-frequencies".to_owned()), ..Selection::default() };
    let replayed = fixture.record.replay_dead_letters(&of_words).await.unwrap();
    assert_eq!(replayed, SettledAll { done: 250, refused: 0 });
    assert_eq!(fixture.number("SELECT count(DISTINCT event) FROM outbox WHERE kind = 'replay'").await, 250);
    assert_eq!(fixture.record.replay_dead_letters(&of_words).await.unwrap(), SettledAll::default());
    let rejected = Selection { cause: Some("rejected".to_owned()), object: Some(nop.id), ..Selection::default() };
    assert_eq!(fixture.record.discard_dead_letters(&rejected).await.unwrap().done, 1);
    let by_ids = Selection { ids: Some(ids(&fixture).await), ..Selection::default() };
    assert_eq!(fixture.record.discard_dead_letters(&by_ids).await.unwrap().done, 2);
    let states = fixture.rows("SELECT state || count(*) FROM dead_letters GROUP BY state ORDER BY state").await;
    assert_eq!(states, ["discarded3", "replayed250"]);
    assert_eq!(fixture.record.discard_dead_letter("nonsense").await.unwrap(), Settled::NotThere);
}

#[tokio::test]
async fn of_two_reports_of_one_death_the_earlier_one_counts_whichever_comes_first() {
    let work = Work::words("a", 1);
    let (earlier, later) = (work.dead_task(0, 0, 2000), DeadLetter { reason: None, ..work.dead_task(0, 0, 2001) });
    for letters in [[&earlier, &later], [&later, &earlier]] {
        let fixture = Fixture::new().await;
        for letter in letters {
            merge(&fixture, std::slice::from_ref(letter)).await;
        }
        let row = fixture.rows("SELECT json_array(died_at, reason) FROM dead_letters").await;
        assert_eq!(row, [r#"[2000000,"it crashes whoever executes it"]"#]);
    }
}

#[tokio::test]
async fn an_event_of_another_type_in_the_queue_of_a_task_fails_nothing() {
    let fixture = Fixture::new().await;
    let work = Work::words("a", 1);
    fixture.record.merge(&[work.created(1)]).await.unwrap();
    let bus::AnyEvent::ObjectCreated(created) = work.created(1).event else { panic!("that is what it is") };
    let queue = topology().processor(&work.operation).name;
    merge(&fixture, &[dead_letter(message(&created), Some(&queue), 0, 2000)]).await;
    assert_eq!(objects(&fixture).await, [r#"["open",0,null]"#]);
    let row = fixture.rows("SELECT json_array(kind, object_id = (SELECT id FROM objects)) FROM dead_letters").await;
    assert_eq!(row, [r#"["OBJECT_CREATED",1]"#]);
}
