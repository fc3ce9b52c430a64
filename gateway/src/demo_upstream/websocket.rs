//! Opening handshake of the demo's WebSockets (RFC 6455 §4.2.2; over HTTP/2, RFC 8441 §5).

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use hyper::ext::Protocol;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// WebSocket of a client of the demo.
pub(super) type WebSocket = WebSocketStream<TokioIo<Upgraded>>;

/// Limit of a message from a client, in bytes.
const MAX_MESSAGE: usize = 8 << 20;

/// Responds to an opening handshake, and runs `serve` on the WebSocket once it is open. Any other
/// request gets 400 with the reason.
pub(super) fn accept<F>(
    mut request: Request<Body>,
    serve: impl FnOnce(WebSocket) -> F + Send + 'static,
) -> Response<Body>
where
    F: Future<Output = ()> + Send,
{
    let response = match response(&request) {
        Ok(response) => response,
        Err(reason) => return bad_request(reason),
    };
    let upgrade: OnUpgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // An error means that the client has gone.
        if let Ok(upgraded) = upgrade.await {
            let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE));
            let io = TokioIo::new(upgraded);
            serve(WebSocket::from_raw_socket(io, Role::Server, Some(config)).await).await;
        }
    });
    response
}

fn response(request: &Request<Body>) -> Result<Response<Body>, String> {
    let protocol = request.extensions().get::<Protocol>();
    if request.method() == Method::CONNECT && protocol.is_some_and(|it| it.as_str() == "websocket")
    {
        return Ok(Response::new(Body::empty()));
    }
    create_response_with_body(request, Body::empty).map_err(|error| error.to_string())
}

fn bad_request(reason: String) -> Response<Body> {
    let mut response = Response::new(Body::from(reason));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}
