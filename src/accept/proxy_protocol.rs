//! Connections of clients behind a load balancer that reports their addresses by the PROXY protocol.

use std::{io, net::IpAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};

use crate::{
    http::headers::{ClientInfo, Networks},
    net::proxy_header::{BUFFER, Reported, Step, step},
};

/// Default bound on the time until the whole header is there.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of additions that are read and dropped at once.
const SKIPPED: usize = 256;

/// Reader of the PROXY protocol (versions 1 and 2) at the start of clients' connections, for the accept
/// loop of a host that is behind a load balancer of TCP: AWS NLB, HAProxy's `send-proxy`, nginx'
/// `proxy_protocol`.
///
/// Only connections from trusted networks begin with a header, and each of them must: the protocol
/// forbids guessing. Other connections are not touched, so a client that sends a header itself gets the
/// response to a malformed request.
///
/// The address becomes the [peer](ClientInfo::peer) of the connection: upstreams get it in
/// `X-Forwarded-For`, matchers and limits see it. No byte behind the header is read, so the stream is
/// then served as it is, with TLS or without.
///
/// # Defaults
///
/// | method | default | why |
/// |---|---|---|
/// | [`timeout`](Self::timeout) | 5 s | load balancers send the header with the first segment |
///
/// A header has at most 4 KiB; most have less than 100 bytes.
///
/// # Examples
///
/// ```
/// use tokio::net::TcpStream;
/// use wsplice::{
///     accept::AcceptProxyProtocol,
///     headers::{ClientInfo, Networks},
/// };
///
/// # async fn serve(_: TcpStream, _: ClientInfo) {}
/// async fn accepted(mut stream: TcpStream, accept: &AcceptProxyProtocol) -> std::io::Result<()> {
///     let client = ClientInfo::from(stream.peer_addr()?);
///     let client = accept.read_header(&mut stream, client).await?;
///     // The server puts `client` into the extensions of each request.
///     serve(stream, client).await;
///     Ok(())
/// }
///
/// let accept = AcceptProxyProtocol::from_networks(Networks::parse(["10.0.0.0/8"])?);
/// # let _ = (accepted, accept);
/// # Ok::<(), wsplice::headers::InvalidNetwork>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct AcceptProxyProtocol {
    trusted: Networks,
    timeout: Duration,
}

impl AcceptProxyProtocol {
    /// Reads headers on connections from these networks.
    pub const fn from_networks(trusted: Networks) -> Self {
        Self {
            trusted,
            timeout: TIMEOUT,
        }
    }

    /// Sets how long the whole header may take to come, from the call on.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Reads the header of a connection that was accepted, before anything else is read from it, and
    /// returns what is known of the client.
    ///
    /// `client` is the connection itself. It is returned as it is, and nothing is read, if its
    /// [peer](ClientInfo::peer) is not in one of the networks. It is returned, too, if the header
    /// reports no address of TCP: the connection is the load balancer's own then, for a health check.
    ///
    /// Call it in the task of the connection, not in the accept loop, where one slow load balancer
    /// would hold up all others. Close the connection at an error.
    ///
    /// # Errors
    ///
    /// [`InvalidData`](io::ErrorKind::InvalidData) if the connection does not begin with a header,
    /// [`TimedOut`](io::ErrorKind::TimedOut) if the header takes too long,
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the connection ends in it, as those of some
    /// health checks do; and those of the stream.
    ///
    /// # Panics
    ///
    /// When called outside a tokio runtime that has a timer.
    ///
    /// # Cancellation
    ///
    /// A part of the header may have been read; the connection can only be closed then.
    pub async fn read_header<S>(&self, stream: &mut S, client: ClientInfo) -> io::Result<ClientInfo>
    where
        S: AsyncRead + Unpin,
    {
        if !client.peer_ip().is_some_and(|peer| self.trusts(peer)) {
            return Ok(client);
        }
        let reported = timeout(self.timeout, read(stream)).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, "no PROXY protocol header came")
        })?;
        Ok(match reported? {
            Some(reported) => client
                .with_peer(reported.source)
                .with_local(reported.destination),
            None => client,
        })
    }

    /// Returns whether connections from this address begin with a header.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.contains(peer)
    }
}

