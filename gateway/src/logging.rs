//! Logging to standard error, at the levels that `RUST_LOG` sets.

use std::env;
use std::io::{self, IsTerminal};

use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// An object in each line.
    Json,
}

/// Starts logging.
///
/// # Errors
///
/// `RUST_LOG` cannot be parsed.
pub(crate) fn init(format: LogFormat) -> Result<(), String> {
    let levels = levels(&env::var("RUST_LOG").unwrap_or_default())
        .map_err(|error| format!("RUST_LOG cannot be read: {error}"))?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(levels)
        .with(lines)
        .init();
    Ok(())
}

/// Parses levels such as `warn` or `info,wsplice=trace`. The level of targets that are not named is
/// `info`, unless the text has a level without a target.
fn levels(text: &str) -> Result<Targets, String> {
    if text.trim().is_empty() {
        return Ok(Targets::new().with_default(LevelFilter::INFO));
    }
    let levels: Targets = text.parse().map_err(|error| format!("{error}"))?;
    Ok(match levels.default_level() {
        Some(_) => levels,
        None => levels.with_default(LevelFilter::INFO),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use tracing::Level;

    #[test]
    fn levels_are_those_of_the_text_and_else_info() {
        for (text, default, wsplice) in [
            ("", Some(Level::INFO), Some(Level::INFO)),
            ("warn", Some(Level::WARN), Some(Level::WARN)),
            ("off", None, None),
            ("wsplice=trace", Some(Level::INFO), Some(Level::TRACE)),
            ("warn,wsplice=debug", Some(Level::WARN), Some(Level::DEBUG)),
        ] {
            let levels = levels(text).unwrap();
            assert_eq!(most_verbose(&levels, "hyper"), default, "{text}");
            assert_eq!(most_verbose(&levels, "wsplice::tunnel"), wsplice, "{text}");
        }
        assert!(levels("wsplice=loud").is_err());
    }

    fn most_verbose(levels: &Targets, target: &str) -> Option<Level> {
        let all = [
            Level::TRACE,
            Level::DEBUG,
            Level::INFO,
            Level::WARN,
            Level::ERROR,
        ];
        all.into_iter()
            .find(|level| levels.would_enable(target, level))
    }
}
