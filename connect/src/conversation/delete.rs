//! A delete, then a look (rule 8).

use super::{Act, Scene, answer, look};
use crate::call::{self, Call, Refusal, Reply};
use schemas::{Delete, ExternalId, Outcome};

#[derive(Clone, Debug)]
pub(super) struct Task {
    id: ExternalId,
    delete: Delete,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    Deleting,
    Looking { refused: Option<Refusal> },
}

impl Task {
    pub fn new(id: ExternalId, delete: Delete) -> Self {
        Task { id, delete, phase: Phase::Deleting }
    }

    pub fn start(&mut self) -> Act {
        self.phase = Phase::Deleting;
        Act::Call(Call::Delete(call::Delete { id: self.id.clone(), key: self.delete.id.to_string(), write: self.delete.id.clone() }))
    }

    pub fn on_reply(&mut self, scene: &Scene<'_>, reply: Reply) -> Act {
        match &mut self.phase {
            Phase::Deleting => {
                let refused = match reply {
                    Reply::Refused(refusal) => Some(refusal),
                    Reply::Done { .. } | Reply::Accepted | Reply::Missing | Reply::Replayed { .. } | Reply::Stored { .. } => None,
                    other => return Act::Unexpected(other),
                };
                self.phase = Phase::Looking { refused };
                Act::Call(Call::Get { id: self.id.clone() })
            }
            Phase::Looking { refused } => match look(&self.id, reply) {
                Ok(seen) if seen.is_deleted() => scene.answered(seen, answer(&self.delete.id, Outcome::Done)),
                Ok(seen) => {
                    // Still there: a refusal, or somebody's undelete just after; asked again after a pause (rule 19).
                    let refusal = refused.take().unwrap_or_else(|| Refusal { reason: "still there".into(), ..Refusal::default() });
                    scene.answered(seen, super::refused(&self.delete.id, refusal))
                }
                Err(reply) => Act::Unexpected(reply),
            },
        }
    }
}
