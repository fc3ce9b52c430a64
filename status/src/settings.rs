//! Settings of the service.

use std::time::Duration;

use crate::{collect::Sources, guard::HostNames};

/// Sources of the page, and the rules for those who read it.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) sources: Sources,
    pub(crate) host_names: HostNames,
    /// Time between two refreshes of an open page.
    pub(crate) refresh: Duration,
    pub(crate) allows_actions: bool,
}
