//! Settings of the layer: which requests it owns, to which upstream they go, and how many at once.

use std::time::Duration;

use crate::{
    http::matcher::Matcher,
    upstream::admission::{Admission, QueueLimits},
    upstream::balance::{AnyBalance, Balance},
};

use super::proxy_layer::ProxyLayer;

impl<T> ProxyLayer<T> {
    /// Proxies only handshakes that this matcher owns.
    ///
    /// A request whose path has several readings is owned only if the matcher owns every reading;
    /// see [`head`](crate::head#the-path).
    pub fn matching(self, matcher: impl Matcher + 'static) -> Self {
        self.with(|settings| settings.matcher = Some(matcher.boxed()))
    }

    /// Matches and forwards the path that the client sent, where axum's `nest` has removed a prefix from
    /// it: the `OriginalUri` of the router. By default it is the path within `nest`.
    ///
    /// The inner service sees the path within `nest` in any case.
    ///
    /// # Examples
    ///
    /// ```
    /// use axum::Router;
    /// use wsplice::{Pool, ProxyLayer, matcher::path};
    ///
    /// let chat = ProxyLayer::new(Pool::new(["ws://10.0.0.1:8080"])?)
    ///     .matching(path("/app/ws/*"))
    ///     .original_uri();
    /// let app: Router = Router::new().nest_service("/app", chat.into_service());
    /// # let _ = app;
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    #[cfg(feature = "axum")]
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub fn original_uri(self) -> Self {
        self.with(|settings| settings.uses_original_uri = true)
    }

    /// Responds with 403 to handshakes whose `Origin` the matcher does not own, before an upstream
    /// is contacted.
    ///
    /// Browsers send WebSocket handshakes with cookies to any host, from any page; an application
    /// that trusts cookies must check the origin (RFC 6455 §10.2). A handshake without an `Origin`
    /// does not come from a browser, and passes.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{Pool, ProxyLayer, matcher::{Matcher, origin, same_origin}};
    ///
    /// # let pool = Pool::new(["ws://127.0.0.1:9"])?.build();
    /// let allowed = same_origin().or(origin(["https://admin.example.com"])?);
    /// let proxy = ProxyLayer::new(pool).allow_origins(allowed);
    /// # let _ = proxy;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn allow_origins(self, origins: impl Matcher + 'static) -> Self {
        self.with(|settings| settings.origins = Some(origins.boxed()))
    }

    /// Sets the load-balancing policy of this route, in place of the
    /// [pool's](crate::pool::PoolBuilder::balance). All else about the pool is shared by its layers.
    pub fn balance(self, balance: impl Balance + 'static) -> Self {
        self.with(|settings| {
            settings.pool = settings.pool.clone().with_balance(AnyBalance::new(balance));
        })
    }

    /// Limits the tunnels and handshakes of this route, beside the
    /// [pool's](crate::pool::PoolBuilder::admission) limits for all routes together: a request must pass
    /// both, first this one. The route counts for itself, and its clones count with it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use wsplice::{Admission, Pool, ProxyLayer, matcher::path};
    ///
    /// let chat = Pool::new(["ws://10.0.0.1:8080"])?
    ///     .admission(Admission::new().max_tunnels(10_000))
    ///     .build();
    /// let lobby = ProxyLayer::new(chat.clone())
    ///     .matching(path("/lobby"))
    ///     .admission(Admission::new().max_tunnels(1_000))
    ///     .queue(50, Duration::from_secs(2));
    /// let rooms = ProxyLayer::new(chat).matching(path("/rooms/*"));
    /// # let _ = (lobby, rooms);
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    pub fn admission(self, admission: Admission) -> Self {
        self.with(|settings| {
            let (_, queue) = settings.pool.limits();
            settings.pool = settings.pool.clone().with_limits(admission, queue);
        })
    }

    /// Sets a queue for this many handshakes, each of which waits at most this long for the route's
    /// own [limits](Self::admission); without one, they get 503 at once. Handshakes that wait for the
    /// limits of the pool or of an upstream are in the [pool's queue](crate::pool::PoolBuilder::queue).
    pub fn queue(self, max_waiters: usize, max_wait: Duration) -> Self {
        self.with(|settings| {
            let (admission, _) = settings.pool.limits();
            let queue = QueueLimits {
                max_waiters,
                max_wait,
            };
            settings.pool = settings.pool.clone().with_limits(admission, queue);
        })
    }
}
