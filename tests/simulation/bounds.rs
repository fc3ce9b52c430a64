//! Bounds that must hold for every seed.
//!
//! Bounds on times and peaks follow from the settings. Those on imbalance, on refusals and on the
//! tunnels lost by a restart are measured values, plus some margin.

use std::time::Duration;

use super::{
    client::FIRST_PAUSE,
    episode::Episode,
    fleet::{Reattachment, Weights},
    proxy::{
        FAILS, Health, PROBE_INTERVAL, PROBE_JITTER, PROBE_TIMEOUT, QUEUE_WAIT, RATE, SPREAD, Storm,
    },
    scenario::{Incident, Scenario},
};

/// Round trips and the upstream's work, where there is no queue.
const PROMPT: Duration = Duration::from_secs(1);

/// The longest connect: the default timeout of the layer.
const CONNECT: Duration = Duration::from_secs(3);

/// Longest silence of a leg that is pinged by default: 20 s + 10 %, and 10 s for the pong.
const PINGED: Duration = Duration::from_secs(32);

pub(crate) fn check(episode: &Episode) {
    always(episode);
    match episode.incident {
        Incident::Nothing => steady(episode),
        Incident::CutOff => cut_off(episode),
        Incident::Killed => killed(episode),
        Incident::Restarted => match episode.plan.reattachment {
            Reattachment::Off => restarted(episode),
            Reattachment::OnLoss => reattached(episode),
            Reattachment::Moves => moved(episode),
        },
        Incident::Deceives => deceived(episode),
        Incident::NoPorts
        | Incident::PoisonByOne
        | Incident::PoisonByMany
        | Incident::DnsOutage => blames_no_upstream(episode),
        Incident::BlackHole => black_hole(episode),
    }
}

fn always(episode: &Episode) {
    let context = context(episode);
    let Episode { events, plan, .. } = episode;
    assert_eq!(events.unexpected, [""; 0], "{context}");
    assert_eq!(events.needless, 0, "{context}: tunnels lost without need");
    assert_eq!(episode.false_alarms, [""; 0], "{context}: called unhealthy");
    assert!(events.echoes > 0, "{context}");
    if plan.health.has_probes() {
        assert_eq!(episode.left_out, 0, "{context}: still not used");
    }
    // All but the clients whose handshake is in progress.
    let unserved = episode.last().unserved;
    assert!(
        unserved <= plan.clients / 200,
        "{context}: {unserved} unserved"
    );
    if plan.storm == Storm::Control {
        // A proxy allows a second's worth at once, and then as many in a second.
        let allowed = plan.proxies * 2 * RATE as usize;
        assert!(
            episode.peak <= allowed,
            "{context}: {} at once",
            episode.peak
        );
    }
}

fn steady(episode: &Episode) {
    let context = context(episode);
    assert_eq!(episode.events.lost, 0, "{context}");
    assert!(episode.events.refused.is_empty(), "{context}");
    assert!(episode.longest_wait() <= PROMPT, "{context}");
    let imbalance = episode.last().imbalance;
    let most = match episode.plan.weights {
        Weights::Equal => 1.1,
        // The lightest have nine tunnels at each proxy: one more is a tenth.
        Weights::OneToTen => 1.2,
    };
    assert!(imbalance <= most, "{context}: {imbalance}");
}

/// An upstream that fails fast does not draw the clients, and is left out.
fn deceived(episode: &Episode) {
    if episode.plan.health == Health::Defaults {
        assert_refused_dozen(episode);
        assert_even(episode, 1.2);
    }
}

/// A shortage of the proxies, a request that no upstream survives, or a failure of DNS costs no other
/// client anything.
fn blames_no_upstream(episode: &Episode) {
    let context = context(episode);
    assert_eq!(episode.events.lost, 0, "{context}");
    assert!(
        episode.events.refused.is_empty(),
        "{context}: {:?}",
        episode.events.refused
    );
    assert!(episode.longest_wait() <= PROMPT, "{context}");
    assert_even(episode, 1.2);
}

/// After the clients that were there at first, one at a time hangs, while half-open.
fn black_hole(episode: &Episode) {
    assert_refused_dozen(episode);
    assert_even(episode, 1.2);
}

fn cut_off(episode: &Episode) {
    let context = context(episode);
    let by_probes = probes(FAILS, 1.0 + PROBE_JITTER) + PROBE_TIMEOUT;
    let notice = match episode.plan.health {
        Health::Probes | Health::Defaults => by_probes,
        Health::Clients | Health::Both => by_probes.min(PINGED),
    };
    // A failed probe, or a failed connect.
    let first = match episode.plan.health {
        Health::Probes => PROBE_TIMEOUT,
        _ => CONNECT,
    };
    assert_noticed(episode, first, notice + PROMPT);
    assert_lost_share(episode, 1.0 / episode.plan.upstreams as f64);
    let wait = notice + SPREAD + FIRST_PAUSE + CONNECT + PROMPT;
    assert!(
        episode.longest_wait() <= wait,
        "{context}: {:?}",
        episode.longest_wait()
    );
    assert_even(episode, 1.25);
}

