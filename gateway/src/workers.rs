//! Workers: threads that serve, each with a runtime, listeners and connections of its own.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::arrival::Arrival;
use crate::connection::Serving;
use crate::listener::Listener;
use crate::shutdown::Shutdown;

/// Creates a runtime that runs on one thread.
///
/// # Errors
///
/// The operating system has no file descriptors left.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// All workers: one on this thread's runtime, each other one on a thread of its own.
#[derive(Debug)]
pub(crate) struct Workers {
    local: JoinSet<io::Result<()>>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    /// Closed once no worker accepts connections any more, and each that was accepted has had its
    /// first response. Nothing is ever sent.
    arriving: mpsc::Receiver<Infallible>,
    /// Closed once no worker has a plain request in flight any more. Nothing is ever sent.
    in_flight: mpsc::Receiver<Infallible>,
}

impl Workers {
    /// Starts a worker for each element of `workers`.
    ///
    /// # Errors
    ///
    /// A thread or a runtime cannot be created. Workers that were started by then end when the
    /// sender of `shutdown` is dropped.
    pub(crate) fn start(
        workers: Vec<Vec<Listener>>,
        serving: &Serving,
        shutdown: &Shutdown,
    ) -> io::Result<Self> {
        let (arriving_guard, arriving) = mpsc::channel(1);
        let (guard, in_flight) = mpsc::channel(1);
        let mut started = Self {
            local: JoinSet::new(),
            threads: Vec::new(),
            arriving,
            in_flight,
        };
        for (number, listeners) in workers.into_iter().enumerate() {
            let listening = listeners
                .into_iter()
                .map(|it| {
                    it.serve(
                        serving.clone(),
                        shutdown.clone(),
                        Arrival::new(&arriving_guard),
                    )
                })
                .collect();
            let worker = work(listening, shutdown.clone(), guard.clone());
            if number == 0 {
                started.local.spawn(worker);
            } else {
                started.threads.push(spawn_thread(number, worker)?);
            }
        }
        Ok(started)
    }

    /// Waits until all listeners are closed, and the connections that they accepted have had their
    /// first response or are over.
    pub(crate) async fn arrived(&mut self) {
        while self.arriving.recv().await.is_some() {}
    }

    /// Waits until no plain request is in flight, which is not before the gateway drains.
    pub(crate) async fn drained(&mut self) {
        while self.in_flight.recv().await.is_some() {}
    }

    /// Waits until all workers have ended, which they do once the gateway has stopped.
    ///
    /// # Errors
    ///
    /// The first worker's error; or a worker panicked.
    pub(crate) async fn join(mut self) -> io::Result<()> {
        let panicked = || io::Error::other("a worker panicked");
        let mut results = Vec::new();
        while let Some(result) = self.local.join_next().await {
            results.push(result.unwrap_or_else(|_| Err(panicked())));
        }
        for thread in self.threads {
            // Blocks only briefly: a stopped worker drops its connections without waiting for them.
            results.push(thread.join().unwrap_or_else(|_| Err(panicked())));
        }
        results.into_iter().collect()
    }
}

fn spawn_thread(
    number: usize,
    worker: impl Future<Output = io::Result<()>> + Send + 'static,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let runtime = runtime()?;
    thread::Builder::new()
        .name(format!("gateway-{number}"))
        .spawn(move || {
            let result = runtime.block_on(worker);
            // Does not wait for blocking work, such as the lookup of a name.
            runtime.shutdown_background();
            result
        })
}

/// Runs one worker. Tunnels run on the runtime of the worker that accepted them, so a worker ends
/// only when the gateway has stopped.
async fn work(
    listening: Vec<impl Future<Output = io::Result<()>> + Send + 'static>,
    mut shutdown: Shutdown,
    in_flight: mpsc::Sender<Infallible>,
) -> io::Result<()> {
    let listening: JoinSet<_> = listening.into_iter().collect();
    let listening = listening.join_all();
    let result: io::Result<()> = tokio::select! {
        results = listening => results.into_iter().collect(),
        () = shutdown.stopped() => Ok(()),
    };
    drop(in_flight);
    shutdown.stopped().await;
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::HashSet;
    use std::time::Duration;

    use axum::Router;
    use axum::routing::get;
    use clap::Parser;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use crate::app::App;
    use crate::args::Args;
    use crate::bind::bind;
    use crate::inherited::Service;
    use crate::shutdown::{self, Phase};
    use crate::tests::own_loopback;

    /// The thread that serves a new connection, as the response's body names it.
    async fn serving_thread(addr: std::net::SocketAddr) -> String {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response.lines().last().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn every_worker_gets_connections() {
        let listen = format!("--listen={}:0", own_loopback());
        let args = Args::parse_from(["gateway", &listen, "--threads=3"]);
        let bound = bind(&args.listen, Vec::new()).unwrap();
        let http = bound.tcp(Service::Plain).unwrap();
        let app = Router::new().route(
            "/",
            get(|| async { format!("{:?}", thread::current().id()) }),
        );
        let (phase, shutdown) = shutdown::channel();
        let app = App::Router(app);
        let serving = Serving::new(app, Duration::from_secs(10));
        let mut workers = Workers::start(bound.workers, &serving, &shutdown).unwrap();
        let mut threads = HashSet::new();
        // The kernel chooses a worker by a hash of the port. One of three gets none of 500
        // connections with a probability of 1 in 10^80.
        for _ in 0..500 {
            threads.insert(serving_thread(http).await);
            if threads.len() == 3 {
                break;
            }
        }
        assert_eq!(threads.len(), 3, "{threads:?}");
        assert!(threads.contains(&format!("{:?}", thread::current().id())));

        phase.send_replace(Phase::Draining);
        workers.drained().await;
        phase.send_replace(Phase::Stopped);
        workers.join().await.unwrap();
        assert!(TcpStream::connect(http).await.is_err());
    }
}
