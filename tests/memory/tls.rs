//! Both ends of a TLS connection.

use std::{
    net::{SocketAddr, TcpStream},
    sync::{Arc, LazyLock},
};

use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName},
};

use crate::wire;

type Made = rcgen::CertifiedKey<rcgen::KeyPair>;

static MADE: LazyLock<Made> =
    LazyLock::new(|| rcgen::generate_simple_self_signed(["app.test".to_owned()]).unwrap());

/// The setting of a server with many clients, which keep the state for resuming themselves.
pub(crate) fn server() -> Arc<ServerConfig> {
    let key = PrivatePkcs8KeyDer::from(MADE.signing_key.serialize_der());
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![MADE.cert.der().clone()], key.into())
        .unwrap();
    config.ticketer = ring::Ticketer::new().unwrap();
    Arc::new(config)
}

/// Clients that keep nothing from one connection to the next.
pub(crate) struct Clients(Arc<ClientConfig>);

impl Clients {
    pub(crate) fn new() -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::clone(MADE.cert.der())).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Self(Arc::new(config))
    }
}

impl crate::Clients for Clients {
    type Open = StreamOwned<ClientConnection, TcpStream>;
    type Quiet = TcpStream;

    fn connect(&mut self, addr: SocketAddr) -> Self::Open {
        let name = ServerName::try_from("app.test").unwrap();
        let connection = ClientConnection::new(Arc::clone(&self.0), name).unwrap();
        let mut stream = StreamOwned::new(connection, wire::connect(addr));
        wire::shake_hands(&mut stream);
        stream
    }

    /// The server cannot know that no client is there to decrypt the bytes that it might send.
    fn quieten(open: Self::Open) -> TcpStream {
        open.sock
    }
}
