//! A DNS server on loopback, by UDP and TCP, with scripted responses, valid or not. Messages are
//! encoded by hand (RFC 1035 §4), so that no bug is shared with the code under test.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinSet,
};

pub(crate) const SERVFAIL: u8 = 2;
pub(crate) const NXDOMAIN: u8 = 3;
pub(crate) const REFUSED: u8 = 5;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const SRV: u16 = 33;

/// The responses of the server.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// These records, of the queried type.
    Records(Vec<Data>),
    /// This error code.
    Code(u8),
    /// Bytes that are not a response.
    Garbage,
    /// By UDP a truncated response, and by TCP these records.
    OnlyByTcp(Vec<Data>),
    /// These records, in a response with another id.
    ToAnother(Vec<Data>),
    /// These records, under another name, which the queried one is an alias of.
    ByAlias(Vec<Data>),
    /// No response.
    Silence,
}

/// A record's data.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Ip(IpAddr),
    Srv(u16, u16, u16, &'static str),
}

/// A running server; dropping it ends it.
pub(crate) struct DnsServer {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

struct State {
    reply: Reply,
    ttl: u32,
    questions: usize,
}

/// The data of addresses.
pub(crate) fn ips(ips: &[&str]) -> Vec<Data> {
    ips.iter().map(|ip| Data::Ip(ip.parse().unwrap())).collect()
}

impl DnsServer {
    pub(crate) async fn start(reply: Reply) -> Self {
        let (udp, tcp) = sockets().await;
        let addr = udp.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            reply,
            ttl: 3600,
            questions: 0,
        }));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, Arc::clone(&state)));
        tasks.spawn(serve_tcp(tcp, Arc::clone(&state)));
        Self {
            addr,
            state,
            _tasks: tasks,
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes the responses.
    pub(crate) fn reply_with(&self, reply: Reply) {
        self.state.lock().unwrap().reply = reply;
    }

    /// Sets the TTL of the records, in seconds; an hour by default.
    pub(crate) fn valid_for(&self, ttl: u32) {
        self.state.lock().unwrap().ttl = ttl;
    }

    /// Number of queries so far.
    pub(crate) fn questions(&self) -> usize {
        self.state.lock().unwrap().questions
    }
}

/// The same port of both kinds.
async fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

async fn serve_udp(socket: UdpSocket, state: Arc<Mutex<State>>) {
    let mut question = [0; 4096];
    loop {
        let (length, from) = socket.recv_from(&mut question).await.unwrap();
        let answer = state.lock().unwrap().answer(&question[..length], false);
        if let Some(answer) = answer {
            socket.send_to(&answer, from).await.unwrap();
        }
    }
}

async fn serve_tcp(listener: TcpListener, state: Arc<Mutex<State>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        // A client may leave at any time.
        let _ = serve_stream(stream, &state).await;
    }
}

async fn serve_stream(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut question = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut question).await?;
    let answer = state.lock().unwrap().answer(&question, true);
    if let Some(answer) = answer {
        stream.write_u16(answer.len().try_into().unwrap()).await?;
        stream.write_all(&answer).await?;
    }
    Ok(())
}

impl State {
    fn answer(&mut self, question: &[u8], by_tcp: bool) -> Option<Vec<u8>> {
        self.questions += 1;
        let ttl = self.ttl;
        let with = |data: &[Data]| Answer::to(question).records(data, ttl).finish();
        Some(match &self.reply {
            Reply::Records(data) => with(data),
            Reply::Code(code) => {
                let mut answer = Answer::to(question).finish();
                answer[3] |= code;
                answer
            }
            Reply::Garbage => b"\xff\x00 this is no answer at all".to_vec(),
            Reply::OnlyByTcp(data) if by_tcp => with(data),
            Reply::OnlyByTcp(_) => {
                let mut answer = Answer::to(question).finish();
                answer[2] |= 0b10; // TC
                answer
            }
            Reply::ToAnother(data) => {
                let mut answer = with(data);
                answer[0] ^= 0xff;
                answer
            }
            Reply::ByAlias(data) => {
                let mut answer = Answer::to(question);
                answer.alias(ttl);
                answer.records(data, ttl).finish()
            }
            Reply::Silence => return None,
        })
    }
}

/// A response under construction.
struct Answer {
    bytes: Vec<u8>,
    kind: u16,
    count: u16,
    /// Offset of the name of the records.
    name: u16,
}

impl Answer {
    /// The header and the question (RFC 1035 §4.1.1, §4.1.2).
    fn to(question: &[u8]) -> Self {
        let mut end = 12;
        while question[end] != 0 {
            end += 1 + usize::from(question[end]);
        }
        end += 5;
        let mut bytes = question[..2].to_vec();
        bytes.extend([0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
        bytes.extend(&question[12..end]);
        Self {
            kind: u16::from_be_bytes([question[end - 4], question[end - 3]]),
            bytes,
            count: 0,
            name: 12,
        }
    }

    /// Appends the records of the queried type.
    fn records(mut self, data: &[Data], ttl: u32) -> Self {
        for data in data {
            let (kind, data) = match data {
                Data::Ip(IpAddr::V4(ip)) => (A, ip.octets().to_vec()),
                Data::Ip(IpAddr::V6(ip)) => (AAAA, ip.octets().to_vec()),
                Data::Srv(priority, weight, port, target) => {
                    let numbers = [priority, weight, port];
                    let mut data: Vec<_> = numbers.iter().flat_map(|it| it.to_be_bytes()).collect();
                    data.extend(encoded(target));
                    (SRV, data)
                }
            };
            if kind == self.kind {
                self.record(kind, ttl, &data);
            }
        }
        self
    }

    /// Appends an alias of the name, and goes on with that name.
    fn alias(&mut self, ttl: u32) {
        let target = encoded("alias.test.");
        self.record(CNAME, ttl, &target);
        self.name = u16::try_from(self.bytes.len() - target.len()).unwrap();
    }

    /// RFC 1035 §4.1.3; the name is a pointer (§4.1.4).
    fn record(&mut self, kind: u16, ttl: u32, data: &[u8]) {
        self.count += 1;
        self.bytes.extend((0xc000 | self.name).to_be_bytes());
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend([0, 1]);
        self.bytes.extend(ttl.to_be_bytes());
        let length = u16::try_from(data.len()).unwrap();
        self.bytes.extend(length.to_be_bytes());
        self.bytes.extend(data);
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes[6..8].copy_from_slice(&self.count.to_be_bytes());
        self.bytes
    }
}

fn encoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.trim_end_matches('.').split('.') {
        bytes.push(label.len().try_into().unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}
