//! Source that calls a closure at intervals.

use std::{fmt, future::Future, time::Duration};

use tokio::time::{Instant, sleep_until, timeout};

use super::{
    discover::{Discover, DiscoverFuture},
    error::DiscoverError,
    poll_schedule::PollSchedule,
};
use crate::{instant::FAR, upstream::upstream::Upstream};

/// Lower bound of the interval; a shorter one must be a mistake.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

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
    poll: F,
    interval: Duration,
    poll_timeout: Duration,
    schedule: PollSchedule,
}

impl<F, Fut> PollSource<F>
where
    F: FnMut() -> Fut + Send,
    Fut: Future<Output = Result<Vec<Upstream>, DiscoverError>> + Send,
{
    /// Creates a source that calls the closure now, and this long after each result, less up to a
    /// tenth; 10 ms at least.
    #[must_use]
    pub fn new(interval: Duration, poll: F) -> Self {
        Self {
            poll,
            interval: interval.clamp(MIN_INTERVAL, FAR),
            poll_timeout: Duration::from_secs(10),
            schedule: PollSchedule::default(),
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
    fn discover(&mut self) -> DiscoverFuture<'_> {
        Box::pin(async {
            if let Some(due) = self.schedule.due() {
                sleep_until(due).await;
            }
            let after = self.poll_timeout;
            let found = match timeout(after, (self.poll)()).await {
                Ok(found) => found,
                Err(_) => Err(DiscoverError::TimedOut { after }),
            };
            let (now, random) = (Instant::now(), fastrand::f64());
            match found {
                Ok(_) => self
                    .schedule
                    .after(now, self.interval.mul_f64(1.0 - random / 10.0)),
                Err(_) => self.schedule.failed(now, self.interval, random),
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
            .field("schedule", &self.schedule)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::discovery::testing::upstreams;

    #[tokio::test(start_paused = true)]
    async fn the_closure_is_called_at_once_then_at_intervals_and_sooner_after_failures() {
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
        assert_eq!(error.to_string(), "no response within 3s");
    }
}
