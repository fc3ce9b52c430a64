//! Tests of the registry.

use std::collections::HashSet;

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
    let first = lock(&registry.shared.ids).first();
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
    assert_eq!(registry.close_where(by_key("alice"), frame), 2);
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
