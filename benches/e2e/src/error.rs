//! The result of every step that may fail.

/// Any error ends the run, with its text.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
