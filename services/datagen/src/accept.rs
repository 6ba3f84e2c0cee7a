//! From what is asked for to an object with its id, number of tasks and deadline; or why not.

use std::sync::Arc;

use bus::events::{Json, Milliseconds, Object, ObjectId, OperationName};
use bytes::Bytes;
use chassis::{
    http::{Problem, Submitter},
    work::compute,
};
use http::HeaderMap;
use operations::Operation;
use rand::{SeedableRng, rand_core::UnwrapErr, rngs::SysRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};
use utoipa::IntoParams;
use uuid::Uuid;

use crate::{
    door::Door,
    generate,
    submission::{DEFAULT_OPERATION, Submission},
};

/// The header that makes a repeated request the same request
/// ([draft](https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/)).
const IDEMPOTENCY_KEY: &str = "idempotency-key";
const MAX_KEY_BYTES: usize = 255;

/// What of the headers stands in the document.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "only described")]
pub(crate) struct Headers {
    /// Makes a repeated request the same request: with the same key and the same body it is the same object, however often
    /// it is sent. Send it again whenever you did not get the answer.
    #[param(rename = "Idempotency-Key", value_type = String, required = false, min_length = 1, max_length = 255)]
    idempotency_key: Option<String>,
}

/// Who submits where no token is needed: one submitter, whoever it is.
const ANONYMOUS: Uuid = Uuid::from_u128(0x6562_7300_0000_5000_8000_616e_6f6e_796d);

/// Who the object will be: known before the body is understood.
struct Identity {
    id: ObjectId,
    /// What a generated body derives from.
    seed: [u8; 32],
}

impl Identity {
    fn of(submitter: Option<Submitter>, headers: &HeaderMap, body: &[u8]) -> Result<Self, Problem> {
        let Some(key) = headers.get(IDEMPOTENCY_KEY) else {
            let mut seed = [0; 32];
            rand::Rng::fill_bytes(&mut UnwrapErr(SysRng), &mut seed);
            return Ok(Self { id: ObjectId::new(), seed });
        };
        let key = key.to_str().ok().filter(|key| (1..=MAX_KEY_BYTES).contains(&key.len())).ok_or_else(|| {
            Problem::bad_request(format!("Idempotency-Key: 1 to {MAX_KEY_BYTES} visible ASCII characters are allowed."))
        })?;
        let submitter = submitter.map_or(ANONYMOUS, |Submitter(id)| id);
        Ok(Self {
            id: ObjectId::idempotent(submitter, key, &Sha256::digest(body).into()),
            seed: Sha256::digest(key.as_bytes()).into(),
        })
    }
}

/// Makes an object of a request, or says why it is refused. The same key and body are the same object for the same submitter
/// only, so that nobody gets at another's object by guessing its key.
pub(crate) async fn accept(
    door: &Arc<Door>,
    submitter: Option<Submitter>,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Object, Problem> {
    let identity = Identity::of(submitter, headers, &body)?;
    let submission = Submission::read(headers, &body)?;
    drop(body);
    let object = door.complete(identity, submission)?;
    let is_quick = object.data.as_str().len() <= door.known(&object.operation)?.quick_bytes();
    // Whoever must wait for this has room already, and the semaphore is never closed.
    let _check = if is_quick { None } else { door.checks.acquire().await.ok() };
    let door = door.clone();
    // Reading all of the data takes its time when it is megabytes.
    compute(is_quick, move || door.check(&object).map(|()| object)).await.map_err(Problem::internal)?
}

impl Door {
    /// Decides what the submission left open.
    fn complete(&self, identity: Identity, submission: Submission) -> Result<Object, Problem> {
        let Identity { id, seed } = identity;
        let operation = match submission.operation {
            Some(operation) => operation,
            None => DEFAULT_OPERATION.parse::<OperationName>().map_err(Problem::internal)?,
        };
        // First of all: what is wrong with the data depends on it.
        self.known(&operation)?;
        let data = match submission.data {
            Some(data) => data,
            None if operation.as_str() == DEFAULT_OPERATION => {
                Json::of(&generate::text(&mut ChaCha8Rng::from_seed(seed))).map_err(Problem::internal)?
            }
            None => {
                return Err(Problem::unprocessable(format!(
                    "data is missing: it is generated for {DEFAULT_OPERATION} only."
                )));
            }
        };
        let tasks = u32::try_from(self.config.distribution_count.get()).map_err(Problem::internal)?;
        Ok(Object {
            id,
            name: submission.name.unwrap_or_else(|| generate::name(id)),
            operation,
            parameters: submission.parameters,
            data,
            tasks: submission.tasks.unwrap_or(tasks),
            deadline_ms: submission
                .deadline_ms
                .unwrap_or_else(|| Milliseconds::from(self.config.object_deadline.get())),
            created_at: bus::now(),
        })
    }

    /// The operation of that name, or a list of those that there are.
    fn known(&self, name: &OperationName) -> Result<Arc<dyn Operation>, Problem> {
        self.catalogue.get(name.as_str()).map_err(|unknown| {
            let known: Vec<&str> = self.catalogue.names().collect();
            Problem::unprocessable(format!("{unknown}.")).with("known", known)
        })
    }

    /// Whether the operation would take the data.
    fn check(&self, object: &Object) -> Result<(), Problem> {
        let operation = self.known(&object.operation)?;
        let data = object.data.parse().map_err(|error| Problem::unprocessable(format!("data: {error}.")))?;
        operation
            .check(&data, &object.parameters)
            .map_err(|error| Problem::unprocessable(format!("{}: {error}.", object.operation)))
    }
}
