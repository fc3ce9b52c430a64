//! The page before it is a service: what it shows, and to whom.

use std::time::Duration;

use wsplice::{Pool, Registry, pool::OnUpstreamLoss};

use crate::{
    collect::Sources, ends::RecentEnds, guard::HostNames, service::StatusService,
    settings::Settings,
};

/// Name of pools without one.
const UNNAMED: &str = "default";

/// The status page of a proxy: what it shows, before it is turned into a service.
///
/// # Examples
///
/// ```
/// use wsplice::{Pool, Registry};
/// use wsplice_status::Status;
///
/// let pool = Pool::new(["ws://10.0.0.1:8080"])?.name("chat").build();
/// let registry = Registry::new();
/// let service = Status::new()
///     .pool(&pool)
///     .registry(&registry)
///     .host_name("admin.example.com")
///     .into_service();
/// # drop(service);
/// # Ok::<(), wsplice::connect::InvalidAddress>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "turn it into a service"]
pub struct Status {
    settings: Settings,
}

impl Default for Status {
    fn default() -> Self {
        Self::new()
    }
}

impl Status {
    /// A page that shows no pool and no tunnel yet.
    pub fn new() -> Self {
        Self {
            settings: Settings {
                sources: Sources::default(),
                host_names: HostNames::default(),
                refresh: Duration::from_secs(2),
                allows_actions: false,
            },
        }
    }

    /// Adds a pool under its own [name](wsplice::pool::PoolBuilder::name), or `default` if it has none.
    /// Pools are shown in the order in which they were added.
    pub fn pool(self, pool: &Pool) -> Self {
        self.pool_as(pool.name().unwrap_or(UNNAMED), pool)
    }

    /// Adds a pool under a name of your own.
    pub fn pool_as(mut self, name: impl Into<String>, pool: &Pool) -> Self {
        self.settings.sources.add_pool(name.into(), pool.clone());
        self
    }

    /// Adds the open tunnels of this registry, and its drain.
    pub fn registry(mut self, registry: &Registry) -> Self {
        self.settings.sources.add_registry(registry.clone());
        self
    }

    /// Returns the observer that remembers how the last tunnels ended. Give it to each proxy that
    /// the page shows; without it the page has no recent ends.
    #[must_use]
    pub fn observer(&self) -> RecentEnds {
        RecentEnds::clone(&self.settings.sources.ends)
    }

    /// Accepts requests whose `Host` is this name, with any port. IP addresses and `localhost` are
    /// always accepted.
    pub fn host_name(mut self, name: impl Into<String>) -> Self {
        self.settings.host_names.add(name.into());
        self
    }

    /// Accepts every `Host`. Only for hosts that check it themselves.
    pub fn any_host(mut self) -> Self {
        self.settings.host_names = HostNames::any();
        self
    }

    /// Time between two refreshes of an open page; 2 s by default, 100 ms at least.
    pub fn refresh(mut self, interval: Duration) -> Self {
        self.settings.refresh = interval.max(Duration::from_millis(100));
        self
    }

    /// Allows [actions](crate::action::Action): draining and resuming upstreams, closing tunnels.
    /// Without this call they are refused with 403 and the page has no buttons.
    pub fn allow_actions(mut self) -> Self {
        self.settings.allows_actions = true;
        self
    }

    /// Sets what the action that drains an upstream does with its open tunnels. By default they stay
    /// open.
    pub fn drained_tunnels(mut self, choice: OnUpstreamLoss) -> Self {
        self.settings.sources.drained_tunnels = choice;
        self
    }

    /// Returns the service.
    #[must_use]
    pub fn into_service(self) -> StatusService {
        StatusService::new(self.settings)
    }
}
