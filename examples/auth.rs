//! Authorization by a database: the session cookie is looked up before an upstream is picked, and the
//! upstream gets the user's id.
//!
//! Start a WebSocket server on port 9000 (`cargo run --example echo`), then:
//!
//! ```text
//! cargo run --example auth
//! websocat -H 'Cookie: session=s3cret' ws://127.0.0.1:3000/ws/room
//! websocat ws://127.0.0.1:3000/ws/room               # 401
//! ```

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Router,
    http::{HeaderName, HeaderValue, StatusCode},
};
use tokio::net::TcpListener;
use wsplice::{
    AuthorizationRequest, KeyLimit, Pool, ProxyLayer, Rejection, RequestOptions,
    connect::InvalidAddress, matcher::path,
};

#[derive(Clone)]
struct User {
    id: &'static str,
    is_admin: bool,
}

/// Stands for a connection pool of a database.
struct Database(HashMap<&'static str, User>);

impl Database {
    async fn user_of(&self, session: &str) -> Option<User> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.0.get(session).cloned()
    }
}

async fn authorize(
    request: AuthorizationRequest,
    database: Arc<Database>,
) -> Result<RequestOptions, Rejection> {
    let session = request.cookie("session").ok_or(StatusCode::UNAUTHORIZED)?;
    let user = database.user_of(session).await;
    let user = user.ok_or(StatusCode::UNAUTHORIZED)?;
    // `may_match`, not the text of the path: `/ws/%61dmin/x` is below `/ws/admin/` too.
    if request.may_match(&path("/ws/admin/*")) && !user.is_admin {
        return Err(Rejection::new(
            StatusCode::FORBIDDEN,
            "for administrators\n",
        ));
    }
    let id = HeaderValue::from_static(user.id);
    let options = RequestOptions::new().key(user.id);
    Ok(options.header(HeaderName::from_static("x-user-id"), id))
}

/// The application, in front of this upstream.
pub(crate) fn app(upstream: &str) -> Result<Router, InvalidAddress> {
    let sessions = [("s3cret", "alice", false), ("r00t", "root", true)];
    let users = sessions.map(|(session, id, is_admin)| (session, User { id, is_admin }));
    let database = Arc::new(Database(users.into()));
    let proxy = ProxyLayer::new(Pool::new([upstream])?)
        .matching(path("/ws/*"))
        // Before the query of the database.
        .limit_by_key(KeyLimit::by_client_ip().handshakes(60, Duration::from_secs(60)))
        .authorize(move |request| authorize(request, Arc::clone(&database)));
    Ok(Router::new().layer(proxy))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app("ws://127.0.0.1:9000")?).await?;
    Ok(())
}
