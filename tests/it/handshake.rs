//! Everything up to the moment when the tunnel stands: what is taken, what the upstream gets, what
//! the client is answered, and what becomes of all the ways in which it can go wrong.

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
