//! The client of a request that the layer may own.

use std::net::IpAddr;

use http::{Extensions, HeaderMap, request::Parts};

use crate::{http::head::RequestHead, http::headers::ClientInfo};

use super::settings::Settings;

/// The client of a request, whose address was resolved once.
#[derive(Clone, Copy)]
pub(super) struct Client {
    pub(super) info: ClientInfo,
    /// The client's address: that of the connection, unless a trusted proxy reported another.
    pub(super) ip: Option<IpAddr>,
}

impl Client {
    pub(super) fn resolve(
        settings: &Settings,
        extensions: &Extensions,
        headers: &HeaderMap,
    ) -> Self {
        let info = settings.client_info(extensions);
        let ip = settings.outbound.forwarded.client_ip(headers, &info);
        Self { info, ip }
    }

    /// Returns the head of a request as matchers and policies see it.
    pub(super) fn request_head<'a>(&self, head: &'a Parts) -> RequestHead<'a> {
        self.complete(RequestHead::from(head))
    }

    /// Adds the client's address to a request's head.
    pub(super) fn complete<'a>(&self, head: RequestHead<'a>) -> RequestHead<'a> {
        head.with_known_client_ip(self.ip)
    }
}
