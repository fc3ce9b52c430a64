//! The host's function that decides on a tunnel that lost its upstream.

use std::{
    fmt,
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::request::Parts;

use crate::{http::head::RequestHead, tunnel::info::TunnelInfo};

use super::{decision::ReattachDecision, loss::Loss};

/// Tunnel that lost its upstream, for the host's [decision](crate::tunnel::reattach::Reattach::on_reattach): its facts,
/// the head of its request, and the loss.
///
/// The value is owned, so that the function can wait for a database.
#[derive(Clone)]
pub struct ReattachRequest {
    tunnel: TunnelInfo,
    head: Arc<Parts>,
    client_ip: Option<IpAddr>,
    loss: Loss,
}

/// The host's function.
#[derive(Clone)]
pub(crate) struct Hook(Arc<Decide>);

type Decide = dyn Fn(ReattachRequest) -> Deciding + Send + Sync;

/// The future that the host's function returns.
pub(crate) type Deciding = Pin<Box<dyn Future<Output = ReattachDecision> + Send>>;

/// A future of the host, whose output is made a decision.
struct IntoDecision<F>(Pin<Box<F>>);

impl ReattachRequest {
    pub(crate) const fn new(
        tunnel: TunnelInfo,
        head: Arc<Parts>,
        client_ip: Option<IpAddr>,
        loss: Loss,
    ) -> Self {
        Self {
            tunnel,
            head,
            client_ip,
            loss,
        }
    }

    /// Returns the facts of the tunnel, with the host's [values](TunnelInfo::value).
    #[must_use]
    pub const fn tunnel(&self) -> &TunnelInfo {
        &self.tunnel
    }

    /// Returns the head of the client's request, which is sent to the next upstream too.
    #[must_use]
    pub fn head(&self) -> RequestHead<'_> {
        RequestHead::from(&*self.head).with_known_client_ip(self.client_ip)
    }

    /// Returns how the upstream was lost.
    #[must_use]
    pub const fn loss(&self) -> Loss {
        self.loss
    }
}

/// Shows the path and addresses only: a query or a header may carry a credential.
impl fmt::Debug for ReattachRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReattachRequest")
            .field("tunnel", &self.tunnel)
            .field("head", &self.head())
            .field("loss", &self.loss)
            .finish()
    }
}

impl Hook {
    pub(super) fn new<F, Fut>(function: F) -> Self
    where
        F: Fn(ReattachRequest) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Into<ReattachDecision>,
    {
        Self(Arc::new(move |request| {
            Box::pin(IntoDecision(Box::pin(function(request))))
        }))
    }

    /// Calls the host's function, which may panic.
    pub(crate) fn decide(&self, request: ReattachRequest) -> Deciding {
        (self.0)(request)
    }
}

impl<F> Future for IntoDecision<F>
where
    F: Future,
    F::Output: Into<ReattachDecision>,
{
    type Output = ReattachDecision;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ReattachDecision> {
        let future = &mut self.get_mut().0;
        future.as_mut().poll(cx).map(Into::into)
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hook").finish()
    }
}
