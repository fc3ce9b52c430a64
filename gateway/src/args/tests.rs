use super::values::{DurationOrOff, SizeOrOff};
use super::*;

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use clap::CommandFactory;
use clap::error::ErrorKind;
use wsplice::Upstream;
use wsplice::connect::HttpVersion;
use wsplice::headers::Networks;

fn parse(args: &[&str]) -> Result<Args, clap::Error> {
    Args::try_parse_from(["wsplice-gateway"].iter().chain(args))
}

fn refusal(args: &[&str]) -> String {
    let error = parse(args).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{args:?}");
    error.to_string()
}

#[test]
fn no_arguments_give_the_documented_defaults() {
    let args = parse(&[]).unwrap();
    assert_eq!(args.listen.listen, "127.0.0.1:3000".parse().unwrap());
    assert_eq!(args.upstreams.upstream, []);
    assert!(args.upstreams.discover.is_none());
    assert_eq!(args.requests.route, ["/ws/*"]);
    assert!(!args.requests.forward_http);
    assert_eq!(args.pool.balance.to_string(), "least-tunnels");
    assert_eq!(args.pool.max_tunnels, None);
    assert_eq!(args.requests.static_dir, None);
    assert_eq!(args.upstreams.connect_timeout, Duration::from_secs(3));
    assert_eq!(args.upstreams.handshake_timeout, Duration::from_secs(10));
    assert_eq!(args.tunnels.idle_timeout, DurationOrOff::Off);
    assert_eq!(args.tunnels.half_close_timeout, Duration::from_secs(10));
    assert_eq!(
        args.tunnels.keep_alive,
        DurationOrOff::After(Duration::from_secs(20))
    );
    assert_eq!(args.tunnels.pong_timeout, Duration::from_secs(10));
    assert_eq!(args.tunnels.max_lifetime, DurationOrOff::Off);
    assert_eq!(args.tunnels.max_message, SizeOrOff::Off);
    assert_eq!(args.shutdown.drain_timeout, Duration::from_secs(30));
    assert_eq!(args.shutdown.drain_spread, Duration::from_secs(2));
    assert_eq!(args.requests.trust, []);
    assert_eq!(args.requests.via, None);
    assert_eq!(args.listen.threads, None);
}

#[test]
fn repeatable_options_keep_their_order_and_replace_the_default() {
    let args = parse(&[
        "--route=/chat/*",
        "--route=*",
        "--upstream=ws://10.0.0.1:8080",
        "--upstream=http://[::1]/",
        "--upstream=unix:/run/chat.sock",
        "--trust=10.0.0.0/8",
        "--trust=::1",
    ])
    .unwrap();
    assert_eq!(args.requests.route, ["/chat/*", "*"]);
    let upstreams: Vec<_> = args.upstreams.upstream.iter().map(Upstream::name).collect();
    assert_eq!(
        upstreams,
        ["10.0.0.1:8080", "[::1]:80", "unix:/run/chat.sock"]
    );
    let trusted = ["10.0.0.0/8", "::1"].map(|entry| Networks::parse([entry]).unwrap());
    assert_eq!(args.requests.trust, trusted);
}

#[test]
fn durations_are_human_and_only_some_can_be_off() {
    let args = parse(&[
        "--idle-timeout=1h 30m",
        "--half-close-timeout=0s",
        "--threads=3",
    ])
    .unwrap();
    let idle = DurationOrOff::After(Duration::from_secs(5400));
    assert_eq!(args.tunnels.idle_timeout, idle);
    assert_eq!(idle.to_string(), "1h 30m");
    assert_eq!(args.tunnels.half_close_timeout, Duration::ZERO);
    assert_eq!(args.listen.threads.map(NonZeroUsize::get), Some(3));
    for off in ["off", "none"] {
        assert_eq!(off.parse(), Ok(DurationOrOff::Off));
    }
    assert_eq!(DurationOrOff::Off.to_string(), "off");
    assert!(parse(&["--connect-timeout=off"]).is_err());
}

