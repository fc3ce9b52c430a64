//! The table of the documentation.

use std::{fmt::Write, time::Duration};

use super::{
    board::Events,
    episode::Episode,
    fleet::Reattachment,
    proxy::{Health, Storm},
    scenario::{Incident, Scenario},
};

/// Upstreams count as even when the fullest has at most this much of the mean.
pub(crate) const EVEN: f64 = 1.2;

const HEAD: &str = "\
| what happens | health by | storm control | noticed after, first to last | tunnels lost | needlessly \
| refused | not served, at most | longest wait | peak handshakes/s | imbalance at the end | even after |
|---|---|---|---|---|---|---|---|---|---|---|---|
";

/// The table, in the order of the incidents, and then of the fleets.
pub(crate) fn table(fleets: &[Vec<Episode>]) -> String {
    let mut episodes: Vec<_> = fleets.iter().flatten().collect();
    episodes.sort_by_key(|episode| episode.incident);
    let mut table = HEAD.to_owned();
    for episode in episodes {
        row(&mut table, episode);
    }
    table
}

const RESTARTS_HEAD: &str = "\
| tunnels of the restarting upstream | storm control | sockets lost | changes of the upstream | refused \
| without an upstream, median | 99 % | longest | peak handshakes/s of all | mean | ratio |
|---|---|---|---|---|---|---|---|---|---|---|
";

/// The table of rolling restarts; empty if there were none.
pub(crate) fn restarts(fleets: &[Vec<Episode>]) -> String {
    let episodes = fleets.iter().flatten();
    let restarts = episodes.filter(|episode| episode.incident == Incident::Restarted);
    let rows: String = restarts.map(restart_row).collect();
    match rows.is_empty() {
        true => rows,
        false => RESTARTS_HEAD.to_owned() + &rows,
    }
}

fn restart_row(episode: &Episode) -> String {
    let (events, total) = (&episode.events, episode.total);
    let times = episode.times_without();
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied();
    let cells = [
        match episode.plan.reattachment {
            Reattachment::Off => "end",
            Reattachment::OnLoss => "reattached after 1012",
            Reattachment::Moves => "moved before",
        }
        .to_owned(),
        storm(episode.plan.storm).to_owned(),
        events.lost.to_string(),
        episode.gaps.len().to_string(),
        events.refused.values().sum::<usize>().to_string(),
        millis(at(0.5)),
        millis(at(0.99)),
        millis(times.last().copied()),
        total.peak.to_string(),
        format!("{:.1}", total.mean),
        format!("{:.1}", total.peak as f64 / total.mean),
    ];
    format!("| {} |\n", cells.join(" | "))
}

fn millis(time: Option<Duration>) -> String {
    time.map_or("-".into(), |time| format!("{:.3} s", time.as_secs_f64()))
}

fn row(table: &mut String, episode: &Episode) {
    let events = &episode.events;
    let cells = [
        match episode.scenario {
            Scenario::Shares => format!("{}, weights 1 to 10", incident(episode.incident)),
            _ => incident(episode.incident).to_owned(),
        },
        health(episode.plan.health).to_owned(),
        storm(episode.plan.storm).to_owned(),
        noticed(episode),
        events.lost.to_string(),
        events.needless.to_string(),
        refused(events),
        episode.most_unserved().to_string(),
        seconds(episode.longest_wait()),
        episode.peak.to_string(),
        imbalance(episode),
        even_after(episode),
    ];
    writeln!(table, "| {} |", cells.join(" | ")).expect("a string takes it");
}

/// Handshakes that were refused, and the most at one proxy.
fn refused(events: &Events) -> String {
    let all: usize = events.refused.values().sum();
    match events.refused_by_proxy.values().max() {
        Some(most) if all > *most => format!("{all}, {most} at one proxy"),
        _ => all.to_string(),
    }
}

const fn incident(incident: Incident) -> &'static str {
    match incident {
        Incident::Nothing => "nothing",
        Incident::CutOff => "one cut off",
        Incident::Killed => "a quarter killed",
        Incident::Restarted => "all restarted",
        Incident::Deceives => "one passes probes, answers 502",
        Incident::NoPorts => "no ports left for one",
        Incident::PoisonByOne => "a poison path, one client",
        Incident::PoisonByMany => "a poison path, 50 clients",
        Incident::BlackHole => "one is a black hole",
        Incident::DnsOutage => "DNS fails",
    }
}

const fn health(health: Health) -> &'static str {
    match health {
        Health::Probes => "probes",
        Health::Defaults => "the defaults",
        Health::Clients => "clients",
        Health::Both => "both",
    }
}

const fn storm(storm: Storm) -> &'static str {
    match storm {
        Storm::Control => "yes",
        Storm::NoControl => "no",
    }
}

fn noticed(episode: &Episode) -> String {
    let times = || episode.noticed.iter().flatten();
    let (Some(first), Some(last)) = (times().min(), times().max()) else {
        return "-".into();
    };
    let range = format!("{} to {}", seconds(*first), seconds(*last));
    match episode
        .noticed
        .iter()
        .filter(|noticed| noticed.is_none())
        .count()
    {
        0 => range,
        missed => format!("{range}, {missed} of {} not", episode.noticed.len()),
    }
}

fn imbalance(episode: &Episode) -> String {
    match episode.scenario {
        Scenario::Failures | Scenario::Deploy => "-".into(),
        _ => format!("{:.2}", episode.last().imbalance),
    }
}

fn even_after(episode: &Episode) -> String {
    match (episode.scenario, episode.even_after(EVEN)) {
        (Scenario::Failures | Scenario::Deploy, _) => "-".into(),
        (_, Some(seconds)) => format!("{seconds} s"),
        (_, None) => "later".into(),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
