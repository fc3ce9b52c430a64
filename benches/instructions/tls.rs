//! TLS 1.3 over a connection in memory, with a certificate of the run's own.

use std::sync::Arc;

use tokio::io::DuplexStream;
use tokio_rustls::{
    TlsAcceptor, TlsConnector, client,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{PrivatePkcs8KeyDer, ServerName},
    },
    server,
};

const HOST: &str = "chat.example.com";

/// Performs a handshake; returns the client's end and the server's.
pub(crate) async fn handshake(
    client: DuplexStream,
    server: DuplexStream,
) -> (
    client::TlsStream<DuplexStream>,
    server::TlsStream<DuplexStream>,
) {
    let certified = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let certificate = certified.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());

    let provider = Arc::new(ring::default_provider());
    let server_config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client_config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();

    let accepting = TlsAcceptor::from(Arc::new(server_config)).accept(server);
    let name = ServerName::try_from(HOST).unwrap();
    let connecting = TlsConnector::from(Arc::new(client_config)).connect(name, client);
    tokio::try_join!(connecting, accepting).unwrap()
}
