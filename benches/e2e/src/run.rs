//! Everything in one interleaved run.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::{
    cpu,
    error::Result,
    external::{self, External},
    gateway, measure,
    process::{Server, free_address},
    report,
    scenario::{self, Scenario},
    scrape::Scrapes,
    subject::Kind,
    syscalls,
    target::{Face, Target},
    tls::{CertificateFiles, Sessions},
};

#[derive(clap::Args)]
pub struct Options {
    /// Two rounds of short windows: two minutes, and figures to match.
    #[arg(long)]
    quick: bool,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Milliseconds that each measurement lasts, after a warm-up of a third of it.
    #[arg(long, default_value_t = 1000)]
    window: u64,
    /// Worker threads of each subject.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Only these subjects, separated by commas; `raw-shared` is always among them.
    #[arg(long, value_delimiter = ',')]
    subjects: Vec<String>,
    /// Only these scenarios, separated by commas; also `memory`, `tls-memory`,
    /// `http2-memory`, `latency-9600-8`, `pinged`, `syscalls`.
    #[arg(long, value_delimiter = ',')]
    scenarios: Vec<String>,
    /// A program of the gateway, a subject named as its file; may be given several times.
    #[arg(long = "gateway", value_name = "PATH")]
    gateways: Vec<PathBuf>,
    #[arg(long, default_value = "target/e2e")]
    out: PathBuf,
}

const SYSCALL_SCENARIOS: &[&str] = &["echo-16b-64", "echo-64k-64", "handshake-16"];

pub async fn run(mut options: Options) -> Result<()> {
    if options.quick {
        options.rounds = options.rounds.min(2);
        options.window = options.window.min(300);
    }
    fs::create_dir_all(&options.out)?;
    tokio::select! {
        done = measure_all(&options) => done,
        // Dropping the measured future ends the children.
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    }
}

async fn measure_all(options: &Options) -> Result<()> {
    let upstream = free_address()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["upstream", "--listen", &upstream.to_string()]);
    let upstream = Server::start("upstream", upstream, command).await?;
    let bench = Bench {
        options,
        certificate: CertificateFiles::create(&options.out)?,
        upstream: upstream.addr,
        subjects: subjects(options)?,
    };

    let mut samples = Vec::new();
    bench.timed(&mut samples).await?;
    bench.memory(&mut samples).await?;
    bench.crowded(&mut samples).await?;
    bench.pinged(&mut samples).await?;
    bench.syscalls(&mut samples).await?;

    let result = json!({
        "about": about(options),
        "samples": samples,
    });
    let file = options.out.join("result.json");
    fs::write(&file, serde_json::to_vec_pretty(&result)?)?;
    let table = report::markdown(&result);
    fs::write(options.out.join("result.md"), &table)?;
    println!("{table}\n({})", file.display());
    Ok(())
}

struct Bench<'a> {
    options: &'a Options,
    certificate: CertificateFiles,
    upstream: SocketAddr,
    subjects: Vec<Subject>,
}

enum Subject {
    Own(Kind),
    External(&'static External),
    Gateway(PathBuf),
}

impl Subject {
    fn name(&self) -> String {
        match self {
            Self::Own(kind) => kind.name(),
            Self::External(external) => external.name.to_owned(),
            Self::Gateway(program) => gateway::name(program),
        }
    }

    fn serves(&self, face: Face) -> bool {
        match self {
            Self::Own(kind) => kind.face() == face,
            Self::External(external) => external.serves(face),
            Self::Gateway(_) => true,
        }
    }
}

fn gateway_names(options: &Options) -> impl Iterator<Item = String> {
    options
        .gateways
        .iter()
        .map(|program| gateway::name(program))
}

/// # Errors
///
/// When two programs of the gateway have the same name, by which their figures are kept.
fn subjects(options: &Options) -> Result<Vec<Subject>> {
    let names: BTreeSet<_> = gateway_names(options).collect();
    if names.len() < options.gateways.len() {
        return Err("two gateways have the same file name".into());
    }
    let own = Kind::value_variants().iter().copied().map(Subject::Own);
    let installed = external::ALL
        .iter()
        .filter(|external| external.is_installed());
    let wanted = |subject: &Subject| {
        let name = subject.name();
        options.subjects.is_empty() || name == "raw-shared" || options.subjects.contains(&name)
    };
    let others = own.chain(installed.map(Subject::External));
    let gateways = options.gateways.iter().cloned().map(Subject::Gateway);
    Ok(others.filter(wanted).chain(gateways).collect())
}

impl Bench<'_> {
    fn wants(&self, scenario: &str) -> bool {
        let wanted = &self.options.scenarios;
        wanted.is_empty() || wanted.iter().any(|name| name == scenario)
    }

