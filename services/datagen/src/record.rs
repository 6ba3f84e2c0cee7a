//! Who answers for the record: statistics, at its address or beside this in the process.

use std::convert::Infallible;

use axum::{Router, body::Body, extract::Request, response::Response};
use bus::events::ObjectId;
use chassis::http::Problem;
use http::{HeaderMap, Method, header::AUTHORIZATION};
use tower::ServiceExt;

use crate::{forward::Statistics, prefer::Wait};

/// Where the record is asked what a user's request needs of it; nothing is asked that no user asks for.
#[derive(Clone)]
pub(crate) enum Record {
    /// In another process.
    Away(Box<Statistics>),
    /// In this one: its routes. They are behind the same guard as whoever asks here.
    Beside(Router),
}

impl Record {
    /// Asks for `path` on behalf of a user whose request had these headers: with the user's token.
    ///
    /// # Errors
    /// 503 or 504 if it cannot be reached. Whatever it answers is no error here.
    pub(crate) async fn ask(&self, method: Method, path: &str, user: &HeaderMap) -> Result<Response, Problem> {
        let mut request = Request::builder().method(method).uri(path).body(Body::empty())?;
        if let Some(token) = user.get(AUTHORIZATION) {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        match self {
            Self::Away(statistics) => statistics.pass_on(request).await,
            Self::Beside(router) => {
                let answered: Result<Response, Infallible> = router.clone().oneshot(request).await;
                answered.map_err(|never| match never {})
            }
        }
    }

    /// An object as the record shows it when it has finished, or the wait is over.
    ///
    /// # Errors
    /// As [`Record::ask`].
    pub(crate) async fn object(&self, id: ObjectId, wait: Wait, user: &HeaderMap) -> Result<Response, Problem> {
        self.ask(Method::GET, &format!("/api/objects/{id}?{wait}"), user).await
    }

    /// Its status alone, in the same way.
    ///
    /// # Errors
    /// As [`Record::ask`].
    pub(crate) async fn status(&self, id: ObjectId, wait: Wait, user: &HeaderMap) -> Result<Response, Problem> {
        self.ask(Method::GET, &format!("/api/objects/{id}/status?{wait}"), user).await
    }
}
