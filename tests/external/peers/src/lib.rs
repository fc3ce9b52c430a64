//! What the programs share: arguments as `name=value`, and lines on standard output.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, env, error::Error, io::Write, str::FromStr, time::Duration};

/// Any error, shown on exit.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Arguments, each `name=value`.
#[derive(Debug)]
pub struct Args(BTreeMap<String, String>);

impl Args {
    /// The program's own.
    ///
    /// # Errors
    ///
    /// When one has no `=`.
    pub fn from_env() -> Result<Self, Failure> {
        let pair = |arg: String| match arg.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(format!("{arg:?} is not name=value")),
        };
        Ok(Self(
            env::args().skip(1).map(pair).collect::<Result<_, _>>()?,
        ))
    }

    /// One value, or `default` if it was not given.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn get<T>(&self, name: &str, default: &str) -> Result<T, Failure>
    where
        T: FromStr<Err: Into<Failure>>,
    {
        let value = self.0.get(name).map_or(default, String::as_str);
        value.parse().map_err(Into::into)
    }

    /// A time in milliseconds.
    ///
    /// # Errors
    ///
    /// When it is no whole number.
    pub fn millis(&self, name: &str, default: &str) -> Result<Duration, Failure> {
        Ok(Duration::from_millis(self.get(name, default)?))
    }
}

/// Writes a line at once; whoever reads may be gone.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
