//! The tower service.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::AtomicUsize},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;
use tower_service::Service;

use crate::{
    action::{Action, Refusal},
    events::{StatusBody, Viewer},
    guard, page,
    search::{self, Search, View},
    settings::Settings,
};

/// Pages that may be open at once.
const MAX_VIEWERS: usize = 64;

/// Longest body of an action, in bytes.
const MAX_ACTION: usize = 16 * 1024;

/// Time within which the body of an action must have come.
const ACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Nothing but the service's own style, script and data.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Service that responds with the status page; see [`Status`](crate::Status).
///
/// Cheap to clone. It is always ready and never fails.
#[derive(Clone)]
pub struct StatusService {
    settings: Arc<Settings>,
    viewers: Arc<AtomicUsize>,
}

impl StatusService {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            viewers: Arc::default(),
        }
    }

    fn get(&self, path: &str, query: &str) -> Response<StatusBody> {
        let Some((view, search)) = search::read(path, query) else {
            return text(StatusCode::NOT_FOUND, "no such view");
        };
        match view {
            View::Page => {
                let document = self.settings.sources.document(&search);
                let page = page::page(&document, self.settings.allows_actions);
                respond(
                    "text/html; charset=utf-8",
                    StatusBody::text(page.into_string()),
                )
            }
            View::Json => self.json(&search),
            View::Events => self.events(search),
            View::Style => respond("text/css; charset=utf-8", StatusBody::text(page::STYLE)),
            View::Script => respond(
                "text/javascript; charset=utf-8",
                StatusBody::text(page::SCRIPT),
            ),
        }
    }

    fn json(&self, search: &Search) -> Response<StatusBody> {
        match serde_json::to_vec(&self.settings.sources.document(search)) {
            Ok(json) => respond("application/json", StatusBody::text(json)),
            Err(_) => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the document cannot be encoded",
            ),
        }
    }

    fn events(&self, search: Search) -> Response<StatusBody> {
        let Some(viewer) = Viewer::enter(&self.viewers, MAX_VIEWERS) else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "too many pages are open");
        };
        let settings = Arc::clone(&self.settings);
        let render = Box::new(move || {
            let document = settings.sources.document(&search);
            page::content(&document, settings.allows_actions).into_string()
        });
        let body = StatusBody::events(self.settings.refresh, viewer, render);
        respond("text/event-stream", body)
    }

    fn act(&self, body: &[u8]) -> Response<StatusBody> {
        let action: Action = match serde_json::from_slice(body) {
            Ok(action) => action,
            Err(error) => {
                return text(
                    StatusCode::BAD_REQUEST,
                    format!("not a valid action: {error}"),
                );
            }
        };
        match action.run(&self.settings.sources) {
            Ok(()) => text(StatusCode::NO_CONTENT, ""),
            Err(Refusal::NotFound(what)) => text(StatusCode::NOT_FOUND, what),
            Err(Refusal::Invalid(what)) => text(StatusCode::BAD_REQUEST, what),
        }
    }
}

impl<B> Service<Request<B>> for StatusService
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<StatusBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.respond_to(request).await) })
    }
}

impl StatusService {
    async fn respond_to<B>(&self, request: Request<B>) -> Response<StatusBody>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (uri, headers) = (request.uri(), request.headers());
        if !self.settings.host_names.accept(uri, headers) {
            return text(
                StatusCode::MISDIRECTED_REQUEST,
                "the status page is not known by this host name",
            );
        }
        match *request.method() {
            Method::GET | Method::HEAD => self.get(uri.path(), uri.query().unwrap_or_default()),
            Method::POST if !self.settings.allows_actions => {
                text(StatusCode::FORBIDDEN, "actions are switched off")
            }
            Method::POST if !guard::is_own_action(uri, headers) => text(
                StatusCode::FORBIDDEN,
                "an action has Content-Type: application/json, and no foreign origin",
            ),
            Method::POST => {
                let body = Limited::new(request.into_body(), MAX_ACTION).collect();
                match timeout(ACTION_TIMEOUT, body).await {
                    Ok(Ok(body)) => self.act(&body.to_bytes()),
                    Ok(Err(_)) => text(
                        StatusCode::BAD_REQUEST,
                        "the action is too long or broke off",
                    ),
                    Err(_) => text(
                        StatusCode::REQUEST_TIMEOUT,
                        "the action took too long to come",
                    ),
                }
            }
            _ => {
                let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET, or POST for actions");
                let allowed = HeaderValue::from_static("GET, HEAD, POST");
                response.headers_mut().insert(header::ALLOW, allowed);
                response
            }
        }
    }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<StatusBody> {
    let mut response = respond("text/plain; charset=utf-8", StatusBody::text(text));
    *response.status_mut() = status;
    response
}

fn respond(content_type: &'static str, body: StatusBody) -> Response<StatusBody> {
    let mut response = Response::new(body);
    let fields = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fields {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

impl fmt::Debug for StatusService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StatusService")
            .field(&self.settings)
            .finish()
    }
}
