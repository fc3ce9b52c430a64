//! Child processes: the upstream and the subjects. Only children are ended, by their id.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{cpu, error::Result};

/// A child that listens. Dropping it ends it.
pub struct Server {
    child: Child,
    answers: Option<BufReader<ChildStdout>>,
    pub name: String,
    pub addr: SocketAddr,
    family: Vec<u32>,
}

impl Server {
    /// Starts a command and waits until `addr` accepts connections.
    pub async fn start(name: &str, addr: SocketAddr, mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{name} does not start: {error}"))?;
        let answers = child.stdout.take().map(BufReader::new);
        let mut server = Self {
            child,
            answers,
            name: name.to_owned(),
            addr,
            family: Vec::new(),
        };
        let patience = Instant::now() + Duration::from_secs(10);
        while tokio::net::TcpStream::connect(addr).await.is_err() {
            if Instant::now() > patience || server.child.try_wait()?.is_some() {
                return Err(format!("{name} does not listen on {addr}").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server.family = cpu::family(server.child.id());
        Ok(server)
    }

    /// The process and its children.
    pub fn pids(&self) -> &[u32] {
        &self.family
    }

    pub fn cpu(&self) -> u64 {
        self.family
            .iter()
            .filter_map(|pid| cpu::nanoseconds(*pid))
            .sum()
    }

    pub fn resident(&self) -> u64 {
        self.family
            .iter()
            .filter_map(|pid| cpu::resident(*pid))
            .sum()
    }

    /// A program that does not understand queries, and never answers one.
    pub fn mute(mut self) -> Self {
        self.answers = None;
        self
    }

    /// Heap in use, of a subject of ours that counts it.
    pub fn heap(&mut self) -> Option<i64> {
        let answers = self.answers.as_mut()?;
        writeln!(self.child.stdin.as_mut()?, "heap").ok()?;
        let mut line = String::new();
        answers.read_line(&mut line).ok()?;
        line.trim().parse().ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // SIGTERM first: nginx ends its workers only then.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .stderr(Stdio::null())
            .status();
        let patience = Instant::now() + Duration::from_secs(3);
        while Instant::now() < patience {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address on loopback that is free at this moment.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
