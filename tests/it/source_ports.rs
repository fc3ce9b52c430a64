//! The number of connections that several local addresses allow, where ports are few.
//!
//! The range of local ports belongs to a network namespace, so the test that counts runs in a
//! namespace and a process of its own.

use std::net::SocketAddr;
use std::process::Command;

use tokio::net::TcpListener;
use wsplice::connect::Transport;
use wsplice::connect::{Address, Connect, Connector};

/// Ports in the namespace.
const PORTS: usize = 10;

#[test]
fn every_port_of_every_source_is_used_towards_every_upstream() {
    let script = "ip link set lo up && \
        echo 40000 40009 > /proc/sys/net/ipv4/ip_local_port_range && \
        exec \"$0\" --ignored --exact source_ports::within_a_namespace_of_few_ports";
    let unshared = Command::new("unshare")
        .args(["--map-root-user", "--net", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .output();
    let output = match unshared {
        Ok(output) => output,
        Err(error) => return eprintln!("SKIPPED: there is no unshare: {error}"),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    if !said.contains("running 1 test") {
        return eprintln!("SKIPPED: no network namespace of our own: {complaint}");
    }
    assert!(output.status.success(), "{said}\n{complaint}");
}

struct Upstream {
    listener: TcpListener,
    address: Address,
}

impl Upstream {
    async fn start(port: u16) -> Self {
        let addr: SocketAddr = ([127, 0, 0, 1], port).into();
        Self {
            listener: TcpListener::bind(addr).await.unwrap(),
            address: Address::tcp("127.0.0.1", port),
        }
    }
}

#[tokio::test]
#[ignore = "needs a network namespace of its own"]
async fn within_a_namespace_of_few_ports() {
    let sources = [[127, 0, 0, 2], [127, 0, 0, 3]];
    let connector = Connector::new().source_addresses(sources);
    let mut open: Vec<Transport> = Vec::new();
    // The second upstream finds every port of both sources taken, but none by itself.
    for upstream in [Upstream::start(1001).await, Upstream::start(1002).await] {
        let mut connected = 0;
        let error = loop {
            match connector.connect(&upstream.address).await {
                Ok(transport) => {
                    open.push(transport);
                    drop(upstream.listener.accept().await.unwrap());
                    connected += 1;
                }
                Err(error) => break error,
            }
        };
        // Ports are found by chance near the end, so the last few may be missed.
        let most = sources.len() * PORTS;
        assert!((most - 4..=most).contains(&connected), "{connected}");
        let port = upstream.listener.local_addr().unwrap().port();
        let ways = [
            format!("no free local port towards 127.0.0.1:{port} from 127.0.0.2, 127.0.0.3"),
            format!("no free local port towards 127.0.0.1:{port} from 127.0.0.3, 127.0.0.2"),
        ];
        assert!(ways.contains(&error.to_string()), "{error}");
    }
}
