//! Exit codes beyond success and failure, for commands whose scripts tell more apart.

/// Ends the command with this code; `says` goes to stderr, unless it is empty.
#[derive(Debug, thiserror::Error)]
#[error("{says}")]
pub struct Exit {
    pub code: u8,
    pub says: String,
}

impl Exit {
    /// Not even judged: a wrong argument, or something that cannot be reached. As clap does with a wrong command line.
    pub fn unusable(error: anyhow::Error) -> anyhow::Error {
        if error.is::<crate::stdout::NobodyReads>() || error.is::<Exit>() {
            return error;
        }
        Exit { code: 2, says: format!("{error:#}") }.into()
    }
}
