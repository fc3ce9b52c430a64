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
    error::{BoxError, Error, ErrorKind, Side},
    handshake::{Agreement, Extensions},
    headers::ClientInfo,
    observe::{Handshake, Observer},
    pool::Lease,
    registry::{Entry, RegistryGuard},
    report::{TunnelInfo, TunnelReport},
    task,
    transport::{Transport, from_upgraded},
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
pub(super) struct RegisteredSession {
    session: Session,
    extensions: Extensions,
    guard: RegistryGuard,
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
    ) -> RegisteredSession {
        let client: Option<SocketAddr> = client.peer();
        self.lease.settle();
        let member = self.lease.member();
        let info = TunnelInfo {
            id: 0,
            client,
            upstream: member.shared_name(),
            path,
            subprotocol: agreement.subprotocol,
            opened: SystemTime::now(),
        };
        let guard = self
            .settings
            .registry
            .enter(Some(member.open_tunnels()), info);
        self.settings.pool.close_if_lost(&self.lease, guard.entry());
        // A drain that began meanwhile has not seen this one.
        if self.settings.drain.is_draining() {
            self.settings.drain.close_at_once(guard.entry());
        }
        RegisteredSession {
            session: self,
            extensions: agreement.extensions,
            guard,
        }
    }
}

impl RegisteredSession {
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
            guard,
        } = self.unboxed();
        let (client, client_read_ahead) =
            match hand_over(on_upgrade, &settings, guard.entry()).await {
                Ok(client) => client,
                Err(error) => return report_client_lost(&settings, &guard, &error),
            };
        let parts = TunnelParts {
            client,
            client_read_ahead,
            upstream,
            upstream_read_ahead: read_ahead,
            extensions,
        };
        if let Some(observer) = &settings.observer {
            observer.tunnel_opened(guard.entry().info());
        }
        let config = Arc::clone(&settings.tunnel);
        let report = ReportEndEarly {
            tunnel: Tunnel::from_parts(parts, config, Some(Arc::clone(guard.entry()))),
            lease: &lease,
            observer: settings.observer.as_deref(),
        }
        .await;
        // Before anyone is told, so that who is told finds the counts right.
        drop(lease);
        let entry = Arc::clone(guard.entry());
        drop(guard);
        report_closed(&settings, entry.info(), &report);
    }
}

impl RegisteredSession {
    /// Gives the box back, which taking it apart in place would not.
    #[allow(clippy::boxed_local)] // that is the point
    fn unboxed(self: Box<Self>) -> Self {
        *self
    }
}

/// A tunnel whose end the pool learns as soon as it is certain: an upstream is known to be lost
/// before the client has answered our farewell.
struct ReportEndEarly<'a> {
    tunnel: Tunnel,
    lease: &'a Lease,
    observer: Option<&'a dyn Observer>,
}

impl Future for ReportEndEarly<'_> {
    type Output = TunnelReport;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TunnelReport> {
        let running = self.get_mut();
        let polled = Pin::new(&mut running.tunnel).poll(cx);
        running.report_pongs();
        if let Some(report) = running.tunnel.foretell() {
            running.lease.note_end(&report);
        }
        polled
    }
}

impl ReportEndEarly<'_> {
    /// Shows the pool and the observer the round trips that were measured.
    fn report_pongs(&mut self) {
        for (side, rtt) in self.tunnel.take_pongs() {
            let Some(rtt) = rtt else { continue };
            if side == Side::Upstream {
                self.lease.member().sample_latency(rtt.last());
            }
            if let (Some(observer), Some(info)) = (self.observer, self.tunnel.info()) {
                observer.pong(info, side, rtt);
            }
        }
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
    let failed = |why: BoxError| Error::because(ErrorKind::ClientUpgrade, why);
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

fn report_client_lost(settings: &Settings, guard: &RegistryGuard, error: &Error) {
    let info = guard.entry().info();
    tracing::debug!(tunnel = info.id, %error, "client lost before the tunnel stood");
    if let Some(observer) = &settings.observer {
        let shown = Handshake {
            path: &info.path,
            upstream: Some(&info.upstream),
            elapsed: info.opened.elapsed().unwrap_or_default(),
        };
        observer.handshake_failed(&shown, error);
    }
}

fn report_closed(settings: &Settings, info: &TunnelInfo, report: &TunnelReport) {
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
