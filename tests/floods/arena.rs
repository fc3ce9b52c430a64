//! The proxy that is flooded: in the server of the documented recipe, or as the gateway's process.

use std::{env, net::SocketAddr, time::Duration};

use tokio::time::timeout;

use crate::{
    client::{Client, deadline, request, within},
    example::Example,
    gateway::Gateway,
    upstream::Upstream,
};

/// A proxy that owns `/ws/*`, handshakes and other requests alike, its upstream, and around it a
/// service with everything else.
pub(crate) struct Arena {
    pub(crate) addr: SocketAddr,
    proxy: Proxy,
    _upstream: Upstream,
}

enum Proxy {
    Example(Example),
    Gateway(Gateway),
}

/// Limits of the server and of the proxy. The gateway has its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limits {
    /// The defaults, so that a flood must be over by itself.
    Default,
    /// Seconds.
    Short,
}

/// What is left of a flood, in words.
pub(crate) type Remains = String;

impl Arena {
    /// Starts the gateway if there is [one](crate::gateway::program), else the example.
    pub(crate) async fn start(limits: Limits) -> Self {
        let upstream = Upstream::start().await;
        let (addr, proxy) = match crate::gateway::program() {
            Some(program) => {
                let gateway = Gateway::start(&program, upstream.addr);
                (gateway.addr, Proxy::Gateway(gateway))
            }
            None => {
                let example = Example::start(limits, upstream.addr);
                (example.addr, Proxy::Example(example))
            }
        };
        Self {
            addr,
            proxy,
            _upstream: upstream,
        }
    }

    /// Runs a flood several times. After each, the proxy must serve, and hold nothing of it; the last
    /// one must have taken no more memory for good.
    pub(crate) async fn endures(&self, flood: impl AsyncFn(&Self)) {
        let mut memory = Vec::new();
        for _ in 0..self.rounds() {
            flood(self).await;
            self.serves().await;
            self.holds_only(0).await;
            memory.push(self.memory());
        }
        println!("bytes of memory after each round: {memory:?}");
        let last_two = memory.last_chunk().map(|[before, after]| after - before);
        let kept = last_two.expect("there are several rounds");
        assert!(kept < self.memory_slack(), "{kept} bytes: {memory:?}");
    }

    /// Expects that a tunnel, a forwarded request and a request for the inner service are served.
    pub(crate) async fn serves(&self) {
        let mut client = Client::websocket(self.addr, "/ws/alive").await;
        client.send(b"bytes").await.unwrap();
        assert_eq!(client.read_exact(5).await, b"bytes");
        for (path, body) in [("/ws/alive", "upstream"), ("/alive", "inner")] {
            let mut client = Client::connect(self.addr).await;
            let request = request("GET", path, "Connection: close\r\n");
            client.send(request).await.unwrap();
            let response = String::from_utf8(client.read_to_end().await).unwrap();
            assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
            assert!(response.ends_with(body), "{response}");
        }
    }

    /// Waits until the process holds nothing but the ends of this many clients.
    pub(crate) async fn holds_only(&self, clients: usize) {
        let mut remains = Remains::new();
        let released = timeout(deadline(), async {
            while let Some(left) = self.remains(clients).await {
                remains = left;
                tokio::time::sleep(self.pause()).await;
            }
        });
        assert!(released.await.is_ok(), "{remains}");
    }

    /// Waits until no upstream is leased, while clients are still connected.
    pub(crate) async fn leases_nothing(&self) {
        within("all leases to end", async {
            while self.has_leases().await {
                tokio::time::sleep(self.pause()).await;
            }
        })
        .await;
    }

    async fn remains(&self, clients: usize) -> Option<Remains> {
        match &self.proxy {
            Proxy::Example(example) => example.remains(clients),
            Proxy::Gateway(gateway) => gateway.remains().await,
        }
    }

    async fn has_leases(&self) -> bool {
        match &self.proxy {
            Proxy::Example(example) => example.has_leases(),
            Proxy::Gateway(gateway) => gateway.places().await > 0,
        }
    }

    /// Returns the number of rounds of each flood: those in which tables and the allocator's pools get
    /// their sizes, and one that is counted.
    fn rounds(&self) -> usize {
        let set = env::var("FLOOD_ROUNDS").ok();
        let usual = match self.proxy {
            Proxy::Example(_) => 2,
            Proxy::Gateway(_) => 3,
        };
        set.map_or(usual, |text| text.parse().expect("a number of rounds"))
    }

    /// Returns the bytes of memory that the proxy holds.
    pub(crate) fn memory(&self) -> isize {
        match &self.proxy {
            Proxy::Example(_) => crate::footprint::heap(),
            Proxy::Gateway(gateway) => gateway.memory(),
        }
    }

    const fn memory_slack(&self) -> isize {
        match self.proxy {
            Proxy::Example(_) => Example::HEAP_SLACK,
            Proxy::Gateway(_) => Gateway::MEMORY_SLACK,
        }
    }

    /// Time between two looks.
    const fn pause(&self) -> Duration {
        match self.proxy {
            Proxy::Example(_) => Duration::from_millis(1),
            Proxy::Gateway(_) => Duration::from_millis(200),
        }
    }
}
