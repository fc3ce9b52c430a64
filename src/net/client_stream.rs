//! The stream of a client whose handshake was accepted, as the host's server hands it over.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Version, request};
use hyper::upgrade::OnUpgrade;

use crate::{error::BoxError, lock::lock};

use super::{transport::Transport, upgraded};

type StreamFuture = Pin<Box<dyn Future<Output = io::Result<Transport>> + Send>>;

/// Future of a client's stream, for servers other than hyper: one of HTTP/3 (RFC 9220), above all.
///
/// hyper gives each request that can be upgraded a future of its connection. Another server inserts this
/// value into the request's extensions instead, and over HTTP/2 and later an
/// [`ExtendedConnect`](crate::head::ExtendedConnect) beside it. The proxy awaits the future once the
/// handshake is accepted: the server then sends the head of the response, a 200 or over HTTP/1.1 a 101,
/// and fulfils the future with a stream of what follows in both directions.
///
/// The future is bounded by
/// [`client_upgrade_timeout`](crate::ProxyLayer::client_upgrade_timeout), and is dropped if the handshake
/// is not accepted.
///
/// # Examples
///
/// A server that knows the stream when the response has been sent:
///
/// ```
/// use http::{Request, Version};
/// use tokio::{io::DuplexStream, sync::oneshot};
/// use wsplice::{accept::ClientStream, connect::Transport, head::ExtendedConnect};
///
/// fn request(sent: oneshot::Receiver<DuplexStream>) -> http::Result<Request<()>> {
///     let stream = async { sent.await.map(Transport::new).map_err(std::io::Error::other) };
///     Request::connect("https://example.com/chat")
///         .version(Version::HTTP_3)
///         .header("sec-websocket-version", "13")
///         .extension(ExtendedConnect::new("websocket"))
///         .extension(ClientStream::from_future(stream))
///         .body(())
/// }
/// # let (_, receiver) = oneshot::channel();
/// # request(receiver)?;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone)]
pub struct ClientStream(Arc<Mutex<Option<StreamFuture>>>);

impl ClientStream {
    /// Creates a value with the future of a stream. Clones share the future, and the first that is
    /// used has the stream.
    ///
    /// # Errors
    ///
    /// An error of the future is one of the client
    /// ([`ErrorKind::ClientUpgrade`](crate::ErrorKind::ClientUpgrade)).
    #[must_use]
    pub fn from_future<F>(stream: F) -> Self
    where
        F: Future<Output = io::Result<Transport>> + Send + 'static,
    {
        Self(Arc::new(Mutex::new(Some(Box::pin(stream)))))
    }
}

impl fmt::Debug for ClientStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientStream").finish_non_exhaustive()
    }
}

/// Connection or stream of a client that the host's server is still to hand over.
pub(crate) enum PendingClient {
    Upgrade(OnUpgrade),
    Http2(OnUpgrade),
    Stream(ClientStream),
}

impl PendingClient {
    /// Takes it from a request.
    pub(crate) fn take(head: &mut request::Parts) -> Option<Self> {
        let extensions = &mut head.extensions;
        match extensions.remove::<OnUpgrade>() {
            Some(upgrade) if head.version == Version::HTTP_2 => Some(Self::Http2(upgrade)),
            Some(upgrade) => Some(Self::Upgrade(upgrade)),
            None => extensions.remove::<ClientStream>().map(Self::Stream),
        }
    }

    /// Waits for the stream, and returns it with the bytes that the server has read ahead.
    ///
    /// # Errors
    ///
    /// The server gives up.
    pub(crate) async fn handed_over(self) -> Result<(Transport, Bytes), BoxError> {
        match self {
            Self::Upgrade(upgrade) => Ok(Transport::from_upgraded(upgrade.await?)),
            // hyper replays what it has read ahead.
            Self::Http2(upgrade) => Ok((upgraded::from_http2(upgrade.await?), Bytes::new())),
            Self::Stream(ClientStream(stream)) => {
                let stream = lock(&stream).take();
                let stream = stream.ok_or("another request has taken the stream")?;
                Ok((stream.await?, Bytes::new()))
            }
        }
    }
}
