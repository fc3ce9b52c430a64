//! The clients of a case, the proxy, its drains, and the steps done to them.

use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};
use wsplice::{
    Drain, Pool, ProxyLayer, Registry,
    frame::{CloseCode, CloseFrame},
    pool::{OnUpstreamLoss, RetryBudget},
    proxy::{Proxy, UpgradeRequired},
    tunnel::{Drained, Side},
};

use crate::support::{clock::ms, pipe::connection};

use super::{
    network::{Network, UPSTREAMS},
    party::Party,
    plan::{Answers, At, Behavior, End, Plan, Settings, Step},
    record::{Event, Record},
};

/// The code of the closes that an operator requests.
pub(super) const REQUESTED: u16 = 3997;

/// The time in which parties answer that always do.
const ANSWER_TIME: Duration = ms(500);

/// The time after which their pings are answered.
const SETTLING_TIME: Duration = ms(3000);

/// Everything of one case.
pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) network: Network,
    pub(super) record: Record,
    pub(super) pool: Pool,
    pub(super) registry: Registry,
    proxy: Proxy<UpgradeRequired>,
    drain: Drain,
    pub(super) drains: Vec<RunningDrain>,
    pub(super) clients: Vec<Client>,
}

/// A client, and the orders about its tunnel.
pub(super) struct Client {
    pub(super) party: Party,
    /// Whether it got a 101.
    pub(super) is_open: bool,
    /// When something was last done to it or to its upstreams.
    pub(super) touched: Instant,
    /// When a command came that ends the tunnel.
    pub(super) commanded: Option<Instant>,
    /// The number of orders to move that the tunnel may have got.
    pub(super) orders: usize,
}

/// A drain that was started.
pub(super) struct RunningDrain {
    pub(super) began: Instant,
    pub(super) deadline: Duration,
    /// How it went, and how many tunnels ended meanwhile.
    pub(super) task: JoinHandle<(Drained, usize)>,
}

impl World {
    pub(super) fn new(plan: &Plan) -> Self {
        let network = Network::new();
        let record = Record::new(&network);
        let pool = Pool::new(UPSTREAMS.map(|name| format!("ws://{name}"))).expect("addresses");
        let budget = RetryBudget::new().per_second(1000);
        let pool = pool.retry_budget(budget).build();
        let layer = ProxyLayer::new(pool.clone())
            .connector(network.clone())
            .tunnel(plan.settings.config())
            .reattach(plan.settings.reattach())
            .observer(record.clone());
        Self {
            settings: plan.settings.clone(),
            network,
            record,
            pool,
            registry: layer.registry(),
            drain: layer.drain(),
            proxy: layer.into_service(),
            drains: Vec::new(),
            clients: Vec::new(),
        }
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.record.lock().clone()
    }

    /// Does a step; those that wait let the tunnels run.
    pub(super) async fn step(&mut self, step: &Step) {
        match step {
            Step::Open => self.open().await,
            Step::Wait(time) => self.wait(*time).await,
            Step::Send(at, piece, kept) => self.at(*at, |party| party.send(*piece, *kept)),
            Step::Flush(at) => self.at(*at, |party| party.flush(0)),
            Step::Answer(at) => self.at(*at, Party::answer),
            Step::Lose(at, loss) => self.at(*at, |party| party.lose(*loss)),
            Step::Room(at, room) => self.at(*at, |party| {
                party.took_all &= *room == usize::MAX;
                party.far.set_room(*room);
            }),
            Step::HoldFlushes(at) => self.at(*at, |party| {
                party.took_all = false;
                party.far.hold_flushes();
            }),
            Step::Behave(behavior) => self.network.lock().behavior = *behavior,
            Step::Respond(behavior) => {
                self.network.lock().respond(*behavior);
                self.touch_all();
            }
            Step::DrainUpstream(number, spread) => self.drain_upstream(*number, *spread),
            Step::ResumeUpstream(number) => {
                self.pool.resume(UPSTREAMS[*number]);
            }
            Step::Move(spread) => {
                self.order_all();
                self.registry.move_where(|_| true, *spread);
            }
            Step::Close(client) => self.close(*client),
            Step::Drain { spread, deadline } => self.start_drain(*spread, *deadline),
            Step::Resume => self.drain.resume(),
        }
    }

