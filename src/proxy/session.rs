//! A tunnel with all that accounts for it, from the 101 to the hand-over of the client's connection.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use crate::{
    error::{BoxError, Error, ErrorKind},
    escaped::Escaped,
    frame::Extensions,
    http::handshake::Agreement,
    http::headers::ClientInfo,
    net::client_stream::PendingClient,
    net::transport::Transport,
    observe::RequestInfo,
    pool::Lease,
    task,
    tunnel::info::TunnelInfo,
    tunnel::registry::{Departure, Entry, RegistryGuard},
    tunnel::report::TunnelEnd,
    tunnel::{ReattachParts, TaskAffinity, Tunnel, TunnelConfig, TunnelParts},
};

use super::{
    key_limit::KeyPermit,
    options::RequestOptions,
    running_session::{Reconnect, RunningSession},
    settings::Settings,
};

/// Session between the upstream's agreement and the client's 101.
pub(super) struct Session {
    pub(super) settings: Arc<Settings>,
    pub(super) pending_client: PendingClient,
    pub(super) upstream: Transport,
    pub(super) read_ahead: Bytes,
    pub(super) lease: Lease,
    /// When the request was taken up.
    pub(super) requested_at: Instant,
    /// Present if the tunnel may get another upstream.
    pub(super) reattachment: Option<Reattachment>,
}

/// The facts and the means for another upstream.
pub(super) struct Reattachment {
    pub(super) parts: ReattachParts,
    pub(super) reconnect: Arc<dyn Reconnect>,
}

/// Facts about the request of a session.
pub(super) struct SessionFacts<'a> {
    pub(super) path: Box<str>,
    pub(super) client: ClientInfo,
    /// The host's options.
    pub(super) options: Option<&'a RequestOptions>,
    /// Places under the keys that limits count, until the tunnel is over.
    pub(super) permits: Vec<KeyPermit>,
}

/// A session in the registry.
pub(super) struct RegisteredSession {
    session: Session,
    extensions: Extensions,
    /// Settings of this tunnel, in place of the layer's.
    config: Option<Arc<TunnelConfig>>,
    guard: RegistryGuard,
}

/// The task of a session.
#[allow(clippy::large_enum_variant)] // it lives in a box of its own, and is large for its life
enum SessionTask {
    /// The client's connection has not been handed over yet.
    HandOver(Pin<Box<dyn Future<Output = Option<RunningSession>> + Send>>),
    Running(RunningSession),
}

/// The rest of a session while the client's connection is awaited. Dropping it reports the
/// client as lost.
struct PendingSession {
    settings: Arc<Settings>,
    requested_at: Instant,
    /// `None` once the tunnel runs, or the loss was reported.
    claims: Option<(Lease, RegistryGuard)>,
}

impl Session {
    pub(super) fn enter(
        mut self,
        facts: SessionFacts<'_>,
        agreement: Agreement,
    ) -> RegisteredSession {
        self.lease.end_handshake();
        let member = self.lease.member();
        let mut info = TunnelInfo::new(member.shared_name(), facts.path);
        info.client = facts.client.peer();
        info.subprotocol = agreement.subprotocol;
        if let Some(options) = facts.options {
            options.describe(&mut info);
        }
        if !facts.permits.is_empty() {
            info.hold(Box::new(facts.permits));
        }
        let guard = self
            .settings
            .tunnels
            .enter(Some(member.open_tunnels()), info);
        self.lease.close_if_lost(guard.entry());
        RegisteredSession {
            session: self,
            extensions: agreement.extensions,
            config: facts
                .options
                .and_then(RequestOptions::tunnel_config)
                .cloned(),
            guard,
        }
    }
}

impl RegisteredSession {
    /// Returns the tunnel's number.
    pub(super) fn id(&self) -> u64 {
        self.guard.entry().info().id
    }

    /// Runs the tunnel in a task of its own, as soon as the client's connection is handed over.
    pub(super) fn start(self) {
        let hand_over = Box::pin(self.hand_over());
        // Boxed to be small for the tunnel's whole life: tokio rounds a task up to 128 bytes.
        task::spawn(Box::pin(SessionTask::HandOver(hand_over)));
    }

