//! (15–17) "Whose record is this?" A question reaches a customer, which accepts the record, or says who else may.

use super::{
    Effect, Error,
    merge::{Conflict, Turn},
    state::{Customer, Spare},
};
use schemas::{By, ConflictKind, CustomerLink, IdentifyBody, Question, Rule, System, UnifyBody, holds};

/// How often a question may be sent on before something must be wrong.
const BOUNCES: i32 = 20;

/// What a customer says to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is linked here already.
    Again,
    Accept,
    /// Its own record came back.
    Undelete,
    Spare,
    Duplicate,
    Bounce,
}

impl Customer {
    /// A failed question changes nothing.
    pub(super) fn on_question(&mut self, turn: &mut Turn<'_>, question: Question) -> Result<(), Error> {
        let before = (question.bounces >= BOUNCES).then(|| self.clone());
        let answered = self.answer_question(turn, question);
        if let (Err(_), Some(before)) = (&answered, before) {
            *self = before;
        }
        answered
    }

    fn answer_question(&mut self, turn: &mut Turn<'_>, question: Question) -> Result<(), Error> {
        self.an_older_incarnation_is_gone(turn, &question);
        match self.verdict(&question) {
            Verdict::Bounce => self.bounce(turn, question)?,
            Verdict::Duplicate => self.duplicate(turn, question),
            verdict => {
                self.link(turn, &question);
                // Found by an e-mail that this customer does not keep: somebody has to give it up.
                let found_by = question.email.clone().filter(|_| question.by == By::Email);
                match verdict {
                    Verdict::Accept => {
                        if self.is_new() && question.by == By::Email {
                            self.claimed = question.email.clone(); // `identify` has it as the first claimant
                        }
                        self.wanted_gone(turn, &question);
                        self.accept(turn, question);
                    }
                    Verdict::Undelete => self.undelete(turn, question),
                    Verdict::Spare => self.spare(turn, question),
                    _ => {}
                }
                self.claims_follow_golden(turn);
                if let Some(email) = found_by.filter(|email| self.claimed.as_ref() != Some(email)) {
                    self.release(turn, email);
                }
            }
        }
        Ok(())
    }

    fn verdict(&self, q: &Question) -> Verdict {
        let known = |s: &Spare| s.system == q.system && s.external_id == q.external_id && s.incarnation == q.incarnation;
        let replica = self.replicas.get(&q.system);
        let ours = q.ours && holds(Rule::Spares);
        if replica.is_some_and(|r| r.is(&q.external_id, q.incarnation)) || self.spares.iter().any(known) {
            return Verdict::Again;
        }
        if self.deleted && holds(Rule::DeletedAcceptNothing) {
            return match replica {
                _ if !ours => Verdict::Bounce,
                None => Verdict::Accept,
                Some(_) => Verdict::Spare,
            };
        }
        let changed = self.golden_email() != q.email && holds(Rule::BounceOnChangedEmail);
        if q.by == By::Email && !self.replicas.is_empty() && changed {
            return Verdict::Bounce;
        }
        match replica {
            Some(r) if !r.deleted && ours => Verdict::Spare,
            // Its own minted id is the end of the road: there is nobody else to ask.
            Some(r) if !r.deleted && q.minted == self.id => Verdict::Spare,
            Some(r) if !r.deleted => Verdict::Duplicate,
            // The product numbers incarnations itself: a row that came back under an old key is another one.
            Some(r) if r.external_id == q.external_id && q.first.incarnation.is_none() => Verdict::Undelete,
            _ => Verdict::Accept,
        }
    }

    /// The question's record is a later incarnation of the one that takes part here, whose delete is still on its way.
    fn an_older_incarnation_is_gone(&mut self, turn: &mut Turn<'_>, q: &Question) {
        let older = |r: &super::state::Replica| !r.deleted && r.external_id == q.external_id && r.incarnation < q.incarnation;
        if self.replicas.get(&q.system).is_some_and(|r| older(r))
            && let Some(mut r) = self.replicas.remove(&q.system)
        {
            self.gone(turn, &q.system, &mut r, &[]);
            self.replicas.insert(q.system.clone(), r);
            self.claims_follow_golden(turn);
        }
    }

