//! The connector for TCP and Unix sockets.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use tokio::net::TcpStream;

use crate::transport::{TcpKeepAlive, Transport};

use super::{Address, Connect, Connecting, race::race};

/// Connects by TCP and, on Unix, by Unix sockets.
///
/// A name is resolved anew for each connection, by the system's resolver; its addresses are tried
/// one after another, the next one as soon as the last has failed or been silent for 250 ms
/// (RFC 8305 §5). `TCP_NODELAY` and TCP keep-alive are on.
#[derive(Clone, Debug)]
pub struct Connector {
    keep_alive: Option<TcpKeepAlive>,
}

impl Connector {
    /// The default connector.
    #[must_use]
    pub fn new() -> Self {
        Self {
            keep_alive: Some(TcpKeepAlive::default()),
        }
    }

    /// Sets or turns off TCP keep-alive.
    #[must_use]
    pub fn tcp_keep_alive(mut self, keep_alive: impl Into<Option<TcpKeepAlive>>) -> Self {
        self.keep_alive = keep_alive.into();
        self
    }

    async fn tcp(&self, host: &str, port: u16) -> io::Result<Transport> {
        let stream = match host.parse::<IpAddr>() {
            Ok(ip) => TcpStream::connect(SocketAddr::new(ip, port)).await?,
            Err(_) => race(resolve(host, port).await?).await?,
        };
        let transport = Transport::from(stream);
        transport.tune(self.keep_alive.as_ref());
        Ok(transport)
    }
}

/// Asks the system's resolver. A failure is told apart from one of connecting by its kind.
async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    match tokio::net::lookup_host((host, port)).await {
        Ok(addresses) => Ok(addresses.collect()),
        Err(error) => Err(io::Error::new(io::ErrorKind::NotFound, error)),
    }
}

impl Default for Connector {
    fn default() -> Self {
        Self::new()
    }
}

impl Connect for Connector {
    fn connect<'a>(&'a self, address: &'a Address) -> Connecting<'a> {
        Box::pin(async move {
            match address {
                Address::Tcp { host, port } | Address::Tls { host, port, .. } => {
                    self.tcp(host, *port).await
                }
                #[cfg(unix)]
                Address::Unix(path) => Ok(tokio::net::UnixStream::connect(path).await?.into()),
                #[cfg(not(unix))]
                Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
            }
        })
    }
}
