//! The tables of `ARCHITECTURE.md`, row by row and for every state; then the bounds.

use std::{io::ErrorKind::ConnectionReset, time::Duration};

use tokio::time::Instant;

use crate::{
    error::Side,
    tunnel::{
        pair::{LegId, Pair},
        report::{Timer, TunnelEnd},
    },
};

use super::{
    bounds::Bound,
    state::{LegState, Said},
    step::{Phase, Step, step},
    *,
};

const SAID: [(Said, &str); 6] = [
    (Said::Nothing, "nothing"),
    (Said::Close, "close"),
    (Said::Left, "left"),
    (Said::End, "end"),
    (Said::Truncated, "truncated"),
    (Said::Failed, "failed"),
];

const EVENTS: [(LegEvent, &str); 7] = [
    (LegEvent::CloseRead, "close read"),
    (LegEvent::EndRead, "end read"),
    (LegEvent::TruncationRead, "truncation read"),
    (LegEvent::ReadFailed, "read failed"),
    (LegEvent::CloseHanded, "close handed"),
    (LegEvent::WasShut, "was shut"),
    (LegEvent::WriteFailed, "write failed"),
];

fn given(at: Instant) -> [(Given, &'static str); 7] {
    [
        (Given::Open, "open"),
        (Given::Relayed(at), "relayed"),
        (Given::CloseQueued(at), "close queued"),
        (Given::CloseWritten(at), "close written"),
        (Given::ShutQueued(at), "shut queued"),
        (Given::Shut(at), "shut"),
        (Given::Gone(at), "gone"),
    ]
}

fn said_name(said: Said) -> &'static str {
    SAID.iter().find(|(it, _)| *it == said).unwrap().1
}

fn given_name(state: Given) -> &'static str {
    let same = |it: Given| std::mem::discriminant(&it) == std::mem::discriminant(&state);
    let names = given(Instant::now());
    names.iter().find(|(it, _)| same(*it)).unwrap().1
}

/// The cells of a table's rows, without its head.
fn table(name: &str) -> Vec<Vec<&'static str>> {
    let map = include_str!("../../../ARCHITECTURE.md");
    let (_, table) = map
        .split_once(&format!("<!-- table: {name} -->\n"))
        .expect("the table");
    let lines = table.lines().take_while(|line| line.starts_with('|'));
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect();
    lines.skip(2).map(cells).collect()
}

/// Whether a cell, which may list several values or none, fits this one.
fn fits(cell: &str, value: &str) -> bool {
    cell == "any" || cell.split(", ").any(|one| one == value)
}

/// Every state of a leg.
fn states(at: Instant) -> impl Iterator<Item = LegState> {
    let state = move |(said, _)| given(at).map(|(given, _)| LegState { said, given });
    SAID.into_iter().flat_map(state)
}

fn step_name(step: Step) -> &'static str {
    match step {
        Step::Stay(Bound::None) => "stay",
        Step::Stay(Bound::HalfClose) => "stay: half close",
        Step::Stay(Bound::Handshake) => "stay: handshake",
        Step::Stay(Bound::BothClosed) => "stay: both closed",
        Step::Stay(Bound::Queue) => "stay: queue",
        Step::Stay(Bound::Answer) => "stay: answer",
        Step::Shut => "shut",
        Step::Lost => "lost",
        Step::Over => "over",
    }
}

#[test]
fn every_pair_of_states_takes_the_step_of_its_row() {
    let rows = table("steps");
    let mut used = vec![false; rows.len()];
    let at = Instant::now();
    let phases = [(Phase::Theirs, "endpoints"), (Phase::Ours, "proxy")];
    let legs = [(LegId::Client, "client"), (LegId::Upstream, "upstream")];
    for (phase, who) in phases {
        for (leg, leg_name) in legs {
            for this in states(at) {
                for other in states(at) {
                    let values = [
                        who,
                        leg_name,
                        said_name(this.said),
                        given_name(this.given),
                        said_name(other.said),
                        given_name(other.given),
                    ];
                    let fits_all =
                        |row: &Vec<&str>| row.iter().zip(values).all(|(cell, it)| fits(cell, it));
                    let row = rows
                        .iter()
                        .position(fits_all)
                        .expect("a row for every state");
                    used[row] = true;
                    let taken = step_name(step(leg, this, other, phase));
                    assert_eq!(taken, rows[row][6], "{values:?}");
                }
            }
        }
    }
    assert!(
        used.iter().all(|used| *used),
        "a row that never counts: {used:?}"
    );
}