    fn link(&self, turn: &mut Turn<'_>, q: &Question) {
        let link = CustomerLink { incarnation: q.incarnation, customer: self.id };
        turn.effects.push(Effect::Link { system: q.system.clone(), external_id: q.external_id.clone(), link });
    }

    /// A create of ours landed after the customer was deleted: its delete is wanted, if the customer's deletes reach there.
    fn wanted_gone(&mut self, turn: &Turn<'_>, q: &Question) {
        if !self.deleted {
            return;
        }
        if !holds(Rule::DeletedAcceptNothing) {
            self.deleted = false;
        } else if turn.config.system(&q.system).is_some_and(|s| s.is_reached_by_deletes()) {
            self.delete_wanted.insert(q.system.clone());
        }
    }

    /// That replica lives again, with what it knew.
    fn undelete(&mut self, turn: &mut Turn<'_>, question: Question) {
        if let Some(mut r) = self.replicas.remove(&question.system) {
            r.deleted = false;
            r.incarnation = question.incarnation;
            self.on_result(turn, &question.system, &mut r, question.first);
            self.replicas.insert(question.system, r);
        }
    }

    /// (17) Linked, so that it never becomes a customer of its own; it takes no part, and a conflict shows it.
    fn spare(&mut self, turn: &mut Turn<'_>, q: Question) {
        let call = q.first.answer.as_ref().and_then(|a| self.call(&q.system, &a.write_id));
        if let Some(creates) = self.creates.get_mut(&q.system)
            && call.is_some()
            && creates.out == call
        {
            creates.out = None;
        }
        let detail = self.record_in(&q.system).map(|taking_part| format!("a twin of {taking_part}, which takes part"));
        self.record(turn, Conflict { detail, ..Conflict::new(ConflictKind::Spare, &q.system, Some(&q.external_id)) });
        let deleted = q.first.fields.is_none();
        self.spares.push(Spare { system: q.system, external_id: q.external_id, incarnation: q.incarnation, deleted });
    }

    /// Somebody's second record in one system: perhaps the same person. It becomes a customer of its own.
    fn duplicate(&mut self, turn: &mut Turn<'_>, mut question: Question) {
        let detail = self.record_in(&question.system).map(|first| format!("perhaps the same as {first}"));
        let conflict = Conflict::new(ConflictKind::DuplicateCandidate, &question.system, Some(&question.external_id));
        self.record(turn, Conflict { detail, ..conflict });
        question.duplicate_of = Some(self.id);
        if holds(Rule::DuplicateGoesOnMinted) {
            question.by = By::Minted;
        }
        turn.effects.push(Effect::Unify { customer: question.minted, body: UnifyBody::Question(question) });
    }

    /// The customer's record in that system, as people write it: `<system>:<external id>`.
    fn record_in(&self, system: &System) -> Option<String> {
        self.replicas.get(system).map(|r| format!("{system}:{}", r.external_id))
    }

    /// (16) Not this customer: the question's e-mail is given up, and asked for again.
    fn bounce(&self, turn: &mut Turn<'_>, mut question: Question) -> Result<(), Error> {
        if question.bounces >= BOUNCES {
            let Question { system, external_id, bounces, .. } = question;
            return Err(Error::TooManyBounces { system, external_id, bounces });
        }
        question.bounces += 1;
        match question.email.clone() {
            Some(email) => {
                if self.claimed.as_ref() != Some(&email) {
                    self.release(turn, email.clone());
                }
                turn.effects.push(Effect::Identify { email, body: IdentifyBody::Ask(question) });
            }
            None => {
                question.by = By::Minted;
                turn.effects.push(Effect::Unify { customer: question.minted, body: UnifyBody::Question(question) });
            }
        }
        Ok(())
    }
}
