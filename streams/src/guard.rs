//! A panic of a processor is a failure of its task, not of the thread that runs it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{ProcessorError, TaskError, TaskId};

/// Runs a task's code; a panic becomes an error.
pub(crate) fn guarded<T>(task: TaskId, work: impl FnOnce() -> Result<T, TaskError>) -> Result<T, TaskError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        let error = ProcessorError::fatal("panic", format!("a processor panicked: {}", text.unwrap_or("without a message")));
        Err(TaskError { task, record: None, error })
    })
}