#[test]
fn every_event_changes_every_state_as_its_row_says() {
    let rows = table("events");
    let (before, now) = (Instant::now(), Instant::now() + Duration::from_secs(1));
    let mut used = vec![false; rows.len()];
    for (event, name) in EVENTS {
        for state in states(before) {
            let values = [name, said_name(state.said), given_name(state.given)];
            let fits_all =
                |row: &Vec<&str>| row.iter().zip(values).all(|(cell, it)| fits(cell, it));
            let after = state.after(event, now);
            let Some(row) = rows.iter().position(fits_all) else {
                assert_eq!(after, state, "{values:?}");
                continue;
            };
            used[row] = true;
            let expected = |cell: &'static str, same| if cell == "same" { same } else { cell };
            assert_eq!(
                said_name(after.said),
                expected(rows[row][3], values[1]),
                "{values:?}"
            );
            assert_eq!(
                given_name(after.given),
                expected(rows[row][4], values[2]),
                "{values:?}"
            );
            let is_since = if after.given == state.given {
                before
            } else {
                now
            };
            assert!(
                after.given.at().is_none_or(|at| at == is_since),
                "{values:?}"
            );
        }
    }
    assert!(
        used.iter().all(|used| *used),
        "a row that never counts: {used:?}"
    );
}

#[test]
fn every_state_is_asked_to_end_as_its_row_says() {
    let rows = table("asks");
    let now = Instant::now();
    let columns = [
        (Ask::Close, Reach::Frame),
        (Ask::Close, Reach::End),
        (Ask::Close, Reach::Nothing),
        (Ask::Shut, Reach::Frame),
        (Ask::Abort, Reach::Frame),
    ];
    for state in states(now) {
        let row = rows
            .iter()
            .find(|row| row[0] == given_name(state.given))
            .expect("a row");
        for (cell, (ask, reach)) in row[1..].iter().zip(columns) {
            let after = state.asked(ask, reach, now);
            assert_eq!(
                given_name(after.given),
                *cell,
                "{state:?} {ask:?} {reach:?}"
            );
            assert_eq!(after.said, state.said);
        }
    }
    assert_eq!(rows.len(), given(now).len());
}

#[test]
fn an_end_that_waits_when_the_proxy_decides_has_its_whole_time_from_then() {
    let before = Instant::now();
    let now = before + secs(70);
    for (given, expected) in [
        (Given::ShutQueued(before), Given::ShutQueued(now)),
        (Given::Shut(before), Given::Shut(now)),
    ] {
        let said = Said::Nothing;
        let after = LegState { said, given }.asked(Ask::Close, Reach::Frame, now);
        assert_eq!(after.given, expected);
    }
}

/// Whatever happens to a tunnel that ends, it never waits without a bound: in every state that
/// the proxy has brought a leg into, the leg is over, is shut, or has a deadline.
#[test]
fn no_leg_that_the_proxy_ends_waits_without_a_bound() {
    let now = Instant::now();
    for this in states(now) {
        if let Step::Stay(bound) = step(LegId::Client, this, LegState::default(), Phase::Ours) {
            let legs = (this, LegState::default());
            let mut bounds = bounds();
            for (write, until) in [
                (None, None),
                (bounds.write, None),
                (bounds.write, Some(FAR)),
            ] {
                bounds.write = write;
                let until = until.map(|until| now + until);
                let mut known = facts(now);
                known.last_sent = now + FAR * 2;
                let deadline = bounds.deadline(bound, legs, &known, until);
                assert!(deadline.is_some_and(|it| it <= now + FAR), "{this:?}");
            }
        }
    }
}

fn bounds() -> Bounds {
    Bounds {
        close: Duration::from_secs(5),
        handshake: Duration::from_secs(30),
        half_close: Some(Duration::from_secs(10)),
        write: Some(Duration::from_secs(60)),
        burdened: Duration::from_secs(60),
    }
}

fn facts(at: Instant) -> Facts {
    Facts {
        last_received: at,
        last_sent: at,
        stalled_since: None,
        is_burdened: false,
        is_unread: false,
        readable_since: None,
    }
}

/// Longer than any other time of these tests.
const FAR: Duration = Duration::from_secs(24 * 3600);

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn deadline(bound: Bound, this: Given, other: Given, facts: &Facts) -> Option<Instant> {
    let state = |given| LegState {
        said: Said::Nothing,
        given,
    };
    bounds().deadline(bound, (state(this), state(other)), facts, None)
}

