//! A proxy that restores what clients have subscribed to when their upstream is replaced:
//! `restoring-proxy upstream=ws://127.0.0.1:9001 [listen=127.0.0.1:0]`.
//!
//! It knows graphql-ws (`graphql-transport-ws`) and MQTT 3.1.1. A tap records the client's first
//! message or packet and its subscriptions, and the next upstream gets them. Its first message, the
//! response to the login, is waited for, and kept from the client. Prints `listening <address>`, and a line for each
//! reattachment.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::Router;
use serde_json::Value;
use tokio::net::TcpListener;
use wsplice::{
    AuthorizationRequest, Observer, Pool, ProxyLayer, Rejection, RequestOptions, TunnelInfo,
    TunnelReport,
    frame::{CloseCode, CloseFrame, Message},
    tunnel::reattach::{
        ClientMessage, Reattach, ReattachDecision, ReattachRequest, Restoration, UpstreamChange,
    },
};
use wsplice_peers::{Args, Failure, say};

/// The longest message that is recorded, in bytes.
const LONGEST: usize = 64 * 1024;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let args = Args::from_env()?;
    let listener = TcpListener::bind(args.get::<String>("listen", "127.0.0.1:0")?).await?;
    let upstream = args.get::<String>("upstream", "ws://127.0.0.1:9001")?;
    let reattach = Reattach::new()
        .within(Duration::from_secs(20))
        .spread(Duration::ZERO)
        .limit(100)
        .swallow(1)
        .tap(LONGEST, record)
        .on_reattach(restore);
    let proxy = ProxyLayer::new(Pool::new([upstream.as_str()])?)
        .authorize(async |_: AuthorizationRequest| {
            Ok::<_, Rejection>(RequestOptions::new().value(Session::default()))
        })
        .reattach(reattach)
        .observer(Printer);
    say(&format!("listening {}", listener.local_addr()?));
    let app = Router::new()
        .layer(proxy)
        .into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).await?;
    Ok(())
}

/// The state of one client's connection.
#[derive(Clone, Default)]
struct Session(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    login: Option<Message>,
    /// Subscriptions by what ends them.
    subscriptions: Vec<(Key, Message)>,
    /// The beginning of a packet, whose rest is to come in further messages.
    begun: Vec<u8>,
    /// Whether a message could not be read.
    is_lost: bool,
}

/// A subscription's identifier.
#[derive(PartialEq)]
enum Key {
    GraphQl(String),
    Mqtt(Vec<u8>),
}

impl Session {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records a message that an upstream was given.
fn record(tunnel: &TunnelInfo, message: &ClientMessage) {
    let Some(session) = tunnel.value::<Session>() else {
        return;
    };
    let mut state = session.state();
    state.is_lost |= !message.is_whole();
    match tunnel.subprotocol.as_deref() {
        Some("mqtt") => state.record_mqtt(message.bytes()),
        _ => state.record_graphql(message.bytes()),
    }
}

impl State {
    fn record_graphql(&mut self, bytes: &[u8]) {
        let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
            self.is_lost = true;
            return;
        };
        let message = || Message::text(String::from_utf8_lossy(bytes));
        let id = Key::GraphQl(value["id"].as_str().unwrap_or_default().to_owned());
        match value["type"].as_str() {
            Some("connection_init") => self.login = Some(message()),
            Some("subscribe") => self.subscriptions.push((id, message())),
            Some("complete") => self.subscriptions.retain(|(known, _)| *known != id),
            _ => {}
        }
    }

    /// Records whole packets; a packet may come in several messages (MQTT 3.1.1 §6).
    fn record_mqtt(&mut self, bytes: &[u8]) {
        self.begun.extend_from_slice(bytes);
        while let Some(len) = packet_len(&self.begun) {
            let packet: Vec<u8> = self.begun.drain(..len).collect();
            let key = Key::Mqtt(packet.clone());
            match packet.first().map_or(0, |first| first >> 4) {
                1 => self.login = Some(Message::binary(packet)),
                8 => self.subscriptions.push((key, Message::binary(packet))),
                // This program does not look into packets that end subscriptions.
                10 => self.is_lost = true,
                _ => {}
            }
        }
    }
}

/// The length of the whole packet at the beginning of these bytes (MQTT 3.1.1 §2.2.3).
fn packet_len(bytes: &[u8]) -> Option<usize> {
    let mut rest = 0;
    for (at, byte) in bytes.iter().skip(1).take(4).enumerate() {
        rest |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            let len = 2 + at + rest;
            return (len <= bytes.len()).then_some(len);
        }
    }
    None
}

async fn restore(request: ReattachRequest) -> ReattachDecision {
    let Some(session) = request.tunnel().value::<Session>() else {
        return Restoration::new().into();
    };
    let state = session.state();
    if state.is_lost || !state.begun.is_empty() {
        return CloseFrame::new(CloseCode::SERVICE_RESTART, "connect again").into();
    }
    let Some(login) = state.login.clone() else {
        return Restoration::new().into();
    };
    // A server of graphql-ws closes a socket that subscribes before it was acknowledged.
    let restoration = Restoration::new().to_upstream(login).await_messages(1);
    let subscriptions = state.subscriptions.iter();
    let messages = subscriptions.map(|(_, message)| message.clone());
    messages.fold(restoration, Restoration::to_upstream).into()
}

#[derive(Debug)]
struct Printer;

impl Observer for Printer {
    fn tunnel_reattached(&self, tunnel: &TunnelInfo, change: &UpstreamChange) {
        say(&format!(
            "reattached {} {}",
            tunnel.id,
            change.loss.as_str()
        ));
    }

    fn tunnel_closed(&self, tunnel: &TunnelInfo, report: &TunnelReport) {
        let refusal = report.reattach_refusal.map(|refusal| refusal.as_str());
        say(&format!("closed {} {} {refusal:?}", tunnel.id, report.end));
    }
}
