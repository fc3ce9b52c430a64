//! A plan: settings and incidents, from a seed.

use std::time::Duration;

use fastrand::Rng;

/// The upstream that works all the time.
pub(crate) const SOUND: usize = 0;

/// Time of the incidents. After it all upstreams work, and the clients leave.
pub(crate) const INCIDENTS: Duration = Duration::from_secs(90);

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) upstreams: usize,
    /// The clients, by what they do.
    pub(crate) clients: Vec<Habit>,
    pub(crate) reattaches: bool,
    /// Whether the proxy closes a side that breaks the protocol, or lets it pass.
    pub(crate) enforces: bool,
    /// Whether probes judge the upstreams, beside the news of clients.
    pub(crate) probes: bool,
    /// Tunnels that an upstream may have.
    pub(crate) max_tunnels: Option<usize>,
    /// Whether the host's functions panic now and then: observers, policies, and what the handling of a
    /// request calls.
    pub(crate) host_panics: bool,
    /// Whether reads return a few bytes at a time.
    pub(crate) dribbles: bool,
    /// Incidents, in the order of their times.
    pub(crate) incidents: Vec<(Duration, Incident)>,
}

/// What a client does with a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Reads, writes, and closes in order.
    Behaves,
    /// Drops its connection, sometimes inside a message.
    Vanishes,
    /// Stops reading for long.
    Stalls,
    /// Writes much before it reads.
    Floods,
    /// Breaks the protocol.
    Violates,
    /// Sends a request that is none.
    SendsGarbage,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Incident {
    /// An upstream's process is killed: its connections are reset.
    Kill(usize),
    /// An upstream closes its tunnels with 1012 or 1001, and ends.
    Stop(usize, u16),
    Start(usize),
    /// Nothing arrives any more, and no end is seen.
    CutOff(usize),
    /// Its handshakes or tunnels go wrong from now on.
    Fault(usize, Fault),
    /// The proxy has no port left for it.
    ExhaustPorts(usize),
    Drain(usize, Leaving),
    Resume(usize),
    Remove(usize),
    Add(usize),
    ForceUnhealthy(usize),
    Auto(usize),
    DnsFails,
    DnsRecovers,
    /// DNS gives wrong answers for the name of an upstream.
    DnsLies(usize, Lie),
    DnsTellsTheTruth(usize),
    /// An operator closes one of this many tunnels.
    CloseOneOf(u16),
    /// An operator moves the tunnels of an upstream.
    MoveFrom(usize),
    /// The clock jumps, as after a suspended machine.
    Jump(Duration),
}

/// A fault of an upstream that accepts connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Refuses every handshake.
    Refuses,
    /// Gives no response.
    Hangs,
    /// Gives a response that is no HTTP.
    Garbage,
    /// Ends tunnels inside a frame.
    Truncates,
    /// Breaks the protocol in tunnels.
    Violates,
    /// Reads nothing more in tunnels.
    Stalls,
}

/// A wrong answer of DNS.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lie {
    /// The address of another upstream.
    Another(usize),
    /// An address without a machine: its router says so.
    Unreachable,
    /// An address from which nothing comes back.
    BlackHole,
    /// The name does not exist.
    NoAddress,
}

/// Fate of the tunnels of an upstream that is drained.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leaving {
    Stay,
    Close,
    Move,
}

impl Incident {
    /// The upstream that may fail from now on, or seem to.
    pub(crate) fn faulty(self) -> Option<usize> {
        match self {
            Self::Kill(number)
            | Self::Stop(number, _)
            | Self::CutOff(number)
            | Self::Fault(number, _)
            | Self::ExhaustPorts(number)
            | Self::ForceUnhealthy(number)
            | Self::DnsLies(number, _) => Some(number),
            Self::Start(_)
            | Self::Drain(..)
            | Self::Resume(_)
            | Self::Remove(_)
            | Self::Add(_)
            | Self::Auto(_)
            | Self::DnsFails
            | Self::DnsRecovers
            | Self::DnsTellsTheTruth(_)
            | Self::CloseOneOf(_)
            | Self::MoveFrom(_)
            | Self::Jump(_) => None,
        }
    }
}

