//! `flaky`: fails as it is told to, so that one can see what becomes of failures.

use std::{num::NonZeroUsize, process, thread, time::Duration};

use serde_json::{Value, json};

use crate::{Nop, Operation, OperationError, Parameters, allow_parameters};

/// Gives back its data as [`Nop`] does, or fails, by chance. A result, if there is one, is always the same.
#[derive(Debug, Clone, Copy)]
pub struct Flaky;

/// The ways to fail; each parameter is the probability of one of them, for each attempt of each task.
const FAILURES: [(&str, Failure); 4] = [
    ("transient", Failure::Transient),
    ("permanent", Failure::Permanent),
    ("panic", Failure::Panic),
    ("crash", Failure::Crash),
];

/// How an attempt fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Transient,
    Permanent,
    Panic,
    Crash,
}

/// What the parameters ask for.
struct Plan {
    probabilities: [f64; FAILURES.len()],
    duration: Duration,
}

impl Flaky {
    /// The longest `duration_ms`: one hour, longer than any task may take.
    pub const MAX_DURATION_MS: u64 = 3_600_000;
}

impl Plan {
    fn read(parameters: &Parameters) -> Result<Self, OperationError> {
        let [transient, permanent, panic, crash] = FAILURES.map(|(name, _)| name);
        allow_parameters(parameters, &[transient, permanent, panic, crash, "duration_ms"])?;
        let mut probabilities = [0.0; FAILURES.len()];
        for (probability, (name, _)) in probabilities.iter_mut().zip(FAILURES) {
            *probability = match parameters.get(name) {
                None => 0.0,
                Some(value) => value.as_f64().filter(|p| (0.0..=1.0).contains(p)).ok_or_else(|| {
                    OperationError::InvalidParameters(format!("`{name}` is a probability; allowed: 0 to 1"))
                })?,
            };
        }
        // A little over, because decimal fractions do not add up exactly.
        if probabilities.iter().sum::<f64>() > 1.0 + 1e-9 {
            let names = FAILURES.map(|(name, _)| name).join(", ");
            return Err(OperationError::InvalidParameters(format!("{names} together; allowed: at most 1")));
        }
        let duration_ms = match parameters.get("duration_ms") {
            None => 0,
            Some(value) => value.as_u64().filter(|ms| *ms <= Flaky::MAX_DURATION_MS).ok_or_else(|| {
                let allowed = format!("`duration_ms`; allowed: an integer from 0 to {}", Flaky::MAX_DURATION_MS);
                OperationError::InvalidParameters(allowed)
            })?,
        };
        Ok(Self { probabilities, duration: Duration::from_millis(duration_ms) })
    }

    /// How the attempt fails, if it does, that draws this number from 0 to 1.
    fn failure(&self, drawn: f64) -> Option<Failure> {
        let mut up_to = 0.0;
        FAILURES.into_iter().zip(self.probabilities).find_map(|((_, failure), probability)| {
            up_to += probability;
            (drawn < up_to).then_some(failure)
        })
    }
}

impl Operation for Flaky {
    fn name(&self) -> &str {
        "flaky"
    }

    fn summary(&self) -> &str {
        "Gives back any JSON data like nop, or fails as the parameters say; only done by processors whose OPERATIONS names it."
    }

    fn parameters_schema(&self) -> Value {
        let probability = json!({"type": "number", "minimum": 0, "maximum": 1, "default": 0});
        let mut properties = Parameters::from_iter(FAILURES.map(|(name, _)| (name.to_owned(), probability.clone())));
        properties.insert(
            "duration_ms".to_owned(),
            json!({"type": "integer", "minimum": 0, "maximum": Self::MAX_DURATION_MS, "default": 0}),
        );
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": properties,
            "additionalProperties": false,
        })
    }

    fn is_offered_unasked(&self) -> bool {
        false
    }

    fn check(&self, _data: &Value, parameters: &Parameters) -> Result<(), OperationError> {
        Plan::read(parameters).map(|_| ())
    }

    fn scatter(
        &self,
        data: &Value,
        parameters: &Parameters,
        parts: NonZeroUsize,
    ) -> Result<Vec<Value>, OperationError> {
        self.check(data, parameters)?;
        Nop.scatter(data, &Parameters::new(), parts)
    }

    fn execute(&self, part: &Value, parameters: &Parameters) -> Result<Value, OperationError> {
        let plan = Plan::read(parameters)?;
        thread::sleep(plan.duration);
        match plan.failure(rand::random()) {
            None => Ok(part.clone()),
            Some(Failure::Transient) => Err(OperationError::Transient("as it was told to".to_owned())),
            Some(Failure::Permanent) => Err(OperationError::Execution("as it was told to".to_owned())),
            Some(Failure::Panic) => panic!("as it was told to"),
            Some(Failure::Crash) => process::abort(),
        }
    }

    fn gather(&self, partials: Vec<Value>, _parameters: &Parameters) -> Result<Value, OperationError> {
        Nop.gather(partials, &Parameters::new())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parameters(value: Value) -> Parameters {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn without_parameters_it_does_not_fail() {
        assert_eq!(Flaky.execute(&json!([1]), &Parameters::new()), Ok(json!([1])));
    }

    #[test]
    fn it_fails_in_the_way_that_it_is_told_to() {
        let failed = |value| Flaky.execute(&json!(1), &parameters(value)).unwrap_err();
        assert!(failed(json!({"transient": 1})).is_transient());
        assert!(matches!(failed(json!({"permanent": 1.0})), OperationError::Execution(_)));
        let panicked = std::panic::catch_unwind(|| Flaky.execute(&json!(1), &parameters(json!({"panic": 1}))));
        assert!(panicked.is_err());
    }

    #[test]
    fn each_way_has_its_share() {
        let plan = Plan::read(&parameters(json!({"transient": 0.5, "crash": 0.25}))).unwrap();
        for (drawn, failure) in [
            (0.0, Some(Failure::Transient)),
            (0.49, Some(Failure::Transient)),
            (0.5, Some(Failure::Crash)),
            (0.74, Some(Failure::Crash)),
            (0.75, None),
        ] {
            assert_eq!(plan.failure(drawn), failure, "{drawn}");
        }
    }

    #[test]
    fn what_is_no_probability_or_too_long_is_refused() {
        for bad in [
            json!({"transient": 1.1}),
            json!({"panic": -0.1}),
            json!({"crash": "1"}),
            json!({"transient": 0.6, "permanent": 0.6}),
            json!({"duration_ms": 3_600_001}),
            json!({"duration_ms": 0.5}),
            json!({"hang": 1}),
        ] {
            assert!(Flaky.check(&json!(1), &parameters(bad.clone())).is_err(), "{bad}");
        }
        assert!(Flaky.check(&json!(1), &parameters(json!({"transient": 0.1, "permanent": 0.2, "panic": 0.7}))).is_ok());
    }
}
