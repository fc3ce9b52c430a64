//! `Tunnel` alone: a hyper server that does the handshakes itself, in a registry of its own.
//!
//! ```text
//! cargo run --example echo -- 9001
//! cargo run --example tunnel_alone
//! websocat ws://127.0.0.1:3000/chat                 # Ctrl-C drains
//! ```

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use wsplice::{
    BoxError, Drain, KeepAlive, Registry, Transport, Tunnel, TunnelConfig, TunnelInfo,
    UpstreamHandshake, UpstreamResponse,
    head::RequestHead,
    upgrade::{Intent, inspect},
};

/// The kernel's own timeout is minutes long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

type Host = (Arc<str>, Registry, Arc<TunnelConfig>);
async fn proxy(
    request: Request<Incoming>,
    (upstream, tunnels, config): Host,
) -> Result<Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError> {
    let is_upgrade = matches!(inspect(&RequestHead::from(&request)), Intent::Upgrade(_));
    let (mut head, _) = request.into_parts();
    let on_upgrade = head.extensions.remove::<OnUpgrade>();
    let (true, Some(on_upgrade)) = (is_upgrade, on_upgrade) else {
        return Err("not a WebSocket handshake".into());
    };
    let info = TunnelInfo::new(Arc::clone(&upstream), head.uri.path());
    let handshake = UpstreamHandshake::new(Request::from_parts(head, ()));
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(&*upstream)).await??;
    stream.set_nodelay(true)?;
    let accepted = match handshake.perform(stream).await? {
        UpstreamResponse::Accepted(accepted) => *accepted,
        UpstreamResponse::Refused(response) => return Ok(response.map(BodyExt::boxed_unsync)),
    };
    tokio::spawn(async move {
        let Ok(upgraded) = on_upgrade.await else {
            return;
        };
        let (client, read_ahead) = Transport::from_upgraded(upgraded);
        Tunnel::builder(client, accepted.transport)
            .config(config)
            .client_read_ahead(read_ahead)
            .upstream_read_ahead(accepted.read_ahead)
            .extensions(accepted.extensions)
            .registry(&tunnels, info)
            .on_end(|tunnel, report| println!("{} ended: {}", tunnel.path, report.end))
            .await;
    });
    Ok(accepted
        .response
        .map(|()| Empty::new().map_err(|never| match never {}).boxed_unsync()))
}

pub(crate) async fn serve(listener: TcpListener, upstream: Arc<str>, tunnels: Registry) {
    let config = Arc::new(TunnelConfig::new().keep_alive(KeepAlive::default()));
    let host: Host = (upstream, tunnels, config);
    while let Ok((client, _)) = listener.accept().await {
        // A client that is gone already fails at the handshake.
        let _ = client.set_nodelay(true);
        let host = host.clone();
        let service = service_fn(move |request| proxy(request, host.clone()));
        let server = http1::Builder::new().serve_connection(TokioIo::new(client), service);
        tokio::spawn(server.with_upgrades());
    }
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
