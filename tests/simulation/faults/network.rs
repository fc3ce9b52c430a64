//! The network between the proxy and the upstreams.

use std::{
    future, io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use wsplice::{
    connect::{Address, Connect, ConnectFuture, Resolve, Transport},
    discovery::DnsResolver,
};

use super::server::Server;

/// An address from which nothing comes back, and one without a machine.
pub(crate) const BLACK_HOLE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));
pub(crate) const UNREACHABLE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2));

/// The way from the proxy to the upstreams, whose names are looked up for each connect.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) servers: Vec<Arc<Server>>,
    pub(crate) resolver: DnsResolver,
}

impl Connect for Network {
    fn connect<'a>(&'a self, address: &'a Address) -> ConnectFuture<'a> {
        Box::pin(async move {
            let Address::Tcp { host, port, .. } = address else {
                return Err(io::ErrorKind::Unsupported.into());
            };
            let found = self.resolver.resolve(host, *port).await?;
            if found.iter().any(|at| at.ip() == BLACK_HOLE) {
                future::pending::<()>().await;
            }
            let mut servers = self.servers.iter();
            let server = servers.find(|server| found.iter().any(|at| at.ip() == server.ip()));
            let server = server.ok_or(io::ErrorKind::HostUnreachable)?;
            let (near, far) = server.wire.connect().await?;
            tokio::spawn(Arc::clone(server).serve(far));
            Ok(Transport::new(near))
        })
    }
}
