//! Who may come in: `Authorization: Bearer` on everything that a service serves, but what is named here.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use tokio::time::Instant;
use tracing::{error, info, warn};
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::{Problem, document::needs_token};
use crate::config::{NotAllowed, Token, TokenFile, Tokens, token_owner};

/// Routes of services that are open to all: what describes the interface. Health and metrics are open, too; they are not a
/// service's.
const PUBLIC: [&str; 2] = ["/openapi.json", "/docs"];

/// How often the file with tokens is read at most: a removed token opens nothing after that, and a crowd of requests does
/// not make a crowd of reads.
const FILE_AGE: Duration = Duration::from_secs(1);

/// How many wrong tokens a second are told that they are wrong; the others are told to slow down. It bounds what guessing
/// costs here (lines of the log, work), and whoever has a right token is not held up by it, so that nobody can lock others
/// out. It is the length of a token that makes guessing hopeless.
const MAX_WRONG_A_SECOND: u32 = 20;

/// Lets in who shows a token. Clones are the same guard.
#[derive(Clone, Default)]
pub struct Guard(Option<Arc<Inner>>);

/// Who has been let in: the same for the same token, here and everywhere. It tells nothing of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitter(pub Uuid);

struct Inner {
    tokens: Option<Tokens>,
    file: Option<TokenFile>,
    state: Mutex<Watch>,
}

/// What changes.
struct Watch {
    in_file: Option<Tokens>,
    read_at: Instant,
    /// Why the file could not be used when it was read last.
    unreadable: Option<NotAllowed>,
    second: Instant,
    wrong: u32,
}

impl Guard {
    /// A guard for these tokens and those of the file; without any, everybody is let in.
    pub fn new(tokens: Option<Tokens>, file: Option<TokenFile>) -> Self {
        if tokens.is_none() && file.is_none() {
            return Self::default();
        }
        let now = Instant::now();
        let in_file = file.as_ref().map(|file| file.tokens().clone());
        let state = Mutex::new(Watch { in_file, read_at: now, unreadable: None, second: now, wrong: 0 });
        Self(Some(Arc::new(Inner { tokens, file, state })))
    }

    /// Whether everybody is let in.
    pub fn is_open(&self) -> bool {
        self.0.is_none()
    }

    /// Whether some token can be guessed.
    pub(crate) fn is_weak(&self) -> bool {
        let Some(inner) = &self.0 else { return false };
        inner.all(&inner.watch()).any(Token::is_short)
    }

    /// Puts the guard in front of every route of `router`, also of what no route takes.
    pub fn protect(&self, mut router: OpenApiRouter) -> OpenApiRouter {
        let Some(inner) = &self.0 else { return router };
        needs_token(router.get_openapi_mut());
        router.fallback(async || StatusCode::NOT_FOUND).layer(middleware::from_fn_with_state(Arc::clone(inner), check))
    }
}

/// Before anything of the body is read.
async fn check(State(guard): State<Arc<Inner>>, mut request: Request, next: Next) -> Response {
    let is_public = request.extensions().get::<MatchedPath>().is_some_and(|route| PUBLIC.contains(&route.as_str()));
    if !is_public {
        match guard.admit(request.headers()) {
            Ok(submitter) => request.extensions_mut().insert(submitter),
            Err(problem) => return problem.into_response(),
        };
    }
    next.run(request).await
}

impl Inner {
    fn admit(&self, headers: &HeaderMap) -> Result<Submitter, Problem> {
        let Some(shown) = bearer(headers) else {
            return Err(Problem::unauthorized("A token is needed: Authorization: Bearer TOKEN."));
        };
        let mut watch = self.watch();
        self.look_into_file(&mut watch);
        match token_owner(self.all(&watch), shown) {
            Some(owner) => Ok(Submitter(owner)),
            None => Err(watch.wrong_again()),
        }
    }

    fn all<'a>(&'a self, watch: &'a Watch) -> impl Iterator<Item = &'a Token> {
        self.tokens.iter().chain(&watch.in_file).flat_map(Tokens::iter)
    }

    /// What was valid stays so while the file cannot be used: half a file must neither open the door nor lock out everybody.
    fn look_into_file(&self, watch: &mut Watch) {
        let Some(file) = self.file.as_ref().filter(|_| watch.read_at.elapsed() >= FILE_AGE) else { return };
        watch.read_at = Instant::now();
        match file.read_again() {
            Ok(tokens) => {
                watch.unreadable = None;
                if watch.in_file.as_ref() != Some(&tokens) {
                    info!("other tokens are valid from now on: API_TOKEN_FILE has changed");
                    watch.in_file = Some(tokens);
                }
            }
            Err(reason) => {
                if watch.unreadable.as_ref() != Some(&reason) {
                    error!("API_TOKEN_FILE cannot be used, and what was valid stays so: {reason}");
                    watch.unreadable = Some(reason);
                }
            }
        }
    }

