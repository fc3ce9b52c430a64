//! Any records of a DNS server, over time: ports, weights and times to live of any value, names that
//! cannot be used, names without records, and outages.
//!
//! Every set for the pool is that of records which the server had since the last query that reached it; it
//! names each server once, with a weight in proportion; without usable records the last set is kept for the
//! grace and no longer; and the next query is never too soon nor too late.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use tokio::time::{Instant, timeout};
use wsplice::{
    Upstream,
    discovery::{Discover, DiscoverError, Dns},
    testing::{MockCandidates, MockDns},
};

use crate::support::{clock::on_a_paused_clock, dice::Dice};

const NAME: &str = "_ws._tcp.chat.test.";

const GRACE: Duration = Duration::from_secs(30);

/// The longest time from a failed query to the next, with its jitter.
const RECHECK: Duration = Duration::from_secs(34);

/// A server's records over time.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    ttl: Duration,
    refresh: [Duration; 2],
    steps: Vec<Step>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Services,
    Addresses,
}

/// A change of the server, in front of the next query.
#[derive(Clone, Debug)]
enum Step {
    Records(Vec<Record>),
    Fail,
    Recover,
    Query,
}

#[derive(Clone, Debug)]
struct Record {
    target: String,
    port: u16,
    weight: u16,
    ip: IpAddr,
}

/// The upstreams of a set: their names with the port, and their weights.
type Set = BTreeMap<String, u32>;

impl Case {
    /// Draws a case.
    pub(crate) fn draw(dice: &mut impl Dice) -> Self {
        let times = [0, 1, 29, 60, 301, 86_400, u64::from(u32::MAX), u64::MAX];
        let mut time = || Duration::from_secs(dice.pick(times));
        let (ttl, refresh) = (time(), [time(), time()]);
        let kind = dice.pick([Kind::Services, Kind::Services, Kind::Addresses]);
        let count = 1 + dice.below(12);
        let steps = (0..count).map(|_| step(dice)).collect();
        Self {
            ttl,
            refresh,
            steps,
            kind,
        }
    }
}

fn step(dice: &mut impl Dice) -> Step {
    match dice.below(8) {
        0 | 1 => Step::Records((0..dice.below(5)).map(|_| record(dice)).collect()),
        2 => Step::Fail,
        3 => Step::Recover,
        _ => Step::Query,
    }
}

fn record(dice: &mut impl Dice) -> Record {
    let number = dice.below(4) as u8;
    Record {
        target: dice
            .pick([
                "a.test.",
                "A.TEST.",
                "b.test.",
                "c.test",
                ".",
                "",
                "x y.",
                "10.0.0.1.",
                "-",
                "a_b.",
            ])
            .to_owned(),
        port: dice.pick([0, 1, 80, 8080, u16::MAX]),
        weight: match dice.below(3) {
            0 => dice.pick([0, 1, 2, 100, u16::MAX]),
            _ => dice.below(1 << 16) as u16,
        },
        ip: match dice.below(3) {
            0 => IpAddr::from([0, 0, 0, 0, 0, 0, 0, u16::from(number)]),
            _ => IpAddr::from([10, 0, 0, number]),
        },
    }
}

/// Checks the laws; returns the number of sets that the pool gets.
pub(crate) fn check(case: &Case) -> usize {
    fastrand::seed(7);
    on_a_paused_clock(run(case))
}