    fn window(&self) -> Duration {
        Duration::from_millis(self.options.window)
    }

    /// The subjects that clients can reach in this way.
    fn subjects(&self, face: Face) -> impl Iterator<Item = &Subject> {
        let subjects = self.subjects.iter();
        subjects.filter(move |subject| subject.serves(face))
    }

    fn target(&self, server: &Server, face: Face, sessions: Sessions) -> Result<Target> {
        Target::new_of(face, server.addr, &self.certificate, sessions)
    }

    async fn start(&self, subject: &Subject, face: Face, more: &[&str]) -> Result<Server> {
        let listen = free_address()?;
        let name = subject.name();
        let command = match subject {
            Subject::Own(_) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["subject", &name, "--listen", &listen.to_string()]);
                command.args(["--upstream", &self.upstream.to_string()]);
                command.args(["--threads", &self.options.threads.to_string()]);
                command
                    .arg("--certificate")
                    .arg(self.certificate.directory());
                command.args(more);
                command
            }
            Subject::External(external) => {
                let (certificate, directory) = (&self.certificate, &self.options.out);
                external.command(face, listen, self.upstream, certificate, directory)?
            }
            Subject::Gateway(program) => {
                let mut command = Command::new(program);
                gateway::configure(&mut command, face, listen, &self.certificate);
                gateway::proxy(&mut command, self.upstream, self.options.threads);
                command
            }
        };
        let server = Server::start(&name, listen, command).await?;
        Ok(match subject {
            Subject::Own(_) => server,
            Subject::External(_) | Subject::Gateway(_) => server.mute(),
        })
    }

    /// The scenarios that take turns: every subject in each round, each round beginning with
    /// another one.
    async fn timed(&self, samples: &mut Vec<Value>) -> Result<()> {
        let scenarios: Vec<_> = scenario::ALL
            .iter()
            .filter(|s| self.wants(s.name))
            .collect();
        let mut servers = Vec::new();
        for face in [Face::Plain, Face::Tls, Face::Http2] {
            if !scenarios.iter().any(|scenario| scenario.face == face) {
                continue;
            }
            for subject in self.subjects(face) {
                match self.start(subject, face, &[]).await {
                    Ok(server) => servers.push((face, server)),
                    Err(error) => samples.push(sample("start", &subject.name(), 0, Err(error))),
                }
            }
        }
        for round in 0..self.options.rounds {
            for scenario in &scenarios {
                servers.rotate_left(1);
                for (_, server) in servers.iter().filter(|(face, _)| *face == scenario.face) {
                    samples.push(self.sample(scenario, server, round).await);
                }
                if scenario.face == Face::Plain {
                    samples.push(self.direct(scenario, round).await);
                }
            }
        }
        Ok(())
    }

    async fn sample(&self, scenario: &Scenario, server: &Server, round: usize) -> Value {
        let cpu = || server.cpu();
        let _scrapes = Scrapes::start(server);
        let result = match self.target(server, scenario.face, scenario.sessions) {
            Ok(target) => measure::timed(scenario, &target, self.window(), cpu).await,
            Err(error) => Err(error),
        };
        sample(scenario.name, &server.name, round, result)
    }

    /// Without a proxy: the capacity of the clients and the upstream themselves. No process in
    /// between uses CPU, so none is reported.
    async fn direct(&self, scenario: &Scenario, round: usize) -> Value {
        let target = Target::plain(self.upstream);
        let result = measure::timed(scenario, &target, self.window(), || 0).await;
        let without_cpu = |mut figures: Value| {
            if let Some(figures) = figures.as_object_mut() {
                figures.retain(|name, _| !name.starts_with("cpu"));
            }
            figures
        };
        sample(scenario.name, "direct", round, result.map(without_cpu))
    }

    async fn memory(&self, samples: &mut Vec<Value>) -> Result<()> {
        let (rounds, sizes) = match self.options.quick {
            true => (1, vec![1000]),
            false => (self.options.rounds.min(3), vec![1000, most_tunnels()]),
        };
        for (face, name) in [
            (Face::Plain, "memory"),
            (Face::Tls, "tls-memory"),
            (Face::Http2, "http2-memory"),
        ] {
            if !self.wants(name) {
                continue;
            }
            for round in 0..rounds {
                for &tunnels in &sizes {
                    let size = if tunnels == 1000 { "1000" } else { "10000" };
                    let name = format!("{name}-{size}");
                    for subject in self.subjects(face) {
                        samples.extend(self.memory_of(subject, face, &name, round, tunnels).await);
                    }
                }
            }
        }
        Ok(())
    }

    async fn memory_of(
        &self,
        subject: &Subject,
        face: Face,
        name: &str,
        round: usize,
        tunnels: usize,
    ) -> Option<Value> {
        let mut server = self.start(subject, face, &["--heap"]).await.ok()?;
        let result = match self.target(&server, face, Sessions::New) {
            Ok(target) => measure::memory(&mut server, &target, tunnels).await,
            Err(error) => Err(error),
        };
        Some(sample(name, &server.name, round, result))
    }

    /// The latency beside 9,600 tunnels, with metrics that are read and without.
    async fn crowded(&self, samples: &mut Vec<Value>) -> Result<()> {
        let scenario = &scenario::CROWDED;
        let enough_files = most_tunnels() > 9_600;
        if self.options.quick || !enough_files || !self.wants(scenario.name) {
            return Ok(());
        }
        let compared = [Kind::Wsplice.name(), Kind::WspliceScraped.name()];
        let mut servers = Vec::new();
        for subject in &self.subjects {
            if compared.contains(&subject.name()) {
                servers.push(self.start(subject, Face::Plain, &[]).await?);
            }
        }
        for round in 0..self.options.rounds {
            servers.rotate_left(1);
            for server in &servers {
                samples.push(self.sample(scenario, server, round).await);
            }
        }
        Ok(())
    }

    async fn pinged(&self, samples: &mut Vec<Value>) -> Result<()> {
        let Some(subject) = self
            .subjects
            .iter()
            .find(|subject| subject.name() == Kind::WspliceKeepalive.name())
        else {
            return Ok(());
        };
        if !self.wants("pinged") {
            return Ok(());
        }
        let (tunnels, window) = match self.options.quick {
            true => (1000, Duration::from_secs(6)),
            false => (most_tunnels(), Duration::from_secs(20)),
        };
        let server = self
            .start(subject, Face::Plain, &["--ping-every", "2000"])
            .await?;
        let result = measure::pinged(&server, tunnels, window).await;
        samples.push(sample("pinged", &server.name, 0, result));
        Ok(())
    }

    async fn syscalls(&self, samples: &mut Vec<Value>) -> Result<()> {
        let has_strace = Command::new("strace").arg("-V").output().is_ok();
        if !self.wants("syscalls") || self.options.quick || !has_strace {
            return Ok(());
        }
        for subject in self.subjects(Face::Plain) {
            let Ok(server) = self.start(subject, Face::Plain, &[]).await else {
                continue;
            };
            for name in SYSCALL_SCENARIOS {
                if let Some(scenario) = scenario::named(name) {
                    let result = syscalls::count(scenario, &server, &self.options.out).await;
                    let name = format!("syscalls-{name}");
                    samples.push(sample(&name, &server.name, 0, result));
                }
            }
        }
        Ok(())
    }
}

