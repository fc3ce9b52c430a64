//! A proxy in memory: clients' connections are bytes that are sent in pieces, and upstreams respond by a
//! function.

use std::{
    convert::Infallible,
    error::Error,
    future::ready,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::sleep;
use tower_service::Service;
use wsplice::{
    Pool, ProxyLayer,
    connect::{Address, Connect, ConnectFuture, Transport},
    headers::ClientInfo,
};

use crate::support::{
    clock::ms,
    pipe::{FarEnd, State, connection},
};

/// The client's address.
pub(crate) const CLIENT: &str = "192.0.2.7:4711";

/// Responds to the bytes that an upstream has received, after each write; called until it returns true.
type Respond = Arc<dyn Fn(&mut State) -> bool + Send + Sync>;

/// A connector to upstreams that respond by a function.
#[derive(Clone)]
pub(crate) struct Upstreams {
    respond: Respond,
    legs: Arc<Mutex<Vec<FarEnd>>>,
}

impl std::fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstreams").finish_non_exhaustive()
    }
}

impl Upstreams {
    pub(crate) fn new(respond: impl Fn(&mut State) -> bool + Send + Sync + 'static) -> Self {
        Self {
            respond: Arc::new(respond),
            legs: Arc::default(),
        }
    }

    /// The far ends of all connections, in the order in which they were made.
    pub(crate) fn legs(&self) -> Vec<FarEnd> {
        self.legs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The bytes that were received on each connection.
    pub(crate) fn received(&self) -> Vec<Vec<u8>> {
        let legs = self.legs();
        legs.iter()
            .map(|leg| leg.state().received.clone())
            .collect()
    }

    /// A layer that sends everything to these upstreams.
    pub(crate) fn layer(&self) -> ProxyLayer {
        let pool = Pool::new(["ws://upstream:80"]).expect("an address");
        ProxyLayer::new(pool).connector(self.clone())
    }
}

impl Connect for Upstreams {
    fn connect<'a>(&'a self, _address: &'a Address) -> ConnectFuture<'a> {
        let (far, near) = connection();
        let respond = Arc::clone(&self.respond);
        far.respond_by(move |state| respond(state));
        let mut legs = self.legs.lock().unwrap_or_else(PoisonError::into_inner);
        legs.push(far);
        Box::pin(ready(Ok(Transport::new(near))))
    }
}

/// Serves a client's connection.
pub(crate) fn serve<S, B>(proxy: S) -> FarEnd
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (far, near) = connection();
    let peer: SocketAddr = CLIENT.parse().expect("an address");
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ClientInfo::from(peer));
        let mut proxy = proxy.clone();
        async move { proxy.call(request).await }
    });
    let mut http = http1::Builder::new();
    let serving = http
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(near), service);
    tokio::spawn(serving.with_upgrades());
    far
}

/// Sends bytes in these pieces, and lets the other side work after each.
pub(crate) async fn send_in_pieces(far: &FarEnd, bytes: &[u8], cuts: &[usize]) {
    let mut at = 0;
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        let cut = cut.clamp(at, bytes.len());
        if cut > at {
            far.send(&bytes[at..cut]);
            sleep(ms(1)).await;
        }
        at = cut;
    }
}

/// Lets everything happen that has a bound.
pub(crate) async fn settle() {
    sleep(Duration::from_secs(300)).await;
}
