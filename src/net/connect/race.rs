//! Happy eyeballs: several addresses, one connection (RFC 8305).

use std::{
    error, fmt,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use super::local_shortage::is_local_shortage;

/// How long an attempt may be silent before the next begins beside it (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to the address that accepts first.
///
/// # Errors
///
/// The last failure, when all have failed, but one of this machine only if there is no other;
/// `NotFound` when there is no address.
pub(super) async fn race<A>(
    addresses: Vec<SocketAddr>,
    attempt: impl FnMut(SocketAddr) -> A,
) -> io::Result<A::Connection>
where
    A: ConnectAttempt,
{
    let mut race = Race {
        attempt,
        waiting: interleaved(addresses).into_iter(),
        running: Vec::new(),
        next_attempt: Box::pin(sleep(Duration::ZERO)),
        failure: io::Error::new(io::ErrorKind::NotFound, "the name has no address"),
        failed: 0,
    };
    poll_fn(|cx| race.poll(cx)).await
}

/// A future that connects.
pub(super) trait ConnectAttempt: Future<Output = io::Result<Self::Connection>> {
    type Connection;
}

impl<F, C> ConnectAttempt for F
where
    F: Future<Output = io::Result<C>>,
{
    type Connection = C;
}

struct Race<A, F> {
    attempt: F,
    waiting: std::vec::IntoIter<SocketAddr>,
    running: Vec<(SocketAddr, Pin<Box<A>>)>,
    /// The next attempt begins when it fires.
    next_attempt: Pin<Box<Sleep>>,
    failure: io::Error,
    failed: usize,
}

impl<A, F> Race<A, F>
where
    A: ConnectAttempt,
    F: FnMut(SocketAddr) -> A,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<A::Connection>> {
        loop {
            let before = self.running.len();
            if let Some(connection) = self.poll_running(cx) {
                return Poll::Ready(Ok(connection));
            }
            // Checked while some still run, too: a silent attempt must not hold the others up.
            let has_failed = self.running.len() < before;
            let is_due = has_failed || self.next_attempt.as_mut().poll(cx).is_ready();
            if !self.running.is_empty() && !is_due {
                return Poll::Pending;
            }
            match self.waiting.next() {
                Some(address) => {
                    let attempt = Box::pin((self.attempt)(address));
                    self.running.push((address, attempt));
                    self.next_attempt.set(sleep(ATTEMPT_DELAY));
                }
                None if self.running.is_empty() => {
                    let none = io::ErrorKind::NotFound.into();
                    return Poll::Ready(Err(std::mem::replace(&mut self.failure, none)));
                }
                None => return Poll::Pending,
            }
        }
    }

    /// Polls every attempt; drops the failed ones and remembers the last failure.
    fn poll_running(&mut self, cx: &mut Context<'_>) -> Option<A::Connection> {
        let mut index = 0;
        while let Some((address, attempt)) = self.running.get_mut(index) {
            match attempt.as_mut().poll(cx) {
                Poll::Ready(Ok(connection)) => return Some(connection),
                Poll::Ready(Err(source)) => {
                    let (address, kind) = (*address, source.kind());
                    // A shortage of this machine for one address is no evidence about the others:
                    // an IPv6 address without a route must not hide that the upstream refused.
                    if self.failed == 0 || !is_local_shortage(&source) {
                        self.failure = io::Error::new(kind, ConnectFailure { address, source });
                    }
                    self.failed += 1;
                    drop(self.running.swap_remove(index));
                }
                Poll::Pending => index += 1,
            }
        }
        None
    }
}

/// A failed connect to one of a name's addresses.
#[derive(Debug)]
struct ConnectFailure {
    address: SocketAddr,
    source: io::Error,
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no connection to {}", self.address)
    }
}

impl error::Error for ConnectFailure {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Alternates the two families, each in the resolver's order (RFC 8305 §4).
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return turns;
        }
        turns.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::time::{Instant, sleep};

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// The outcome of an attempt, by port: 1 is refused, 2 is silent, 3 accepts after 10 ms.
    async fn pretend(address: SocketAddr) -> io::Result<SocketAddr> {
        match address.port() {
            1 => Err(io::ErrorKind::ConnectionRefused.into()),
            2 => std::future::pending().await,
            _ => {
                sleep(Duration::from_millis(10)).await;
                Ok(address)
            }
        }
    }

    /// The winner, and its time in milliseconds.
    async fn run(texts: &[&str]) -> (io::Result<SocketAddr>, u128) {
        let began = Instant::now();
        let winner = race(addresses(texts), pretend).await;
        (winner, began.elapsed().as_millis())
    }

    #[test]
    fn families_take_turns_rfc8305_4() {
        let order = interleaved(addresses(&["[::1]:1", "[::1]:2", "[::1]:3", "1.1.1.1:1"]));
        assert_eq!(
            order,
            addresses(&["[::1]:1", "1.1.1.1:1", "[::1]:2", "[::1]:3"])
        );
        assert!(interleaved(Vec::new()).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_refuses_gives_way_to_the_next_at_once() {
        let (winner, after) = run(&["10.0.0.1:1", "10.0.0.2:3"]).await;
        assert_eq!(winner.unwrap(), "10.0.0.2:3".parse().unwrap());
        assert_eq!(after, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn beside_a_silent_address_the_next_begins_after_a_while_rfc8305_5() {
        let (winner, after) = run(&["10.0.0.1:2", "10.0.0.2:3"]).await;
        assert_eq!(winner.unwrap(), "10.0.0.2:3".parse().unwrap());
        assert!((260..=262).contains(&after), "{after}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_beside_a_silent_address_brings_the_next_at_once_rfc8305_5() {
        let (winner, after) = run(&["10.0.0.1:2", "10.0.0.2:1", "10.0.0.3:3"]).await;
        assert_eq!(winner.unwrap(), "10.0.0.3:3".parse().unwrap());
        assert!((260..=262).contains(&after), "{after}");
    }

    #[tokio::test(start_paused = true)]
    async fn each_address_is_tried_once() {
        let tried = Mutex::new(Vec::new());
        let all = ["10.0.0.1:2", "[::1]:1", "10.0.0.2:1", "10.0.0.3:3"];
        let winner = race(addresses(&all), |address| {
            tried.lock().unwrap().push(address);
            pretend(address)
        });
        assert!(winner.await.is_ok());
        assert_eq!(tried.into_inner().unwrap(), addresses(&all));
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_refuse_the_last_refusal_is_reported() {
        let (winner, after) = run(&["10.0.0.1:1", "10.0.0.2:1"]).await;
        let error = winner.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(error.to_string(), "no connection to 10.0.0.2:1");
        let cause = error::Error::source(&error).map(ToString::to_string);
        assert_eq!(cause.as_deref(), Some("connection refused"));
        assert_eq!(after, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_without_a_route_does_not_hide_that_another_refused() {
        for texts in [["10.0.0.1:1", "[::1]:4"], ["[::1]:4", "10.0.0.1:1"]] {
            let error = race(addresses(&texts), |address| async move {
                match address.port() {
                    4 => Err(io::ErrorKind::NetworkUnreachable.into()),
                    _ => pretend(address).await,
                }
            });
            let error = error.await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{texts:?}");
        }
    }

    #[tokio::test]
    async fn no_address_is_not_found() {
        let error = run(&[]).await.0.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
