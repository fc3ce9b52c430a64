//! What is served beside the WebSocket routes: a directory, or the built-in page.

use std::path::Path;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use tower_http::services::ServeDir;

/// The built-in page: talks to the demo's chat room and echo, and shows what happens.
const PAGE: &str = include_str!("page.html");

/// Serves the files in `dir`, or without one the built-in page at `/`. All else is a 404.
pub(crate) fn statics(dir: Option<&Path>) -> Router {
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

    async fn ask(dir: Option<&str>, path: &str) -> Response<Body> {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let service = statics(dir.map(Path::new));
        service.oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn the_page_is_at_the_root_and_nowhere_else() {
        let page = ask(None, "/").await;
        assert_eq!(page.status(), StatusCode::OK);
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
        for path in ["/index.html", "/ws/other"] {
            assert_eq!(ask(None, path).await.status(), StatusCode::NOT_FOUND);
        }
    }

    #[tokio::test]
    async fn a_directory_takes_the_place_of_the_page() {
        let dir = Some("src");
        assert_eq!(ask(dir, "/page.html").await.status(), StatusCode::OK);
        for path in ["/", "/missing.html", "/../Cargo.toml"] {
            let status = ask(dir, path).await.status();
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[test]
    fn the_page_loads_nothing_from_elsewhere() {
        for mark in [" src=", "@import", "url(", "http://", "https://"] {
            assert!(!PAGE.contains(mark), "{mark}");
        }
    }
}
