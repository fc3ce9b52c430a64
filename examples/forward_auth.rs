//! Forward-auth: another service decides on each request, by a plain GET with the client's headers.
//!
//! The headers of the connection and of the WebSocket handshake are left out: with `Upgrade` in it,
//! the question would be a handshake itself.
//!
//! Start a WebSocket server on port 9000 (`cargo run --example echo`) and a web server on port 4000,
//! such as `python3 -m http.server 4000` in a folder with a file `auth`, then:
//!
//! ```text
//! cargo run --example forward_auth
//! websocat ws://127.0.0.1:3000/ws/room              # without the file: 404, the status of the service
//! ```

use std::net::SocketAddr;

use axum::{BoxError, Router, body::Bytes};
use http_body_util::Empty;
use hyper::{Request, StatusCode, client::conn::http1, header::HeaderName};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use wsplice::{
    AuthorizationRequest, Pool, ProxyLayer, Rejection, RequestOptions, connect::InvalidAddress,
    matcher::path,
};

const X_USER: HeaderName = HeaderName::from_static("x-user");

/// Headers of the handshake, of a connection (RFC 9110 §7.6.1) and of a body.
const LEFT_OUT: &str = "connection upgrade keep-alive te transfer-encoding content-length expect";

fn question(request: &AuthorizationRequest) -> Result<Request<Empty<Bytes>>, BoxError> {
    let target = request.uri().to_string();
    let mut question = Request::get("/auth").header("X-Forwarded-Uri", target);
    for (name, value) in request.headers() {
        let text = name.as_str();
        let is_forged = text.starts_with("x-forwarded-");
        let is_of_handshake = text.starts_with("sec-websocket-");
        if !is_forged && !is_of_handshake && !LEFT_OUT.split(' ').any(|left| left == text) {
            question = question.header(name, value);
        }
    }
    Ok(question.body(Empty::new())?)
}

async fn authorize(
    request: AuthorizationRequest,
    service: SocketAddr,
) -> Result<RequestOptions, Rejection> {
    let ask = async {
        let io = TokioIo::new(TcpStream::connect(service).await?);
        let (mut sender, connection) = http1::handshake(io).await?;
        tokio::spawn(connection);
        Ok::<_, BoxError>(sender.send_request(question(&request)?).await?)
    };
    let answer = ask.await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    if !answer.status().is_success() {
        return Err(answer.into());
    }
    let options = RequestOptions::new();
    Ok(match answer.headers().get(X_USER) {
        Some(user) => options.header(X_USER, user.clone()),
        None => options,
    })
}

/// The application, in front of this upstream, with the service that decides.
pub(crate) fn app(upstream: &str, service: SocketAddr) -> Result<Router, InvalidAddress> {
    let proxy = ProxyLayer::new(Pool::new([upstream])?)
        .matching(path("/ws/*"))
        .authorize(move |request| authorize(request, service));
    Ok(Router::new().layer(proxy))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let app = app("ws://127.0.0.1:9000", ([127, 0, 0, 1], 4000).into())?;
    axum::serve(TcpListener::bind("127.0.0.1:3000").await?, app).await?;
    Ok(())
}
