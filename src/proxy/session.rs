//! A tunnel with all that accounts for it, from the 101 to the report.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::SystemTime,
};

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use tokio::time::timeout;

use crate::{
    error::{BoxError, Error, ErrorKind},
    frame::Extensions,
    http::handshake::Agreement,
    http::headers::ClientInfo,
    net::transport::Transport,
    net::upgraded::from_upgraded,
    observe::RequestInfo,
    pool::Lease,
    task,
    tunnel::registry::{Entry, Listed},
    tunnel::report::{TunnelInfo, TunnelReport},
    tunnel::{Tunnel, TunnelParts},
};

use super::settings::Settings;

/// An upstream that has agreed, and a client that is about to be told.
pub(super) struct Session {
    settings: Arc<Settings>,
    on_upgrade: OnUpgrade,
    upstream: Transport,
    read_ahead: Bytes,
    lease: Lease,
}

/// A session in the registry.
pub(super) struct Entered {
    session: Session,
    extensions: Extensions,
    listed: Listed,
}

impl Session {
    pub(super) fn new(
        settings: &Arc<Settings>,
        on_upgrade: OnUpgrade,
        upstream: Transport,
        read_ahead: Bytes,
        lease: Lease,
    ) -> Self {
        Self {
            settings: Arc::clone(settings),
            on_upgrade,
            upstream,
            read_ahead,
            lease,
        }
    }

    pub(super) fn enter(
        mut self,
        path: Box<str>,
        client: &ClientInfo,
        agreement: Agreement,
    ) -> Entered {
        let client: Option<SocketAddr> = client.peer();
        self.lease.settle();
        let member = Arc::clone(self.lease.member());
        let upstream = member.shared_name();
        let listed = self.settings.registry.enter(Some(member), |id| TunnelInfo {
            id,
            client,
            upstream,
            path,
            subprotocol: agreement.subprotocol,
            opened: SystemTime::now(),
        });
        self.settings
            .pool
            .close_if_lost(&self.lease, listed.entry());
        // A drain that began meanwhile has not seen this one.
        if self.settings.drain.is_draining() {
            self.settings.drain.close_at_once(listed.entry());
        }
        Entered {
            session: self,
            extensions: agreement.extensions,
            listed,
        }
    }
}

impl Entered {
    /// Runs the tunnel in a task of its own, as soon as the client's connection is handed over.
    pub(super) fn start(self) {
        // Boxed twice to be small for the tunnel's whole life. What comes into the future by value
        // stays a part of it to its end, and tokio rounds a task up to 128 bytes.
        task::spawn(Box::pin(Box::new(self).run()));
    }

    async fn run(self: Box<Self>) {
        let Self {
            session:
                Session {
                    settings,
                    on_upgrade,
                    upstream,
                    read_ahead,
                    lease,
                },
            extensions,
            listed,
        } = self.unboxed();
        let (client, client_read_ahead) =
            match hand_over(on_upgrade, &settings, listed.entry()).await {
                Ok(client) => client,
                Err(error) => return tell_lost(&settings, &listed, &error),
            };
        let parts = TunnelParts {
            client,
            client_read_ahead,
            upstream,
            upstream_read_ahead: read_ahead,
            extensions,
        };
        if let Some(observer) = &settings.observer {
            observer.tunnel_opened(listed.entry().info());
        }
        let config = Arc::clone(&settings.tunnel);
        let report = Noting {
            tunnel: Tunnel::from_parts(parts, config, Some(Arc::clone(listed.entry()))),
            lease: &lease,
        }
        .await;
        // Before anyone is told, so that who is told finds the counts right.
        drop(lease);
        let entry = Arc::clone(listed.entry());
        drop(listed);
        tell_closed(&settings, entry.info(), &report);
    }
}

impl Entered {
    /// Gives the box back, which taking it apart in place would not.
    #[allow(clippy::boxed_local)] // that is the point
    fn unboxed(self: Box<Self>) -> Self {
        *self
    }
}

/// A tunnel whose end the pool learns as soon as it is certain: an upstream is known to be lost
/// before the client has answered our farewell.
struct Noting<'a> {
    tunnel: Tunnel,
    lease: &'a Lease,
}

impl Future for Noting<'_> {
    type Output = TunnelReport;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TunnelReport> {
        let noting = self.get_mut();
        let polled = Pin::new(&mut noting.tunnel).poll(cx);
        if let Some(report) = noting.tunnel.take_early_report() {
            noting.lease.note_end(&report);
        }
        polled
    }
}

/// Waits for the client's connection. The host's server gives it once the 101 is on its way.
///
/// # Errors
///
/// When the server gives up, when the time for it is over, and when the drain's is.
async fn hand_over(
    on_upgrade: OnUpgrade,
    settings: &Settings,
    entry: &Entry,
) -> Result<(Transport, Bytes), Error> {
    let failed = |why: BoxError| Error::with_source(ErrorKind::ClientUpgrade, why);
    let budget = settings.timeouts.client_upgrade;
    let mut upgraded = pin!(timeout(budget, on_upgrade));
    let mut aborted = pin!(entry.aborted());
    let upgraded = poll_fn(|cx| match aborted.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(Err(failed("cut off by a drain".into()))),
        Poll::Pending => upgraded.as_mut().poll(cx).map(|upgraded| match upgraded {
            Ok(upgraded) => upgraded.map_err(|error| failed(error.into())),
            Err(_) => Err(failed(format!("after {budget:?}").into())),
        }),
    })
    .await?;
    let (client, read_ahead) = from_upgraded(upgraded);
    client.no_delay();
    if let Some(keep_alive) = settings.client_tcp_keep_alive() {
        client.keep_alive(&keep_alive);
    }
    Ok((client, read_ahead))
}

fn tell_lost(settings: &Settings, listed: &Listed, error: &Error) {
    let info = listed.entry().info();
    tracing::debug!(tunnel = info.id, %error, "client lost before the tunnel stood");
    if let Some(observer) = &settings.observer {
        let shown = RequestInfo {
            path: &info.path,
            upstream: Some(&info.upstream),
            elapsed: info.opened.elapsed().unwrap_or_default(),
        };
        observer.handshake_failed(&shown, error);
    }
}

fn tell_closed(settings: &Settings, info: &TunnelInfo, report: &TunnelReport) {
    tracing::info!(
        tunnel = info.id,
        path = %info.path,
        upstream = %info.upstream,
        end = %report.end,
        initiator = %report.initiator,
        client_to_upstream = report.client_to_upstream.bytes,
        upstream_to_client = report.upstream_to_client.bytes,
        duration = ?report.duration,
        "tunnel closed"
    );
    if let Some(observer) = &settings.observer {
        observer.tunnel_closed(info, report);
    }
}
