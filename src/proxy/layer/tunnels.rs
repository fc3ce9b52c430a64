//! Settings of the layer: its tunnels.

use std::{sync::Arc, time::Duration};

use crate::tunnel::{TunnelConfig, keep_alive::KeepAlive, reattach::Reattach};

use super::proxy_layer::ProxyLayer;

impl<T> ProxyLayer<T> {
    /// Sends pings on quiet legs; see [`KeepAlive`]. `None` turns pings off.
    pub fn keep_alive(self, keep_alive: impl Into<Option<KeepAlive>>) -> Self {
        self.with_tunnel(|tunnel| tunnel.keep_alive(keep_alive))
    }

    /// Sets all tunnel settings at once, replacing earlier ones.
    pub fn tunnel(self, config: TunnelConfig) -> Self {
        self.with_tunnel(|_| config)
    }

    /// Sets how long a tunnel may be idle before it is closed. `None` turns the limit off.
    pub fn idle_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.with_tunnel(|tunnel| tunnel.idle_timeout(timeout))
    }

    /// Sets how long a tunnel may live before it is closed. `None` turns the limit off.
    pub fn max_lifetime(self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.with_tunnel(|tunnel| tunnel.max_lifetime(lifetime))
    }

    /// Sets how long one direction may be quiet after the other has ended.
    pub fn half_close_timeout(self, half_close_timeout: impl Into<Option<Duration>>) -> Self {
        self.with_tunnel(|tunnel| tunnel.half_close_timeout(half_close_timeout))
    }

    /// Gives a tunnel that loses its upstream another one, while the client's connection lives on; see
    /// [`Reattach`]. Off by default, and turned off by `None`.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{Pool, ProxyLayer, tunnel::reattach::Reattach};
    ///
    /// let pool = Pool::new(["ws://10.0.0.1:8080"])?;
    /// let proxy = ProxyLayer::new(pool).reattach(Reattach::new());
    /// # let _ = proxy;
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    pub fn reattach(self, reattach: impl Into<Option<Reattach>>) -> Self {
        let reattach = reattach.into().map(Arc::new);
        self.with(|settings| settings.reattach = reattach)
    }

    fn with_tunnel(self, change: impl FnOnce(TunnelConfig) -> TunnelConfig) -> Self {
        self.with(|settings| {
            let config = Arc::make_mut(&mut settings.tunnel);
            *config = change(config.clone());
        })
    }
}
