//! A Kubernetes Service as a source of upstreams: its EndpointSlices, watched at the API server.
//!
//! Compared with DNS, a change arrives at once instead of after a TTL, and comes with more: whether
//! an endpoint still serves while it terminates, and the zone that it is in. It needs permission to
//! read EndpointSlices; where a gateway must not have it, [`wsplice::discovery::Dns`] is the
//! fallback.

use std::collections::BTreeMap;

use futures_util::{Stream, StreamExt, stream};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};
use kube::{
    Api, Client, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use wsplice::{Upstream, connect::Address, discovery::Change};

/// Service whose ready endpoints are the upstreams.
#[derive(Clone, Debug)]
pub struct Service {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub name: String,
    /// Name of the port in the Service, such as `ws`; empty if its only port has no name.
    pub port: String,
}

impl Service {
    /// Returns the changes of the upstreams, for a [`ChangeSource`](wsplice::discovery::ChangeSource).
    ///
    /// The first change is the complete list, and so is one after a gap (410 Gone). A watch that
    /// breaks off is resumed where it was. The stream never ends; after an error it tries again,
    /// with a delay that grows.
    pub fn changes(
        self,
        client: Client,
    ) -> impl Stream<Item = Result<Change, watcher::Error>> + Send {
        let slices: Api<EndpointSlice> = Api::namespaced(client, &self.namespace);
        let label = format!("kubernetes.io/service-name={}", self.name);
        let mut state = Slices {
            port: self.port,
            ..Slices::default()
        };
        watcher(slices, watcher::Config::default().labels(&label))
            .default_backoff()
            .flat_map(move |event| {
                stream::iter(match event {
                    Ok(event) => state.apply(event).into_iter().map(Ok).collect(),
                    Err(error) => vec![Err(error)],
                })
            })
    }
}

/// EndpointSlices of a Service. An endpoint may be in two of them while it moves.
#[derive(Debug, Default)]
struct Slices {
    port: String,
    by_name: BTreeMap<String, EndpointSlice>,
    /// The complete list that is being received.
    listing: Option<BTreeMap<String, EndpointSlice>>,
    /// Upstreams that have been reported, by name.
    upstreams: BTreeMap<String, Upstream>,
}

impl Slices {
    fn apply(&mut self, event: Event<EndpointSlice>) -> Vec<Change> {
        match event {
            Event::Init => self.listing = Some(BTreeMap::new()),
            Event::InitApply(slice) => {
                let listing = self.listing.get_or_insert_default();
                listing.insert(slice.name_any(), slice);
            }
            Event::InitDone => {
                self.by_name = self.listing.take().unwrap_or_default();
                self.upstreams = self.current();
                let all = self.upstreams.values().cloned().collect();
                return vec![Change::Replace(all)];
            }
            Event::Apply(slice) => drop(self.by_name.insert(slice.name_any(), slice)),
            Event::Delete(slice) => drop(self.by_name.remove(&slice.name_any())),
        }
        match self.listing {
            None => self.changes(),
            Some(_) => Vec::new(),
        }
    }

    /// Returns the changes since the last report.
    fn changes(&mut self) -> Vec<Change> {
        let current = self.current();
        let before = std::mem::replace(&mut self.upstreams, current);
        let gone = before
            .iter()
            .filter(|(name, _)| !self.upstreams.contains_key(*name));
        let removed = gone.map(|(_, upstream)| Change::Remove(upstream.address().clone()));
        let new = self
            .upstreams
            .iter()
            .filter(|(name, upstream)| before.get(*name) != Some(upstream));
        let inserted = new.map(|(_, upstream)| Change::Insert(upstream.clone()));
        removed.chain(inserted).collect()
    }

    /// Returns the upstreams: the endpoints that are ready or, if none is, those that still serve
    /// while they terminate, as Services do it themselves.
    fn current(&self) -> BTreeMap<String, Upstream> {
        let ready = self.upstreams_if(|conditions| conditions.ready.unwrap_or(true));
        match ready.is_empty() {
            true => self.upstreams_if(|conditions| conditions.serving.unwrap_or(true)),
            false => ready,
        }
    }

    fn upstreams_if(&self, is_used: fn(&EndpointConditions) -> bool) -> BTreeMap<String, Upstream> {
        let slices = self.by_name.values();
        // In a Service of both families, each endpoint is in a slice of either.
        let has_v4 = slices.clone().any(|slice| slice.address_type == "IPv4");
        let family = if has_v4 { "IPv4" } else { "IPv6" };
        slices
            .filter(|slice| slice.address_type == family)
            .filter_map(|slice| Some((slice, self.port_in(slice)?)))
            .flat_map(|(slice, port)| slice.endpoints.iter().map(move |endpoint| (endpoint, port)))
            .filter(|(endpoint, _)| is_used(&endpoint.conditions.clone().unwrap_or_default()))
            .filter_map(|(endpoint, port)| upstream(endpoint, port))
            .map(|upstream| (upstream.name().to_owned(), upstream))
            .collect()
    }

    fn port_in(&self, slice: &EndpointSlice) -> Option<u16> {
        let mut ports = slice.ports.iter().flatten();
        let port = ports.find(|port| port.name.as_deref().unwrap_or_default() == self.port)?;
        port.port?.try_into().ok()
    }
}

/// Returns the upstream of an endpoint, with its zone as a tag.
fn upstream(endpoint: &Endpoint, port: u16) -> Option<Upstream> {
    // All addresses of an endpoint are the same server; consumers are to use the first.
    let mut upstream = Upstream::from_address(Address::tcp(endpoint.addresses.first()?, port));
    if let Some(zone) = &endpoint.zone {
        upstream = upstream.tag("zone", zone);
    }
    Some(upstream)
}
