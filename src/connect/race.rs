//! Happy eyeballs: several addresses, one connection (RFC 8305).

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    net::TcpStream,
    time::{Sleep, sleep},
};

/// How long an attempt may be silent before the next begins beside it (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

type Attempt = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// Connects to whichever of the addresses answers first.
///
/// # Errors
///
/// The last failure, when all have failed; `NotFound` when there is no address.
pub(super) async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut race = Race {
        waiting: interleaved(addresses).into_iter(),
        running: Vec::new(),
        patience: Box::pin(sleep(Duration::ZERO)),
        failure: io::Error::new(io::ErrorKind::NotFound, "the name has no address"),
    };
    poll_fn(|cx| race.poll(cx)).await
}

struct Race {
    waiting: std::vec::IntoIter<SocketAddr>,
    running: Vec<Attempt>,
    /// When it is over, the next attempt begins.
    patience: Pin<Box<Sleep>>,
    failure: io::Error,
}

impl Race {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        loop {
            if let Some(stream) = self.poll_running(cx) {
                return Poll::Ready(Ok(stream));
            }
            let impatient = self.patience.as_mut().poll(cx).is_ready();
            if !self.running.is_empty() && !impatient {
                return Poll::Pending;
            }
            match self.waiting.next() {
                Some(address) => {
                    self.running.push(Box::pin(TcpStream::connect(address)));
                    self.patience.set(sleep(ATTEMPT_DELAY));
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
    fn poll_running(&mut self, cx: &mut Context<'_>) -> Option<TcpStream> {
        let mut index = 0;
        while let Some(attempt) = self.running.get_mut(index) {
            match attempt.as_mut().poll(cx) {
                Poll::Ready(Ok(stream)) => return Some(stream),
                Poll::Ready(Err(error)) => {
                    self.failure = error;
                    drop(self.running.swap_remove(index));
                }
                Poll::Pending => index += 1,
            }
        }
        None
    }
}

/// The resolver's order, but with the two families taking turns (RFC 8305 §4).
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
    use super::*;
    use tokio::net::TcpListener;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
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

    #[tokio::test]
    async fn an_address_that_refuses_gives_way_to_the_next() {
        let refused = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = refused.local_addr().unwrap();
        drop(refused);
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = race(vec![closed, open.local_addr().unwrap()])
            .await
            .unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open.local_addr().unwrap());
    }

    #[tokio::test]
    async fn when_all_refuse_the_last_refusal_is_told() {
        let refused = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = refused.local_addr().unwrap();
        drop(refused);
        let error = race(vec![closed, closed]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn no_address_is_not_found() {
        assert_eq!(
            race(Vec::new()).await.unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
