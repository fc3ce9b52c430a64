//! `Tunnel` alone: a handler that does the handshakes itself, with a registry of its own.
//!
//! ```text
//! cargo run --example echo -- 9001
//! cargo run --example tunnel_alone
//! websocat ws://127.0.0.1:3000/chat                 # Ctrl-C drains
//! ```

use std::{sync::Arc, time::Duration};

use axum::{BoxError, Router, body::Body, extract::State, response::Response, serve::ListenerExt};
use hyper::{Request, StatusCode, upgrade::OnUpgrade};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use wsplice::{
    Drain, KeepAlive, Registry, TunnelConfig, TunnelInfo,
    handshake::{Intent, UpstreamHandshake, UpstreamResponse, inspect},
    head::RequestHead,
    tunnel::Tunnel,
};

type Host = (Arc<str>, Registry, Arc<TunnelConfig>);

async fn proxy(State(host): State<Host>, request: Request<Body>) -> Result<Response, StatusCode> {
    let (upstream, tunnels, config) = host;
    let is_upgrade = matches!(inspect(&RequestHead::from(&request)), Intent::Upgrade(_));
    let (mut head, _) = request.into_parts();
    let on_upgrade = head.extensions.remove::<OnUpgrade>();
    let (true, Some(on_upgrade)) = (is_upgrade, on_upgrade) else {
        return Err(StatusCode::UPGRADE_REQUIRED);
    };
    let info = TunnelInfo::new(Arc::clone(&upstream), head.uri.path());
    let handshake = UpstreamHandshake::new(Request::from_parts(head, ()));
    let accepted = match dial(&upstream, handshake).await {
        Ok(UpstreamResponse::Accepted(accepted)) => *accepted,
        Ok(UpstreamResponse::Refused(response)) => return Ok(response.map(Body::new)),
        Err(_) => return Err(StatusCode::BAD_GATEWAY),
    };
    let response = accepted.response.clone().map(|()| Body::empty());
    tokio::spawn(async move {
        if let Ok(client) = on_upgrade.await {
            Tunnel::after_handshakes(client, accepted)
                .config(config)
                .registry(&tunnels, info)
                .on_end(|tunnel, report| println!("{} ended: {}", tunnel.path, report.end))
                .await;
        }
    });
    Ok(response)
}

async fn dial(host: &str, handshake: UpstreamHandshake) -> Result<UpstreamResponse, BoxError> {
    // The kernel's own timeout is minutes long.
    let stream = timeout(Duration::from_secs(3), TcpStream::connect(host)).await??;
    stream.set_nodelay(true)?;
    Ok(handshake.perform(stream).await?)
}

pub(crate) async fn serve(listener: TcpListener, upstream: Arc<str>, tunnels: Registry) {
    let config = Arc::new(TunnelConfig::new().keep_alive(KeepAlive::default()));
    let host: Host = (upstream, tunnels, config);
    let app = Router::new().fallback(proxy).with_state(host);
    // A client that is gone already fails at the handshake.
    let listener = listener.tap_io(|client| drop(client.set_nodelay(true)));
    let _ = axum::serve(listener, app).await;
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    let tunnels = Registry::new();
    tokio::spawn(serve(listener, "127.0.0.1:9001".into(), tunnels.clone()));
    tokio::signal::ctrl_c().await?;
    println!("{:?}", Drain::new(&tunnels).run().await);
    Ok(())
}
