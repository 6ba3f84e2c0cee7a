//! `chat`.

use testkit::Process;

use crate::kit::{PATIENCE, Place, count, interrupt, line};

/// One who has come in, and their nickname.
async fn join(place: &Place) -> (Process, String) {
    let chat = place.start("chat", "");
    let told = line(&chat, "You are ").await;
    let nickname = told.trim_start_matches("You are ").split('.').next().unwrap().to_owned();
    line(&chat, &format!("* {nickname} joined")).await;
    (chat, nickname)
}

#[tokio::test]
async fn everybody_hears_everything_but_what_was_said_before_they_came() {
    let place = Place::on_broker();
    let (mut first, one) = join(&place).await;
    first.type_line("is anybody there?").await.unwrap();
    line(&first, &format!("{one}: is anybody there?")).await;

    let (mut second, two) = join(&place).await;
    assert_ne!(one, two);
    line(&first, &format!("* {two} joined")).await;
    second.type_line("I am").await.unwrap();
    let (mut third, three) = join(&place).await;
    first.type_line("good").await.unwrap();
    for chat in [&first, &second, &third] {
        line(chat, &format!("{one}: good")).await;
    }
    for chat in [&first, &second] {
        line(chat, &format!("{two}: I am")).await;
        line(chat, &format!("* {three} joined")).await;
    }
    // It came before what they have heard.
    assert_eq!(count(&second, "is anybody there?") + count(&third, "is anybody there?"), 0);

    interrupt(&mut second).await;
    line(&first, &format!("* {two} left")).await;
    third.end_input();
    assert!(third.ended(PATIENCE).await.unwrap().success());
    line(&first, &format!("* {three} left")).await;
    for said in ["is anybody there?", "I am", "good"] {
        assert_eq!(count(&first, said), 1, "{said}");
    }
}

#[tokio::test]
async fn on_the_embedded_bus_two_talk_in_one_process() {
    let mut chat = Place::embedded().start("chat", "");
    for text in ["hello", "good evening"] {
        chat.type_line(text).await.unwrap();
        line(&chat, text).await;
    }
    chat.end_input();
    assert!(chat.ended(PATIENCE).await.unwrap().success());
    let nicknames: Vec<_> = chat
        .lines()
        .iter()
        .filter_map(|line| Some(line.strip_prefix("You are ")?.split_once('.')?.0.to_owned()))
        .collect();
    let [one, two] = &nicknames[..] else { panic!("two: {nicknames:?}") };
    for heard in [one, two] {
        assert_eq!(count(&chat, &format!("[{heard}] {one}: hello")), 1);
        assert_eq!(count(&chat, &format!("[{heard}] {two}: good evening")), 1);
    }
    assert_eq!(count(&chat, &format!("[{two}] * {one} left")), 1);
}

#[tokio::test]
async fn what_could_steer_a_terminal_is_not_said() {
    let mut chat = Place::embedded().start("chat", "");
    chat.type_line("\u{1b}[2Jred").await.unwrap();
    assert!(line(&chat, "red").await.ends_with(": [2Jred"));
}

#[tokio::test]
async fn an_argument_is_refused() {
    let ended = Place::embedded().run("chat", "hello").await;
    assert!(ended.code == Some(64) && ended.errors.contains("what you type is said"), "{ended:?}");
}
