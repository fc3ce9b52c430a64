//! Tunnels in a registry on a paused clock, with ends that answer close frames.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinHandle,
    time::Instant,
};
use wsplice::{
    Registry, TunnelInfo, TunnelReport,
    connect::Transport,
    frame::{CloseCode, CloseFrame, ControlFrame},
    tunnel::{Tunnel, TunnelBuilder, TunnelHandle},
};

use super::support::frames::MASK;

/// A close frame, as a client found it: when, and with which code and reason.
pub(crate) type Seen = Option<(Duration, u16, String)>;

/// A tunnel in a registry, with what is left of it for the test.
pub(crate) struct Listed {
    pub(crate) handle: TunnelHandle,
    pub(crate) tunnel: JoinHandle<TunnelReport>,
    /// The close frame that the client gets.
    pub(crate) client: JoinHandle<Seen>,
}

pub(crate) fn going_away(reason: &'static str) -> CloseFrame {
    CloseFrame::new(CloseCode::GOING_AWAY, reason)
}

pub(crate) fn builder(registry: &Registry) -> (TunnelBuilder, DuplexStream, DuplexStream) {
    builder_as(registry, TunnelInfo::new("ws://upstream", "/"))
}

fn builder_as(
    registry: &Registry,
    info: TunnelInfo,
) -> (TunnelBuilder, DuplexStream, DuplexStream) {
    let (client, near_client) = duplex(1024);
    let (upstream, near_upstream) = duplex(1024);
    let builder = Tunnel::builder(Transport::new(near_client), Transport::new(near_upstream))
        .registry(registry, info);
    (builder, client, upstream)
}

/// Reads one frame; answers it at once if it is a close frame.
pub(crate) async fn answer_close(mut end: DuplexStream, key: Option<[u8; 4]>) -> Seen {
    let began = Instant::now();
    let mut head = [0; 2];
    end.read_exact(&mut head).await.ok()?;
    let came = began.elapsed();
    let masked = if head[1] & 0x80 == 0 { 0 } else { 4 };
    let mut rest = vec![0; masked + usize::from(head[1] & 0x7F)];
    end.read_exact(&mut rest).await.ok()?;
    let wire = [&head[..], &rest].concat();
    let (close, _) = ControlFrame::parse(&wire).ok()??;
    let (code, reason) = (close.close_code()?, close.close_reason()?.to_owned());
    end.write_all(&close.encode(key)).await.ok()?;
    let _ = end.read_to_end(&mut rest).await;
    Some((came, code.as_u16(), reason))
}

/// Both sides answer close frames.
pub(crate) fn polite(registry: &Registry) -> Listed {
    polite_as(registry, TunnelInfo::new("ws://upstream", "/"))
}

pub(crate) fn polite_as(registry: &Registry, info: TunnelInfo) -> Listed {
    let (builder, client, upstream) = builder_as(registry, info);
    let tunnel = builder.build();
    tokio::spawn(answer_close(upstream, None));
    Listed {
        handle: tunnel.handle(),
        tunnel: tokio::spawn(tunnel),
        client: tokio::spawn(answer_close(client, Some(MASK))),
    }
}
