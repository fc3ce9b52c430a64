//! Listening sockets that a service manager opened and passed to the process: systemd's socket
//! activation (`sd_listen_fds(3)`).

use crate::socket::Socket;

/// Protocol that the clients of an inherited socket speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// `http://` and `ws://`.
    Plain,
    /// `https://` and `wss://`.
    Tls,
}

/// Listening socket that was passed to the process.
#[derive(Debug)]
pub(crate) struct Inherited {
    pub(crate) service: Service,
    pub(crate) socket: Socket,
}

/// Takes the sockets that were passed to the process; there are none if it was started otherwise.
/// Called once, before there are threads: it removes the variables that name the sockets.
///
/// # Errors
///
/// A file descriptor is no listening socket of TCP or Unix.
#[cfg(unix)]
pub(crate) fn take() -> Result<Vec<Inherited>, String> {
    // First, as the sockets are known by their place in this list.
    let names = std::env::var("LISTEN_FDNAMES").ok();
    let mut fds = listenfd::ListenFd::from_env();
    let services = services(names.as_deref(), fds.len());
    let sockets = services.into_iter().enumerate().map(|(index, service)| {
        let socket = take_socket(&mut fds, index)
            .map_err(|error| format!("socket {index} of LISTEN_FDS cannot be used: {error}"))?;
        Ok(Inherited { service, socket })
    });
    sockets.collect()
}

/// Takes nothing: there is no socket activation here.
///
/// # Errors
///
/// None: the signature is that of Unix.
#[cfg(not(unix))]
pub(crate) fn take() -> Result<Vec<Inherited>, String> {
    Ok(Vec::new())
}

#[cfg(unix)]
fn take_socket(fds: &mut listenfd::ListenFd, index: usize) -> std::io::Result<Socket> {
    // A socket of another family stays in its place.
    let socket = match fds.take_unix_listener(index) {
        Ok(unix) => unix.map(Socket::Unix),
        Err(_) => fds.take_tcp_listener(index)?.map(Socket::Tcp),
    };
    let socket = socket.ok_or(std::io::ErrorKind::NotFound)?;
    socket.set_nonblocking()?;
    Ok(socket)
}

/// Returns the service of each of `count` sockets, by their names, which are separated by colons.
/// `tls` is TLS; every other name, and a socket without one, is plain.
#[cfg_attr(not(unix), allow(dead_code))]
fn services(names: Option<&str>, count: usize) -> Vec<Service> {
    let names = names
        .unwrap_or_default()
        .split(':')
        .chain(std::iter::repeat(""));
    let services = names.take(count).map(|name| match name {
        "tls" => Service::Tls,
        _ => Service::Plain,
    });
    services.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use Service::{Plain, Tls};

    #[test]
    fn a_socket_is_plain_unless_its_name_is_tls() {
        for (names, count, expected) in [
            (None, 0, vec![]),
            (None, 2, vec![Plain, Plain]),
            (Some(""), 1, vec![Plain]),
            (Some("http"), 1, vec![Plain]),
            (Some("tls"), 1, vec![Tls]),
            (Some("tls:http"), 2, vec![Tls, Plain]),
            (
                Some("http:tls:wsplice-gateway.socket"),
                3,
                vec![Plain, Tls, Plain],
            ),
            (Some("TLS:tls2"), 2, vec![Plain, Plain]),
            // Names without a socket, and sockets without a name.
            (Some("tls:http"), 1, vec![Tls]),
            (Some("tls"), 3, vec![Tls, Plain, Plain]),
        ] {
            assert_eq!(services(names, count), expected, "{names:?} {count}");
        }
    }
}
