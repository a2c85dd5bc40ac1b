//! The unified record: one customer with what is true, where it comes from, and how each record stands.

use super::{
    Config, Effect,
    merge::Turn,
    state::{ChosenBy, Customer, Replica},
};
use schemas::{Field, GoldenField, LinkedRecord, RefusedValue, System, UnifiedCustomer, Values};
use std::hash::{Hash, Hasher};

impl Customer {
    /// One [`UnifiedCustomer`], if it differs from the last one published.
    pub(super) fn publish(&mut self, turn: &mut Turn<'_>) {
        if self.is_new() {
            return;
        }
        let mut unified = self.unified(turn.config);
        let digest = digest(&unified);
        if digest != self.published {
            self.published = digest;
            self.version += 1;
            unified.version = self.version;
            unified.updated_at = turn.now;
            turn.effects.push(Effect::Unified(Box::new(unified)));
        }
    }

    /// The record as it stands, but for its version and time.
    fn unified(&self, config: &Config) -> UnifiedCustomer {
        let fields = self.golden.iter().map(|(field, golden)| GoldenField {
            field: field.clone(),
            value: golden.value.clone(),
            system: golden.system.clone(),
            external_id: golden.external_id.clone(),
            event_id: golden.event_id.clone(),
            edited_at: golden.time,
            rule: golden.chosen_by.name().into(),
        });
        let replicas = self.replicas.iter().map(|(system, r)| self.linked(config, system, r));
        let spares = self.spares.iter().map(|s| LinkedRecord {
            system: s.system.clone(),
            external_id: s.external_id.clone(),
            deleted: s.deleted,
            spare: true,
            in_step: true,
            shows: Values::new(),
            in_flight: None,
            refused: Vec::new(),
            held: Vec::new(),
        });
        UnifiedCustomer {
            customer_id: self.id,
            version: 0,
            deleted: self.deleted,
            updated_at: 0,
            contested: self.contested,
            fields: fields.collect(),
            records: replicas.chain(spares).collect(),
        }
    }

    fn linked(&self, config: &Config, system: &System, r: &Replica) -> LinkedRecord {
        let in_step = match self.deleted {
            true => r.deleted || !self.delete_wanted.contains(system),
            false => r.deleted || (r.in_flight.is_none() && self.agrees(config, system, r)),
        };
        let refused = r.refused.iter().filter(|(f, it)| it.value == *self.golden_value(f) && it.value != *r.base(f));
        LinkedRecord {
            system: system.clone(),
            external_id: r.external_id.clone(),
            deleted: r.deleted,
            spare: false,
            in_step,
            shows: if self.deleted { Values::new() } else { r.base.clone() },
            in_flight: r.in_flight.as_ref().map(|w| self.write_id(system, w.id)),
            refused: refused
                .map(|(field, it)| RefusedValue { field: field.clone(), value: it.value.clone(), reason: it.reason.clone() })
                .collect(),
            held: self.held.iter().filter(|f| config.maps(system, f)).cloned().collect(),
        }
    }

    /// Every mapped field shows golden, or the system's own rendering of it.
    fn agrees(&self, config: &Config, system: &System, r: &Replica) -> bool {
        let agrees = |f: &Field| !config.maps(system, f) || self.golden_value(f) == r.base(f) || r.renders(f, self.golden_value(f));
        self.golden.keys().chain(r.base.keys()).all(agrees)
    }
}

impl ChosenBy {
    /// Its name in the unified record.
    pub fn name(self) -> &'static str {
        match self {
            ChosenBy::First => "first",
            ChosenBy::Edit => "edit",
            ChosenBy::LastWriterWins => "last-writer-wins",
            ChosenBy::SystemOfRecord => "system-of-record",
        }
    }
}

/// What the record says, as a number: the same on every machine. Another compiler or another field makes others, upon which each
/// record is published once more at its next touch.
fn digest(unified: &UnifiedCustomer) -> i64 {
    let mut digest = Digest(0xcbf2_9ce4_8422_2325);
    unified.hash(&mut digest);
    digest.0 as i64
}

/// Eight bytes at a time, each folded in by a multiplication of twice the width.
struct Digest(u64);

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        self.write_usize(bytes.len());
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(n.into());
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(n.into());
    }

    fn write_u64(&mut self, n: u64) {
        let wide = u128::from(self.0.rotate_left(5) ^ n) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (wide >> 64) as u64 ^ wide as u64;
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
