//! The proxies that are measured in processes of this program.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use axum::{Router, http::StatusCode};
use axum_reverse_proxy::ReverseProxy;
use clap::ValueEnum;
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Builder,
};
use tokio_rustls::{TlsAcceptor, rustls::crypto::ring};
use wsplice::{
    ForwardHttp, KeepAlive, Pool, ProxyLayer, TunnelConfig, matcher::path, tunnel::Framing,
};

use crate::{
    error::Result,
    relay, serve,
    stdin::until_stdin_ends,
    target::Face,
    tls::{Backend, CertificateFiles},
    watched::watched,
};

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
    /// wsplice with its defaults: frames are followed.
    Wsplice,
    /// `wsplice` with metrics and a status page, both read every second.
    WspliceScraped,
    /// Ours with pings on both legs.
    WspliceKeepalive,
    /// `wsplice-keepalive` with room for 64 KiB before a sink that takes nothing, in place of 256.
    #[value(name = "wsplice-64k")]
    Wsplice64k,
    /// `raw-shared` with a runtime and a listener of its own for each thread.
    RawPerCore,
    /// `wsplice-keepalive` with a runtime and a listener of its own for each thread.
    WsplicePerCore,
    /// `raw-shared` behind rustls with ring.
    RawTlsRing,
    /// `raw-shared` behind rustls with aws-lc-rs.
    RawTlsAwsLc,
    /// `wsplice-keepalive` behind rustls with ring.
    WspliceTlsRing,
    /// `wsplice-keepalive` behind rustls with aws-lc-rs.
    WspliceTlsAwsLc,
    /// `wsplice-keepalive` behind hyper's HTTP/2.
    WspliceHttp2,
}

impl Kind {
    pub const fn is_per_core(self) -> bool {
        matches!(self, Self::RawPerCore | Self::WsplicePerCore)
    }

    pub const fn face(self) -> Face {
        match self {
            Self::RawTlsRing | Self::RawTlsAwsLc | Self::WspliceTlsRing | Self::WspliceTlsAwsLc => {
                Face::Tls
            }
            Self::WspliceHttp2 => Face::Http2,
            _ => Face::Plain,
        }
    }

    const fn backend(self) -> Backend {
        match self {
            Self::RawTlsAwsLc | Self::WspliceTlsAwsLc => Backend::AwsLc,
            _ => Backend::Ring,
        }
    }

    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// A proxy, and its address.
#[derive(Clone)]
pub struct Subject {
    pub kind: Kind,
    pub listen: SocketAddr,
    pub upstream: SocketAddr,
    pub ping_every: Duration,
    pub certificate: Option<PathBuf>,
}

impl Subject {
    /// Serves until dropped.
    pub async fn serve(&self) -> Result<()> {
        let Self {
            listen, upstream, ..
        } = *self;
        match self.kind {
            Kind::RawShared => {
                let listener = TcpListener::bind(listen).await?;
                relay::shared(listener, upstream).await
            }
            Kind::RawCopy => relay::copy(TcpListener::bind(listen).await?, upstream).await,
            Kind::AxumReverseProxy => {
                // Its client wants one, although nothing here is behind TLS for it.
                let _ = ring::default_provider().install_default();
                let proxy = ReverseProxy::new("/", format!("http://{upstream}"));
                serve_app(TcpListener::bind(listen).await?, proxy.into()).await
            }
            Kind::RawTlsRing | Kind::RawTlsAwsLc => {
                let listener = TcpListener::bind(listen).await?;
                relay::shared_tls(listener, upstream, self.acceptor()?).await
            }
            Kind::WspliceTlsRing | Kind::WspliceTlsAwsLc => {
                let listener = TcpListener::bind(listen).await?;
                serve::tls(listener, self.acceptor()?, self.app()?).await
            }
            Kind::WspliceHttp2 => serve::http2(TcpListener::bind(listen).await?, self.app()?).await,
            _ => serve_app(TcpListener::bind(listen).await?, self.app()?).await,
        }
    }

    fn acceptor(&self) -> Result<TlsAcceptor> {
        let directory = self
            .certificate
            .as_deref()
            .ok_or("--certificate is missing")?;
        CertificateFiles::in_directory(directory)?.acceptor(self.kind.backend())
    }

    /// Ours, before a router.
    fn app(&self) -> Result<Router> {
        let tunnel = match self.kind {
            Kind::WspliceOpaque => TunnelConfig::new().framing(Framing::Opaque),
            Kind::WspliceKeepalive
            | Kind::Wsplice64k
            | Kind::WsplicePerCore
            | Kind::WspliceTlsRing
            | Kind::WspliceTlsAwsLc
            | Kind::WspliceHttp2 => {
                TunnelConfig::new().keep_alive(KeepAlive::default().interval(self.ping_every))
            }
            _ => TunnelConfig::new(),
        };
        let tunnel = match self.kind {
            Kind::Wsplice64k => tunnel.max_buffered(64 * 1024),
            _ => tunnel,
        };
        let pool = Pool::new([format!("ws://{}", self.upstream)])?.build();
        let layer = ProxyLayer::new(pool.clone())
            .matching(path("/*"))
            .forward_http(ForwardHttp::new())
            .tunnel(tunnel);
        let app = Router::new().fallback(|| async { StatusCode::NOT_FOUND });
        Ok(match self.kind {
            Kind::WspliceScraped => watched(app, layer, &pool),
            _ => app.layer(layer),
        })
    }
}

/// Serves with a runtime and a listener for each thread, until standard input ends.
pub fn serve_per_core(subject: &Subject, threads: usize) -> Result<()> {
    // One pool and one layer, whatever the number of runtimes.
    let app = subject.app()?;
    let serve = |subject: Subject, app: Router| async move {
        let listener = shared_listener(subject.listen)?;
        match subject.kind {
            Kind::RawPerCore => relay::shared(listener, subject.upstream).await,
            _ => serve_app(listener, app).await,
        }
    };
    for _ in 1..threads {
        let serving = serve(subject.clone(), app.clone());
        let rt = Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || rt.block_on(serving));
    }
    let rt = Builder::new_current_thread().enable_all().build()?;
    rt.block_on(until_stdin_ends(serve(subject.clone(), app)))
}

/// One of several listeners on the same address, among which the kernel spreads connections.
fn shared_listener(listen: SocketAddr) -> Result<TcpListener> {
    let socket = match listen {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(listen)?;
    Ok(socket.listen(1024)?)
}

/// Serves an application by axum.
pub async fn serve_app(listener: TcpListener, app: Router) -> Result<()> {
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    Ok(axum::serve(listener, service).await?)
}
