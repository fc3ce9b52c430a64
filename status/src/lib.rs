//! A status page for [`wsplice`]: its upstreams, its open tunnels, and how tunnels ended.
//!
//! [`Status`] is a tower service that a host mounts where it likes, behind its own authentication.
//! It responds with HTML that refreshes itself by server-sent events, and with the same as JSON.
//! Everything on the page comes from the public API of the proxy: [`Pool::snapshot`],
//! [`Registry::list`] and an [`Observer`](wsplice::Observer).
//!
//! # Examples
//!
//! ```
//! use axum::Router;
//! use wsplice::{Pool, ProxyLayer};
//! use wsplice_status::Status;
//!
//! let pool = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])?.name("chat").build();
//! let status = Status::new().pool(&pool);
//! let proxy = ProxyLayer::new(pool).observer(status.observer());
//! let status = status.registry(&proxy.registry());
//!
//! let site: Router = Router::new().layer(proxy);
//! // On a listener of its own, or behind the application's authentication.
//! let admin: Router = Router::new().route_service("/", status.into_service());
//! # drop((site, admin));
//! # Ok::<(), wsplice::connect::InvalidAddress>(())
//! ```
//!
//! # What it responds to
//!
//! The service looks at the query and not at the path, so that it works wherever it is mounted.
//!
//! | request | response |
//! |---|---|
//! | `GET` | the page; `?q=text` shows the tunnels whose client, upstream, path, key or label contains the text |
//! | `GET ?view=json`, or a path that ends in `/status.json` | the same figures as a [JSON document](document::Document), also with `q` |
//! | `GET ?view=events` | the page's content as server-sent events, every [refresh interval](Status::refresh) |
//! | `POST` with a JSON [action](action::Action) | 204; 403 unless [`Status::allow_actions`] was called |
//!
//! # Security
//!
//! The page shows clients' addresses and paths, never a query, a cookie, a token or a payload. The
//! service has no authentication of its own: put it behind the host's.
//!
//! * The `Host` must be an IP address, `localhost` or a name given by [`Status::host_name`], so
//!   that a foreign site cannot read the page by rebinding its DNS name.
//! * The `Content-Security-Policy` allows the service's own style and script and nothing else. All
//!   text is escaped by the template engine.
//! * Actions are switched off by default. They need `Content-Type: application/json`, which a form
//!   of a foreign site cannot send, and an `Origin` that is absent or the page's own.

#![forbid(unsafe_code)]

pub mod action;
pub mod document;

mod changes;
mod collect;
mod ends;
mod events;
mod format;
mod guard;
mod page;
mod search;
mod service;
mod settings;
mod status;

pub use ends::RecentEnds;
pub use events::StatusBody;
pub use service::StatusService;
pub use status::Status;

#[cfg(doc)]
use wsplice::{Pool, Registry};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