#[test]
fn each_bound_runs_from_its_own_moment() {
    let now = Instant::now();
    let at = now + secs(100);
    let mut known = facts(now);
    for (bound, this, time) in [
        (Bound::Answer, Given::CloseWritten(at), 5),
        (Bound::Answer, Given::Shut(at), 5),
        (Bound::Handshake, Given::Relayed(at), 30),
        (Bound::HalfClose, Given::Shut(at), 10),
        (Bound::Queue, Given::CloseQueued(at), 60),
    ] {
        assert_eq!(
            deadline(bound, this, Given::Open, &known),
            Some(at + secs(time)),
            "{bound:?}"
        );
    }
    let talks = Facts {
        last_received: at + secs(9),
        ..known
    };
    let queued = Given::CloseQueued(at);
    let answer = deadline(Bound::Answer, Given::CloseWritten(at), queued, &talks);
    assert_eq!(answer, Some(at + secs(14)), "behind the end of its frame");
    let later = Given::Relayed(at + secs(3));
    let both = deadline(Bound::BothClosed, Given::Relayed(at), later, &known);
    assert_eq!(both, Some(at + secs(8)), "the second one");
    known.last_received = at + secs(7);
    let half = deadline(Bound::HalfClose, Given::Shut(at), Given::Open, &known);
    assert_eq!(half, Some(at + secs(17)), "re-armed by bytes");
}

#[test]
fn a_leg_that_was_not_read_has_its_whole_time_once_it_is() {
    let at = Instant::now();
    let mut known = facts(at);
    known.readable_since = Some(at + secs(40));
    for (bound, time) in [
        (Bound::Answer, 45),
        (Bound::HalfClose, 50),
        (Bound::Handshake, 70),
    ] {
        let whole = deadline(bound, Given::Relayed(at), Given::Open, &known);
        assert_eq!(whole, Some(at + secs(time)), "{bound:?} once it is read");
    }
    known.is_unread = true;
    for bound in [Bound::Handshake, Bound::HalfClose, Bound::Answer] {
        assert_eq!(
            deadline(bound, Given::Relayed(at), Given::Open, &known),
            None
        );
    }
}

#[test]
fn a_burdened_leg_has_the_write_timeout_to_answer_but_no_longer_than_a_drain() {
    let at = Instant::now();
    let mut known = facts(at);
    known.is_burdened = true;
    let handshake = deadline(Bound::Handshake, Given::Relayed(at), Given::Open, &known);
    assert_eq!(handshake, Some(at + secs(60)), "much to read first");
    let answer = deadline(Bound::Answer, Given::CloseWritten(at), Given::Open, &known);
    assert_eq!(answer, Some(at + secs(60)), "much to read first");
    let written = LegState {
        said: Said::Nothing,
        given: Given::CloseWritten(at),
    };
    let legs = (written, LegState::default());
    let drained = bounds().deadline(Bound::Answer, legs, &known, Some(at + secs(20)));
    assert_eq!(drained, Some(at + secs(20)), "at the deadline of the drain");
}

#[test]
fn what_waits_for_its_place_has_the_write_timeout_and_in_a_drain_as_long_as_it_moves() {
    let at = Instant::now();
    let queued = LegState {
        said: Said::Nothing,
        given: Given::CloseQueued(at),
    };
    let of = |facts: &Facts, until: Option<Duration>| {
        let until = until.map(|until| at + until);
        bounds().deadline(Bound::Queue, (queued, LegState::default()), facts, until)
    };
    let mut known = facts(at);
    known.last_sent = at + secs(50);
    assert_eq!(of(&known, None), Some(at + secs(60)));
    assert_eq!(of(&known, Some(FAR)), Some(at + secs(110)));
    assert_eq!(of(&known, Some(secs(90))), Some(at + secs(90)));
    known.stalled_since = Some(at + secs(20));
    assert_eq!(of(&known, None), Some(at + secs(60)));
    assert_eq!(of(&known, Some(FAR)), Some(at + secs(110)));
    known.stalled_since = Some(at + secs(55));
    assert_eq!(
        of(&known, Some(FAR)),
        Some(at + secs(115)),
        "it took some, and then no more"
    );
}

#[test]
fn a_close_without_a_deadline_is_not_put_off_by_bytes_that_trickle() {
    let now = Instant::now();
    for (until, expected) in [(None, 60), (Some(now + secs(90)), 90)] {
        let mut end = End::default();
        assert!(end.decide(&TunnelEnd::Drained, Side::Proxy, until));
        for leg in LegId::BOTH {
            end.ask(leg, Ask::Close, Reach::Frame, now);
        }
        let mut known = Pair::new(|_| facts(now));
        for leg in LegId::BOTH {
            known[leg].last_sent = now + secs(50);
        }
        assert_eq!(
            end.deadline(&bounds(), |leg| known[leg]),
            Some(now + secs(expected))
        );
    }
}

#[test]
fn without_a_write_timeout_a_queued_end_has_no_less_time_than_with_one() {
    let now = Instant::now();
    for given in [Given::CloseQueued(now), Given::ShutQueued(now)] {
        let legs = (
            LegState {
                said: Said::Nothing,
                given,
            },
            LegState::default(),
        );
        let unbounded = Bounds {
            write: None,
            ..bounds()
        };
        let with = bounds().deadline(Bound::Queue, legs, &facts(now), None);
        let without = unbounded.deadline(Bound::Queue, legs, &facts(now), None);
        assert_eq!((with, without), (Some(now + secs(60)), with));
    }
}

