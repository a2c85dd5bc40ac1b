//! Somebody else's registry, in place of ours: `SCHEMA_REGISTRY_URL`.
//!
//! At the start every schema that this process writes with is registered there, and until that is done nothing runs. Later a record may
//! name an id that is not known here: it waits (its task fails, and is started again with pauses that double) until the schema was
//! fetched. Only a registry that answers "there is no such id" makes it a dead letter.
//!
//! What was learnt stands in the log's topic `_schemas`, too: the commands that read the log need no registry, and a data folder that is
//! used without `SCHEMA_REGISTRY_URL` again goes on with the ids that are in its records. On Kafka it stands in a topic of our own, since
//! `_schemas` may be that of the other registry.

use super::{Service, asking};
use crate::config::RemoteConfig;
use anyhow::bail;
use schema_registry_converter::{
    async_impl::schema_registry::{SrSettings, get_referenced_schema, get_schema_by_id_and_type, post_schema},
    error::SRCError,
    schema_registry_common::{RawError, RegisteredReference, RegisteredSchema, SchemaType, SuppliedSchema},
};
use schemas::{
    Registry,
    registry::{Change, Refusal},
    text::{Node, whole},
    wire::SchemaId,
};
use std::{error::Error, future::Future, pin::Pin, time::Duration};
use streams::{ErrorHandlerContext, ExceptionHandler, ProcessorError, Response};

/// For one answer.
const ANSWER: Duration = Duration::from_secs(10);
/// First and longest pause before it is asked again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// References of references are followed so far.
const DEPTH: usize = 16;

const CREDENTIALS: &str = "it wants other credentials: set SCHEMA_REGISTRY_BASIC_AUTH to user:password";

/// A registry by its address.
#[derive(Clone)]
pub struct Remote {
    settings: SrSettings,
    url: String,
}

/// What it says, sorted by what to do.
enum Said {
    /// It is away, or not itself: ask again.
    Away(String),
    /// There is no such schema.
    Nothing,
    /// It will say the same again.
    No(String),
}

impl Remote {
    pub fn new(config: &RemoteConfig) -> anyhow::Result<Remote> {
        let mut urls = config.url.split(',').map(|url| url.trim().trim_end_matches('/').to_owned());
        let mut settings = SrSettings::new_builder(urls.next().unwrap_or_default());
        for url in urls {
            settings.add_url(url);
        }
        settings.set_timeout(ANSWER);
        if let Some(user) = &config.basic {
            let (user, password) = user.reveal().split_once(':').unwrap_or((user.reveal(), ""));
            settings.set_basic_authorization(user, Some(password));
        }
        let client = reqwest::Client::builder().connect_timeout(ANSWER).redirect(reqwest::redirect::Policy::none());
        let settings = settings.build_with(client).map_err(|error| anyhow::anyhow!("SCHEMA_REGISTRY_URL: {}", error.error))?;
        Ok(Remote { settings, url: config.url.clone() })
    }

    /// Registers what `needed` has, and says which ids it got. `registry` holds what the log holds. Waits while the registry is away.
    async fn register(&self, registry: &Registry, needed: &Registry) -> anyhow::Result<Vec<(String, SchemaId, String)>> {
        self.check_own(registry).await?;
        let mut learnt = Vec::new();
        for subject in needed.subjects() {
            let Some((_, schema)) = needed.latest(&subject) else { continue };
            let supplied = || SuppliedSchema::new(None, SchemaType::Avro, schema.text().to_owned());
            let what = format!("registering subject {subject}");
            let registered = self.asked(&what, || post_schema(&self.settings, subject.clone(), supplied())).await;
            let id = match registered {
                Ok(registered) => registered.id,
                Err(reason) => bail!("SCHEMA_REGISTRY_URL: {} refuses the schema of subject {subject}: {reason}", self.url),
            };
            learnt.push((subject, id, schema.text().to_owned()));
        }
        Ok(learnt)
    }

    /// The ids in the log's records must mean the same there.
    async fn check_own(&self, registry: &Registry) -> anyhow::Result<()> {
        for (id, _) in registry.known() {
            let there =
                self.asked(&format!("comparing schema {id}"), || get_schema_by_id_and_type(id, &self.settings, SchemaType::Avro)).await;
            let same = match there {
                Ok(there) => self.text(there).await.is_ok_and(|text| registry.is(id, &text)),
                Err(reason) if reason == CREDENTIALS => bail!("SCHEMA_REGISTRY_URL: {}: {reason}", self.url),
                Err(_) => false,
            };
            if !same {
                bail!(
                    "SCHEMA_REGISTRY_URL: records in this data folder were written with schema {id}, which is not what {} has under that id. Start with \
                     an empty data folder, or import the folder's `_schemas` there with their ids (mode IMPORT)",
                    self.url
                );
            }
        }
        Ok(())
    }

