//! HTTP as every service speaks it.
//!
//! - [`Problem`] is the one error type: RFC 9457 `application/problem+json`. A handler returns `Result<_, Problem>` and may
//!   use `?` on any error; what is not a [`Problem`] is logged and answered with a bare 500.
//! - [`Json`], [`Query`], [`Path`], [`Form`] and [`Raw`] are axum's extractors with [`Problem`]s for rejections, [`Pieces`]
//!   is a body that is read as it arrives, and [`FromObject`] is JSON that must be an object.
//! - [`Guard`] lets in who shows a token.
//! - [`Memory`] is a bound on what long bodies and answers take together.
//! - [`document()`] begins the OpenAPI document that grows with the routes of a router, and [`responses`] are the answers
//!   that are problems, for their documentation.
//! - [`operational()`] completes a router: health, metrics, its document, compression, and [`Problem`]s for what no route
//!   serves and nobody could understand.
//! - [`serve()`] serves it, with a bound on everything that a client can make it wait for or hold.

mod bounded_body;
mod bounded_stream;
mod compression;
mod document;
mod extract;
mod from_object;
mod guard;
mod memory;
mod operational;
mod page;
mod pieces;
mod problem;
mod readable;
mod readiness;
pub mod responses;
mod serve;
mod turn;

pub use document::{Elsewhere, Interface, document};
pub use extract::{Form, Json, Path, Query, Raw};
pub use from_object::FromObject;
pub use guard::{Guard, Submitter};
pub use memory::{Memory, Reserved};
pub use operational::operational;
pub use pieces::Pieces;
pub use problem::Problem;
pub use readiness::Readiness;
pub use serve::{Limits, is_event_stream, serve};