/// Returns everything that the machine orders at this moment.
fn orders(end: &mut End, now: Instant) -> Vec<Order> {
    let known = Pair::new(|_| facts(now));
    std::iter::from_fn(|| end.next(&bounds(), |leg| known[leg], now))
        .take(9)
        .collect()
}

#[test]
fn the_side_that_closed_first_began_the_end_whatever_comes_after_it() {
    let now = Instant::now();
    for leg in LegId::BOTH {
        let other = leg.other();
        let mut end = End::default();
        end.on_event(leg, LegEvent::CloseRead, now);
        end.on_event(other, LegEvent::CloseHanded, now);
        assert_eq!(end.outcome(), (TunnelEnd::Closed, leg.into()));
        end.on_failure(other, LegEvent::ReadFailed, ConnectionReset, now);
        let broken = TunnelEnd::Broken(other.into(), ConnectionReset);
        assert!(orders(&mut end, now).contains(&Order::Decide(broken.clone())));
        assert!(end.decide(&broken, other.into(), None));
        assert!(!end.decide(&TunnelEnd::Drained, Side::Proxy, None), "once");
        assert_eq!(end.outcome(), (broken, leg.into()));
    }
}

#[test]
fn a_leg_that_broke_and_had_closed_before_has_closed() {
    let now = Instant::now();
    for leg in LegId::BOTH {
        let mut end = End::default();
        end.on_failure(leg, LegEvent::WriteFailed, ConnectionReset, now);
        assert_eq!(end.outcome().1, Side::from(leg));
        end.on_event(leg, LegEvent::CloseRead, now);
        assert_eq!(end.outcome(), (TunnelEnd::Closed, leg.into()));
    }
}

#[test]
fn an_answer_that_does_not_come_is_an_abort_and_remembered() {
    let now = Instant::now();
    let mut end = End::default();
    assert!(end.decide(&TunnelEnd::Drained, Side::Proxy, None));
    for leg in LegId::BOTH {
        let given = end.ask(leg, Ask::Close, Reach::Frame, now);
        assert_eq!(given, Given::CloseQueued(now));
        end.on_event(leg, LegEvent::CloseHanded, now);
    }
    end.on_event(LegId::Client, LegEvent::CloseRead, now);
    assert_eq!(
        orders(&mut end, now + secs(4)),
        [Order::Shut(LegId::Client)]
    );
    end.on_event(LegId::Client, LegEvent::WasShut, now + secs(4));
    assert!(!end.is_over());
    assert_eq!(
        orders(&mut end, now + secs(5)),
        [Order::Abort(LegId::Upstream)]
    );
    assert!(end.is_over());
    assert_eq!(end.unanswered(), Some(LegId::Upstream));
    assert_eq!(end.outcome(), (TunnelEnd::Drained, Side::Proxy));
}

#[test]
fn a_close_that_is_not_answered_ends_the_tunnel() {
    let now = Instant::now();
    for silent in LegId::BOTH {
        let mut end = End::default();
        end.on_event(silent.other(), LegEvent::CloseRead, now);
        end.on_event(silent, LegEvent::CloseHanded, now);
        assert_eq!(orders(&mut end, now + secs(29)), []);
        let order = end.next(&bounds(), |_| facts(now), now + secs(30));
        let timeout = TunnelEnd::Timeout(Timer::CloseHandshake, silent.into());
        assert_eq!(order, Some(Order::Decide(timeout)));
    }
}

#[test]
fn a_side_that_is_silent_after_the_others_end_is_given_up_and_blamed_only_if_the_client_ended() {
    let now = Instant::now();
    let blamed = TunnelEnd::Timeout(Timer::HalfClose, Side::Upstream);
    let truncated = TunnelEnd::TruncatedFrame(Side::Upstream);
    for (ended, event, reason) in [
        (LegId::Client, LegEvent::EndRead, blamed.clone()),
        (LegId::Client, LegEvent::TruncationRead, blamed),
        (LegId::Upstream, LegEvent::TruncationRead, truncated),
    ] {
        let silent = ended.other();
        let mut end = End::default();
        assert!(!end.has_begun());
        end.on_event(ended, event, now);
        assert!(end.has_begun() && !end.is_decided());
        assert_eq!(orders(&mut end, now), [Order::Shut(silent)]);
        end.on_event(silent, LegEvent::WasShut, now);
        assert_eq!(orders(&mut end, now + secs(9)), []);
        let order = end.next(&bounds(), |_| facts(now), now + secs(10));
        let given_up = Order::GiveUp {
            silent,
            end: reason.clone(),
        };
        assert_eq!(order, Some(given_up));
        assert!(end.decide(&reason, Side::Proxy, None) && end.is_decided());
    }
}
