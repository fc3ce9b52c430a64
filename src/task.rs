//! The crate's only `tokio::spawn`, and its only use of the blocking threads.

use std::{
    any::Any,
    future::{Future, poll_fn},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    runtime::Handle,
    task::{AbortHandle, JoinSet},
};

/// Runs a future to its end on the current runtime.
///
/// The future must own the guards of its accounts (a lease, an entry of the registry), so that
/// dropping it, at its end, with the runtime or by the handle, settles them.
pub(crate) fn spawn<F>(future: F) -> AbortHandle
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(future).abort_handle()
}

/// Runs a future as [`spawn`] does, from a drop. Where there is no runtime any more, the future is dropped.
pub(crate) fn run_where_possible(future: impl Future<Output = ()> + Send + 'static) {
    if Handle::try_current().is_ok() {
        spawn(future);
    }
}

/// A set of tasks, aborted when it is dropped.
#[derive(Debug)]
pub(crate) struct Tasks<T>(JoinSet<T>);

impl<T: Send + 'static> Tasks<T> {
    pub(crate) fn new() -> Self {
        Self(JoinSet::new())
    }

    pub(crate) fn start(&mut self, future: impl Future<Output = T> + Send + 'static) {
        self.0.spawn(future);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The output of a finished task; `None` if it panicked. Pending while none has finished.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        match self.0.poll_join_next(cx) {
            Poll::Ready(Some(finished)) => Poll::Ready(finished.ok()),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// Calls code of the user, and contains its panic.
///
/// Values that the call changes must then be dropped, or be whole after every step.
///
/// # Errors
///
/// The panic.
pub(crate) fn catch_panic<T>(call: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(call))
}

/// Calls code of the user that returns a future, waits for the future, and contains the panics of
/// both.
///
/// # Errors
///
/// The panic.
pub(crate) async fn catch_panics<F>(
    make: impl FnOnce() -> F,
) -> Result<F::Output, Box<dyn Any + Send>>
where
    F: Future + Unpin,
{
    let mut future = catch_panic(make)?;
    poll_fn(|cx| match catch_panic(|| Pin::new(&mut future).poll(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// Logs that a policy of the host has panicked. The panic hook has reported the panic itself.
pub(crate) fn log_policy_panic() {
    tracing::error!("a policy of the host panicked");
}

/// Returns the message of a panic: `panic!` with a text alone makes a `&str`, else a `String`.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let string = || panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(string).unwrap_or("without a message")
}

/// Runs blocking work, such as reading files, on a blocking thread.
///
/// # Errors
///
/// The error of the work, or its panic.
pub(crate) async fn blocking<T>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T>
where
    T: Send + 'static,
{
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
}
