//! `Tunnel` alone: a hyper server that does the handshakes itself, in a registry of its own.
//!
//! Try it before a WebSocket server on port 9001, then press Ctrl-C for a drain:
//! `cargo run --example tunnel_alone` and `websocat ws://127.0.0.1:3000/chat`.

use std::{error::Error, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use wsplice::{
    BoxError, Drain, KeepAlive, Registry, Transport, Tunnel, TunnelConfig, TunnelInfo,
    UpstreamHandshake, UpstreamResponse,
    head::RequestHead,
    upgrade::{Intent, inspect},
};

type Reply = Response<UnsyncBoxBody<Bytes, BoxError>>;

async fn proxy(
    request: Request<Incoming>,
    upstream: Arc<str>,
    tunnels: Registry,
    config: Arc<TunnelConfig>,
) -> Result<Reply, BoxError> {
    let empty = || Empty::new().map_err(|never| match never {}).boxed_unsync();
    let is_upgrade = matches!(inspect(&RequestHead::from(&request)), Intent::Upgrade(_));
    let (mut head, _) = request.into_parts();
    let on_upgrade = head.extensions.remove::<OnUpgrade>();
    let (true, Some(on_upgrade)) = (is_upgrade, on_upgrade) else {
        let mut reply = Response::new(empty());
        *reply.status_mut() = StatusCode::UPGRADE_REQUIRED;
        return Ok(reply);
    };
    let info = TunnelInfo::new(Arc::clone(&upstream), head.uri.path());
    // The client's key goes along, so that the upstream's proof is the client's too.
    let handshake = UpstreamHandshake::new(Request::from_parts(head, ()));
    let stream = TcpStream::connect(&*upstream).await?;
    let accepted = match handshake.perform(stream).await? {
        UpstreamResponse::Accepted(accepted) => *accepted,
        UpstreamResponse::Refused(response) => return Ok(response.map(BodyExt::boxed_unsync)),
    };
    let reply = accepted.response.map(|()| empty());
    tokio::spawn(async move {
        let Ok(upgraded) = on_upgrade.await else {
            return;
        };
        let (client, read_ahead) = Transport::from_upgraded(upgraded);
        let report = Tunnel::builder(client, accepted.transport)
            .config(config)
            .client_read_ahead(read_ahead)
            .upstream_read_ahead(accepted.read_ahead)
            .extensions(accepted.extensions)
            .registry(&tunnels, info)
            .await;
        println!("{} after {:?}", report.end, report.duration);
    });
    Ok(reply)
}

pub async fn serve(listener: TcpListener, upstream: Arc<str>, tunnels: Registry) {
    let config = Arc::new(TunnelConfig::new().keep_alive(KeepAlive::default()));
    while let Ok((client, _)) = listener.accept().await {
        let (upstream, tunnels, config) = (upstream.clone(), tunnels.clone(), config.clone());
        let service = service_fn(move |request| {
            proxy(request, upstream.clone(), tunnels.clone(), config.clone())
        });
        let server = http1::Builder::new().serve_connection(TokioIo::new(client), service);
        tokio::spawn(server.with_upgrades());
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    let tunnels = Registry::new();
    tokio::spawn(serve(listener, "127.0.0.1:9001".into(), tunnels.clone()));
    tokio::signal::ctrl_c().await?;
    println!("{:?}", Drain::new(&tunnels).run().await);
    Ok(())
}
