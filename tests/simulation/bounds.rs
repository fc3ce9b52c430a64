//! What must hold, whatever the seed.
//!
//! Bounds on times and peaks follow from the settings. Those on imbalance, on refusals and on the
//! tunnels that a restart costs are what was measured, and some room.

use std::time::Duration;

use super::{
    client::FIRST_PAUSE,
    proxy::{
        FAILS, Health, PROBE_INTERVAL, PROBE_JITTER, PROBE_TIMEOUT, QUEUE_WAIT, RATE, SPREAD, Storm,
    },
    scenario::{Episode, Scenario, What},
};

/// Round trips and the upstream's work, where nothing stands in line.
const PROMPT: Duration = Duration::from_secs(1);

/// How long a connect may take; the layer's default.
const CONNECT: Duration = Duration::from_secs(3);

/// Longest without a word from a leg that is pinged by default: 20 s + 10 %, and 10 s for the pong.
const PINGED: Duration = Duration::from_secs(32);

pub(crate) fn check(episode: &Episode) {
    always(episode);
    match episode.what {
        What::Nothing => steady(episode),
        What::CutOff => cut_off(episode),
        What::Killed => killed(episode),
        What::Restarted => restarted(episode),
    }
}

fn always(episode: &Episode) {
    let what = what(episode);
    let Episode { events, plan, .. } = episode;
    assert_eq!(events.strange, [""; 0], "{what}");
    assert_eq!(events.needless, 0, "{what}: tunnels lost without need");
    assert_eq!(episode.blamed, [""; 0], "{what}: called unhealthy");
    assert!(events.echoes > 0, "{what}");
    if plan.health.has_probes() {
        assert_eq!(episode.left_out, 0, "{what}: still not used");
    }
    // All but those who are just shaking hands.
    let unserved = episode.last().unserved;
    assert!(
        unserved <= plan.clients / 200,
        "{what}: {unserved} unserved"
    );
    if plan.storm == Storm::Control {
        // A proxy allows a second's worth at once, and then as many in a second.
        let allowed = plan.proxies * 2 * RATE as usize;
        assert!(episode.peak <= allowed, "{what}: {} at once", episode.peak);
    }
}

fn steady(episode: &Episode) {
    let what = what(episode);
    assert_eq!(episode.events.lost, 0, "{what}");
    assert!(episode.events.refused.is_empty(), "{what}");
    assert!(episode.longest_wait() <= PROMPT, "{what}");
    let imbalance = episode.last().imbalance;
    assert!(imbalance <= 1.1, "{what}: {imbalance}");
}

fn cut_off(episode: &Episode) {
    let what = what(episode);
    let by_probes = probes(FAILS, 1.0 + PROBE_JITTER) + PROBE_TIMEOUT;
    let notice = match episode.plan.health {
        Health::Probes => by_probes,
        Health::Clients | Health::Both => by_probes.min(PINGED),
    };
    assert_noticed(episode, Duration::from_secs(5), notice + PROMPT);
    assert_lost_share(episode, 1.0 / episode.plan.upstreams as f64);
    let wait = notice + SPREAD + FIRST_PAUSE + CONNECT + PROMPT;
    assert!(
        episode.longest_wait() <= wait,
        "{what}: {:?}",
        episode.longest_wait()
    );
    assert_even(episode, 1.25);
}

fn killed(episode: &Episode) {
    let what = what(episode);
    let (first, last) = match episode.plan.health {
        Health::Probes => (
            probes(FAILS - 1, 1.0 - PROBE_JITTER),
            probes(FAILS, 1.0 + PROBE_JITTER),
        ),
        // Their tunnels are reset, which says it all.
        Health::Clients | Health::Both => (Duration::ZERO, Duration::ZERO),
    };
    assert_noticed(episode, first, last + PROMPT);
    assert_lost_share(episode, 0.25);
    assert_refused_few(episode);
    // Who is refused once waits twice as long before the next attempt.
    let wait = FIRST_PAUSE * 3 + QUEUE_WAIT + PROMPT;
    assert!(
        episode.longest_wait() <= wait,
        "{what}: {:?}",
        episode.longest_wait()
    );
    if episode.plan.storm == Storm::NoControl {
        let bounded = episode.plan.proxies * 2 * RATE as usize;
        assert!(episode.peak > bounded, "{what}: it is no storm");
    }
    assert_even(episode, 1.25);
}

fn restarted(episode: &Episode) {
    let what = what(episode);
    // Every tunnel once, and some again, whose upstream's turn came later.
    assert_lost_share(episode, 1.0);
    assert_refused_few(episode);
    // In an unlucky case, a second loss before the tunnel was stable makes the next pause longer.
    let wait = FIRST_PAUSE * 2 + QUEUE_WAIT + PROMPT;
    assert!(
        episode.longest_wait() <= wait,
        "{what}: {:?}",
        episode.longest_wait()
    );
    assert_even(episode, 1.35);
}

/// So many failures in a row, at this share of the interval.
fn probes(fails: u32, share: f64) -> Duration {
    (PROBE_INTERVAL * fails).mul_f64(share)
}

/// Each proxy has noticed each upstream that was struck, within these times.
fn assert_noticed(episode: &Episode, first: Duration, last: Duration) {
    let what = what(episode);
    assert!(!episode.noticed.is_empty(), "{what}");
    for noticed in &episode.noticed {
        let noticed = noticed.unwrap_or_else(|| panic!("{what}: not noticed"));
        assert!(
            first <= noticed && noticed <= last,
            "{what}: noticed after {noticed:?}"
        );
    }
}

/// No more are lost than that share of all, and what the imbalance adds to it.
fn assert_lost_share(episode: &Episode, share: f64) {
    let (lost, expected) = (
        episode.events.lost as f64,
        share * episode.plan.clients as f64,
    );
    assert!(lost <= expected * 1.4, "{}: {lost} lost", what(episode));
}

/// A handshake that was under way at an upstream when it died is not tried again, and one may
/// find five dead in a row; no more than one in a hundred does. All others are retried, and that
/// within the retry budget.
fn assert_refused_few(episode: &Episode) {
    let refused: usize = episode.events.refused.values().sum();
    assert!(
        refused * 100 <= episode.events.lost,
        "{}: {:?}",
        what(episode),
        episode.events.refused
    );
}

fn assert_even(episode: &Episode, most: f64) {
    let imbalance = episode.last().imbalance;
    if episode.course != Scenario::Failures {
        assert!(imbalance <= most, "{}: {imbalance}", what(episode));
    }
}

fn what(episode: &Episode) -> String {
    let plan = &episode.plan;
    format!(
        "{:?}, {:?}, storm {:?}",
        episode.what, plan.health, plan.storm
    )
}
