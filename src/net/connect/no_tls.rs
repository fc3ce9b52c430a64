//! Substitutes for the types of TLS where it is not compiled in.

use std::io;

use crate::net::transport::Transport;

use super::alpn::{Agreed, Alpn};

/// A TLS configuration, of which there are none.
#[derive(Clone, Debug)]
pub(crate) enum Tls {}

impl Tls {
    pub(crate) async fn secure(
        &self,
        _transport: Transport,
        _host: &str,
        _alpn: Alpn,
    ) -> io::Result<(Transport, Agreed)> {
        match *self {}
    }
}

pub(crate) fn default_tls() -> io::Result<Tls> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "TLS is not compiled in",
    ))
}
