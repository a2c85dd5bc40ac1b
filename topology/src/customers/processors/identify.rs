//! identify: `customers.identify` in, store `emails`.

use super::Outlets;
use crate::customers::{
    Config,
    identify::Claimants,
    stored::{EMAILS, read, write},
};
use schemas::{AvroCodec, IdentifyMessage};
use streams::{Processor, ProcessorContext, ProcessorError, Record};

pub struct Identify {
    codec: AvroCodec<Claimants>,
    outlets: Outlets,
}

impl Identify {
    pub fn new(config: &Config, name: &str, codec: AvroCodec<Claimants>) -> Self {
        Identify { codec, outlets: Outlets::of(name, config) }
    }
}

impl Processor<String, IdentifyMessage> for Identify {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<String, IdentifyMessage>) -> Result<(), ProcessorError> {
        let key = record.key.as_bytes();
        let before: Claimants = match ctx.store(EMAILS)?.get(key)? {
            Some(bytes) => read(&self.codec, EMAILS, &bytes)?,
            None => Claimants::default(),
        };
        let mut claimants = before.clone();
        let effects = claimants.on_message(&record.key, record.value.body);
        if claimants != before {
            if claimants.customers.is_empty() {
                ctx.store(EMAILS)?.delete(key.to_vec());
            } else {
                let bytes = write(&self.codec, EMAILS, &claimants)?;
                ctx.store(EMAILS)?.put(key.to_vec(), bytes);
            }
        }
        self.outlets.send(ctx, effects, record.timestamp)
    }
}