    fn watch(&self) -> std::sync::MutexGuard<'_, Watch> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    fn wrong_again(&mut self) -> Problem {
        const SECOND: Duration = Duration::from_secs(1);
        if self.second.elapsed() >= SECOND {
            (self.second, self.wrong) = (Instant::now(), 0);
        }
        self.wrong = self.wrong.saturating_add(1);
        if self.wrong == 1 {
            warn!("a wrong token was shown");
        }
        if self.wrong > MAX_WRONG_A_SECOND {
            Problem::too_many_requests(SECOND, "Too many wrong tokens are shown.")
        } else {
            Problem::unauthorized("The token is wrong.")
        }
    }
}

/// The token of a request that has one.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token.trim_ascii())
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_open() { "Guard(open)" } else { "Guard(…)" })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::{Extension, Router, body::Body, routing::get};
    use tokio::time::advance;
    use tower::ServiceExt;

    use super::*;

    async fn whoever(submitter: Option<Extension<Submitter>>) -> String {
        submitter.map(|Extension(Submitter(id))| id.to_string()).unwrap_or_default()
    }

    fn guarded(tokens: &str, file: Option<&std::path::Path>) -> Router {
        let file = file.map(|file| file.to_str().unwrap().parse().unwrap());
        let tokens = (!tokens.is_empty()).then(|| tokens.parse().unwrap());
        let router = OpenApiRouter::new().route("/who", get(whoever)).route("/docs", get(whoever));
        Guard::new(tokens, file).protect(router).into()
    }

    async fn ask(router: &Router, path: &str, authorization: &[&str]) -> (StatusCode, HeaderMap, String) {
        let mut request = http::Request::get(path);
        for value in authorization {
            request = request.header(AUTHORIZATION, *value);
        }
        let answer = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, 10_000).await.unwrap();
        (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn status(router: &Router, path: &str, authorization: &[&str]) -> u16 {
        ask(router, path, authorization).await.0.as_u16()
    }

    #[tokio::test]
    async fn only_who_shows_a_token_comes_in() {
        let router = guarded("first,second", None);
        for wrong in [
            &[][..],
            &["Bearer "],
            &["Bearer"],
            &["Bearer wrong"],
            &["Bearer first,second"],
            &["Basic first"],
            &["first"],
            &["Bearer first", "Bearer first"],
        ] {
            let (status, headers, body) = ask(&router, "/who", wrong).await;
            assert_eq!(status, 401, "{wrong:?}");
            assert_eq!(headers["www-authenticate"], "Bearer");
            assert_eq!(headers["content-type"], "application/problem+json");
            assert!(body.contains("oken") && !body.contains("first"), "{body}");
        }
        let (status, _, first) = ask(&router, "/who", &["Bearer first"]).await;
        assert_eq!(status, 200);
        let (_, _, second) = ask(&router, "/who", &["bearer  second"]).await;
        assert!(!first.is_empty() && !second.is_empty() && first != second);
    }

    #[tokio::test]
    async fn what_nobody_serves_is_closed_too_and_what_is_public_is_open() {
        let router = guarded("first", None);
        assert_eq!(status(&router, "/nothing", &[]).await, 401);
        assert_eq!(status(&router, "/docs/../who", &[]).await, 401);
        assert_eq!(status(&router, "/docs", &[]).await, 200);
    }

    #[tokio::test]
    async fn without_tokens_everybody_comes_in_as_nobody() {
        let router = guarded("", None);
        assert_eq!(ask(&router, "/who", &[]).await.2, "");
        assert_eq!(status(&router, "/who", &["Bearer any"]).await, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn many_wrong_tokens_are_told_to_slow_down_and_right_ones_are_not() {
        let router = guarded("first", None);
        for _ in 0..MAX_WRONG_A_SECOND {
            assert_eq!(status(&router, "/who", &["Bearer wrong"]).await, 401);
        }
        let (code, headers, _) = ask(&router, "/who", &["Bearer wrong"]).await;
        assert_eq!(code, 429);
        assert_eq!(headers["retry-after"], "1");
        assert_eq!(status(&router, "/who", &["Bearer first"]).await, 200);
        advance(Duration::from_secs(1)).await;
        assert_eq!(status(&router, "/who", &["Bearer wrong"]).await, 401);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_of_tokens_is_read_anew_at_most_once_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        std::fs::write(&file, "old\n").unwrap();
        let router = guarded("always", Some(&file));
        assert_eq!(status(&router, "/who", &["Bearer old"]).await, 200);

        std::fs::write(&file, "new\n").unwrap();
        assert_eq!(status(&router, "/who", &["Bearer new"]).await, 401, "not read again yet");
        advance(FILE_AGE).await;
        assert_eq!(status(&router, "/who", &["Bearer new"]).await, 200);
        assert_eq!(status(&router, "/who", &["Bearer old"]).await, 401);

        for broken in ["", "a,b"] {
            std::fs::write(&file, broken).unwrap();
            advance(FILE_AGE).await;
            assert_eq!(status(&router, "/who", &["Bearer new"]).await, 200, "what was valid stays so");
            assert_eq!(status(&router, "/who", &["Bearer a"]).await, 401);
        }
        std::fs::remove_file(&file).unwrap();
        advance(FILE_AGE).await;
        assert_eq!(status(&router, "/who", &["Bearer new"]).await, 200);
        assert_eq!(status(&router, "/who", &["Bearer always"]).await, 200);
        assert_eq!(status(&router, "/who", &[]).await, 401);
    }
}