async fn run(case: &Case) -> usize {
    let dns = MockDns::new(case.ttl);
    let mut source = match case.kind {
        Kind::Services => Dns::services(NAME),
        Kind::Addresses => Dns::addresses(NAME, 80),
    }
    .expect("a name");
    let [one, other] = case.refresh;
    source = source
        .resolver(dns.resolver())
        .empty_grace(GRACE)
        .refresh(one, other);
    // The records that the server had, and until when a cache may use each of them.
    let mut known: Vec<(Vec<Record>, Instant)> = vec![(Vec::new(), Instant::now())];
    let mut is_failing = false;
    // Failures are remembered, and stale records used, until the next query is due.
    let mut recovered = Instant::now();
    let mut was_empty: Option<Instant> = None;
    let mut sets = 0;
    for step in &case.steps {
        match step {
            Step::Records(records) => {
                set(&dns, case.kind, records);
                known.push((records.clone(), Instant::now()));
                continue;
            }
            Step::Fail => {
                dns.fail();
                is_failing = true;
                continue;
            }
            Step::Recover => {
                dns.recover();
                if is_failing {
                    recovered = Instant::now();
                }
                is_failing = false;
                continue;
            }
            Step::Query => {}
        }
        let Ok(found) = timeout(Duration::from_secs(400), source.discover()).await else {
            // The refresh may be as rare as it is set to.
            assert!(one.max(other) > Duration::from_secs(300), "{case:?}");
            break;
        };
        let may_fail = is_failing || recovered.elapsed() <= RECHECK;
        match found.expect("a source without an end") {
            Ok(upstreams) => {
                sets += 1;
                let set = as_set(&upstreams);
                let is_known = known
                    .iter()
                    .any(|(records, _)| wanted(case.kind, records) == set);
                assert!(is_known, "{set:?} of {known:?}");
                let (latest, since) = known.last().expect("records");
                let is_old = since.elapsed() > case.ttl.max(RECHECK);
                let is_current = wanted(case.kind, latest) == set;
                assert!(may_fail || !is_old || is_current, "{set:?} of {latest:?}");
                was_empty = None;
            }
            Err(DiscoverError::NoRecords { .. }) => {
                let since = *was_empty.get_or_insert_with(Instant::now);
                assert!(
                    since.elapsed() <= GRACE,
                    "the grace is over since {:?}",
                    since.elapsed()
                );
            }
            Err(error) => assert!(may_fail, "{error} of {case:?}"),
        }
    }
    sets
}

fn set(dns: &MockDns, kind: Kind, records: &[Record]) {
    match kind {
        Kind::Addresses => dns.set_addresses(NAME, records.iter().map(|record| record.ip)),
        Kind::Services => {
            let services = records.iter();
            dns.set_services(NAME, services.map(|it| (&*it.target, it.port, it.weight)));
        }
    }
}

/// The set of these records, by RFC 2782: a root as target is none, nor is port 0.
fn wanted(kind: Kind, records: &[Record]) -> Set {
    let mut set = Set::new();
    if kind == Kind::Addresses {
        let is_v4 = |record: &&Record| record.ip.is_ipv4();
        let any_v4 = records.iter().any(|record| record.ip.is_ipv4());
        for record in records.iter().filter(|record| !any_v4 || is_v4(record)) {
            let end = std::net::SocketAddr::new(record.ip, 80);
            set.insert(end.to_string(), 1);
        }
        return set;
    }
    for record in records
        .iter()
        .filter(|record| record.target != "." && record.port != 0)
    {
        let name = format!("{}:{}", record.target.to_ascii_lowercase(), record.port);
        let weight = u32::from(record.weight.max(1));
        let heaviest = set.entry(name).or_insert(weight);
        *heaviest = weight.max(*heaviest);
    }
    let divisor = set
        .values()
        .fold(0, |divisor, weight| gcd(divisor, *weight));
    for weight in set.values_mut() {
        *weight /= divisor;
    }
    set
}

fn gcd(a: u32, b: u32) -> u32 {
    match b {
        0 => a,
        _ => gcd(b, a % b),
    }
}

fn as_set(upstreams: &[Upstream]) -> Set {
    let mock = MockCandidates::from_upstreams(upstreams.iter().cloned());
    let mut set = Set::new();
    for (index, upstream) in upstreams.iter().enumerate() {
        let candidates = mock.candidates();
        let weight = candidates.get(index).map(|candidate| candidate.weight());
        let is_new = set
            .insert(upstream.name().to_owned(), weight.unwrap_or_default())
            .is_none();
        assert!(is_new, "{} occurs twice", upstream.name());
    }
    set
}
