//! Load-balancing policies, by name.

use std::fmt;
use std::str::FromStr;

use wsplice::balance::{
    AnyBalance, Balance, First, LeastTunnels, LowestLatency, Random, Rendezvous, RoundRobin,
};

/// Load-balancing policy, and the text that it was parsed from.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    name: String,
    policy: AnyBalance,
}

impl Policy {
    /// Returns the policy for a pool.
    pub(crate) fn balance(&self) -> AnyBalance {
        self.policy.clone()
    }
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let policy = match text.split_once(':') {
            None => plain(text)?,
            Some((kind, key)) => keyed(kind, key)?,
        };
        Ok(Self {
            name: text.to_owned(),
            policy: policy.ok_or("there is no policy of this name")?,
        })
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn plain(name: &str) -> Result<Option<AnyBalance>, String> {
    Ok(Some(match name {
        "least-tunnels" => AnyBalance::new(LeastTunnels::new()),
        "latency" => AnyBalance::new(LowestLatency::new()),
        "round-robin" => AnyBalance::new(RoundRobin::new()),
        "random" => AnyBalance::new(Random::new()),
        "first" => AnyBalance::new(First::new().or_else(LeastTunnels::new())),
        "ip-hash" => AnyBalance::new(Rendezvous::by_client_ip()),
        "path-hash" => AnyBalance::new(Rendezvous::by_path()),
        "header" | "query" | "cookie" => {
            return Err(format!("it needs a name too: {name}:NAME"));
        }
        _ => return Ok(None),
    }))
}

fn keyed(kind: &str, key: &str) -> Result<Option<AnyBalance>, String> {
    if key.is_empty() {
        return Err("a name is missing after the colon".to_owned());
    }
    let policy = match kind {
        "query" => Rendezvous::by_query(key),
        "cookie" => Rendezvous::by_cookie(key),
        "header" => Rendezvous::by_header(
            key.parse()
                .map_err(|_| "no header can have this name".to_owned())?,
        ),
        _ => return Ok(None),
    };
    Ok(Some(AnyBalance::new(policy)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_has_its_name() {
        for (name, type_name) in [
            ("least-tunnels", "LeastTunnels"),
            ("latency", "LowestLatency"),
            ("round-robin", "RoundRobin"),
            ("random", "Random"),
            ("first", "First"),
            ("ip-hash", "Rendezvous"),
            ("path-hash", "Rendezvous"),
            ("query:room", "Rendezvous"),
            ("cookie:user", "Rendezvous"),
            ("header:X-Tenant", "Rendezvous"),
        ] {
            let policy: Policy = name.parse().unwrap();
            assert_eq!(policy.to_string(), name);
            let shown = format!("{:?}", policy.balance());
            assert!(shown.contains(type_name), "{name}: {shown}");
        }
    }
}