fn killed(episode: &Episode) {
    let context = context(episode);
    let (first, last) = match episode.plan.health {
        Health::Probes => (
            probes(FAILS - 1, 1.0 - PROBE_JITTER),
            probes(FAILS, 1.0 + PROBE_JITTER),
        ),
        // Their tunnels are reset, so the clients need no probe.
        Health::Clients | Health::Both => (Duration::ZERO, Duration::ZERO),
        // The first client that is refused is enough, and it may take a while to come.
        Health::Defaults => (Duration::ZERO, Duration::from_secs(5)),
    };
    assert_noticed(episode, first, last + PROMPT);
    assert_lost_share(episode, 0.25);
    assert_refused_few(episode);
    // A client that is refused once waits twice as long before the next attempt.
    let wait = FIRST_PAUSE * 3 + QUEUE_WAIT + PROMPT;
    assert!(
        episode.longest_wait() <= wait,
        "{context}: {:?}",
        episode.longest_wait()
    );
    if episode.plan.storm == Storm::NoControl {
        let bounded = episode.plan.proxies * 2 * RATE as usize;
        assert!(episode.peak > bounded, "{context}: it is no storm");
    }
    match episode.plan.weights {
        Weights::Equal => assert_even(episode, 1.25),
        Weights::OneToTen => assert_even(episode, 1.2),
    }
}

fn restarted(episode: &Episode) {
    let context = context(episode);
    // Every tunnel once, and some again, whose upstream's turn came later.
    assert_lost_share(episode, 1.0);
    assert_refused_few(episode);
    // In an unlucky case, a second loss before the tunnel was stable makes the next pause longer.
    let wait = FIRST_PAUSE * 2 + QUEUE_WAIT + PROMPT;
    assert!(
        episode.longest_wait() <= wait,
        "{context}: {:?}",
        episode.longest_wait()
    );
    assert_even(episode, 1.2);
}

/// Every tunnel lives on, and gets another upstream as soon as its turn comes, but for a few that lose
/// upstream after upstream: a tunnel is reattached three times a minute at most.
fn reattached(episode: &Episode) {
    let context = context(episode);
    let chased = episode.plan.clients / 100;
    assert!(
        episode.events.lost <= chased,
        "{context}: {}",
        episode.events.lost
    );
    assert!(episode.events.refused.is_empty(), "{context}");
    assert_changed(episode);
    let longest = episode.gaps.iter().max().copied().unwrap_or_default();
    assert!(longest < QUEUE_WAIT, "{context}: {longest:?}");
}

/// Every tunnel is moved, at a steady rate, and hardly notices.
fn moved(episode: &Episode) {
    let context = context(episode);
    assert_eq!(episode.events.lost, 0, "{context}");
    assert!(episode.events.refused.is_empty(), "{context}");
    assert_changed(episode);
    let longest = episode.gaps.iter().max().copied().unwrap_or_default();
    assert!(longest < PROMPT, "{context}: {longest:?}");
    let peak = episode.total.peak as f64;
    assert!(
        peak <= 2.0 * episode.total.mean,
        "{context}: {peak} a second, {} on average",
        episode.total.mean
    );
}

/// About every tunnel got another upstream: new clients come, and some tunnels move twice.
fn assert_changed(episode: &Episode) {
    let (changes, clients) = (episode.gaps.len(), episode.plan.clients);
    assert!(
        changes > clients / 2,
        "{}: {changes} changes",
        context(episode)
    );
}

/// So many failures in a row, at this share of the interval.
fn probes(fails: u32, share: f64) -> Duration {
    (PROBE_INTERVAL * fails).mul_f64(share)
}

/// Each proxy has noticed each upstream that was affected, within these times.
fn assert_noticed(episode: &Episode, first: Duration, last: Duration) {
    let context = context(episode);
    assert!(!episode.noticed.is_empty(), "{context}");
    for noticed in &episode.noticed {
        let noticed = noticed.unwrap_or_else(|| panic!("{context}: not noticed"));
        assert!(
            first <= noticed && noticed <= last,
            "{context}: noticed after {noticed:?}"
        );
    }
}

/// The loss is at most that share of all tunnels, plus the imbalance.
fn assert_lost_share(episode: &Episode, share: f64) {
    let (lost, expected) = (
        episode.events.lost as f64,
        share * episode.plan.clients as f64,
    );
    assert!(lost <= expected * 1.4, "{}: {lost} lost", context(episode));
}

/// Each proxy learns by its own clients, and a dozen of those are enough.
fn assert_refused_dozen(episode: &Episode) {
    let refused = &episode.events.refused_by_proxy;
    assert!(
        refused.values().all(|refused| *refused <= 12),
        "{}: {refused:?} clients by proxy",
        context(episode)
    );
}

/// A handshake that was under way at an upstream when it died is not tried again, and one may
/// find five dead in a row; no more than one in a hundred does. All others are retried, and that
/// within the retry budget.
fn assert_refused_few(episode: &Episode) {
    let refused: usize = episode.events.refused.values().sum();
    assert!(
        refused * 100 <= episode.events.lost,
        "{}: {:?}",
        context(episode),
        episode.events.refused
    );
}

fn assert_even(episode: &Episode, most: f64) {
    let imbalance = episode.last().imbalance;
    if !matches!(episode.scenario, Scenario::Failures | Scenario::Deploy) {
        assert!(imbalance <= most, "{}: {imbalance}", context(episode));
    }
}

fn context(episode: &Episode) -> String {
    let plan = &episode.plan;
    format!(
        "{:?}, {:?}, storm {:?}",
        episode.incident, plan.health, plan.storm
    )
}
