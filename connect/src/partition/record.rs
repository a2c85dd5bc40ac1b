//! One record's requests, and what goes on with it.

use super::turns::Turn;
use crate::{
    call::Call,
    conversation::{Conversation, Finished},
};
use schemas::{Action, Millis, Read};
use std::collections::VecDeque;

/// A record's requests.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub queue: VecDeque<Taken>,
    pub talk: Talk,
    /// How many of the requests held are live (those under way included).
    pub live: usize,
    /// What a list call lacked is read singly.
    pub singly: bool,
    /// A list call failed: not before this, unless something live comes.
    pub not_before: Option<Millis>,
    /// Where it is entered: its turn, its wait, its page.
    pub turn: Option<Turn>,
    pub wait: Option<Millis>,
    pub page: Option<String>,
}

/// A request taken from the topic.
#[derive(Debug)]
pub(super) struct Taken {
    pub offset: i64,
    pub asked_at: Millis,
    pub action: Action,
}

impl Taken {
    pub fn is_read(&self) -> bool {
        matches!(self.action, Action::Read(_))
    }

    pub fn is_live(&self) -> bool {
        self.page().is_none()
    }

    pub fn page(&self) -> Option<&String> {
        match &self.action {
            Action::Read(read) => read.page.as_ref(),
            _ => None,
        }
    }

    pub fn into_read(self) -> Option<Read> {
        match self.action {
            Action::Read(read) => Some(read),
            _ => None,
        }
    }
}

/// What goes on with a record.
#[derive(Debug, Default)]
pub(super) enum Talk {
    #[default]
    Idle,
    /// Its own conversation, about these offsets (and whether each is live).
    Own { conversation: Box<Conversation>, about: Vec<(i64, bool)>, pending: Pending },
    /// A list call answers these reads.
    Listed { reads: Vec<Taken> },
}

#[derive(Debug)]
pub(super) enum Pending {
    /// This call is to be sent.
    Call(Call),
    Answer,
    Wait(Millis),
    /// The outcome, which is published when the catch-up is through, or then.
    CatchUp(Box<Finished>, Millis),
}

impl Pending {
    /// The call to be sent, if that is what is pending; its answer is from then on.
    pub fn take_call(&mut self) -> Option<Call> {
        match std::mem::replace(self, Pending::Answer) {
            Pending::Call(call) => Some(call),
            other => {
                *self = other;
                None
            }
        }
    }
}

impl Record {
    /// Adjoining reads at the front of the queue join the conversation, if it only reads.
    pub fn join(&mut self) {
        let Talk::Own { conversation, about, .. } = &mut self.talk else { return };
        if !conversation.reads() {
            return;
        }
        while self.queue.front().is_some_and(Taken::is_read) {
            let Some(taken) = self.queue.pop_front() else { return };
            about.push((taken.offset, taken.is_live()));
            let offset = taken.offset;
            if let Some(read) = taken.into_read() {
                conversation.join(offset, read);
            }
        }
    }
}
