//! Actions: what an operator can do from the page.

use serde::Deserialize;
use wsplice::{
    Registry,
    frame::{CloseCode, CloseFrame},
    health::HealthControl,
};

use crate::collect::Sources;

/// An action, as the JSON body of a `POST`.
///
/// # Examples
///
/// ```json
/// {"action": "drain_upstream", "pool": "chat", "upstream": "10.0.0.1:8080"}
/// {"action": "resume_upstream", "pool": "chat", "upstream": "10.0.0.1:8080"}
/// {"action": "control_health", "pool": "chat", "upstream": "10.0.0.1:8080", "control": "forced_unhealthy"}
/// {"action": "close_tunnel", "registry": 0, "id": 17, "code": 1008, "reason": "abuse"}
/// {"action": "close_key", "key": "alice", "code": 1008, "reason": "logged out"}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Action {
    /// Gives the upstream no new tunnels; its open tunnels go on.
    DrainUpstream {
        /// Name of the pool on the page.
        pool: String,
        /// Name of the upstream.
        upstream: String,
    },
    /// Ends the drain of the upstream.
    ResumeUpstream {
        /// Name of the pool on the page.
        pool: String,
        /// Name of the upstream.
        upstream: String,
    },
    /// Decides about the health of the upstream, or leaves that to events again.
    ControlHealth {
        /// Name of the pool on the page.
        pool: String,
        /// Name of the upstream.
        upstream: String,
        /// The decision.
        control: Control,
    },
    /// Closes a tunnel with a close frame on both legs.
    CloseTunnel {
        /// Place of the tunnel's registry, from 0 (the default).
        #[serde(default)]
        registry: usize,
        /// Number of the tunnel.
        id: u64,
        /// Code of the close frame: 1008 (policy violation) by default.
        #[serde(default = "policy_violation")]
        code: u16,
        /// Reason in the close frame, at most 123 bytes; empty by default.
        #[serde(default)]
        reason: String,
    },
    /// Closes the tunnels of a key, such as a user, in all registries, as one is closed.
    CloseKey {
        /// The [key](wsplice::TunnelInfo::key).
        key: String,
        /// Code of the close frames: 1008 (policy violation) by default.
        #[serde(default = "policy_violation")]
        code: u16,
        /// Reason in the close frames, at most 123 bytes; empty by default.
        #[serde(default)]
        reason: String,
    },
}

/// What decides about the health of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Control {
    /// Probes and clients' handshakes decide.
    Auto,
    /// The operator: the upstream is healthy.
    ForcedHealthy,
    /// The operator: the upstream is unhealthy.
    ForcedUnhealthy,
}

impl From<Control> for HealthControl {
    fn from(control: Control) -> Self {
        match control {
            Control::Auto => Self::Auto,
            Control::ForcedHealthy => Self::ForcedHealthy,
            Control::ForcedUnhealthy => Self::ForcedUnhealthy,
        }
    }
}

const fn policy_violation() -> u16 {
    CloseCode::POLICY_VIOLATION.as_u16()
}

/// Why an action was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// What the action names is not there.
    NotFound(&'static str),
    /// A value of the action cannot be used.
    Invalid(&'static str),
}

impl Action {
    /// Does it.
    pub(crate) fn run(&self, sources: &Sources) -> Result<(), Refusal> {
        let pool = |name: &str| {
            sources
                .find_pool(name)
                .ok_or(Refusal::NotFound("no such pool"))
        };
        let found = |found: bool, what| found.then_some(()).ok_or(Refusal::NotFound(what));
        match self {
            Self::DrainUpstream {
                pool: name,
                upstream,
            } => {
                let drained = pool(name)?.drain(upstream, sources.drained_tunnels);
                found(drained, "no such upstream")
            }
            Self::ResumeUpstream {
                pool: name,
                upstream,
            } => found(
                pool(name)?.resume(upstream),
                "no such upstream, or it is not drained",
            ),
            Self::ControlHealth {
                pool: name,
                upstream,
                control,
            } => {
                let controlled = pool(name)?.control_health(upstream, (*control).into());
                found(controlled, "no such upstream")
            }
            Self::CloseTunnel {
                registry,
                id,
                code,
                reason,
            } => {
                let frame = close_frame(*code, reason)?;
                let registry = sources.registry(*registry);
                let registry = registry.ok_or(Refusal::NotFound("no such registry"))?;
                found(registry.close(*id, frame), "no such tunnel")
            }
            Self::CloseKey { key, code, reason } => {
                let frame = close_frame(*code, reason)?;
                let close = |registry: &Registry| registry.close_by_key(key, frame.clone());
                let closed: usize = sources.registries().iter().map(close).sum();
                found(closed > 0, "no tunnel has this key")
            }
        }
    }
}

fn close_frame(code: u16, reason: &str) -> Result<CloseFrame, Refusal> {
    let code = CloseCode::new(code);
    if !code.is_sendable() {
        return Err(Refusal::Invalid("this close code cannot be sent"));
    }
    if reason.len() > 123 {
        return Err(Refusal::Invalid("a close reason has 123 bytes at most"));
    }
    Ok(CloseFrame::new(code, reason.to_owned()))
}
