//! What stands in for discovery where DNS is not built in.

use std::str::FromStr;

use wsplice::connect::Connector;
use wsplice::{DiscoveryHandle, Pool, Upstream};

/// There is none.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {}

impl Source {
    pub(crate) async fn feed(
        &self,
        _pool: &Pool,
        _change: impl Fn(Upstream) -> Upstream + Send + 'static,
    ) -> DiscoveryHandle {
        match *self {}
    }
}

/// Leaves names to the system.
pub(crate) fn by_dns(connector: Connector) -> Connector {
    connector
}

impl FromStr for Source {
    type Err = String;

    fn from_str(_text: &str) -> Result<Self, String> {
        Err("it needs the feature \"dns\"".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_is_missing() {
        let error = "dns:chat:80".parse::<Source>().unwrap_err();
        assert_eq!(error, "it needs the feature \"dns\"");
    }
}
