//! Settings of the layer: what is seen of its requests, and its own responses.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use tracing::Span;

use crate::{error::Error, http::head::RequestHead, observe::Observer};

use super::proxy_layer::ProxyLayer;

impl<T> ProxyLayer<T> {
    /// Sets a function that changes the responses of the proxy itself when a request fails.
    ///
    /// The function gets the error and the default response.
    ///
    /// # Examples
    ///
    /// ```
    /// # use wsplice::{Pool, ProxyLayer};
    /// # let pool = Pool::new(["ws://127.0.0.1:9"])?;
    /// let proxy = ProxyLayer::new(pool).map_rejection(|error, mut response| {
    ///     *response.body_mut() = format!("sorry: {:?}", error.kind()).into();
    ///     response
    /// });
    /// # let _ = proxy;
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    pub fn map_rejection<F>(self, map_rejection: F) -> Self
    where
        F: Fn(&Error, Response<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    {
        self.with(|settings| settings.map_rejection = Some(Arc::new(map_rejection)))
    }

    /// Sets the function that makes the span of each handshake, in place of the
    /// [default](crate#logs-and-traces). It sees the request's head, `traceparent` included, so that
    /// the span can become a part of the client's trace.
    ///
    /// Fields of the default that the span has too are recorded in it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use wsplice::{Pool, ProxyLayer};
    /// use tracing::field::Empty;
    ///
    /// # let pool = Pool::new(["ws://127.0.0.1:9"])?;
    /// let proxy = ProxyLayer::new(pool).make_span(|head| {
    ///     let trace = head.headers().get("traceparent").and_then(|id| id.to_str().ok());
    ///     tracing::info_span!("socket", trace, "url.path" = head.path(), "server.address" = Empty)
    /// });
    /// # let _ = proxy;
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    pub fn make_span<F>(self, make_span: F) -> Self
    where
        F: Fn(&RequestHead<'_>) -> Span + Send + Sync + 'static,
    {
        self.with(|settings| settings.make_span = Some(Arc::new(make_span)))
    }

    /// Adds an observer of handshakes, requests, tunnels and upstreams, beside those that were added
    /// before. Wrap it in an `Arc` to keep a handle. Clones of the layer have the same observer.
    pub fn observer(self, observer: impl Observer + 'static) -> Self {
        let observer: Arc<dyn Observer> = Arc::new(observer);
        self.pool().attach_observer(&observer);
        self.with(|settings| settings.observers.push(observer))
    }
}