/// At most 10,000; a proxy has two open files for each, and some of its own.
pub fn most_tunnels() -> usize {
    (cpu::open_files_limit().saturating_sub(600) / 2).min(10_000)
}

fn sample(scenario: &str, subject: &str, round: usize, result: Result<Value>) -> Value {
    let mut sample = json!({ "scenario": scenario, "subject": subject, "round": round });
    match result {
        Ok(figures) => {
            eprintln!("{round} {scenario} {subject} {figures}");
            sample["figures"] = figures;
        }
        Err(error) => {
            eprintln!("{round} {scenario} {subject} FAILED: {error}");
            sample["error"] = error.to_string().into();
        }
    }
    sample
}

fn about(options: &Options) -> Value {
    let mut versions = json!({});
    for external in external::ALL {
        if let Some(version) = external.version() {
            versions[external.name] = version.into();
        }
    }
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    json!({
        "unix_time": since_epoch.map(|time| time.as_secs()).unwrap_or_default(),
        "kernel": read("/proc/sys/kernel/osrelease"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "rounds": options.rounds,
        "window_ms": options.window,
        "threads": options.threads,
        "gateways": gateway_names(options).collect::<Vec<_>>(),
        "tunnels_of_memory_10000": most_tunnels(),
        "versions": versions,
    })
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}
