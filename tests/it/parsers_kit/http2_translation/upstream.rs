//! An upstream that speaks HTTP/2.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use h2::{RecvStream, server, server::SendResponse};
use http::{Method, Request, Response, StatusCode};
use wsplice::connect::{Address, Connect, ConnectFuture, Transport};

use super::{Case, headers};

/// A connector to an upstream that speaks HTTP/2, and responds as the case says.
#[derive(Clone)]
pub(super) struct Http2Upstreams {
    received: Arc<Mutex<Option<Received>>>,
    response: Arc<Response<()>>,
}

/// A request as the upstream received it.
pub(super) struct Received {
    pub(super) head: Request<()>,
    pub(super) is_connect: bool,
    pub(super) accepts: bool,
}

impl std::fmt::Debug for Http2Upstreams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2Upstreams").finish_non_exhaustive()
    }
}

impl Http2Upstreams {
    pub(super) fn new(case: &Case) -> Self {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(case.status).expect("a status");
        let fields = headers(&case.response);
        for (name, value) in &fields {
            // h2 sends none of the forbidden ones.
            let is_forbidden = matches!(
                name.as_str(),
                "connection"
                    | "keep-alive"
                    | "proxy-connection"
                    | "te"
                    | "transfer-encoding"
                    | "upgrade"
            );
            if !is_forbidden && name != "content-length" {
                response.headers_mut().append(name, value.clone());
            }
        }
        Self {
            received: Arc::default(),
            response: Arc::new(response),
        }
    }

    pub(super) fn take(&self) -> Option<Received> {
        self.received
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    async fn serve(self, far: tokio::io::DuplexStream) {
        let mut builder = server::Builder::new();
        let Ok(mut connection) = builder
            .enable_connect_protocol()
            .handshake::<_, Bytes>(far)
            .await
        else {
            return;
        };
        while let Some(Ok((request, respond))) = connection.accept().await {
            tokio::spawn(self.clone().respond(request, respond));
        }
    }

    async fn respond(self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let (head, mut body) = request.into_parts();
        let head = Request::from_parts(head, ());
        let is_connect = head.method() == Method::CONNECT;
        let accepts = self.response.status().is_success();
        *self.received.lock().unwrap_or_else(PoisonError::into_inner) = Some(Received {
            head,
            is_connect,
            accepts,
        });
        let is_tunnel = is_connect && accepts;
        let Ok(mut sending) = respond.send_response((*self.response).clone(), !is_tunnel) else {
            return;
        };
        // The bytes of the client come back.
        while let Some(Ok(data)) = poll_fn(|cx| body.poll_data(cx)).await {
            let _ = body.flow_control().release_capacity(data.len());
            if is_tunnel {
                let _ = sending.send_data(data, false);
            }
        }
    }
}

impl Connect for Http2Upstreams {
    fn connect<'a>(&'a self, _address: &'a Address) -> ConnectFuture<'a> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let serving: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(self.clone().serve(far));
        tokio::spawn(serving);
        Box::pin(std::future::ready(Ok(Transport::new(near))))
    }
}
