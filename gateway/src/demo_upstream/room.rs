//! Chat room of the demo: every member gets what any member sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_tungstenite::tungstenite::Message;

/// Limit of messages that a slow client may be behind; it then misses the oldest ones.
const BACKLOG: usize = 256;

/// Chat room.
#[derive(Clone, Debug)]
pub(super) struct Room {
    messages: broadcast::Sender<Message>,
    /// Number of the client that joined last.
    last_number: Arc<AtomicU64>,
}

impl Room {
    pub(super) fn new() -> Self {
        Self {
            messages: broadcast::Sender::new(BACKLOG),
            last_number: Arc::default(),
        }
    }

    /// Sends a message to all members. An empty room is not an error.
    fn broadcast(&self, message: impl Into<Message>) {
        let _ = self.messages.send(message.into());
    }
}

/// Membership of one client. Dropping it leaves the room.
#[derive(Debug)]
pub(super) struct Member {
    room: Room,
    number: u64,
    messages: broadcast::Receiver<Message>,
}

impl Member {
    /// Joins the room, and announces the new member to the others.
    pub(super) fn join(room: Room) -> Self {
        let number = room.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        room.broadcast(format!("* client {number} joined"));
        let messages = room.messages.subscribe();
        Self {
            room,
            number,
            messages,
        }
    }

    /// Returns the first message for this member.
    pub(super) fn welcome(&self) -> String {
        let others = match self.room.messages.receiver_count().saturating_sub(1) {
            0 => "no other client is".to_owned(),
            1 => "1 other is".to_owned(),
            many => format!("{many} others are"),
        };
        format!("* hello, you are client {}; {others} here", self.number)
    }

    /// Waits for the next message to the room.
    pub(super) async fn next_message(&mut self) -> Message {
        match self.messages.recv().await {
            Ok(message) => message,
            Err(RecvError::Lagged(count)) => format!("* you missed {count} messages").into(),
            // Does not happen: the member itself holds a sender.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }

    /// Sends a message of this member to the room; text gets the member's number in front.
    pub(super) fn send(&self, message: Message) {
        match message {
            Message::Text(text) => self.room.broadcast(format!("{}: {text}", self.number)),
            Message::Binary(_) => self.room.broadcast(message),
            // Control frames concern one connection only.
            _ => {}
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.room
            .broadcast(format!("* client {} left", self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_client_learns_how_many_messages_it_missed() {
        let mut member = Member::join(Room::new());
        for _ in 0..BACKLOG + 3 {
            member.room.broadcast("more");
        }
        let message = member.next_message().await;
        assert_eq!(message.to_text().unwrap(), "* you missed 3 messages");
    }
}
