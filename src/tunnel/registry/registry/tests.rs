//! Tests of the registry.

use std::collections::{BTreeSet, HashSet};

use proptest::prelude::*;

use crate::tunnel::registry::{
    entry::Departure,
    predicates::{by_key, by_label},
};

use super::*;

fn info() -> TunnelInfo {
    TunnelInfo::new("a:80", "/")
}

/// The numbers of the tunnels in a new registry, counted from its first.
fn ids(tunnels: usize) -> Vec<u64> {
    let registry = Registry::new();
    let first = lock(&registry.shared().ids).first();
    let _open: Vec<_> = (0..tunnels).map(|_| registry.enter(None, info())).collect();
    registry
        .list()
        .iter()
        .map(|tunnel| tunnel.info.id - first)
        .collect()
}

#[test]
fn the_order_of_the_tunnels_is_the_same_in_every_run() {
    assert_eq!(ids(500), ids(500));
}

#[test]
fn a_tunnel_entered_during_a_drain_stays_open_after_a_resume() {
    use crate::frame::CloseCode;

    let registry = Registry::new();
    let frame = CloseFrame::new(CloseCode::GOING_AWAY, "");
    registry.drain_state().refuse_new(frame);
    let waits = registry.enter(None, info());
    crate::Drain::new(&registry).resume();
    let command = waits.entry().take_command();
    assert!(matches!(command, Some(Command::KeepOpen)), "{command:?}");
}

#[tokio::test]
async fn a_drain_picks_a_tunnel_by_the_upstream_that_it_has_now() {
    let registry = Registry::new();
    let mut moved = registry.enter(None, info());
    moved.leave_owner();
    moved.enter_owner(&Arc::default(), "b:80".into());
    let mut shown = Vec::new();
    let drain = crate::Drain::new(&registry);
    let picks_none = |tunnel: &TunnelInfo| {
        shown.push(Arc::clone(&tunnel.upstream));
        false
    };
    drain.run_where(picks_none).await;
    assert_eq!(shown, ["b:80".into()]);
}

#[test]
fn numbers_are_unique_in_the_process() {
    let registries = [Registry::new(), Registry::new()];
    let mut open = Vec::new();
    for registry in registries.iter().cycle().take(1000) {
        open.push(registry.enter(None, info()));
    }
    let ids: HashSet<_> = open.iter().map(|guard| guard.entry().info().id).collect();
    assert_eq!(ids.len(), 1000);
    assert!(!ids.contains(&0));
}

#[test]
fn tunnels_are_picked_by_key_and_label() {
    let registry = Registry::new();
    let enter = |key: Option<&str>, label: Option<&str>| {
        let mut info = info();
        if let Some(key) = key {
            info.set_key(key);
        }
        if let Some(label) = label {
            info.set_label(label);
        }
        registry.enter(None, info)
    };
    let open = [
        enter(Some("alice"), Some("web")),
        enter(Some("alice"), Some("app")),
        enter(Some("bob"), Some("web")),
        enter(None, None),
    ];
    assert_eq!(registry.count_where(by_key("alice")), 2);
    assert_eq!(registry.count_where(by_label("web")), 2);
    let listed = registry.list_where(by_key("bob"));
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].info.label(), Some("web"));
    let frame = CloseFrame::new(crate::frame::CloseCode::POLICY_VIOLATION, "");
    assert_eq!(registry.close_by_key("alice", frame), 2);
    let is_closed = |guard: &RegistryGuard| guard.entry().take_command().is_some();
    assert_eq!(open.each_ref().map(is_closed), [true, true, false, false]);
}

#[test]
fn what_a_tunnel_holds_is_dropped_when_it_is_over_though_its_facts_live_on() {
    let held = Arc::new(());
    let mut info = info();
    info.hold(Box::new(Arc::clone(&held)));
    let registry = Registry::new();
    let guard = registry.enter(None, info);
    let copy = guard.entry().info().clone();
    assert_eq!(Arc::strong_count(&held), 2);
    guard.leave(Departure::Orderly);
    assert_eq!(Arc::strong_count(&held), 1);
    drop((copy, guard));
}

#[test]
fn an_owner_finds_its_tunnels_in_all_registries_and_no_others() {
    let registries = [Registry::new(), Registry::new()];
    let owner = Arc::new(TunnelGroup::default());
    let mut own: Vec<_> = registries
        .iter()
        .map(|registry| registry.enter(Some(&owner), info()))
        .collect();
    let _other = registries[0].enter(None, info());
    assert_eq!(owner.entries().len(), 2);
    own.pop();
    let left = owner.entries();
    assert_eq!(left.len(), 1);
    assert!(Arc::ptr_eq(&left[0], own[0].entry()));
    own.pop();
    assert!(owner.entries().is_empty());
    assert_eq!(registries.map(|registry| registry.count()), [1, 0]);
}

