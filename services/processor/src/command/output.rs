//! What a command prints: all of its result, within a bound, and the end of what it says beside.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// What is kept of standard error, in bytes: the end of it, where most programs say what went wrong.
const MAX_SAID_BYTES: usize = 6 * 1024;
/// What is told of that, in characters; a reason for a failure has place for 2000.
const MAX_TOLD_CHARS: usize = 1500;

/// What was printed to standard output.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Printed {
    /// Up to its end.
    All(Vec<u8>),
    /// There is more than is allowed; it was not read.
    TooMuch,
}

/// Reads to the end, if it comes within so many bytes.
///
/// # Errors
/// If it cannot be read.
pub(super) async fn all_of(output: impl AsyncRead + Unpin, max_bytes: usize) -> io::Result<Printed> {
    let mut bytes = Vec::new();
    output.take(max_bytes as u64 + 1).read_to_end(&mut bytes).await?;
    Ok(if bytes.len() > max_bytes { Printed::TooMuch } else { Printed::All(bytes) })
}

/// Reads to the end and keeps the last of it, as text that does nothing to a terminal or a log.
pub(super) async fn last_of(mut output: impl AsyncRead + Unpin) -> String {
    let (mut kept, mut chunk, mut is_all) = (Vec::new(), vec![0; MAX_SAID_BYTES], true);
    // What cannot be read is as if it had not been said.
    while let Ok(length @ 1..) = output.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..length]);
        let surplus = kept.len().saturating_sub(MAX_SAID_BYTES);
        is_all &= surplus == 0;
        kept.drain(..surplus);
    }
    told(&kept, is_all)
}

fn told(said: &[u8], is_all: bool) -> String {
    let text = String::from_utf8_lossy(said).replace("\r\n", "\n");
    let harmless = |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { char::REPLACEMENT_CHARACTER } else { c };
    let text: String = text.trim().chars().map(harmless).collect();
    let surplus = text.chars().count().saturating_sub(MAX_TOLD_CHARS);
    match surplus {
        0 if is_all => text,
        surplus => text.chars().skip(surplus).fold("…".to_owned(), |told, c| told + c.encode_utf8(&mut [0; 4])),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_result_is_read_up_to_its_bound_and_no_further() {
        assert_eq!(all_of(&b"12345"[..], 5).await.unwrap(), Printed::All(b"12345".to_vec()));
        assert_eq!(all_of(&b"123456"[..], 5).await.unwrap(), Printed::TooMuch);
        assert_eq!(all_of(tokio::io::repeat(b'x'), 1000).await.unwrap(), Printed::TooMuch);
    }

    #[tokio::test]
    async fn the_end_of_what_is_said_is_kept() {
        let said = format!("{}é: at last\n", "x\n".repeat(1_000_000));
        let told = last_of(said.as_bytes()).await;
        assert!(told.starts_with('…') && told.ends_with("x\né: at last"), "{told}");
        assert_eq!(told.chars().count(), MAX_TOLD_CHARS + 1);
        assert_eq!(last_of(&b" short \n"[..]).await, "short");
        assert_eq!(last_of(&b""[..]).await, "");
    }

    #[tokio::test]
    async fn what_is_said_does_nothing_to_a_terminal() {
        assert_eq!(
            last_of(&b"a\r\n\x1b[31mred\x07\tb\xff\0"[..]).await,
            "a\n\u{FFFD}[31mred\u{FFFD}\tb\u{FFFD}\u{FFFD}"
        );
    }
}
