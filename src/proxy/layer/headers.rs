//! Settings of the layer: the headers of requests and responses, the path, and the client that they name.

use std::sync::Arc;

use http::{Extensions, HeaderMap, HeaderName, HeaderValue};

use crate::{
    http::head::{PathRewrite, RequestHead},
    http::headers::{
        ClientInfo, ClientScheme, ForwardedHeaders, HeaderEdits, Networks, UpstreamHeaders, Via,
    },
};

use super::proxy_layer::ProxyLayer;

impl<T> ProxyLayer<T> {
    /// Trusts the `X-Forwarded-*` headers of these proxies.
    pub fn trust(self, proxies: Networks) -> Self {
        self.with(|settings| {
            let forwarded = std::mem::take(&mut settings.outbound.forwarded);
            settings.outbound.forwarded = forwarded.trust(proxies);
        })
    }

    /// Sets all settings of `X-Forwarded-*` and `Forwarded` at once, replacing earlier ones.
    pub fn forwarded(self, forwarded: ForwardedHeaders) -> Self {
        self.with(|settings| settings.outbound.forwarded = forwarded)
    }

    /// Adds a `Via` header in both directions (RFC 9110 §7.6.3).
    pub fn via(self, via: Via) -> Self {
        self.with(|settings| settings.outbound.via = Some(via))
    }

    /// Sets the `Host` of requests to upstreams, in place of the client's.
    pub fn host(self, host: HeaderValue) -> Self {
        self.with(|settings| settings.outbound.host = Some(host))
    }

    /// Rewrites the path of requests to upstreams.
    pub fn rewrite(self, rewrite: PathRewrite) -> Self {
        self.with(|settings| settings.outbound.rewrite = Some(rewrite))
    }

    /// Edits the headers of requests to upstreams. The headers of the handshake itself
    /// (`Connection`, `Upgrade`, the key and the version) are written afterwards and cannot be
    /// changed.
    pub fn request_headers(self, edits: HeaderEdits) -> Self {
        self.with(|settings| settings.outbound.edits = edits)
    }

    /// Protects headers that a middleware in front of the proxy sets in requests: a client that names
    /// one of them in `Connection`, so that the proxy would have to remove it (RFC 9110 §7.6.1), gets
    /// 400. Aliases of them (`X_User_Id`) are removed. Each call replaces the list.
    ///
    /// Headers that the middleware gives as [`UpstreamHeaders`](crate::headers::UpstreamHeaders) need
    /// no protection.
    ///
    /// # Examples
    ///
    /// ```
    /// use http::HeaderName;
    /// use wsplice::{Pool, ProxyLayer};
    ///
    /// # let pool = Pool::new(["ws://127.0.0.1:9"])?;
    /// let proxy = ProxyLayer::new(pool)
    ///     .protect_headers([HeaderName::from_static("x-user-id")]);
    /// # let _ = proxy;
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    pub fn protect_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.with(|settings| settings.outbound.protected = names.into_iter().collect())
    }

    /// Edits the headers of responses to clients, the 101 included.
    pub fn response_headers(self, edits: HeaderEdits) -> Self {
        self.with(|settings| settings.response_edits = edits)
    }

    /// Sets a function that makes headers for the upstream from the request's head: from what a
    /// middleware has put into its extensions, or from the client's address. See
    /// [`UpstreamHeaders`]; the [request edits](Self::request_headers) run afterwards.
    ///
    /// It runs after the [authorization](Self::authorize), and its headers replace those of the same
    /// name in the [options](crate::RequestOptions::header).
    ///
    /// # Examples
    ///
    /// ```
    /// use http::{HeaderName, HeaderValue};
    /// use wsplice::{Pool, ProxyLayer, head::RequestHead, headers::UpstreamHeaders};
    ///
    /// #[derive(Clone)]
    /// struct Tenant(HeaderValue);
    ///
    /// # let pool = Pool::new(["ws://127.0.0.1:9"])?;
    /// let proxy = ProxyLayer::new(pool).headers_for_upstream(|head: &RequestHead<'_>| {
    ///     let mut headers = UpstreamHeaders::new();
    ///     if let Some(Tenant(name)) = head.extensions().get() {
    ///         headers.insert(HeaderName::from_static("x-tenant"), name.clone());
    ///     }
    ///     headers
    /// });
    /// # let _ = proxy;
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    pub fn headers_for_upstream<F>(self, headers: F) -> Self
    where
        F: Fn(&RequestHead<'_>) -> UpstreamHeaders + Send + Sync + 'static,
    {
        self.with(|settings| settings.upstream_headers = Some(Arc::new(headers)))
    }

    /// Sets a function that makes headers for the client from the request's head, for the responses
    /// of upstreams, the 101 included. They replace headers of the same name, after the
    /// [response edits](Self::response_headers). Headers of the connection, of its framing and of
    /// the handshake are left out.
    pub fn headers_for_client<F>(self, headers: F) -> Self
    where
        F: Fn(&RequestHead<'_>) -> HeaderMap + Send + Sync + 'static,
    {
        self.with(|settings| settings.client_headers = Some(Arc::new(headers)))
    }

    /// Sets the function that describes the client's connection, from a request's extensions.
    ///
    /// The function is needed only if the extensions hold neither a [`ClientInfo`] nor, with the
    /// feature `axum`, axum's `ConnectInfo<SocketAddr>`. Without a known address no
    /// `X-Forwarded-For` is sent.
    pub fn client_info<F>(self, client_info: F) -> Self
    where
        F: Fn(&Extensions) -> Option<ClientInfo> + Send + Sync + 'static,
    {
        self.with(|settings| settings.client_info = Some(Arc::new(client_info)))
    }

    /// Sets the scheme of the listener behind which this layer serves: `https` if the host's server
    /// ends TLS. It is the client's scheme wherever the [`ClientInfo`] names none, above all where the
    /// address comes from axum's `ConnectInfo`, which knows nothing of TLS. By default it is `http`.
    ///
    /// Upstreams get the scheme in `X-Forwarded-Proto`, and [`Sticky`](crate::balance) cookies are
    /// `Secure` by it. A trusted proxy's own `X-Forwarded-Proto` goes first.
    pub fn client_scheme(self, scheme: ClientScheme) -> Self {
        self.with(|settings| settings.client_scheme = Some(scheme))
    }
}
