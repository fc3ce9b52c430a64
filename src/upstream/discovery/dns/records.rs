//! DNS record sets, and the selection of SRV records. Pure.

use std::{cmp::Reverse, time::Duration};

/// Records of one lookup, and their time to live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RecordSet<T> {
    pub(super) records: Vec<T>,
    pub(super) ttl: Duration,
}

impl<T> RecordSet<T> {
    /// Converts the records and keeps the TTL.
    pub(super) fn map<U>(self, records: impl FnOnce(Vec<T>) -> Vec<U>) -> RecordSet<U> {
        RecordSet {
            records: records(self.records),
            ttl: self.ttl,
        }
    }

    /// Converts those records that can be, and keeps the TTL.
    pub(super) fn filter_map<U>(self, read: impl Fn(&T) -> Option<U>) -> RecordSet<U> {
        self.map(|records| records.iter().filter_map(read).collect())
    }

    /// Merges two record sets; the shorter TTL counts.
    pub(super) fn merge(mut self, more: Self) -> Self {
        self.records.extend(more.records);
        self.ttl = self.ttl.min(more.ttl);
        self
    }
}

/// SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    /// Priority number; the lowest is used first.
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    /// Target name, with a dot at its end.
    pub(super) target: String,
}

impl Service {
    /// Whether no server can be reached here, although the record does not declare the service
    /// unavailable.
    pub(super) fn is_unreachable(&self) -> bool {
        self.port == 0 && self.target != "."
    }
}

/// Returns the services that are used: those of the lowest priority number, sorted, without
/// repetition.
///
/// The weights are in lowest terms, so that a set of equal weights stays the same when it grows
/// (Kubernetes gives each record its share of 100). RFC 2782 wants a very small share for records
/// of weight 0 beside others, which would be no share to the pool: they get the smallest.
pub(super) fn select_services(services: Vec<Service>) -> Vec<Service> {
    let mut services: Vec<_> = services
        .into_iter()
        // RFC 2782: the root as target declares the service unavailable.
        .filter(|service| service.target != "." && service.port != 0)
        .collect();
    let first = services.iter().map(|service| service.priority).min();
    services.retain(|service| Some(service.priority) == first);
    for service in &mut services {
        service.target.make_ascii_lowercase();
        service.weight = service.weight.max(1);
    }
    services.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
    services.dedup_by(|a, b| (&a.target, a.port) == (&b.target, b.port));
    let divisor = services
        .iter()
        .fold(0, |divisor, service| gcd(divisor, service.weight));
    for service in &mut services {
        service.weight /= divisor.max(1);
    }
    services
}

/// Sort key: of records with the same target, the heaviest comes first.
fn sort_key(service: &Service) -> (&str, u16, Reverse<u16>) {
    (&service.target, service.port, Reverse(service.weight))
}

fn gcd(a: u16, b: u16) -> u16 {
    match b {
        0 => a,
        _ => gcd(b, a % b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn service(priority: u16, weight: u16, port: u16, target: &str) -> Service {
        Service {
            priority,
            weight,
            port,
            target: target.to_owned(),
        }
    }

    #[test]
    fn only_the_lowest_priority_number_is_used_rfc2782() {
        let used = select_services(vec![
            service(20, 1, 80, "c."),
            service(10, 60, 80, "b."),
            service(10, 20, 80, "A."),
        ]);
        assert_eq!(used, [service(10, 1, 80, "a."), service(10, 3, 80, "b.")]);
    }

    #[test]
    fn weight_zero_gets_little_and_alone_all_rfc2782() {
        let used = select_services(vec![service(0, 0, 80, "a."), service(0, 50, 80, "b.")]);
        assert_eq!(used, [service(0, 1, 80, "a."), service(0, 50, 80, "b.")]);
        assert_eq!(
            select_services(vec![service(0, 0, 80, "a.")]),
            [service(0, 1, 80, "a.")]
        );
    }

    #[test]
    fn a_service_that_is_decidedly_not_available_has_no_upstreams_rfc2782() {
        assert!(select_services(vec![service(0, 0, 80, ".")]).is_empty());
        assert!(select_services(Vec::new()).is_empty());
    }

    #[test]
    fn equal_weights_stay_equal_when_the_set_grows() {
        let two = select_services(vec![service(0, 50, 80, "a."), service(0, 50, 80, "b.")]);
        let three = select_services(
            ["a.", "b.", "c."]
                .map(|target| service(0, 33, 80, target))
                .to_vec(),
        );
        assert_eq!(two, three[..2]);
    }

    proptest! {
        #[test]
        fn order_and_repetition_do_not_matter(
            records in prop::collection::vec((0_u16..3, any::<u16>(), 0_u16..3, "[ab]?\\."), 0..12),
            turn in any::<prop::sample::Index>(),
        ) {
            let services: Vec<_> = records
                .iter()
                .map(|(priority, weight, port, target)| service(*priority, *weight, *port, target))
                .collect();
            let mut turned = services.clone();
            if !turned.is_empty() {
                let by = turn.index(turned.len());
                turned.rotate_left(by);
                turned.push(turned[0].clone());
            }
            let used = select_services(services);
            prop_assert!(used.iter().all(|service| service.weight > 0));
            prop_assert_eq!(used, select_services(turned));
        }
    }
}
