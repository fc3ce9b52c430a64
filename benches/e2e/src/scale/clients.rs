//! The clients: they open as many tunnels as the run commands, and answer pings and closes.

use std::{
    io::{self, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use mio::{Events, Token, net::TcpStream};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    addresses,
    child::{answer_lines, ready},
    descriptors::own_table,
    far::{Connections, Counts, Outcome, State},
};
use crate::{error::Result, wire};

/// Handshakes under way at once, of all threads together.
const OPENING: usize = 256;

/// One tunnel of so many has a key, and so many tunnels with a key have the same one.
const KEYED: usize = 100;
pub const PER_KEY: usize = 10;

struct Thread {
    number: usize,
    threads: usize,
    proxies: usize,
    port: u16,
    connections: Connections,
    counts: Arc<Counts>,
    started: usize,
    requested: usize,
    opening: usize,
}

/// Serves the commands on standard input: `open N` for a total, `counts`.
pub fn serve(threads: usize, proxies: usize, port: u16) -> Result<()> {
    let counts = Arc::new(Counts::default());
    let wanted = Arc::new(AtomicUsize::new(0));
    for number in 0..threads {
        let (counts, wanted) = (Arc::clone(&counts), Arc::clone(&wanted));
        thread::spawn(move || {
            let run = || -> Result<()> {
                own_table()?;
                let mut thread = Thread {
                    number,
                    threads,
                    proxies,
                    port,
                    connections: Connections::new(Some([1, 2, 3, 4]))?,
                    counts: Arc::clone(&counts),
                    started: 0,
                    requested: 0,
                    opening: 0,
                };
                thread.run(&wanted)
            };
            if let Err(error) = run() {
                eprintln!("clients: {error}");
            }
        });
    }
    ready();
    answer_lines(|line| {
        if let Some(total) = line.strip_prefix("open ").and_then(|n| n.parse().ok()) {
            wanted.store(total, Relaxed);
        }
        Ok(counts.json())
    })
}

impl Thread {
    fn run(&mut self, wanted: &AtomicUsize) -> Result<()> {
        let mut events = Events::with_capacity(512);
        loop {
            // Its share of all tunnels.
            let wanted = wanted.load(Relaxed);
            let share = (wanted + self.threads - 1 - self.number) / self.threads;
            while self.opening < (OPENING / self.threads).max(2) && self.started < share {
                self.start()?;
            }
            let patience = Duration::from_millis(20);
            match self.connections.poll().poll(&mut events, Some(patience)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                polled => polled?,
            }
            for event in &events {
                self.advance(event.token());
            }
        }
    }

    /// The number of the connection among those of all threads.
    const fn number_of(&self, connection: usize) -> usize {
        connection * self.threads + self.number
    }

    fn start(&mut self) -> io::Result<()> {
        let target = addresses::proxy(self.number_of(self.started) % self.proxies, self.port);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.bind(&addresses::source(self.number, self.started).into())?;
        self.started += 1;
        match socket.connect(&target.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        let stream = TcpStream::from_std(socket.into());
        self.connections.add(stream, State::Connecting)?;
        self.opening += 1;
        Ok(())
    }

    fn advance(&mut self, token: Token) {
        let Some((_, state)) = self.connections.get(token) else {
            return;
        };
        let state = *state;
        let goes = match state {
            State::Connecting => self.request(token).is_some(),
            State::Handshake => self.response(token).is_some(),
            State::Open | State::Closing => {
                self.connections.serve(token, &self.counts) == Outcome::Goes
            }
        };
        if goes {
            return;
        }
        let was = self.connections.get(token).map(|(_, state)| *state);
        self.connections.remove(token);
        match was {
            Some(State::Connecting | State::Handshake) => {
                self.opening -= 1;
                self.counts.failures.fetch_add(1, Relaxed);
            }
            Some(State::Open) => {
                self.counts.ended.fetch_add(1, Relaxed);
                self.counts.failures.fetch_add(1, Relaxed);
            }
            _ => {
                self.counts.ended.fetch_add(1, Relaxed);
            }
        }
    }

    /// Sends the request of a connection that is made. `None` if it failed.
    fn request(&mut self, token: Token) -> Option<()> {
        let number = self.number_of(self.requested);
        let (stream, state) = self.connections.get(token)?;
        if stream.take_error().ok()?.is_some() {
            return None;
        }
        if stream.peer_addr().is_err() {
            return Some(());
        }
        let path = match number % KEYED {
            0 => format!("/echo?user-{}", number / KEYED / PER_KEY),
            _ => "/echo".to_owned(),
        };
        stream.write_all(wire::request(&path).as_bytes()).ok()?;
        *state = State::Handshake;
        self.requested += 1;
        Some(())
    }

    /// Reads the response to a handshake. `None` if it is not a 101.
    fn response(&mut self, token: Token) -> Option<()> {
        let (stream, state) = self.connections.get(token)?;
        let mut buffer = [0; 2048];
        match stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Some(()),
            Err(_) => return None,
            Ok(read) => {
                let head = &buffer[..read];
                if !head.starts_with(b"HTTP/1.1 101") || !head.ends_with(b"\r\n\r\n") {
                    return None;
                }
            }
        }
        *state = State::Open;
        self.opening -= 1;
        self.counts.opened.fetch_add(1, Relaxed);
        Some(())
    }
}
