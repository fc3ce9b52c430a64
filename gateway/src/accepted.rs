//! Accepted connection: the client's address, TLS if the listener has it, and the version of HTTP.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use wsplice::accept::{AcceptProxyProtocol, WriteTimeout};
use wsplice::headers::{ClientInfo, ClientScheme};

use crate::arrival::Arrival;
use crate::client_tls::ClientTls;
use crate::connection::{self, Protocol, Serving};
use crate::preface::{self, PREFACE};
use crate::rewound::Rewound;
use crate::shutdown::{Draining, Shutdown};
use crate::socket::Stream;
use crate::turns::Turns;

/// Bound on a client's TLS handshake, the wait for its turns included.
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bound on the time in which a client's socket takes nothing of what is written to it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Connection that was accepted.
pub(crate) struct Accepted {
    pub(crate) stream: Stream,
    /// Place among the connections, up to the end or the upgrade of this one.
    pub(crate) place: Option<OwnedSemaphorePermit>,
    pub(crate) arrival: Arrival,
    /// Held up to the end or the upgrade of the connection, which its listener waits for.
    pub(crate) open: mpsc::Sender<Infallible>,
}

/// Settings that each connection of a listener is served with.
pub(crate) struct Connections {
    pub(crate) tls: Option<Arc<ClientTls>>,
    /// Turns of the TLS handshakes.
    pub(crate) turns: Turns,
    pub(crate) proxy_protocol: Option<AcceptProxyProtocol>,
    pub(crate) serving: Serving,
    pub(crate) shutdown: Shutdown,
}

impl Connections {
    /// Serves a connection up to its end or its upgrade.
    pub(crate) async fn serve(self: Arc<Self>, accepted: Accepted) {
        let Accepted {
            stream,
            place: _place,
            arrival,
            open: _open,
        } = accepted;
        let mut shutdown = self.shutdown.clone();
        let mut draining: Draining<'_> = pin!(shutdown.draining());
        match stream {
            Stream::Tcp(mut tcp, peer) => {
                let mut client = ClientInfo::from(peer);
                if self.serving.wants_local_addresses {
                    client = tcp.local_addr().map_or(client, |it| client.with_local(it));
                }
                if let Some(accept) = &self.proxy_protocol {
                    let header = accept.read_header(&mut tcp, client);
                    client = match unless_draining(&mut draining, header).await {
                        Some(Ok(client)) => client,
                        Some(Err(error)) => {
                            tracing::debug!(%peer, %error, "a connection has no PROXY protocol header");
                            return;
                        }
                        None => return,
                    };
                }
                match &self.tls {
                    Some(_) => {
                        self.serve_stream(tcp, client, arrival, draining).await;
                    }
                    None => self.serve_plain(tcp, client, arrival, draining).await,
                }
            }
            #[cfg(unix)]
            Stream::Unix(unix) => {
                let client = ClientInfo::new();
                self.serve_stream(unix, client, arrival, draining).await;
            }
        }
    }

    /// Serves a connection without TLS, over which HTTP/2 may begin with its preface. The socket is
    /// served as it is, so that a tunnel can take it, unless a part of the preface was read from it.
    async fn serve_plain(
        &self,
        mut tcp: TcpStream,
        client: ClientInfo,
        arrival: Arrival,
        mut draining: Draining<'_>,
    ) {
        let read = preface::read_partial(&mut tcp, self.serving.header_timeout);
        let read = match unless_draining(&mut draining, read).await {
            Some(Ok(read)) => read,
            Some(Err(error)) => {
                tracing::debug!(peer = ?client.peer(), %error, "a client sent no request");
                return;
            }
            None => return,
        };
        if read.is_empty() {
            return self.serve_stream(tcp, client, arrival, draining).await;
        }
        let protocol = if read == PREFACE[..] {
            Protocol::Http2
        } else {
            Protocol::AsFirstBytes
        };
        let stream = Rewound::new(WriteTimeout::new(tcp, WRITE_TIMEOUT), read);
        // Boxed, because it is rare, and all other connections would carry it.
        let serve = self.serve_http(stream, protocol, client, arrival, draining);
        Box::pin(serve).await;
    }

    async fn serve_stream<S>(
        &self,
        stream: S,
        client: ClientInfo,
        arrival: Arrival,
        draining: Draining<'_>,
    ) where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = WriteTimeout::new(stream, WRITE_TIMEOUT);
        match &self.tls {
            // Boxed, because it is large, and connections without TLS would carry it.
            Some(tls) => {
                Box::pin(self.serve_tls(tls, stream, client, arrival, draining)).await;
            }
            None => {
                let protocol = Protocol::AsFirstBytes;
                self.serve_http(stream, protocol, client, arrival, draining)
                    .await;
            }
        }
    }

    /// Serves a connection that begins with a TLS handshake.
    async fn serve_tls<S>(
        &self,
        tls: &ClientTls,
        stream: S,
        client: ClientInfo,
        arrival: Arrival,
        mut draining: Draining<'_>,
    ) where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let handshake = timeout(TLS_HANDSHAKE_TIMEOUT, tls.accept(stream, &self.turns));
        let Some(handshake) = unless_draining(&mut draining, handshake).await else {
            return;
        };
        let peer = client.peer();
        match handshake {
            Ok(Ok(stream)) => {
                let client = client.with_scheme(ClientScheme::Https);
                let protocol = negotiated(stream.get_ref().1.alpn_protocol());
                self.serve_http(stream, protocol, client, arrival, draining)
                    .await;
            }
            Ok(Err(error)) => {
                // Quoted, with control characters as escapes: a peer had a part in it.
                tracing::debug!(?peer, error = ?error.to_string(), "a TLS handshake with a client failed");
            }
            Err(_) => tracing::debug!(?peer, "a TLS handshake with a client timed out"),
        }
    }

    /// Serves HTTP. Not an `async` function, whose future would hold and move all of this once more.
    fn serve_http<S>(
        &self,
        stream: S,
        protocol: Protocol,
        client: ClientInfo,
        arrival: Arrival,
        draining: Draining<'_>,
    ) -> impl Future<Output = ()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (serving, shutdown) = (&self.serving, &self.shutdown);
        connection::serve(
            stream, protocol, client, arrival, serving, shutdown, draining,
        )
    }
}

/// Awaits what precedes a connection's first request; `None` if the gateway drains before it is over. A
/// client that is silent then does not delay the drain.
async fn unless_draining<T>(
    draining: &mut Draining<'_>,
    part: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        output = part => Some(output),
        () = draining => None,
    }
}

/// Protocol that the TLS handshake negotiated by ALPN (RFC 7301). A client without ALPN may speak
/// either version.
fn negotiated(protocol: Option<&[u8]>) -> Protocol {
    match protocol {
        Some(b"h2") => Protocol::Http2,
        _ => Protocol::AsFirstBytes,
    }
}
