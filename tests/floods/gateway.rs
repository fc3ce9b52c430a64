//! The gateway as a process of its own, with its own bounds: a minute for most of them.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::Value;

use crate::{
    arena::Remains,
    client::Client,
    footprint::{Footprint, resident_memory},
};

/// Returns the program of the gateway to attack, from `FLOODED_GATEWAY`.
pub(crate) fn program() -> Option<OsString> {
    env::var_os("FLOODED_GATEWAY")
}

/// A running gateway, which ends when it is dropped.
pub(crate) struct Gateway {
    pub(crate) addr: SocketAddr,
    admin: SocketAddr,
    process: Child,
    /// Folder of the site.
    site: PathBuf,
    without_clients: Footprint,
}

impl Gateway {
    /// Bytes by which the process's memory may be more after a further round: what an allocator loses
    /// between pieces in use when a thousand clients come in another order. It finds what a round leaves
    /// behind from about 28 KB for each of 300 clients on; smaller losses are found by the counts of
    /// [`Footprint`] and, to the byte, by the heap of the example.
    pub(crate) const MEMORY_SLACK: isize = 8 << 20;

    pub(crate) fn start(program: &OsString, upstream: SocketAddr) -> Self {
        let mut site = env::temp_dir();
        site.push(format!(
            "flooded-{}-{}",
            std::process::id(),
            upstream.port()
        ));
        fs::create_dir_all(&site).unwrap();
        fs::write(site.join("alive"), "inner").unwrap();
        // The gateway inherits the limit.
        let _ = rlimit::increase_nofile_limit(10_000);
        let mut process = Command::new(program)
            .args([
                "--listen=127.0.0.1:0",
                "--admin=127.0.0.1:0",
                "--forward-http",
            ])
            .args(["--exchange-timeout=10s", "--threads=1"])
            .arg(format!("--upstream=ws://{upstream}"))
            .arg("--static")
            .arg(&site)
            .env("RUST_LOG", "error")
            // Memory that is free goes back to the system: buffers at once, and the rest as far as it lies
            // at the end of the heap.
            .env("MALLOC_ARENA_MAX", "1")
            .env("MALLOC_MMAP_THRESHOLD_", "4096")
            .env("MALLOC_TRIM_THRESHOLD_", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let addr = address(&mut lines, "listening on http://");
        let admin = address(&mut lines, "admin on http://");
        let without_clients = Footprint::of_process(process.id());
        Self {
            addr,
            admin,
            process,
            site,
            without_clients,
        }
    }

    /// Returns what the process holds beside what it held before there was a client.
    pub(crate) async fn remains(&self) -> Option<Remains> {
        let places = self.places().await;
        let footprint = Footprint::of_process(self.process.id());
        let holds_more = places > 0 || footprint != self.without_clients;
        holds_more.then(|| {
            let expected = self.without_clients;
            format!("{footprint:?} rather than {expected:?}; {places} places")
        })
    }

    /// Returns the number of tunnels, handshakes and forwarded requests, by the status page.
    pub(crate) async fn places(&self) -> u64 {
        let mut client = Client::connect(self.admin).await;
        let request = format!(
            "GET /status.json HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.admin
        );
        client.send(request).await.unwrap();
        let response = String::from_utf8(client.read_to_end().await).unwrap();
        let (begin, end) = (response.find('{').unwrap(), response.rfind('}').unwrap());
        let status: Value = serde_json::from_str(&response[begin..=end]).unwrap();
        let upstreams = status["pools"][0]["upstreams"].as_array().unwrap();
        let places =
            |row: &Value| row["tunnels"].as_u64().unwrap() + row["handshakes"].as_u64().unwrap();
        upstreams.iter().map(places).sum()
    }

    /// Returns the bytes that the process has now.
    pub(crate) fn memory(&self) -> isize {
        resident_memory(self.process.id())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.site);
    }
}

fn address(lines: &mut BufReader<ChildStdout>, start: &str) -> SocketAddr {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix(start);
    address
        .unwrap_or_else(|| panic!("{line:?}"))
        .parse()
        .unwrap()
}
