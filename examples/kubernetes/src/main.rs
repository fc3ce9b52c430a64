//! A gateway whose upstreams are the endpoints of a Service:
//!
//! ```text
//! wsplice-kubernetes NAMESPACE SERVICE [PORT-NAME]
//! ```
//!
//! In a cluster it is the pod's service account, else the current context of `kubectl`.

use std::{error::Error, time::Duration};

use axum::Router;
use kube::Client;
use tokio::signal::unix::{SignalKind, signal};
use wsplice::{KeepAlive, Pool, ProxyLayer, discovery::ChangeSource, matcher::path};
use wsplice_kubernetes::Service;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().init();
    let mut args = std::env::args().skip(1);
    let (Some(namespace), Some(name)) = (args.next(), args.next()) else {
        return Err("usage: wsplice-kubernetes NAMESPACE SERVICE [PORT-NAME]".into());
    };
    let port = args.next().unwrap_or_default();
    let service = Service {
        namespace,
        name,
        port,
    };

    let pool = Pool::from_upstreams([]).build();
    let changes = service.changes(Client::try_default().await?);
    // Until there are upstreams, clients get 503; that is no reason not to serve.
    pool.follow(ChangeSource::new(changes)).detach();
    let layer = ProxyLayer::new(pool)
        .matching(path("/ws/*"))
        .keep_alive(KeepAlive::default());
    let drain = layer
        .drain()
        .spread(Duration::from_secs(10))
        .deadline(Duration::from_secs(20));
    let listener = tokio::net::TcpListener::bind("0.0.0.0:8080").await?;
    let mut terminate = signal(SignalKind::terminate())?;
    axum::serve(listener, Router::new().layer(layer))
        .with_graceful_shutdown(async move {
            terminate.recv().await;
        })
        .await?;
    drain.run().await;
    Ok(())
}
