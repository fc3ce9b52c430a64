//! Bodies of the responses: a text, or server-sent events.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

/// Time after which an event stream ends; the browser opens another one.
const MAX_STREAM: Duration = Duration::from_secs(3_600);

/// Body of a response of the [`StatusService`](crate::StatusService).
pub struct StatusBody(Kind);

enum Kind {
    Text(Full<Bytes>),
    Events(Box<Events>),
}

/// Renders the content of one event.
type Render = Box<dyn Fn() -> String + Send>;

struct Events {
    render: Render,
    ticks: Interval,
    end: Instant,
    _viewer: Viewer,
}

/// An event stream among the viewers that are counted.
pub(crate) struct Viewer(Arc<AtomicUsize>);

impl Viewer {
    /// Counts one more viewer, unless there are `max` already.
    pub(crate) fn enter(viewers: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let more = |count| (count < max).then_some(count + 1);
        let entered = viewers.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        entered.ok().map(|_| Self(Arc::clone(viewers)))
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl StatusBody {
    pub(crate) fn text(text: impl Into<Bytes>) -> Self {
        Self(Kind::Text(Full::new(text.into())))
    }

    /// A stream with an event at once and one after each interval. The next one is rendered when
    /// the server can write it, so a slow viewer gets fewer.
    pub(crate) fn events(interval_of: Duration, viewer: Viewer, render: Render) -> Self {
        let mut ticks = interval(interval_of);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(Kind::Events(Box::new(Events {
            render,
            ticks,
            end: Instant::now() + MAX_STREAM,
            _viewer: viewer,
        })))
    }
}

impl Body for StatusBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.get_mut().0 {
            Kind::Text(text) => Pin::new(text).poll_frame(cx),
            Kind::Events(events) => {
                let now = ready!(events.ticks.poll_tick(cx));
                if now >= events.end {
                    return Poll::Ready(None);
                }
                let event = event(&(events.render)());
                Poll::Ready(Some(Ok(Frame::data(event.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Text(text) => text.is_end_stream(),
            Kind::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Text(text) => text.size_hint(),
            Kind::Events(_) => SizeHint::default(),
        }
    }
}

/// An event with this content. A line break of any kind ends a line of the format, so each line of
/// the content is a field of its own (HTML standard §9.2.6).
fn event(content: &str) -> String {
    let mut event = String::with_capacity(content.len() + 32);
    event.push_str("event: status\n");
    for line in content.split(['\r', '\n']) {
        event.push_str("data: ");
        event.push_str(line);
        event.push('\n');
    }
    event.push('\n');
    event
}

impl fmt::Debug for StatusBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.0 {
            Kind::Text(_) => "text",
            Kind::Events(_) => "events",
        };
        f.debug_tuple("StatusBody").field(&kind).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use http_body_util::BodyExt;

    #[test]
    fn a_line_break_in_a_path_begins_no_field_of_its_own() {
        assert_eq!(
            event("a\r\nevent: close\nb"),
            "event: status\ndata: a\ndata: \ndata: event: close\ndata: b\n\n"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_comes_at_once_and_after_each_interval_until_an_hour_is_over() {
        let viewers = Arc::default();
        let viewer = Viewer::enter(&viewers, 1).unwrap();
        assert!(Viewer::enter(&viewers, 1).is_none());

        let start = Instant::now();
        let render = Box::new(|| "x".to_owned());
        let mut body = StatusBody::events(Duration::from_secs(900), viewer, render);
        let mut times = Vec::new();
        while let Some(frame) = body.frame().await {
            assert_eq!(
                frame.unwrap().into_data().unwrap(),
                "event: status\ndata: x\n\n"
            );
            times.push(start.elapsed().as_secs());
        }
        assert_eq!(times, [0, 900, 1_800, 2_700]);
        drop(body);
        assert!(Viewer::enter(&viewers, 1).is_some());
    }
}