#[test]
fn sizes_take_binary_units() {
    for (text, bytes) in [
        ("1", 1),
        ("64k", 65_536),
        ("64 KiB", 65_536),
        ("2M", 2 << 20),
        ("2MiB", 2 << 20),
        ("1g", 1 << 30),
    ] {
        assert_eq!(text.parse(), Ok(SizeOrOff::Bytes(bytes)), "{text}");
    }
    for off in ["off", "none"] {
        assert_eq!(off.parse(), Ok(SizeOrOff::Off));
    }
    assert_eq!(SizeOrOff::Bytes(7).to_string(), "7 bytes");
}

#[test]
fn bad_values_are_refused_in_a_sentence_that_names_them() {
    for (arg, sentence) in [
        (
            "--listen=65536",
            "it takes a port, or an address and a port",
        ),
        (
            "--listen=localhost",
            "it takes a port, or an address and a port",
        ),
        (
            "--tls-listen=:3443",
            "it takes a port, or an address and a port",
        ),
        (
            "--listen=localhost:http",
            "it takes a port, or an address and a port",
        ),
        ("--upstream=10.0.0.1:80", "must begin with ws://"),
        ("--upstream=ws://", "it is not a URL"),
        ("--upstream=ws://a b", "it is not a URL"),
        ("--upstream=ws://a:65536", "from 1 to 65535"),
        ("--upstream=ws://me:secret@a", "must not carry credentials"),
        ("--upstream=ws://a/chat?x", "must not carry a query"),
        ("--upstream=unix:", "it names no socket file"),
        ("--route=ws", "a route starts with `/` or `*`"),
        ("--route=", "a route starts with `/` or `*`"),
        ("--balance=fair", "there is no policy of this name"),
        ("--balance=by:room", "there is no policy of this name"),
        ("--balance=header", "it needs a name too: header:NAME"),
        ("--balance=query", "it needs a name too: query:NAME"),
        ("--balance=cookie", "it needs a name too: cookie:NAME"),
        ("--balance=query:", "a name is missing"),
        ("--balance=header:a b", "no header can have this name"),
        ("--max-tunnels=0", "at least 1"),
        ("--static=no/such/place", "the directory cannot be read"),
        ("--static=Cargo.toml", "it is not a directory"),
        ("--connect-timeout=3", "it takes a number and a unit"),
        ("--connect-timeout=0s", "it must be longer than zero"),
        ("--handshake-timeout=-1s", "it takes a number and a unit"),
        ("--idle-timeout=0s", "longer than zero; `off` sets no limit"),
        ("--idle-timeout=soon", "such as 500ms"),
        ("--half-close-timeout=none", "it takes a number and a unit"),
        ("--keep-alive=0s", "longer than zero; `off` sets no limit"),
        ("--pong-timeout=off", "it takes a number and a unit"),
        ("--max-message=0", "larger than zero; `off` sets no limit"),
        ("--max-message=1.5m", "such as 65536, 64k or 1MiB"),
        ("--max-message=k", "such as 65536, 64k or 1MiB"),
        ("--max-message=64kB/s", "such as 65536, 64k or 1MiB"),
        ("--max-message=99999999999g", "such as 65536, 64k or 1MiB"),
        ("--drain-spread=-1s", "it takes a number and a unit"),
        ("--trust=10.0.0.0/33", "an address or a range"),
        ("--via=a b", "is not a token"),
        ("--threads=0", "at least 1"),
        ("--threads=-1", "at least 1"),
    ] {
        let (option, value) = arg.split_once('=').unwrap();
        let text = refusal(&[arg]);
        assert!(text.contains(sentence), "{text}");
        assert!(text.contains(option), "{text}");
        assert!(value.is_empty() || text.contains(value), "{text}");
    }
}

