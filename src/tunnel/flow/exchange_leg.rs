//! Loss of a direction's source or sink, and its successor.

use bytes::Bytes;

use crate::{
    frame::ControlFrame,
    tunnel::track::{Position, data_frames},
};

use super::{
    held::Held,
    pump::{Flow, Sink, Source},
};

impl Flow {
    /// Whether the sink has whole messages, and nothing of another one.
    pub(in crate::tunnel) fn is_delivered_between_messages(&self) -> bool {
        if self.has_left_sink() {
            // Our close frame, of which the sink may have a part, follows a whole message.
            return true;
        }
        let outgoing = self.outgoing.as_ref();
        match outgoing.filter(|outgoing| !outgoing.rest().is_empty()) {
            // The messages of the source wait behind those.
            Some(outgoing) if outgoing.has_own() => true,
            Some(outgoing) => outgoing
                .position
                .is_some_and(|position| position.is_between_messages()),
            None => self.track.position().is_between_messages(),
        }
    }

    /// Whether the source has sent whole messages, and nothing of another one was forwarded.
    pub(in crate::tunnel) fn is_between_messages(&self) -> bool {
        self.track.position().is_between_messages()
    }

    /// Writes nothing more to a sink that broke, and keeps the bytes that it has not taken.
    pub(super) fn lose_sink(&mut self) {
        self.take_back_close();
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.stalled_since = None;
        }
        self.needs_flush = false;
        self.sink = Sink::Detached;
    }

    /// Holds further bytes of the source, up to this number, until there is another sink. The
    /// messages that the sink has not taken are kept, and control frames among them are not.
    pub(in crate::tunnel) fn detach_sink(&mut self, limit: usize) {
        self.take_back_close();
        let kept = self.outgoing.take();
        let outgoing = self.outgoing.get_or_insert_default();
        outgoing.limit = limit;
        let kept = kept.as_ref().map_or(&[][..], |kept| kept.rest_of_source());
        outgoing.push(&data_frames(kept));
        self.sink = Sink::Detached;
        self.end_pause();
        self.needs_flush = false;
        self.sink_at_boundary = self.track.at_boundary();
    }

    /// Delivers messages of the proxy, then the held bytes and those of the source, to a new sink.
    pub(in crate::tunnel) fn attach_sink(&mut self, own: Vec<u8>) {
        self.sink = Sink::Open;
        self.backoff = 0;
        if !own.is_empty() {
            self.outgoing.get_or_insert_default().put_first(own);
        }
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.position = Some(Position::default());
        }
        self.outgoing.take_if(|outgoing| outgoing.is_empty());
    }

    /// Whether the source ended or broke.
    pub(in crate::tunnel) fn has_source_ended(&self) -> bool {
        self.source == Source::Ended
    }

    /// Gives up on the source, which may get a successor.
    pub(in crate::tunnel) fn detach_source(&mut self) {
        self.source = Source::Ended;
        self.held = None;
    }

    /// Goes on with another source, of which these bytes were read already.
    pub(in crate::tunnel) fn attach_source(&mut self, read_ahead: Bytes) {
        self.source = Source::Open;
        self.held = Held::read_ahead(read_ahead);
    }

    /// Takes the close frame that was withheld.
    pub(in crate::tunnel) fn take_withheld_close(&mut self) -> Bytes {
        let held = self.held.take();
        let mut bytes = held.map_or_else(Bytes::new, |held| held.unread);
        match ControlFrame::parse(&bytes) {
            Ok(Some((_, len))) => bytes.split_to(len.min(bytes.len())),
            _ => bytes,
        }
    }

    /// Whether the sink takes a frame of ours at once, which then stands between two others. None may
    /// follow a close frame (RFC 6455 §5.5.1).
    pub(in crate::tunnel) fn takes_own(&self) -> bool {
        let is_open = self.sink == Sink::Open && !self.track.is_closing();
        is_open && self.sink_at_boundary && !self.has_leftover()
    }

    /// Sends the sink frames of ours after the bytes that it was given, which must end at a frame
    /// boundary.
    pub(in crate::tunnel) fn push_own(&mut self, frames: &[u8]) {
        if self.sink == Sink::Open && !frames.is_empty() {
            self.outgoing.get_or_insert_default().push(frames);
        }
    }
}
