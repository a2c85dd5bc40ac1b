//! A read: look at the record, and publish what it shows with every notice that led to it.

use super::{Act, Scene};
use crate::call::{Call, Reply};
use schemas::{ExternalId, Notice, Read};

#[derive(Clone, Debug)]
pub(super) struct Task {
    id: ExternalId,
    notices: Vec<Notice>,
}

impl Task {
    pub fn new(id: ExternalId, read: Read) -> Self {
        Task { id, notices: read.notices }
    }

    pub fn join(&mut self, read: Read) {
        self.notices.extend(read.notices);
    }

    pub fn start(&mut self) -> Act {
        Act::Call(Call::Get { id: self.id.clone() })
    }

    pub fn on_reply(&mut self, scene: &Scene<'_>, reply: Reply) -> Act {
        match super::look(&self.id, reply) {
            Ok(seen) => {
                let mut act = scene.shown(seen);
                if let Act::Finish(finished) = &mut act {
                    finished.result.notices = std::mem::take(&mut self.notices);
                }
                act
            }
            Err(reply) => Act::Unexpected(reply),
        }
    }
}
