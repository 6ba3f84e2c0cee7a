//! What can be done to an object: scatter, execute, gather.
//!
//! An object's *operation* says how its data is cut into parts ([`Operation::scatter`]), what is done to one part
//! ([`Operation::execute`]) and how the partial results become one ([`Operation::gather`]). All of it is pure: no bus,
//! no database, no clock, no I/O. The same input gives the same output wherever and however often it runs, which is
//! what lets a task be executed twice after a crash without anybody noticing.
//!
//! The one promise every operation makes: **the number of parts never shows in the result.**
//!
//! ```
//! use operations::{Catalogue, run};
//! use serde_json::json;
//! use std::num::NonZeroUsize;
//!
//! let catalogue = Catalogue::built_in();
//! let pow = catalogue.get("pow")?;
//! let parameters = json!({"exponent": 3}).as_object().cloned().unwrap_or_default();
//!
//! let cubes = run(&*pow, &json!([1, 2, 3, 4]), &parameters, NonZeroUsize::MIN.saturating_add(2))?;
//! assert_eq!(cubes, json!([1, 8, 27, 64]));
//! assert!(catalogue.get("sqrt").is_err_and(|error| error.to_string().contains("nop, plusone, pow")));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # An operation of your own
//!
//! One file with the seven functions of [`Operation`] that have no default, and one line of registration: in
//! `Catalogue::built_in`, or a [`Catalogue::with`]. Services take what is built in, and [what a file
//! declares](Catalogue::with_file): operations whose tasks are executed by commands or by somebody else, which `OWN_OPERATIONS.md`
//! beside this crate tells about.
//!
//! ```
//! use operations::{
//!     Operation, OperationError, Parameters, allow_parameters, gather_elements, scatter_elements,
//!     schema_without_parameters,
//! };
//! use serde_json::Value;
//! use std::num::NonZeroUsize;
//!
//! /// Says every text of a list louder.
//! struct Shout;
//!
//! impl Operation for Shout {
//!     fn name(&self) -> &str {
//!         "shout"
//!     }
//!
//!     fn summary(&self) -> &str {
//!         "Puts every text of a list into capitals."
//!     }
//!
//!     fn parameters_schema(&self) -> Value {
//!         schema_without_parameters()
//!     }
//!
//!     fn check(&self, data: &Value, parameters: &Parameters) -> Result<(), OperationError> {
//!         allow_parameters(parameters, &[])?;
//!         match data {
//!             Value::Array(texts) if texts.iter().all(Value::is_string) => Ok(()),
//!             _ => Err(OperationError::InvalidData("allowed: an array of strings".into())),
//!         }
//!     }
//!
//!     fn scatter(&self, data: &Value, parameters: &Parameters, parts: NonZeroUsize) -> Result<Vec<Value>, OperationError> {
//!         self.check(data, parameters)?;
//!         Ok(scatter_elements(data, parts))
//!     }
//!
//!     fn execute(&self, part: &Value, parameters: &Parameters) -> Result<Value, OperationError> {
//!         self.check(part, parameters)?;
//!         Ok(part.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_uppercase).collect())
//!     }
//!
//!     fn gather(&self, partials: Vec<Value>, _: &Parameters) -> Result<Value, OperationError> {
//!         gather_elements(partials)
//!     }
//! }
//!
//! // The one line:
//! let catalogue = operations::Catalogue::built_in().with(Shout)?;
//!
//! # use serde_json::json;
//! let shout = catalogue.get("shout")?;
//! let result = operations::run(&*shout, &json!(["hear", "me"]), &Parameters::new(), NonZeroUsize::MIN)?;
//! assert_eq!(result, json!(["HEAR", "ME"]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod catalogue;
mod command;
mod declared;
mod elements;
mod file;
mod flaky;
mod lines;
mod nop;
mod numbers;
mod operation;
mod parameters;
mod plusone;
mod pow;
#[cfg(test)]
mod properties;
mod schema;
mod word_frequencies;
mod words;

pub use catalogue::{Catalogue, RegistrationError, UnknownOperation};
pub use command::Command;
pub use elements::{gather_elements, scatter_elements};
pub use file::FileError;
pub use flaky::Flaky;
pub use nop::Nop;
pub use operation::{Execution, Operation, OperationError, Parameters, Totals, run};
pub use parameters::{allow_parameters, schema_without_parameters};
pub use plusone::PlusOne;
pub use pow::Pow;
pub use word_frequencies::WordFrequencies;
pub use words::{scatter_text, words};
