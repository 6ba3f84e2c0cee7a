//! Work that computes: where it holds up nobody.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::task::spawn_blocking;

/// Work that panicked; the panic hook has logged it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it panicked")]
pub struct Panicked;

/// Computes on a thread where it may take its time. Work that is known to be quick is done at once, because handing it to
/// another thread and back would take longer.
///
/// # Errors
/// If it panicked.
pub async fn compute<T: Send + 'static>(
    is_quick: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Panicked> {
    if is_quick {
        catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked)
    } else {
        spawn_blocking(work).await.map_err(|_| Panicked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_wherever_it_happens() {
        for is_quick in [true, false] {
            assert_eq!(compute(is_quick, || 7).await, Ok(7));
            assert_eq!(compute(is_quick, || panic!("oh")).await, Err::<(), _>(Panicked));
        }
    }
}
