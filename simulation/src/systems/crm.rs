//! A system of kind `topic`: somebody's program publishes each record's snapshot, in order, to `customers.crm`.

use crate::{history::RecordNo, plan::CRM, world::World};
use schemas::SourceCustomer;

impl World {
    pub fn crm_publish(&mut self, record: RecordNo) {
        let r = &self.history.records[record];
        let fields = r.live().then(|| r.fields(&self.plan.settings.systems[CRM].mapped));
        let (id, seq) = (r.id.clone(), self.history.seq);
        let result = SourceCustomer { fields, ..SourceCustomer::default() };
        let offset = self.publish(CRM, id.as_str(), &result);
        self.history.published(CRM, &id, seq, self.now, &SourceCustomer { order: Some(offset + 1), ..result });
    }
}