/// Reads a header, and not a byte more.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Reported>> {
    let mut buffer = [0; BUFFER];
    let mut filled = 0;
    loop {
        let (seen, free) = buffer.split_at_mut(filled);
        let next = step(seen).map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
        match next {
            Step::Read(more) => {
                // The steps never ask for more than the buffer holds.
                let more = more.min(free.len());
                let read = stream.read(&mut free[..more]).await?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                filled += read;
            }
            Step::Done { reported, skip } => {
                skip_bytes(stream, skip).await?;
                return Ok(reported);
            }
        }
    }
}

async fn skip_bytes(stream: &mut (impl AsyncRead + Unpin), mut left: usize) -> io::Result<()> {
    let mut skipped = [0; SKIPPED];
    while left > 0 {
        let next = left.min(SKIPPED);
        stream.read_exact(&mut skipped[..next]).await?;
        left -= next;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::SocketAddr;

    use tokio::io::{AsyncWriteExt, duplex};

    const BALANCER: &str = "10.0.0.1:4000";

    fn accept() -> AcceptProxyProtocol {
        AcceptProxyProtocol::from_networks(Networks::parse(["10.0.0.0/8"]).unwrap())
    }

    fn client(peer: &str) -> ClientInfo {
        ClientInfo::from(peer.parse::<SocketAddr>().unwrap())
    }

    /// Reads the header of a connection on which these bytes come, piece by piece, before its end.
    async fn header(peer: &str, bytes: &[u8]) -> io::Result<(ClientInfo, Vec<u8>)> {
        // Each write waits until the byte before it was read.
        let (mut far, mut near) = duplex(1);
        let sending = async {
            let _ = far.write_all(bytes).await;
            drop(far);
        };
        // Owns the near end, which an error closes, so that the far end stops sending.
        let reading = async move {
            let client = accept().read_header(&mut near, client(peer)).await?;
            let mut behind = Vec::new();
            near.read_to_end(&mut behind).await?;
            Ok((client, behind))
        };
        tokio::join!(sending, reading).1
    }

    #[tokio::test]
    async fn a_trusted_peer_reports_the_client() {
        let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10\xC0\0\x02\x01\x0A\0\0\x07\xC3\x50\x01\xBB\x04\0\x01\0";
        for bytes in [&b"PROXY TCP4 192.0.2.1 10.0.0.7 50000 443\r\n"[..], v2] {
            let bytes = [bytes, b"GET / HTTP/1.1\r\n"].concat();
            let (client, behind) = header(BALANCER, &bytes).await.unwrap();
            assert_eq!(client.peer(), "192.0.2.1:50000".parse().ok());
            assert_eq!(client.local(), "10.0.0.7:443".parse().ok());
            assert_eq!(behind, b"GET / HTTP/1.1\r\n");
        }
    }

    #[tokio::test]
    async fn a_header_of_an_untrusted_peer_is_a_part_of_its_request() {
        let bytes = b"PROXY TCP4 192.0.2.1 10.0.0.7 50000 443\r\n";
        let (seen, behind) = header("192.0.2.9:1", bytes).await.unwrap();
        assert_eq!(seen, client("192.0.2.9:1"));
        assert_eq!(behind, bytes);
    }

    #[tokio::test]
    async fn a_health_check_is_the_load_balancers_own() {
        for bytes in [
            &b"PROXY UNKNOWN\r\n"[..],
            b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0",
        ] {
            let (seen, behind) = header(BALANCER, bytes).await.unwrap();
            assert_eq!((seen, behind), (client(BALANCER), Vec::new()));
        }
    }

    #[tokio::test]
    async fn a_trusted_peer_without_a_header_is_refused() {
        let error = header(BALANCER, b"GET / HTTP/1.1\r\n\r\n")
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let error = header(BALANCER, b"PROXY TCP4 19").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_that_does_not_come_is_not_waited_for_without_end() {
        let (mut far, mut near) = duplex(64);
        far.write_all(b"PROXY TCP4 ").await.unwrap();
        let accept = accept().timeout(Duration::from_secs(3));
        let began = tokio::time::Instant::now();
        let error = accept
            .read_header(&mut near, client(BALANCER))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), Duration::from_secs(3));
    }
}
