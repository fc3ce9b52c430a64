//! Logging to standard error, at the levels that `RUST_LOG` sets.

use std::env;
use std::io::{self, IsTerminal};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging.
///
/// # Errors
///
/// `RUST_LOG` cannot be parsed.
pub(crate) fn init() -> Result<(), String> {
    let levels = levels(&env::var("RUST_LOG").unwrap_or_default())
        .map_err(|error| format!("RUST_LOG cannot be read: {error}"))?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    tracing_subscriber::registry()
        .with(levels)
        .with(lines)
        .init();
    Ok(())
}

/// Parses levels such as `warn` or `info,wsplice=trace`. The level of targets that are not named is
/// `info`, unless one stands alone.
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

    use tracing_subscriber::filter::LevelFilter;

    #[test]
    fn levels_are_those_of_the_text_and_else_info() {
        for (text, default, wsplice) in [
            ("", LevelFilter::INFO, LevelFilter::INFO),
            ("warn", LevelFilter::WARN, LevelFilter::WARN),
            ("off", LevelFilter::OFF, LevelFilter::OFF),
            ("wsplice=trace", LevelFilter::INFO, LevelFilter::TRACE),
            ("warn,wsplice=debug", LevelFilter::WARN, LevelFilter::DEBUG),
        ] {
            let levels = levels(text).unwrap();
            let enabled = |target: &str, level: LevelFilter| {
                let above = level
                    .into_level()
                    .is_none_or(|it| levels.would_enable(target, &it));
                let below = tracing::Level::TRACE;
                above && (level == LevelFilter::TRACE || !levels.would_enable(target, &below))
            };
            assert!(enabled("hyper", default), "{text}: {levels}");
            assert!(enabled("wsplice::tunnel", wsplice), "{text}: {levels}");
        }
        assert!(levels("wsplice=loud").is_err());
    }
}
