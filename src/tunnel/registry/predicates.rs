//! Predicates that pick tunnels by the facts of their host.

use crate::tunnel::info::TunnelInfo;

/// Returns a predicate that picks the tunnels with this [key](TunnelInfo::key), for
/// [`Registry::move_where`](crate::Registry::move_where), which visits every tunnel.
///
/// [`Registry::close_by_key`](crate::Registry::close_by_key), its siblings and
/// [`Drain::run_by_key`](crate::Drain::run_by_key) find those of a key without visiting the others.
pub fn by_key(key: &str) -> impl Fn(&TunnelInfo) -> bool + Clone + Send + Sync + use<> {
    let key: Box<str> = key.into();
    move |tunnel| tunnel.key() == Some(&*key)
}

/// Returns a predicate that picks the tunnels with this [label](TunnelInfo::label).
pub fn by_label(label: &str) -> impl Fn(&TunnelInfo) -> bool + Clone + Send + Sync + use<> {
    let label: Box<str> = label.into();
    move |tunnel| tunnel.label() == Some(&*label)
}