    /// Asks until there is an answer that will not change by itself.
    async fn asked<T, F: Future<Output = Result<T, SRCError>>>(&self, what: &str, mut ask: impl FnMut() -> F) -> Result<T, String> {
        let mut pause = PAUSES.0;
        loop {
            match ask().await.map_err(sorted) {
                Ok(answer) => return Ok(answer),
                Err(Said::Nothing) => return Err("there is no such schema".into()),
                Err(Said::No(reason)) => return Err(reason),
                Err(Said::Away(reason)) => {
                    tracing::warn!(
                        registry = self.url,
                        what,
                        reason,
                        pause_ms = pause.as_millis() as u64,
                        "The schema registry does not answer; it is asked again."
                    );
                    metrics::counter!("concord_schema_registry_retries_total").increment(1);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }

    /// The schema with the types that it takes from others in place.
    async fn text(&self, schema: RegisteredSchema) -> Result<String, String> {
        self.node(schema.schema, schema.references, DEPTH).await.map(|node| node.to_string())
    }

    fn node(
        &self,
        text: String,
        references: Vec<RegisteredReference>,
        depth: usize,
    ) -> Pin<Box<dyn Future<Output = Result<Node, String>> + Send + '_>> {
        Box::pin(async move {
            let depth = depth.checked_sub(1).ok_or("its references go too deep")?;
            let mut others = Vec::new();
            for reference in references {
                let what = format!("fetching {} of subject {}", reference.name, reference.subject);
                let other = self.asked(&what, || get_referenced_schema(&self.settings, &reference)).await?;
                others.push(self.node(other.schema, other.references, depth).await?);
            }
            Node::read(&text).map(|node| whole(&node, &others)).map_err(|error| error.to_string())
        })
    }

    /// Makes an id known, or says why it cannot be.
    async fn fetch(self, registry: Registry, id: SchemaId) -> Result<(), String> {
        let what = format!("fetching schema {id}");
        let schema = self.asked(&what, || get_schema_by_id_and_type(id, &self.settings, SchemaType::Avro)).await?;
        registry.learn_id(id, &self.text(schema).await?).map_err(|error| error.to_string())
    }
}

/// The crate calls most errors final; the registry's own code says more.
fn sorted(error: SRCError) -> Said {
    let answered = error.source().and_then(|source| source.downcast_ref::<RawError>());
    match answered.map(|raw| raw.error_code) {
        Some(40403) => Said::Nothing,
        Some(401 | 40101) => Said::No(CREDENTIALS.into()),
        Some(403 | 40301) => Said::No("these credentials may not do that".into()),
        // In other words than a registry's own.
        _ if error.error.contains("status 401") => Said::No(CREDENTIALS.into()),
        Some(409 | 40901 | 42201..=42299) => Said::No(error.cause.unwrap_or(error.error)),
        // No answer, or that of something in between.
        _ => Said::Away(error.cause.unwrap_or(error.error)),
    }
}

/// The registry in place of the log's own: registers there what `needed` has, which is every schema that is written with, and keeps what
/// was learnt in the log.
pub async fn open(service: &Service, config: &RemoteConfig, needed: &Registry) -> anyhow::Result<Registry> {
    let remote = Remote::new(config)?;
    let learnt = remote.register(service.registry(), needed).await?;
    let learn = move |registry: &Registry| {
        let tried = registry.fork();
        let learn = |(subject, id, text): &(String, SchemaId, String)| tried.learn(subject, *id, text);
        learnt.iter().try_for_each(learn).map_err(|error| Refusal::new(409, error.to_string()))?;
        Ok(Change { answer: (), records: tried.take_unsaved() })
    };
    service.change(learn).await.map_err(|refusal| anyhow::anyhow!("SCHEMA_REGISTRY_URL: {}: {}", config.url, refusal.message))?;
    let registry = service.registry().clone();
    Ok(asking::looking(service.registry(), move |id| remote.clone().fetch(registry.clone(), id)))
}

/// The handler, but for records whose schema is being fetched: those wait.
pub fn waiting(handler: ExceptionHandler) -> ExceptionHandler {
    std::sync::Arc::new(move |context: &ErrorHandlerContext<'_>, error: &ProcessorError| match error.code() {
        topology::customers::SCHEMA_AWAY => Response::Fail,
        _ => handler(context, error),
    })
}
