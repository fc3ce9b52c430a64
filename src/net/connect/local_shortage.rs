//! Failures to connect that the proxy's own machine causes. Pure.

use std::{error::Error, io};

/// Whether the local machine could not open the connection, so that the failure is no evidence about
/// the upstream: no free port, file descriptor or memory, no route, or no permission.
///
/// `EHOSTUNREACH` is not among these: routers and the neighbor table report it about the host itself.
pub(super) fn is_local_shortage(error: &io::Error) -> bool {
    let first: Option<&(dyn Error + 'static)> = Some(error);
    std::iter::successors(first, |error| (**error).source())
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .chain(inner_errors(error))
        .any(is_local)
}

/// Returns the errors that an `io::Error` wraps without being their `source()`.
fn inner_errors(error: &io::Error) -> impl Iterator<Item = &io::Error> {
    std::iter::successors(Some(error), |error| error.get_ref()?.downcast_ref())
}

fn is_local(error: &io::Error) -> bool {
    let is_local_kind = matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::AddrInUse
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::OutOfMemory
            | io::ErrorKind::PermissionDenied
    );
    is_local_kind || error.raw_os_error().is_some_and(is_local_code)
}

/// Whether the code means a full table of descriptors or buffers, for which `std` has no kind.
const fn is_local_code(code: i32) -> bool {
    match code {
        ENFILE | EMFILE => cfg!(unix),
        ENOBUFS_LINUX => cfg!(any(target_os = "linux", target_os = "android")),
        ENOBUFS_BSD => cfg!(all(
            unix,
            not(any(target_os = "linux", target_os = "android"))
        )),
        WSAEMFILE | WSAENOBUFS => cfg!(windows),
        _ => false,
    }
}

// errno(3); the first two are the same on all Unix systems.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOBUFS_LINUX: i32 = 105;
const ENOBUFS_BSD: i32 = 55;
const WSAEMFILE: i32 = 10024;
const WSAENOBUFS: i32 = 10055;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn shortages_of_this_machine_blame_no_upstream() {
        for (name, code, is_local) in [
            ("EPERM", 1, true),
            ("ENOMEM", 12, true),
            ("EACCES", 13, true),
            ("ENFILE", 23, true),
            ("EMFILE", 24, true),
            ("EADDRINUSE", 98, true),
            ("EADDRNOTAVAIL", 99, true),
            ("ENETDOWN", 100, true),
            ("ENETUNREACH", 101, true),
            ("ENOBUFS", 105, true),
            ("ENOENT", 2, false),
            ("EAGAIN", 11, false),
            ("ECONNRESET", 104, false),
            ("ETIMEDOUT", 110, false),
            ("ECONNREFUSED", 111, false),
            ("EHOSTUNREACH", 113, false),
        ] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(is_local_shortage(&error), is_local, "{name}");
            // The form in which connects to names report the error of an address.
            let wrapped = io::Error::other(error);
            assert_eq!(is_local_shortage(&wrapped), is_local, "{name}, wrapped");
        }
    }
}