    fn at(&mut self, at: At, act: impl FnOnce(&mut Party)) {
        let client = self.clients.get_mut(at.client);
        let Some(client) = client.filter(|client| client.is_open) else {
            return;
        };
        client.touched = Instant::now();
        let back = match at.end {
            End::Client => return act(&mut client.party),
            End::Upstream => 0,
            End::UpstreamBefore => 1,
        };
        let mut connections = self.network.lock();
        let number = connections.accepted(at.client).into_iter().nth_back(back);
        if let Some(leg) = number.and_then(|number| connections.legs.get_mut(number)) {
            act(&mut leg.party);
        }
    }

    async fn wait(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while self.settings.answers == Answers::Always && Instant::now() + ANSWER_TIME < until {
            sleep(ANSWER_TIME).await;
            for client in self.clients.iter_mut().filter(|client| client.is_open) {
                client.party.answer();
            }
            for leg in &mut self.network.lock().legs {
                if leg.is_accepted() {
                    leg.party.answer();
                }
            }
        }
        sleep_until(until).await;
        if self.settings.answers == Answers::Always && time >= SETTLING_TIME {
            self.check_answers();
        }
    }

    fn touch_all(&mut self) {
        for client in &mut self.clients {
            client.touched = Instant::now();
        }
    }

    fn order_all(&mut self) {
        for client in &mut self.clients {
            client.orders += 1;
        }
    }

    /// Opens a tunnel at an upstream that accepts it at once.
    async fn open(&mut self) {
        let number = self.clients.len();
        let before = std::mem::replace(&mut self.network.lock().behavior, Behavior::Accept);
        let (far, near) = connection();
        let service = TowerToHyperService::new(self.proxy.clone());
        let mut http = http1::Builder::new();
        let serving = http
            .timer(hyper_util::rt::TokioTimer::new())
            .serve_connection(TokioIo::new(near), service);
        tokio::spawn(serving.with_upgrades());
        let request = format!(
            "GET /{number} HTTP/1.1\r\nHost: proxy\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        far.send(request.as_bytes());
        sleep(ms(1)).await;
        self.network.lock().behavior = before;
        let is_open = far.state().received.starts_with(b"HTTP/1.1 101");
        self.clients.push(Client {
            party: Party::new(Side::Client, format!("c{number}"), far),
            is_open,
            touched: Instant::now(),
            commanded: None,
            orders: 0,
        });
    }

    fn close(&mut self, client: usize) {
        let path = format!("/{client}");
        let frame = CloseFrame::new(CloseCode::new(REQUESTED), "by request");
        self.registry
            .close_where(|tunnel| *tunnel.path == *path, frame);
        if let Some(client) = self.clients.get_mut(client) {
            client.touched = Instant::now();
            client.commanded.get_or_insert(client.touched);
        }
    }

    fn drain_upstream(&mut self, number: usize, spread: Option<Duration>) {
        let tunnels = match spread {
            Some(spread) => OnUpstreamLoss::Move { spread },
            None => OnUpstreamLoss::Leave,
        };
        self.order_all();
        self.pool.drain(UPSTREAMS[number], tunnels);
    }

    fn start_drain(&mut self, spread: Duration, deadline: Duration) {
        let drain = self.drain.clone().spread(spread).deadline(deadline);
        let record = self.record.clone();
        let task = tokio::spawn(async move {
            let before = record.reports().len();
            let drained = drain.run().await;
            (drained, record.reports().len() - before)
        });
        self.drains.push(RunningDrain {
            began: Instant::now(),
            deadline,
            task,
        });
    }

    /// Lets the tunnels come to their ends: first those that have a sign of it, then, by command,
    /// all others.
    pub(super) async fn finish(&mut self) {
        self.wait(SETTLING_TIME).await;
        let longest = self.drains.iter().map(|drain| drain.deadline).max();
        let bound = self.settings.bound() + longest.unwrap_or_default() + ms(2000);
        sleep(bound).await;
        self.check().await;
        for client in 0..self.clients.len() {
            self.close(client);
        }
        sleep(bound).await;
        self.check().await;
        self.check_nothing_is_left();
    }
}
