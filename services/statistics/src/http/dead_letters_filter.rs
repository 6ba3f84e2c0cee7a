//! Which dead letters a request is about.

use bus::events::{ObjectId, OperationName};
use chassis::http::Problem;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::record::{Selection, read::DeadLetterFilter};

/// So many ids in one request.
const MAX_IDS: usize = 1000;
const STATES: [&str; 3] = ["waiting", "replayed", "discarded"];
const NARROW: &str = "Say which: at least one of cause, operation, queue, object and ids, or all=true for every one that \
                      waits.";

/// After the `?` of a list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    /// How many dead letters a page has at most.
    #[param(minimum = 1, maximum = 500, default = 50)]
    pub(super) limit: Option<u32>,
    /// Where the page begins: the `next` of the page before.
    #[param(pattern = "^[0-9]{1,18}$")]
    pub(super) cursor: Option<String>,
    /// Only those of this cause.
    cause: Option<String>,
    /// Only those of this operation.
    #[param(pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")]
    operation: Option<String>,
    /// Only those that were taken from this queue.
    queue: Option<String>,
    /// Only those in this state: `waiting`, `replayed` or `discarded`.
    #[param(pattern = "^(waiting|replayed|discarded)$")]
    state: Option<String>,
    /// Only those about this object.
    #[param(value_type = Option<Uuid>)]
    object: Option<ObjectId>,
}

/// Which of those that wait: as the JSON body of a replay, or after the `?`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WhichDeadLetters)]
pub(super) struct Which {
    /// Those of this cause.
    cause: Option<String>,
    /// Those of this operation.
    #[schema(pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")]
    operation: Option<String>,
    /// Those that were taken from this queue.
    queue: Option<String>,
    /// Those about this object.
    #[schema(value_type = Option<Uuid>)]
    object: Option<ObjectId>,
    /// These.
    #[schema(max_items = 1000)]
    ids: Option<Vec<Uuid>>,
    /// All of them: goes with nothing else.
    all: Option<bool>,
}

/// The same after the `?`, where there are no lists.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichAfterTheMark {
    /// Those of this cause.
    cause: Option<String>,
    /// Those of this operation.
    #[param(pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")]
    operation: Option<String>,
    /// Those that were taken from this queue.
    queue: Option<String>,
    /// Those about this object.
    #[param(value_type = Option<Uuid>)]
    object: Option<ObjectId>,
    /// All of them: goes with nothing else.
    all: Option<bool>,
}

impl Listing {
    pub(super) fn filter(&self) -> Result<DeadLetterFilter, Problem> {
        if self.state.as_deref().is_some_and(|state| !STATES.contains(&state)) {
            return Err(Problem::bad_request(format!("state: {} are allowed", STATES.join(", "))));
        }
        check(self.operation.as_deref()).map_err(Problem::bad_request)?;
        Ok(DeadLetterFilter {
            cause: self.cause.clone(),
            operation: self.operation.clone(),
            queue: self.queue.clone(),
            state: self.state.clone(),
            object: self.object,
        })
    }
}

impl Which {
    pub(super) fn selection(self) -> Result<Selection, Problem> {
        let Self { cause, operation, queue, object, ids, all } = self;
        let ids = ids.map(|ids| ids.iter().map(Uuid::to_string).collect());
        let selection = Selection { cause, operation, queue, object, ids };
        match (selection == Selection::default(), all.unwrap_or_default()) {
            (true, false) => return Err(Problem::unprocessable(NARROW)),
            (false, true) => {
                return Err(Problem::unprocessable("all=true goes with nothing else: leave out one or the other."));
            }
            _ => {}
        }
        if selection.ids.as_ref().is_some_and(|ids| ids.len() > MAX_IDS) {
            return Err(Problem::unprocessable(format!("ids: at most {MAX_IDS} in one request.")));
        }
        check(selection.operation.as_deref()).map_err(Problem::unprocessable)?;
        Ok(selection)
    }
}

impl From<WhichAfterTheMark> for Which {
    fn from(which: WhichAfterTheMark) -> Self {
        let WhichAfterTheMark { cause, operation, queue, object, all } = which;
        Self { cause, operation, queue, object, ids: None, all }
    }
}

fn check(operation: Option<&str>) -> Result<(), String> {
    let parsed = operation.map(str::parse::<OperationName>).transpose();
    parsed.map(drop).map_err(|error| format!("operation: {error}"))
}
