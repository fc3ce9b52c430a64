//! Everything up to the established tunnel: the requests that are taken, the request to the
//! upstream, the response to the client, and every way in which it can fail.

mod kit;

mod agreement;
mod broken;
mod dial;
mod early;
mod forwarded;
mod guards;
mod malformed;
mod observer;
mod paths;
mod proxy_protocol;
mod reaching;
mod refusals;
mod request_headers;
mod response_headers;
mod routing;
mod smuggling;
mod upstreams;
