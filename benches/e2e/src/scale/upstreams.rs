//! The upstreams: they accept every handshake, and answer pings and closes.

use std::{
    io::{self, Read, Write},
    sync::{Arc, atomic::Ordering::Relaxed, mpsc},
    thread,
};

use mio::{Events, Interest, Token, net::TcpListener};
use tungstenite::handshake::derive_accept_key;

use super::{
    addresses,
    child::{answer_lines, ready},
    descriptors::own_table,
    far::{Connections, Counts, Outcome, State},
};
use crate::{error::Result, wire};

/// The listeners' tokens begin here.
const LISTENERS: usize = usize::MAX / 2;

struct Thread {
    listeners: Vec<TcpListener>,
    connections: Connections,
    counts: Arc<Counts>,
}

/// Serves so many upstreams, and the line `counts` on standard input.
pub fn serve(threads: usize, upstreams: usize, port: u16) -> Result<()> {
    let counts = Arc::new(Counts::default());
    let (listens, listening) = mpsc::channel();
    for number in 0..threads {
        let (counts, listens) = (Arc::clone(&counts), listens.clone());
        let own = (0..upstreams).filter(move |upstream| upstream % threads == number);
        thread::spawn(move || {
            let run = || -> Result<()> {
                own_table()?;
                let addresses = own.map(|upstream| addresses::upstream(upstream, port));
                let listeners = addresses.map(TcpListener::bind);
                let mut thread = Thread {
                    listeners: listeners.collect::<io::Result<_>>()?,
                    connections: Connections::new(None)?,
                    counts,
                };
                thread.run(&listens)
            };
            if let Err(error) = run() {
                eprintln!("upstreams: {error}");
            }
        });
    }
    for _ in 0..threads {
        listening.recv()?;
    }
    ready();
    answer_lines(|_| Ok(counts.json()))
}

impl Thread {
    fn run(&mut self, listens: &mpsc::Sender<()>) -> Result<()> {
        let registry = self.connections.poll().registry();
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            registry.register(listener, Token(LISTENERS + index), Interest::READABLE)?;
        }
        listens.send(())?;
        let mut events = Events::with_capacity(512);
        loop {
            match self.connections.poll().poll(&mut events, None) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                polled => polled?,
            }
            for event in &events {
                match event.token().0.checked_sub(LISTENERS) {
                    Some(index) => self.accept(index)?,
                    None => self.advance(event.token()),
                }
            }
        }
    }

    fn accept(&mut self, index: usize) -> io::Result<()> {
        while let Some(listener) = self.listeners.get(index) {
            match listener.accept() {
                Ok((stream, _)) => self.connections.add(stream, State::Handshake)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn advance(&mut self, token: Token) {
        let Some((_, state)) = self.connections.get(token) else {
            return;
        };
        let goes = match *state {
            State::Connecting | State::Handshake => self.respond(token).is_some(),
            State::Open | State::Closing => {
                let outcome = self.connections.serve(token, &self.counts);
                let state = self.connections.get(token).map(|(_, state)| *state);
                // The server ends the connection after both close frames (RFC 6455 §7.1.1).
                outcome == Outcome::Goes && state != Some(State::Closing)
            }
        };
        if goes {
            return;
        }
        let was = self.connections.get(token).map(|(_, state)| *state);
        self.connections.remove(token);
        if was != Some(State::Handshake) {
            self.counts.ended.fetch_add(1, Relaxed);
        }
        if was != Some(State::Closing) {
            self.counts.failures.fetch_add(1, Relaxed);
        }
    }

    /// Accepts the handshake. `None` if it cannot be read.
    fn respond(&mut self, token: Token) -> Option<()> {
        let (stream, state) = self.connections.get(token)?;
        let mut buffer = [0; 2048];
        let read = match stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Some(()),
            read => read.ok()?,
        };
        let head = std::str::from_utf8(buffer.get(..read)?).ok()?;
        let key = wire::header(head.strip_suffix("\r\n\r\n")?, "sec-websocket-key")?;
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            derive_accept_key(key.as_bytes())
        );
        stream.write_all(response.as_bytes()).ok()?;
        *state = State::Open;
        self.counts.opened.fetch_add(1, Relaxed);
        Some(())
    }
}
