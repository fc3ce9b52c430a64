//! The threads that serve: each with a runtime, listeners and connections of its own.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::thread::{self, JoinHandle};

use axum::Router;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::listener::Door;
use crate::shutdown::Phases;

/// A runtime on the thread that drives it, and on no other.
///
/// # Errors
///
/// When the operating system has no means to wait for sockets left.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// All that serve: this thread, and others beside it.
#[derive(Debug)]
pub(crate) struct Crew {
    own: JoinSet<io::Result<()>>,
    others: Vec<JoinHandle<io::Result<()>>>,
    /// Ends when nobody has requests to answer any more.
    busy: mpsc::Receiver<Infallible>,
}

impl Crew {
    /// Begins to serve, on this thread's runtime and on a thread for each further element.
    ///
    /// # Errors
    ///
    /// When no thread can be had. Those that began are told by the end of `phases`.
    pub(crate) fn start(
        threads: Vec<Vec<Door>>,
        app: &Router,
        phases: &Phases,
    ) -> io::Result<Self> {
        let (is_busy, busy) = mpsc::channel(1);
        let mut crew = Self {
            own: JoinSet::new(),
            others: Vec::new(),
            busy,
        };
        for (number, doors) in threads.into_iter().enumerate() {
            let work = serve(doors, app.clone(), phases.clone(), is_busy.clone());
            if number == 0 {
                crew.own.spawn(work);
            } else {
                crew.others.push(begin(number, work)?);
            }
        }
        Ok(crew)
    }

    /// Waits until all requests are answered, which is not before the gateway stops.
    pub(crate) async fn answered(&mut self) {
        while self.busy.recv().await.is_some() {}
    }

    /// Waits for the threads, once everything is over.
    ///
    /// # Errors
    ///
    /// The first of theirs.
    pub(crate) async fn end(mut self) -> io::Result<()> {
        let panicked = || io::Error::other("a thread panicked");
        let mut ends = Vec::new();
        while let Some(ended) = self.own.join_next().await {
            ends.push(ended.unwrap_or_else(|_| Err(panicked())));
        }
        for other in self.others {
            // Nothing holds it up: its connections and tunnels are dropped, not waited for.
            ends.push(other.join().unwrap_or_else(|_| Err(panicked())));
        }
        ends.into_iter().collect()
    }
}

fn begin(
    number: usize,
    work: impl Future<Output = io::Result<()>> + Send + 'static,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let runtime = runtime()?;
    thread::Builder::new()
        .name(format!("gateway-{number}"))
        .spawn(move || {
            let ended = runtime.block_on(work);
            // A lookup of a name may hang for long.
            runtime.shutdown_background();
            ended
        })
}

/// One thread's work. The tunnels that came of it live on its runtime, so it stays to the end.
async fn serve(
    doors: Vec<Door>,
    app: Router,
    mut phases: Phases,
    busy: mpsc::Sender<Infallible>,
) -> io::Result<()> {
    let mut serving = JoinSet::new();
    for door in doors {
        serving.spawn(door.serve(app.clone(), phases.clone()));
    }
    let all = serving.join_all();
    let served: io::Result<()> = tokio::select! {
        served = all => served.into_iter().collect(),
        () = phases.over() => Ok(()),
    };
    drop(busy);
    phases.over().await;
    served
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::HashSet;

    use axum::routing::get;
    use clap::Parser;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use crate::args::Args;
    use crate::bind;
    use crate::shutdown::{Phase, phases};

    async fn thread_of_a_connection(addr: std::net::SocketAddr) -> String {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.lines().last().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn every_thread_gets_connections() {
        let args = Args::parse_from(["gateway", "--listen=127.0.0.1:0", "--threads=3"]);
        let opened = bind::open(&args).unwrap();
        let app = Router::new().route(
            "/",
            get(|| async { format!("{:?}", thread::current().id()) }),
        );
        let (phase, heard) = phases();
        let mut crew = Crew::start(opened.threads, &app, &heard).unwrap();
        let mut seen = HashSet::new();
        // Where they go hangs on a hash of the port: that a thread gets none of so many is a chance
        // of one in 10^80.
        for _ in 0..500 {
            seen.insert(thread_of_a_connection(opened.plain).await);
            if seen.len() == 3 {
                break;
            }
        }
        assert_eq!(seen.len(), 3, "{seen:?}");
        assert!(seen.contains(&format!("{:?}", thread::current().id())));

        phase.send_replace(Phase::Stopping);
        crew.answered().await;
        phase.send_replace(Phase::Over);
        crew.end().await.unwrap();
        assert!(TcpStream::connect(opened.plain).await.is_err());
    }
}
