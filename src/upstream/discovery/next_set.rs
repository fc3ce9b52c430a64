//! Next result of a source that may panic.

use std::{future::poll_fn, task::Poll};

use crate::{task::catch_panic, upstream::upstream::Upstream};

use super::{
    discover::{Discover, DiscoverFuture},
    error::DiscoverError,
};

/// Returns the source's next set. A source that panics has failed, and can be called again.
pub(crate) async fn next_set(
    source: &mut dyn Discover,
) -> Option<Result<Vec<Upstream>, DiscoverError>> {
    let mut source = Some(source);
    let mut discovering: Option<DiscoverFuture<'_>> = None;
    poll_fn(|cx| {
        let poll = || {
            if let Some(source) = source.take() {
                discovering = Some(source.discover());
            }
            let discovering = discovering.as_mut();
            discovering.map_or(Poll::Ready(None), |discovering| {
                discovering.as_mut().poll(cx)
            })
        };
        catch_panic(poll).unwrap_or_else(|_| {
            let panicked = DiscoverError::failed("the source panicked");
            Poll::Ready(Some(Err(panicked)))
        })
    })
    .await
}
