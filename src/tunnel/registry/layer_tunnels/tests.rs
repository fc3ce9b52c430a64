//! Tests of the parts of a registry.

use std::time::Duration;

use proptest::prelude::*;

use crate::{
    error::Side,
    frame::{CloseCode, CloseFrame},
    tunnel::registry::{Registry, entry::Departure},
};

use super::*;

fn info() -> TunnelInfo {
    TunnelInfo::new("a:80", "/")
}

/// Layers with one registry, and the place after them for the host.
const LAYERS: usize = 2;

/// A change of the layers of a registry or of their tunnels, which are named by their places.
#[derive(Clone, Copy, Debug)]
enum LayerChange {
    /// The layer of this place has a tunnel more, or the host.
    Enter(usize),
    /// The tunnel forwards these bytes from its client, in a frame.
    Forward(usize, u32),
    /// The tunnel is over, and its report has not been made.
    End(usize),
    /// The tunnel is gone.
    Drop(usize),
    /// Another layer takes the place of this one, whose tunnels go on.
    Replace(usize),
}

fn layer_change() -> impl Strategy<Value = LayerChange> {
    let place = 0..9_usize;
    prop_oneof![
        3 => (0..=LAYERS).prop_map(LayerChange::Enter),
        3 => (place.clone(), 0..1000_u32).prop_map(|(tunnel, bytes)| LayerChange::Forward(tunnel, bytes)),
        1 => place.clone().prop_map(LayerChange::End),
        1 => place.prop_map(LayerChange::Drop),
        1 => (0..LAYERS).prop_map(LayerChange::Replace),
    ]
}

/// A tunnel, and what it has forwarded.
struct Forwarding {
    guard: RegistryGuard,
    /// The layer in whose place it was entered, unless that was replaced.
    layer: Option<usize>,
    bytes: u64,
    frames: u64,
}

/// A registry with several layers, and what their figures are to be.
struct LayerWorld {
    registry: Registry,
    layers: [LayerTunnels; LAYERS],
    tunnels: Vec<Forwarding>,
    /// Bytes and frames by layer, and of the whole registry.
    forwarded: [(u64, u64); LAYERS + 1],
}

impl LayerWorld {
    fn new() -> Self {
        let registry = Registry::new();
        Self {
            layers: [(); LAYERS].map(|()| registry.add_layer()),
            registry,
            tunnels: Vec::new(),
            forwarded: [(0, 0); LAYERS + 1],
        }
    }

    fn apply(&mut self, change: LayerChange) {
        match change {
            LayerChange::Enter(place) => self.tunnels.push(Forwarding {
                guard: match self.layers.get(place) {
                    Some(layer) => layer.enter(None, info()),
                    None => self.registry.enter(None, info()),
                },
                layer: (place < LAYERS).then_some(place),
                bytes: 0,
                frames: 0,
            }),
            LayerChange::Forward(place, bytes) => self.forward(place, bytes.into()),
            LayerChange::End(place) => {
                if let Some(tunnel) = self.tunnels.get(place) {
                    tunnel.guard.leave(Departure::Orderly);
                }
            }
            LayerChange::Drop(place) => {
                if place < self.tunnels.len() {
                    self.tunnels.swap_remove(place);
                }
            }
            LayerChange::Replace(place) => {
                self.layers[place] = self.registry.add_layer();
                self.forwarded[place] = (0, 0);
                let its = |tunnel: &&mut Forwarding| tunnel.layer == Some(place);
                for tunnel in self.tunnels.iter_mut().filter(its) {
                    tunnel.layer = None;
                }
            }
        }
    }

    fn forward(&mut self, place: usize, bytes: u64) {
        let Some(tunnel) = self.tunnels.get_mut(place) else {
            return;
        };
        tunnel.bytes += bytes;
        tunnel.frames += 1;
        let figures = tunnel.guard.entry().figures();
        figures.publish(
            Side::Client,
            tunnel.bytes,
            tunnel.frames,
            Duration::ZERO,
            None,
        );
        for place in tunnel.layer.into_iter().chain([LAYERS]) {
            let (sum, frames) = &mut self.forwarded[place];
            *sum += bytes;
            *frames += 1;
        }
    }

    /// Whether the figures of the layers and of the registry are those of their tunnels.
    fn agrees(&self) -> bool {
        let open = |layer| {
            let tunnels = self.tunnels.iter().filter(|tunnel| tunnel.layer == layer);
            tunnels
                .filter(|tunnel| !tunnel.guard.entry().is_over())
                .count()
        };
        let figures = |traffic: Traffic| {
            let Traffic {
                client_to_upstream: up,
                ..
            } = traffic;
            (up.bytes, up.frames)
        };
        let layers = self.layers.iter().enumerate();
        let mut layers = layers.map(|(place, layer)| {
            layer.count() == open(Some(place)) && figures(layer.traffic()) == self.forwarded[place]
        });
        let in_all: usize = (0..LAYERS).map(|place| open(Some(place))).sum();
        layers.all(|agrees| agrees)
            && self.registry.count() == in_all + open(None)
            && figures(self.registry.traffic()) == self.forwarded[LAYERS]
    }
}

proptest! {
    #[test]
    fn the_figures_of_a_layer_are_those_of_its_own_tunnels(
        changes in proptest::collection::vec(layer_change(), 0..60),
    ) {
        let mut world = LayerWorld::new();
        for change in changes {
            world.apply(change);
            prop_assert!(world.agrees(), "after {:?}", change);
        }
    }
}

#[test]
fn a_tunnel_is_found_whatever_layer_has_entered_it() {
    let registry = Registry::new();
    let layers = [registry.add_layer(), registry.add_layer()];
    let keyed = || {
        let mut info = info();
        info.set_key("alice");
        info
    };
    let open = [
        registry.enter(None, keyed()),
        layers[0].enter(None, keyed()),
        layers[1].enter(None, keyed()),
    ];
    assert_eq!(registry.count_by_key("alice"), open.len());
    assert_eq!(registry.list().len(), open.len());
    for guard in &open {
        let frame = CloseFrame::new(CloseCode::GOING_AWAY, "");
        assert!(registry.close(guard.entry().info().id, frame));
        assert!(guard.entry().take_command().is_some());
    }
}

#[test]
fn a_layer_that_is_gone_leaves_no_table_behind() {
    let registry = Registry::new();
    let layer = registry.add_layer();
    let shared = Arc::clone(layer.0.shared());
    let tables = || shared.tables.len();
    let before = tables();
    let guard = layer.enter(None, info());
    drop(layer);
    assert_eq!((tables(), registry.count()), (before, 1));
    drop(guard);
    assert_eq!((tables(), registry.count()), (before - 1, 0));
}
