//! What stands in for TLS to clients where no cryptography is built in.

use std::io;
use std::path::Path;

use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

/// There is none.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Edge {}

impl Edge {
    /// Refuses.
    ///
    /// # Errors
    ///
    /// Always.
    pub(crate) fn load(_chain: &Path, _key: &Path) -> Result<Self, String> {
        Err("--tls-listen needs the feature \"ring\" or \"aws-lc-rs\"".to_owned())
    }

    pub(crate) fn reload(&self) -> Result<(), String> {
        match *self {}
    }

    pub(crate) async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        match *self {}
    }

    pub(crate) async fn accept(&self, _tcp: TcpStream) -> io::Result<TcpStream> {
        match *self {}
    }
}
