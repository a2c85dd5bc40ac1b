//! Who acts for a system: on the embedded log this process, on Kafka one process at a time.

use super::{
    engine::Engine,
    supervise::{Trouble, all, keep},
};
use crate::http::Part;
use connect::{Cursors, Walks};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use streams::{Log, Owner};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// When sources stop, and when sinks do.
#[derive(Clone)]
pub struct Stops {
    pub sources: CancellationToken,
    pub sinks: CancellationToken,
}

impl Stops {
    pub fn new() -> Self {
        Stops { sources: CancellationToken::new(), sinks: CancellationToken::new() }
    }

    /// Stops with these, or before.
    fn child(&self) -> Self {
        Stops { sources: self.sources.child_token(), sinks: self.sinks.child_token() }
    }

    fn now(&self) {
        self.sources.cancel();
        self.sinks.cancel();
    }
}

/// What an owner works with. Its log takes nothing more once another process has begun to act.
pub struct Owned {
    pub log: Log,
    pub cursors: Cursors,
    pub walks: Walks,
    pub stops: Stops,
}

impl Owned {
    async fn open(log: Log, engine: &Engine, stops: Stops) -> anyhow::Result<Owned> {
        let cursors = Cursors::open(&log).await?;
        let walks = Walks::new(&log, &engine.registry, &cursors, &engine.application_id)?;
        Ok(Owned { log, cursors, walks, stops })
    }
}

/// What was started.
#[derive(Default)]
pub struct Tasks {
    pub sources: Vec<JoinHandle<()>>,
    pub sinks: Vec<JoinHandle<()>>,
}

/// What is done for a name by the process that owns it.
pub trait Work: Send + Sync + 'static {
    /// Starts it; it ends by the owner's stops. An error says that nothing was started.
    fn begin(&self, owned: &Owned) -> impl Future<Output = anyhow::Result<Tasks>> + Send;
}

/// Whether this process acts for a name, and what keeps it from it.
#[derive(Clone, Default)]
pub struct Acting {
    now: Arc<AtomicBool>,
    trouble: Trouble,
}

impl Acting {
    /// What is to be said of the name where this process does not act for it.
    pub fn elsewhere(&self) -> Option<Part> {
        match self.trouble.get() {
            _ if self.now.load(Ordering::Relaxed) => None,
            Some(trouble) => Some(Part::Down(trouble)),
            None => Some(Part::Ok("another process acts for it".to_owned())),
        }
    }
}

/// Does the work of a name: at once on the embedded log; on Kafka whenever this process owns it.
pub async fn act(name: String, work: impl Work, acting: Acting, engine: &Arc<Engine>, stops: &Stops) -> anyhow::Result<Tasks> {
    if engine.is_alone() {
        let owned = Owned::open(engine.log.clone(), engine, stops.clone()).await?;
        acting.now.store(true, Ordering::Relaxed);
        return work.begin(&owned).await;
    }
    let (work, engine, stops) = (Arc::new(work), engine.clone(), stops.clone());
    // It ends last: when its sinks have.
    let (until, trouble) = (stops.sinks.clone(), acting.trouble.clone());
    let kept = keep(format!("{name}: owner"), until, trouble, move || {
        let (name, work, acting, engine, stops) = (name.clone(), work.clone(), acting.clone(), engine.clone(), stops.clone());
        async move { own(&name, &*work, &acting, &engine, &stops).await }
    });
    Ok(Tasks { sources: Vec::new(), sinks: vec![kept] })
}

/// Owns the name, and acts for it, until the end or until another process takes over.
async fn own(name: &str, work: &impl Work, acting: &Acting, engine: &Engine, stops: &Stops) -> anyhow::Result<()> {
    while !stops.sources.is_cancelled() {
        let owner = tokio::select! {
            owner = engine.log.own(name) => owner?,
            () = stops.sources.cancelled() => break,
        };
        acting.trouble.clear();
        let stops = stops.child();
        let done = act_as(&owner, work, acting, engine, &stops).await;
        acting.now.store(false, Ordering::Relaxed);
        owner.release().await;
        done?;
    }
    stops.sinks.cancelled().await;
    Ok(())
}

async fn act_as(owner: &Owner, work: &impl Work, acting: &Acting, engine: &Engine, stops: &Stops) -> anyhow::Result<()> {
    let owned = Owned::open(owner.log(), engine, stops.clone()).await?;
    let name = owner.name();
    tracing::info!(name, "This process acts for it.");
    let Tasks { sources, sinks } = work.begin(&owned).await?;
    acting.now.store(true, Ordering::Relaxed);
    let ended = async {
        all(sources).await;
        all(sinks).await;
        stops.sinks.cancelled().await;
    };
    tokio::pin!(ended);
    tokio::select! {
        () = &mut ended => {}
        why = owner.lost() => {
            tracing::warn!(name, why, "This process no longer acts for it.");
            stops.now();
            ended.await;
        }
    }
    Ok(())
}