#[test]
fn upstreams_may_want_tls() {
    let args = parse(&["--upstream=wss://a"]).unwrap();
    assert_eq!(args.upstreams.upstream[0].name(), "wss://a:443");
}

#[test]
fn upstreams_are_spoken_to_in_the_version_that_is_asked_for() {
    assert_eq!(
        parse(&[]).unwrap().upstreams.upstream_http,
        HttpVersion::Http1
    );
    for (word, version) in [
        ("1", HttpVersion::Http1),
        ("2", HttpVersion::Http2),
        ("auto", HttpVersion::Auto),
    ] {
        let args = parse(&["--upstream-http", word]).unwrap();
        assert_eq!(args.upstreams.upstream_http, version);
    }
    assert!(refusal(&["--upstream-http=3"]).contains("it takes 1, 2 or auto"));
}

#[test]
fn cookies_need_a_name_that_cookies_can_have() {
    assert!(parse(&["--sticky=upstream"]).unwrap().pool.sticky.is_some());
    assert!(refusal(&["--sticky=a b"]).contains("a b"));
}

#[test]
fn unknown_options_are_refused() {
    assert!(refusal(&["--uptream=ws://a"]).contains("--upstream"));
    assert!(refusal(&["site"]).contains("site"));
}

#[test]
fn help_fits_a_terminal_of_80_columns() {
    for flag in ["-h", "--help"] {
        let help = parse(&[flag]).unwrap_err();
        assert_eq!(help.kind(), ErrorKind::DisplayHelp);
        for line in help.to_string().lines() {
            assert!(line.chars().count() <= 80, "{line:?}");
        }
    }
}

#[test]
fn a_port_alone_is_one_of_the_loopback_address_and_names_are_looked_up() {
    for (text, addr) in [
        ("3999", "127.0.0.1:3999"),
        ("0", "127.0.0.1:0"),
        ("0.0.0.0:80", "0.0.0.0:80"),
        ("[::1]:3999", "[::1]:3999"),
        ("localhost:3999", "127.0.0.1:3999"),
    ] {
        let args = parse(&["--listen", text]).unwrap();
        assert_eq!(args.listen.listen.to_string(), addr, "{text}");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    for flag in ["-V", "--version"] {
        let version = parse(&[flag]).unwrap_err();
        assert_eq!(version.kind(), ErrorKind::DisplayVersion);
        let line = concat!("wsplice-gateway ", env!("CARGO_PKG_VERSION"), "\n");
        assert_eq!(version.to_string(), line);
    }
}

#[test]
fn tls_to_clients_takes_all_three_options_or_none() {
    let [listen, chain, key] = [
        "--tls-listen=127.0.0.1:0",
        "--tls-cert=a.pem",
        "--tls-key=a.key",
    ];
    let args = parse(&[listen, chain, key]).unwrap().listen;
    assert_eq!(args.tls_listen, "127.0.0.1:0".parse().ok());
    assert_eq!(args.tls_cert, Some("a.pem".into()));
    assert_eq!(args.tls_key, Some("a.key".into()));
    for (given, missing) in [
        (&[listen][..], &["--tls-cert", "--tls-key"][..]),
        (&[listen, chain], &["--tls-key"]),
        (&[listen, key], &["--tls-cert"]),
        (&[chain], &["--tls-key"]),
        (&[key], &["--tls-cert"]),
    ] {
        let text = refusal(given);
        assert!(text.contains("were not provided"), "{text}");
        for option in missing {
            assert!(text.contains(option), "{text}");
        }
    }
}

#[test]
fn upstreams_are_given_or_found() {
    let args = parse(&["--discover=dns:chat:8080"]).unwrap();
    assert_eq!(
        args.upstreams.discover.unwrap().to_string(),
        "dns:chat:8080"
    );
    let both = ["--discover=dns:chat:8080", "--upstream=ws://10.0.0.1"];
    assert!(refusal(&both).contains("cannot be used with"));
    assert!(parse(&["--discover=dns:chat:8080", "--proxy-protocol=v2"]).is_ok());
    assert!(refusal(&["--discover=chat"]).contains("neither dns:NAME:PORT nor srv:NAME"));
}

/// The arguments in docs/kubernetes are ones that the gateway takes.
#[test]
fn the_arguments_of_the_manifest_are_taken() {
    let manifest = include_str!("../../../docs/kubernetes/chat.yaml");
    let given: Vec<_> = manifest
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- "))
        .filter(|item| item.starts_with("--"))
        .collect();
    assert!(given.len() > 5, "{given:?}");
    let args = parse(&given).unwrap();
    assert_eq!(args.pool.balance.to_string(), "query:room");
    assert!(args.upstreams.discover.is_some());
    assert!(args.listen.listen.ip().is_unspecified());
}

/// Returns a page of the repository.
fn page(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(path)).unwrap()
}