const KEYS: [&str; 4] = ["", "alice", "bob", "carol"];

/// A change of a registry. Tunnels are named by their places among those that still have a guard.
#[derive(Clone, Copy, Debug)]
enum Change {
    Enter {
        key: Option<usize>,
        has_owner: bool,
    },
    /// The tunnel is over, and its report has not been made.
    End(usize),
    /// The tunnel is gone.
    Drop(usize),
    LoseUpstream(usize),
    Move(usize),
    Drain,
    Resume,
}

fn change() -> impl Strategy<Value = Change> {
    let place = 0..20_usize;
    let key = proptest::option::weighted(0.8, 0..KEYS.len());
    prop_oneof![
        4 => (key, proptest::bool::ANY).prop_map(|(key, has_owner)| Change::Enter { key, has_owner }),
        1 => place.clone().prop_map(Change::End),
        2 => place.clone().prop_map(Change::Drop),
        1 => place.clone().prop_map(Change::LoseUpstream),
        1 => place.prop_map(Change::Move),
        1 => Just(Change::Drain),
        1 => Just(Change::Resume),
    ]
}

/// A registry, and the guards of its tunnels.
#[derive(Default)]
struct World {
    registry: Registry,
    owner: Arc<TunnelGroup>,
    guards: Vec<RegistryGuard>,
}

impl World {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Enter { key, has_owner } => {
                let mut info = info();
                if let Some(key) = key {
                    info.set_key(KEYS[key]);
                }
                let owner = has_owner.then_some(&self.owner);
                self.guards.push(self.registry.enter(owner, info));
            }
            Change::End(place) => {
                if let Some(guard) = self.guards.get(place) {
                    guard.leave(Departure::Orderly);
                }
            }
            Change::Drop(place) => {
                if place < self.guards.len() {
                    self.guards.swap_remove(place);
                }
            }
            Change::LoseUpstream(place) => {
                if let Some(guard) = self.guards.get_mut(place) {
                    guard.leave_owner();
                }
            }
            Change::Move(place) => {
                let open = |guard: &&mut RegistryGuard| !guard.entry().is_over();
                if let Some(guard) = self.guards.get_mut(place).filter(open) {
                    guard.leave_owner();
                    guard.enter_owner(&self.owner, "b:80".into());
                }
            }
            Change::Drain => self.registry.drain_state().refuse_new(frame()),
            Change::Resume => crate::Drain::new(&self.registry).resume(),
        }
    }

    /// Whether the tunnels that are found by the key are those that a visit of all tunnels finds, and
    /// the guards know of.
    fn agrees(&self, key: &str) -> bool {
        let sorted = |tunnels: Vec<TunnelStatus>| {
            let ids = tunnels.iter().map(|tunnel| tunnel.info.id);
            ids.collect::<BTreeSet<_>>()
        };
        let found = sorted(self.registry.list_by_key(key));
        let open = self.guards.iter().map(RegistryGuard::entry);
        let open = open.filter(|entry| !entry.is_over() && entry.info().key() == Some(key));
        found == sorted(self.registry.list_where(by_key(key)))
            && found == open.map(|entry| entry.info().id).collect()
            && found.len() == self.registry.count_by_key(key)
    }

    /// Whether a close by this key reaches its tunnels, and no others.
    fn closes_no_others(&self, key: &str) -> bool {
        let entries = || self.guards.iter().map(RegistryGuard::entry);
        // A close of a drain would be in force before ours.
        crate::Drain::new(&self.registry).resume();
        for entry in entries() {
            entry.take_command();
        }
        let open = self.registry.count_by_key(key);
        let closed = entries().filter(|entry| {
            let is_closed = matches!(entry.take_command(), Some(Command::Close { .. }));
            let is_picked = entry.info().key() == Some(key) && !entry.is_over();
            assert_eq!(is_closed, is_picked);
            is_closed
        });
        self.registry.close_by_key(key, frame()) == open && closed.count() == open
    }
}

fn frame() -> CloseFrame {
    CloseFrame::new(crate::frame::CloseCode::GOING_AWAY, "")
}

proptest! {
    #[test]
    fn the_tunnels_of_a_key_are_those_that_a_visit_of_all_tunnels_finds(
        changes in proptest::collection::vec(change(), 0..50),
        closed in 0..KEYS.len(),
    ) {
        let mut world = World::default();
        for change in changes {
            world.apply(change);
            prop_assert!(KEYS.iter().all(|key| world.agrees(key)));
        }
        prop_assert!(world.closes_no_others(KEYS[closed]));
        world.guards.clear();
        prop_assert!(KEYS.iter().all(|key| world.agrees(key)));
    }
}