impl Plan {
    pub(crate) fn from_seed(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let upstreams = rng.usize(2..=4);
        let clients = (0..rng.usize(3..=14)).map(|_| habit(&mut rng)).collect();
        let jumps = rng.u8(0..5) == 0;
        let mut incidents: Vec<_> = (0..rng.usize(2..20))
            .map(|_| {
                let at = INCIDENTS.mul_f64(rng.f64());
                (at, incident(&mut rng, upstreams, jumps))
            })
            .collect();
        incidents.sort_by_key(|(at, _)| *at);
        Self {
            seed,
            upstreams,
            clients,
            reattaches: rng.bool(),
            enforces: rng.bool(),
            probes: rng.bool(),
            max_tunnels: (rng.u8(0..4) == 0).then(|| rng.usize(1..5)),
            host_panics: rng.u8(0..4) == 0,
            dribbles: rng.u8(0..3) == 0,
            incidents,
        }
    }

    /// Longest time from a client's close frame to the end of its connection: the closing handshake. Where
    /// an upstream may read nothing, or a client writes without reading, the frame may stand behind
    /// messages until the write timeout.
    pub(crate) fn close_bound(&self) -> Duration {
        const HANDSHAKE: Duration = Duration::from_secs(40);
        const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
        let mut incidents = self.incidents.iter();
        let may_stall = incidents.any(|(_, incident)| {
            matches!(
                incident,
                Incident::CutOff(_) | Incident::Fault(_, Fault::Stalls)
            )
        });
        match may_stall || self.clients.contains(&Habit::Floods) {
            true => WRITE_TIMEOUT + HANDSHAKE,
            false => HANDSHAKE,
        }
    }

    /// Whether a name of another upstream may lead to the sound one.
    pub(crate) fn has_aliases_of_the_sound(&self) -> bool {
        let mut incidents = self.incidents.iter();
        incidents.any(|(_, incident)| matches!(incident, Incident::DnsLies(_, Lie::Another(SOUND))))
    }

    /// Whether the machine's clock jumps, after which any timer may be late.
    pub(crate) fn jumps(&self) -> bool {
        let mut incidents = self.incidents.iter();
        incidents.any(|(_, incident)| matches!(incident, Incident::Jump(_)))
    }
}

fn habit(rng: &mut Rng) -> Habit {
    match rng.u8(0..10) {
        0 => Habit::Vanishes,
        1 => Habit::Stalls,
        2 => Habit::Floods,
        3 => Habit::Violates,
        4 => Habit::SendsGarbage,
        _ => Habit::Behaves,
    }
}

fn incident(rng: &mut Rng, upstreams: usize, jumps: bool) -> Incident {
    // All but the sound one.
    let faulty = rng.usize(1..upstreams);
    let any = rng.usize(0..upstreams);
    match rng.u8(0..28) {
        0 | 1 => Incident::Kill(faulty),
        2 => Incident::Stop(faulty, 1012),
        3 => Incident::Stop(faulty, 1001),
        4..=7 => Incident::Start(faulty),
        8 => Incident::CutOff(faulty),
        9..=12 => Incident::Fault(faulty, fault(rng)),
        13 => Incident::ExhaustPorts(faulty),
        14 => Incident::Drain(any, leaving(rng)),
        15 => Incident::Resume(any),
        16 => Incident::Remove(faulty),
        17 => Incident::Add(faulty),
        18 => Incident::ForceUnhealthy(faulty),
        19 => Incident::Auto(faulty),
        20 => Incident::DnsFails,
        21 => Incident::DnsRecovers,
        22..=24 => Incident::DnsLies(faulty, lie(rng, upstreams)),
        25 => Incident::DnsTellsTheTruth(faulty),
        26 => match rng.bool() {
            true => Incident::CloseOneOf(rng.u16(1..10)),
            false => Incident::MoveFrom(any),
        },
        _ if jumps => Incident::Jump(Duration::from_secs(rng.u64(1..600))),
        _ => Incident::Resume(any),
    }
}

fn fault(rng: &mut Rng) -> Fault {
    const FAULTS: [Fault; 6] = [
        Fault::Refuses,
        Fault::Hangs,
        Fault::Garbage,
        Fault::Truncates,
        Fault::Violates,
        Fault::Stalls,
    ];
    FAULTS[rng.usize(0..FAULTS.len())]
}

fn lie(rng: &mut Rng, upstreams: usize) -> Lie {
    match rng.u8(0..5) {
        0 | 1 => Lie::Another(rng.usize(0..upstreams)),
        2 => Lie::Unreachable,
        3 => Lie::BlackHole,
        _ => Lie::NoAddress,
    }
}

fn leaving(rng: &mut Rng) -> Leaving {
    match rng.u8(0..3) {
        0 => Leaving::Stay,
        1 => Leaving::Close,
        _ => Leaving::Move,
    }
}