/// Returns the options that a page of the repository names.
fn options_in(path: &str) -> BTreeSet<String> {
    let text = page(path);
    let is_of_name = |c: char| c.is_ascii_lowercase() || c == '-';
    let words = text.split(|c: char| !is_of_name(c));
    words
        .filter(|word| word.len() > 2 && word.starts_with("--") && !word.starts_with("---"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_readme_has_every_option_and_the_guides_name_no_other() {
    let command = Args::command();
    let longs = command.get_arguments().filter_map(|arg| arg.get_long());
    let options: BTreeSet<_> = longs.map(|long| format!("--{long}")).collect();
    let missing: Vec<_> = options
        .difference(&options_in("gateway/README.md"))
        .cloned()
        .collect();
    assert_eq!(missing, [""; 0]);
    for page in [
        "deploys",
        "from-caddy",
        "from-haproxy",
        "from-nginx",
        "health",
        "load-balancers",
        "resume",
        "scaling",
        "security-checklist",
        "timeouts",
    ] {
        let named = options_in(&format!("docs/{page}.md"));
        let unknown: Vec<_> = named.difference(&options).cloned().collect();
        assert_eq!(unknown, [""; 0], "{page}");
    }
}

#[test]
fn durations_that_leave_the_range_of_the_clock_are_refused() {
    let command = Args::command();
    let is_duration = |arg: &&clap::Arg| {
        let names = arg.get_value_names().unwrap_or_default();
        names.iter().any(|name| name == "DURATION")
    };
    let options = command.get_arguments().filter(is_duration);
    let options: Vec<_> = options.filter_map(|arg| arg.get_long()).collect();
    assert!(options.len() > 10, "{options:?}");
    for option in options {
        for long in ["300000000000y", "31y"] {
            let error = refusal(&[&format!("--{option}={long}")]);
            assert!(error.contains("it must be at most 30 years"), "{error}");
        }
    }
    let years = parse(&["--header-timeout=30y"]).unwrap();
    let _representable = std::time::Instant::now() + years.listen.header_timeout;
}

/// Options whose values are files that must exist.
const OF_FILES: [&str; 2] = ["--static", "--upstream-ca"];

#[test]
fn the_commands_of_pages_are_taken() {
    let pages = ["gateway/README.md", "docs/from-caddy.md"].map(page);
    let text = pages.concat().replace("\\\n", "");
    let commands = text
        .lines()
        .filter_map(|line| line.strip_prefix("wsplice-gateway "));
    let commands: Vec<_> = commands.filter(|line| line.contains("--")).collect();
    assert!(commands.len() > 3, "{commands:?}");
    for command in commands {
        let mut words = command.split_whitespace();
        let mut given = Vec::new();
        while let Some(word) = words.next() {
            match OF_FILES.contains(&word) {
                true => drop(words.next()),
                false => given.push(word.trim_matches('\'')),
            }
        }
        if let Err(error) = parse(&given) {
            panic!("{command}: {error}");
        }
    }
}
