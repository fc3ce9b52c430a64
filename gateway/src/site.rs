//! Site: the responses to requests that are not proxied, from a directory or the built-in page.

use std::path::Path;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use tower_http::services::ServeDir;

/// Built-in page: a client for the demo's chat room and echo, which shows round-trip times and
/// closes.
const PAGE: &str = include_str!("page.html");

/// Serves the files in `dir`, or without a directory the built-in page at `/`. Everything else gets
/// 404.
pub(crate) fn site(dir: Option<&Path>) -> Router {
    match dir {
        Some(dir) => Router::new().fallback_service(ServeDir::new(dir)),
        None => Router::new().route("/", get(|| async { Html(PAGE) })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use axum::body::Body;
    use axum::http::{Request, Response, StatusCode};
    use tower::ServiceExt;

    async fn get(dir: Option<&str>, path: &str) -> Response<Body> {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let service = site(dir.map(Path::new));
        service.oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn the_page_is_at_the_root_and_nowhere_else() {
        let page = get(None, "/").await;
        assert_eq!(page.status(), StatusCode::OK);
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
        for path in ["/index.html", "/ws/other"] {
            assert_eq!(get(None, path).await.status(), StatusCode::NOT_FOUND);
        }
    }

    #[tokio::test]
    async fn a_directory_takes_the_place_of_the_page() {
        let dir = Some("src");
        assert_eq!(get(dir, "/page.html").await.status(), StatusCode::OK);
        for path in ["/", "/missing.html", "/../Cargo.toml"] {
            let status = get(dir, path).await.status();
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        }
    }

    /// A page cannot see why a handshake failed.
    #[test]
    fn the_page_says_where_to_look_when_the_upstream_is_down() {
        assert!(PAGE.contains("Could not connect. Is the upstream up?"));
        assert!(PAGE.contains("The gateway's log"));
    }

    #[test]
    fn the_page_loads_nothing_from_elsewhere() {
        for mark in [" src=", "@import", "url(", "http://", "https://"] {
            assert!(!PAGE.contains(mark), "{mark}");
        }
    }
}