    /// `None` when the client was lost, which has been reported then.
    async fn hand_over(self) -> Option<RunningSession> {
        let Session {
            settings,
            pending_client,
            upstream,
            read_ahead,
            lease,
            requested_at,
            reattachment,
        } = self.session;
        let (reattach, reconnect) = match reattachment {
            Some(Reattachment { parts, reconnect }) => (Some(parts), Some(reconnect)),
            None => (None, None),
        };
        let entry = Arc::clone(self.guard.entry());
        let pending = PendingSession {
            settings,
            requested_at,
            claims: Some((lease, self.guard)),
        };
        let own = self.config;
        match hand_over(pending_client, &pending.settings, &entry).await {
            Ok((client, client_read_ahead)) => {
                if own.is_some() {
                    pending.settings.set_default_keep_alive(&client, &upstream);
                }
                let parts = TunnelParts {
                    client,
                    client_read_ahead,
                    upstream,
                    upstream_read_ahead: read_ahead,
                    extensions: self.extensions,
                    reattach,
                };
                pending.open(parts, own, reconnect)
            }
            Err(error) => {
                pending.fail(&error);
                None
            }
        }
    }
}

impl Future for SessionTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let task = self.get_mut();
        if let Self::HandOver(hand_over) = task {
            match ready!(hand_over.as_mut().poll(cx)) {
                Some(running) => *task = Self::Running(running),
                None => return Poll::Ready(()),
            }
        }
        match task {
            Self::Running(running) => running.poll(cx),
            Self::HandOver(_) => Poll::Pending,
        }
    }
}

impl PendingSession {
    /// Starts the tunnel, which its observer sees first.
    fn open(
        mut self,
        parts: TunnelParts,
        own: Option<Arc<TunnelConfig>>,
        reconnect: Option<Arc<dyn Reconnect>>,
    ) -> Option<RunningSession> {
        let (lease, guard) = self.claims.take()?;
        let settings = Arc::clone(&self.settings);
        settings.notify(|observer| {
            observer.tunnel_opened(guard.entry().info());
        });
        let config = own.unwrap_or_else(|| Arc::clone(&settings.tunnel));
        let tunnel = Tunnel::from_parts(parts, config, guard, TaskAffinity::ONE_TASK);
        Some(RunningSession::new(tunnel, settings, lease, reconnect))
    }

    fn fail(mut self, error: &Error) {
        if let Some((lease, guard)) = self.claims.take() {
            self.report_client_lost(lease, &guard, error);
        }
    }

    fn report_client_lost(&self, lease: Lease, guard: &RegistryGuard, error: &Error) {
        guard.leave(Departure::Cut);
        // Before the observer sees the end, so that it finds the counts right.
        drop(lease);
        let info = guard.entry().info();
        let shown = RequestInfo {
            path: &info.path,
            upstream: Some(&info.upstream),
            elapsed: self.requested_at.elapsed(),
            connect: None,
        };
        self.settings.notify(|observer| {
            observer.handshake_failed(&shown, error);
        });
        tracing::debug!(tunnel = info.id, error = %Escaped(format_args!("{error:#}")), "client lost before the tunnel was established");
    }
}

impl Drop for PendingSession {
    fn drop(&mut self) {
        let Some((lease, guard)) = self.claims.take() else {
            return;
        };
        let why = "the task of the tunnel was dropped";
        let error = Error::with_source(ErrorKind::ClientUpgrade, why);
        self.report_client_lost(lease, &guard, &error);
    }
}

/// Describes an abort before the tunnel ran.
const fn cut_off(end: &TunnelEnd) -> &'static str {
    match end {
        TunnelEnd::Drained => "cut off by a drain",
        _ => "cut off by request",
    }
}

/// Waits for the client's connection. The host's server gives it once the 101 is on its way.
///
/// # Errors
///
/// When the server gives up, when the time for it is over, and when the tunnel is aborted.
async fn hand_over(
    pending_client: PendingClient,
    settings: &Settings,
    entry: &Entry,
) -> Result<(Transport, Bytes), Error> {
    let failed = |why: BoxError| Error::with_source(ErrorKind::ClientUpgrade, why);
    let budget = settings.timeouts.client_upgrade;
    let mut handed_over = pin!(timeout(budget, pending_client.handed_over()));
    let mut aborted = pin!(entry.aborted());
    let (client, read_ahead) = poll_fn(|cx| match aborted.as_mut().poll(cx) {
        Poll::Ready(end) => Poll::Ready(Err(failed(cut_off(&end).into()))),
        Poll::Pending => handed_over.as_mut().poll(cx).map(|client| match client {
            Ok(client) => client.map_err(failed),
            Err(_) => Err(failed(format!("after {budget:?}").into())),
        }),
    })
    .await?;
    client.no_delay();
    if let Some(keep_alive) = settings.client_tcp_keep_alive() {
        client.keep_alive(&keep_alive);
    }
    Ok((client, read_ahead))
}
