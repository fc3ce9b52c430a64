//! The proxies that are measured in processes of this program.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, http::StatusCode};
use axum_reverse_proxy::ReverseProxy;
use clap::ValueEnum;
use tokio::net::TcpListener;
use wsplice::{Framing, KeepAlive, Pool, ProxyLayer, TunnelConfig, matcher::path};

use crate::{Result, relay};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Raw TCP relay, one 256 KiB read buffer for each thread.
    RawShared,
    /// Raw TCP relay, tokio's `copy_bidirectional`.
    RawCopy,
    /// The crate of that name.
    AxumReverseProxy,
    /// Ours, moving bytes unread.
    WspliceOpaque,
    /// Ours as it comes: frames are followed.
    Wsplice,
    /// Ours with pings on both legs.
    WspliceKeepalive,
}

impl Kind {
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Serves until dropped.
pub async fn serve(
    kind: Kind,
    listen: SocketAddr,
    upstream: SocketAddr,
    ping_every: Duration,
) -> Result<()> {
    let tunnel = match kind {
        Kind::RawShared => return relay::shared(listen, upstream).await,
        Kind::RawCopy => return relay::copy(listen, upstream).await,
        Kind::AxumReverseProxy => {
            let proxy = ReverseProxy::new("/", format!("http://{upstream}"));
            return serve_app(listen, proxy.into()).await;
        }
        Kind::WspliceOpaque => TunnelConfig::new().framing(Framing::Opaque),
        Kind::Wsplice => TunnelConfig::new(),
        Kind::WspliceKeepalive => {
            TunnelConfig::new().keep_alive(KeepAlive::default().interval(ping_every))
        }
    };
    let layer = ProxyLayer::new(Pool::new([format!("ws://{upstream}")])?)
        .matching(path("/*"))
        .tunnel(tunnel);
    let app = Router::new().fallback(|| async { StatusCode::NOT_FOUND });
    serve_app(listen, app.layer(layer)).await
}

async fn serve_app(listen: SocketAddr, app: Router) -> Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    Ok(axum::serve(listener, service).await?)
}
