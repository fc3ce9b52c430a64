//! Source that calls a closure at intervals.

use std::{fmt, future::Future, time::Duration};

use tokio::time::{Instant, sleep_until, timeout};

use super::{
    error::DiscoverError,
    pace::Pace,
    traits::{Discover, Discovering},
};
use crate::{instant::FAR, upstream::definition::Upstream};

/// Lower bound of the interval; a shorter one must be a mistake.
const SHORTEST: Duration = Duration::from_millis(10);

/// Source that calls an asynchronous closure at intervals, such as a query to a registry's HTTP API
/// or a database.
///
/// After a failure the next call follows within a second; the delay then grows up to ten seconds or
/// the interval, whichever is shorter.
///
/// # Defaults
///
/// | method | default | unit | why |
/// |---|---|---|---|
/// | [`poll_timeout`](Self::poll_timeout) | 10 | seconds | a call that hangs must not end discovery |
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wsplice::{Upstream, discovery::{DiscoverError, PollSource}};
///
/// let source = PollSource::new(Duration::from_secs(10), || async {
///     let mut upstreams = Vec::new();
///     for address in ask_the_registry().await.map_err(DiscoverError::failed)? {
///         upstreams.push(Upstream::new(&address).map_err(DiscoverError::failed)?);
///     }
///     Ok(upstreams)
/// });
/// # let _ = source;
///
/// # async fn ask_the_registry() -> std::io::Result<Vec<String>> { Ok(vec![]) }
/// ```
#[derive(Clone)]
pub struct PollSource<F> {
    ask: F,
    interval: Duration,
    poll_timeout: Duration,
    pace: Pace,
}

impl<F, Fut> PollSource<F>
where
    F: FnMut() -> Fut + Send,
    Fut: Future<Output = Result<Vec<Upstream>, DiscoverError>> + Send,
{
    /// Creates a source that calls the closure now, and this long after each result, less up to a
    /// tenth; 10 ms at least.
    #[must_use]
    pub fn new(interval: Duration, ask: F) -> Self {
        Self {
            ask,
            interval: interval.clamp(SHORTEST, FAR),
            poll_timeout: Duration::from_secs(10),
            pace: Pace::default(),
        }
    }

    /// Sets the maximum duration of a call; 10 s by default.
    #[must_use]
    pub fn poll_timeout(mut self, poll_timeout: Duration) -> Self {
        self.poll_timeout = poll_timeout;
        self
    }
}

impl<F, Fut> Discover for PollSource<F>
where
    F: FnMut() -> Fut + Send,
    Fut: Future<Output = Result<Vec<Upstream>, DiscoverError>> + Send,
{
    fn discover(&mut self) -> Discovering<'_> {
        Box::pin(async {
            if let Some(due) = self.pace.due() {
                sleep_until(due).await;
            }
            let after = self.poll_timeout;
            let found = match timeout(after, (self.ask)()).await {
                Ok(found) => found,
                Err(_) => Err(DiscoverError::TimedOut { after }),
            };
            let (now, dice) = (Instant::now(), fastrand::f64());
            match found {
                Ok(_) => self
                    .pace
                    .succeeded(now, self.interval.mul_f64(1.0 - dice / 10.0)),
                Err(_) => self.pace.failed(now, self.interval, dice),
            }
            Some(found)
        })
    }
}

impl<F> fmt::Debug for PollSource<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollSource")
            .field("interval", &self.interval)
            .field("poll_timeout", &self.poll_timeout)
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::discovery::testing::upstreams;

    #[tokio::test(start_paused = true)]
    async fn it_asks_at_once_then_at_intervals_and_sooner_after_failures() {
        let began = Instant::now();
        let mut answers = vec![
            Ok(upstreams(&["a"])),
            Err(DiscoverError::failed("down")),
            Ok(upstreams(&["b"])),
        ]
        .into_iter();
        let mut source = PollSource::new(Duration::from_secs(60), move || {
            let answer = answers.next();
            async move {
                match answer {
                    Some(answer) => answer,
                    None => std::future::pending().await,
                }
            }
        })
        .poll_timeout(Duration::from_secs(3));
        source.discover().await.unwrap().unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
        source.discover().await.unwrap().unwrap_err();
        let failed_at = Instant::now();
        let waited = (failed_at - began).as_secs_f64();
        assert!((54.0..=60.1).contains(&waited), "{waited}");
        source.discover().await.unwrap().unwrap();
        let waited = failed_at.elapsed().as_secs_f64();
        assert!((0.5..=1.01).contains(&waited), "{waited}");
        let error = source.discover().await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "no answer within 3s");
    }
}
