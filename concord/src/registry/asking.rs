//! Ids that are met and not known here: records that name one wait while it is looked for.

use schemas::{Registry, wire::SchemaId};
use std::{collections::HashSet, future::Future, time::Duration};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// How long "there is no such id" is believed.
const NOWHERE: Duration = Duration::from_secs(30);

/// The registry, for those that decode. `look` makes an id known in it, or says why there is no such id.
pub fn looking<L, F>(registry: &Registry, look: L) -> Registry
where
    L: Fn(SchemaId) -> F + Send + 'static,
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let (ask, wanted) = unbounded_channel();
    let asking = registry.fetching(move |id| {
        // Nobody looks any more when the process ends.
        let _ = ask.send(id);
    });
    tokio::spawn(look_for(registry.clone(), wanted, look));
    asking
}

/// As long as anybody may ask.
async fn look_for<L, F>(registry: Registry, mut wanted: UnboundedReceiver<SchemaId>, look: L)
where
    L: Fn(SchemaId) -> F,
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let mut under_way = HashSet::new();
    let (done, mut found) = unbounded_channel();
    loop {
        tokio::select! {
            id = wanted.recv() => match id {
                // Each on its own: one that is not answered keeps no other waiting.
                Some(id) if under_way.insert(id) => {
                    let (registry, looked, done) = (registry.clone(), look(id), done.clone());
                    tokio::spawn(async move {
                        if let Err(reason) = looked.await {
                            tracing::warn!(id, reason, "A record names a schema that cannot be had.");
                            registry.nowhere(id, true);
                            tokio::time::sleep(NOWHERE).await;
                            registry.nowhere(id, false);
                        }
                        let _ = done.send(id);
                    });
                }
                Some(_) => {}
                None => return,
            },
            Some(id) = found.recv() => {
                under_way.remove(&id);
            }
        }
    }
}
