//! A bad setting ends a service at once: with the variable, the value, what is allowed, and exit code 64.

use testkit::service_binary;
use tokio::process::Command;

#[tokio::test]
async fn bad_settings_are_named_with_what_is_allowed() {
    for (service, variable, value, told) in [
        ("datagen", "LISTEN", "nowhere", "127.0.0.1:8000"),
        ("datagen", "DISTRIBUTION_COUNT", "0", "1"),
        ("datagen", "OBJECT_DEADLINE", "soon", "24h"),
        ("datagen", "STATISTICS_URL", "ftp://x", "http://"),
        ("datagen", "MAX_EVENT_BYTES", "1GiB", "15MiB"),
        ("distributor", "QUEUE_URL", "embedded:bus.db", "lone service"),
        ("distributor", "EXCHANGE", "a.b", "letters"),
        ("processor", "CONCURRENCY", "none", "1024"),
        ("processor", "PROCESS_TIME", "5s..x", "3s"),
        ("processor", "OPERATIONS", "juggle", "word-frequencies"),
        ("processor", "TASK_TIMEOUT", "1h", "8m"),
        ("processor", "MAX_ATTEMPTS", "0", "100"),
        ("processor", "PROCESS_TIME", "1s..2m", "TASK_TIMEOUT"),
        ("statistics", "DATABASE_URL", "postgres://x", "sqlite"),
        ("statistics", "LOG_FORMAT", "xml", "json"),
        ("statistics", "SHUTDOWN_GRACE", "-1", "250ms"),
    ] {
        let mut command = Command::new(service_binary(service));
        let output = command.env("LISTEN", "127.0.0.1:0").env(variable, value).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{service} {variable}={value}: {said}");
        assert!(said.contains(variable), "{service} {variable}={value}: {said}");
        let shown = said.contains(value) || variable.ends_with("_URL");
        assert!(shown && said.contains(told), "{service} {variable}={value}: {said}");
    }
}

#[tokio::test]
async fn a_password_in_a_bad_address_is_not_shown() {
    let mut command = Command::new(service_binary("processor"));
    let output = command.env("QUEUE_URL", "http://me:s3cret@broker").output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64));
    assert!(said.contains("QUEUE_URL") && !said.contains("s3cret"), "{said}");
}
