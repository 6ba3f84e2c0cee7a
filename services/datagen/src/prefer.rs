//! What a client would like, if it can be had: `Prefer` ([RFC 7240](https://www.rfc-editor.org/rfc/rfc7240)).

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The header of an answer that says which preference was honoured.
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// How long a client would wait for its object to finish, as `wait=SECONDS`: 1 to [`Wait::MAX_S`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait(u64);

impl Wait {
    /// As long as statistics lets anybody wait.
    const MAX_S: u64 = 60;

    /// So many seconds.
    pub(crate) const fn seconds(seconds: u64) -> Self {
        assert!(1 <= seconds && seconds <= Self::MAX_S, "nobody waits that long");
        Self(seconds)
    }

    /// What `Prefer: wait=N` asks for. N is how long the client would wait at most, so that more than [`Wait::MAX_S`] is
    /// honoured by waiting for that long. A preference that is none, or is no whole number of seconds, is ignored; so are all
    /// but the first of several, and all that are unknown. With 0 there is nothing to wait for.
    pub(crate) fn preferred(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(PREFER).into_iter().filter_map(|value| value.to_str().ok());
        let mut preferences = values.flat_map(|value| split(value, ','));
        let wait = preferences.find_map(|preference| {
            // What comes behind a semicolon only says more of it.
            let preference = split(preference, ';').next()?;
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            name.trim().eq_ignore_ascii_case("wait").then(|| value.trim())
        })?;
        let quoted = wait.strip_prefix('"').and_then(|wait| wait.strip_suffix('"'));
        let digits = quoted.unwrap_or(wait);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        // More digits than a number has are more seconds than anybody waits.
        let seconds = digits.parse().unwrap_or(u64::MAX).min(Self::MAX_S);
        (seconds > 0).then_some(Self(seconds))
    }

    /// The value of `Preference-Applied`.
    pub(crate) fn applied(self) -> Result<HeaderValue, http::Error> {
        Ok(self.to_string().try_into()?)
    }
}

/// As in a query, and as a preference.
impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wait={}", self.0)
    }
}

/// The parts between separators that are not in quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |character| {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => return character == separator && !is_quoted,
        }
        false
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn preferred(values: &[&str]) -> Option<u64> {
        let headers = values.iter().map(|value| (PREFER, value.parse().unwrap())).collect();
        Wait::preferred(&headers).map(|Wait(seconds)| seconds)
    }

    #[test]
    fn a_wait_is_found_among_all_that_is_preferred() {
        for values in [
            &["wait=7"][..],
            &["respond-async, Wait = 7"],
            &["return=minimal", "wait=7"],
            &[r#"foo="a, wait=1; \"wait=2", wait="7"; bar=1"#],
            &["wait=7, wait=8"],
            &["foo;wait=1, wait=7"],
        ] {
            assert_eq!(preferred(values), Some(7), "{values:?}");
        }
    }

    #[test]
    fn what_is_no_time_to_wait_is_ignored() {
        for values in [
            &[][..],
            &["respond-async"],
            &["wait"],
            &["wait="],
            &["wait=soon"],
            &["wait=-1"],
            &["wait=+1"],
            &["wait=1.5"],
            &["wait=0"],
            // Of several the first counts, whatever it is.
            &["wait=soon, wait=7"],
        ] {
            assert_eq!(preferred(values), None, "{values:?}");
        }
    }

    #[test]
    fn nobody_waits_longer_than_a_minute() {
        assert_eq!(preferred(&["wait=60"]), Some(60));
        assert_eq!(preferred(&["wait=61"]), Some(60));
        assert_eq!(preferred(&["wait=99999999999999999999999"]), Some(60));
        assert_eq!(Wait(60).applied().unwrap(), "wait=60");
    }
}
