//! Where schemas are: files and folders, a folder of releases, a git revision, a registry.

use super::registry::{Client, Registered};
use crate::config::Env;
use anyhow::{Context, anyhow, bail};
use schemas::{Compatibility, Schema};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

/// A schema by a name: a file's path within its folder, without `.avsc`; or a subject.
#[derive(Debug, Clone)]
pub struct Entry {
    pub name: String,
    /// The oldest first; never none.
    pub versions: Vec<Version>,
    /// What a registry demands of the next one.
    pub level: Option<Compatibility>,
}

#[derive(Debug, Clone)]
pub struct Version {
    /// For people: `version 2`, `0.1.0`, `HEAD~1`.
    pub label: String,
    pub schema: Arc<Schema>,
}

impl Entry {
    pub fn new(name: String, label: &str, schema: Arc<Schema>) -> Entry {
        Entry { name, versions: vec![Version { label: label.to_owned(), schema }], level: None }
    }

    /// The latest one.
    pub fn schema(&self) -> &Arc<Schema> {
        // There is one, as the type says.
        &self.versions[self.versions.len() - 1].schema
    }

    /// The full name of its record (or other named type).
    pub fn full_name(&self) -> Option<String> {
        self.schema().avro().name().map(|name| name.fullname(None))
    }
}

/// Something that has schemas.
pub enum Place {
    Path(PathBuf),
    Git { revision: String, path: Option<String> },
    Registry(Client),
}

impl Place {
    /// A URL is a registry, what exists is a file or a folder, and all else a git revision.
    pub fn of(text: &str, env: &Env) -> anyhow::Result<Place> {
        if text.contains("://") {
            return Ok(Place::Registry(Client::new(text, env)?));
        }
        if Path::new(text).exists() {
            return Ok(Place::Path(text.into()));
        }
        let (revision, path) = match text.split_once(':') {
            Some((revision, path)) => (revision, Some(path.to_owned())),
            None => (text, None),
        };
        let known = Command::new("git")
            .args(["rev-parse", "--verify", "--quiet", "--end-of-options"])
            .arg(format!("{revision}^{{commit}}"))
            .output();
        match known {
            Ok(known) if known.status.success() => Ok(Place::Git { revision: revision.to_owned(), path }),
            _ => bail!("{text:?} is no URL, no file or folder, and no git revision here"),
        }
    }

    /// Everything that is there. `like`: the folders or files that a git revision is asked for where it names none itself.
    pub async fn entries(&self, like: &[PathBuf]) -> anyhow::Result<Vec<Entry>> {
        match self {
            Place::Path(path) => releases(path).with_context(|| path.display().to_string()),
            Place::Git { revision, path: Some(path) } => at_revision(revision, path),
            Place::Git { revision, path: None } => {
                if like.is_empty() {
                    bail!("{revision}: say which folder of it is meant, as {revision}:schemas");
                }
                let mut entries = Vec::new();
                for path in like {
                    entries.extend(at_revision(revision, &path.to_string_lossy())?);
                }
                Ok(entries)
            }
            Place::Registry(client) => registered(client).await,
        }
    }

    /// Whether what is not there any more was taken away: a registry has other people's subjects, too.
    pub fn is_whole(&self) -> bool {
        !matches!(self, Place::Registry(_))
    }
}

/// The schemas of a file, or of all `.avsc` files below a folder.
pub fn files(path: &Path) -> anyhow::Result<Vec<Entry>> {
    labelled(path, "present")
}

fn labelled(path: &Path, label: &str) -> anyhow::Result<Vec<Entry>> {
    let mut found = Vec::new();
    match path.is_file() {
        true => found.push(path.to_owned()),
        false => walk(path, &mut found)?,
    }
    found.sort();
    let text = |file: PathBuf| -> anyhow::Result<File> {
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        Ok(File { name: name_within(&file, path), at: file.display().to_string(), text })
    };
    parsed(found.into_iter().map(text).collect::<anyhow::Result<_>>()?, label)
}

/// A file's path within the folder, or just its name, without `.avsc`.
fn name_within(file: &Path, folder: &Path) -> String {
    let name = match file.strip_prefix(folder) {
        Ok(name) if !name.as_os_str().is_empty() => name.with_extension(""),
        _ => PathBuf::from(file.file_stem().unwrap_or_default()),
    };
    name.to_string_lossy().into_owned()
}

/// A schema's text, before it is known to be one.
struct File {
    name: String,
    at: String,
    text: String,
}

/// Parses files that belong together: a type of one may be referred to in another by its full name, and is then put in its place.
fn parsed(files: Vec<File>, label: &str) -> anyhow::Result<Vec<Entry>> {
    let full_name = |file: &File| -> Option<String> {
        let json: serde_json::Value = serde_json::from_str(&file.text).ok()?;
        let name = json["name"].as_str()?;
        Some(json["namespace"].as_str().map_or_else(|| name.to_owned(), |namespace| format!("{namespace}.{name}")))
    };
    let types: Vec<(String, &str)> =
        files.iter().filter_map(|file| Some((format!("\"{}\"", full_name(file)?), file.text.as_str()))).collect();
    let entry = |file: &File| -> anyhow::Result<Entry> {
        let mut text = file.text.clone();
        let mut wanted: Vec<&(String, &str)> = types.iter().filter(|(_, other)| *other != file.text).collect();
        let schema = loop {
            match Schema::parse(&text) {
                Ok(schema) => break schema,
                Err(error) => {
                    let Some(at) = wanted.iter().position(|(name, _)| text.contains(name)) else {
                        bail!("{}: {error}", file.at);
                    };
                    let (name, other) = wanted.remove(at);
                    text = text.replacen(name, other, 1);
                }
            }
        };
        Ok(Entry::new(file.name.clone(), label, schema))
    };
    files.iter().map(entry).collect()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "avsc") {
            found.push(path);
        }
    }
    Ok(())
}

/// A folder whose subfolders are numbered (1, 2, or 0.1.0, 0.2.0) holds releases, each with all schemas of its time.
fn releases(path: &Path) -> anyhow::Result<Vec<Entry>> {
    let mut numbered = Vec::new();
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(number) = number(&name).filter(|_| entry.path().is_dir()) {
                numbered.push((number, name, entry.path()));
            }
        }
    }
    if numbered.is_empty() {
        return labelled(path, &path.display().to_string());
    }
    numbered.sort();
    let mut all: Vec<Entry> = Vec::new();
    for (_, name, folder) in numbered {
        for entry in labelled(&folder, &name)? {
            match all.iter_mut().find(|known| known.name == entry.name) {
                Some(known) => known.versions.extend(entry.versions),
                None => all.push(entry),
            }
        }
    }
    Ok(all)
}

/// `0.10.2` as numbers, so that it comes after `0.9`.
fn number(name: &str) -> Option<Vec<u64>> {
    name.strip_prefix('v').unwrap_or(name).split('.').map(|part| part.parse().ok()).collect()
}

fn parse(text: &str, at: &str) -> anyhow::Result<Arc<Schema>> {
    Schema::parse(text).map_err(|error| anyhow!("{at}: {error}"))
}

/// The schemas that a path held at a git revision; none, if it was not there.
fn at_revision(revision: &str, path: &str) -> anyhow::Result<Vec<Entry>> {
    let listed = git(&["ls-tree", "-r", "--name-only", "-z", revision, "--", path])?;
    let text = |file: &str| -> anyhow::Result<File> {
        let at = format!("{revision}:./{file}");
        Ok(File { name: name_within(Path::new(file), Path::new(path)), text: git(&["show", &at])?, at })
    };
    let files = listed.split('\0').filter(|file| file.ends_with(".avsc")).map(text);
    parsed(files.collect::<anyhow::Result<_>>()?, revision)
}

fn git(args: &[&str]) -> anyhow::Result<String> {
    let done = Command::new("git").args(args).output().context("git cannot be run")?;
    if !done.status.success() {
        bail!("git {}: {}", args.join(" "), String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(String::from_utf8(done.stdout)?)
}

/// Every subject of a registry whose schemas are Avro and stand alone.
async fn registered(client: &Client) -> anyhow::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for subject in client.subjects().await? {
        if let Some(entry) = subject_of(client, &subject).await? {
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// A subject with its versions and level; none if there is none, or where it is not Avro that stands alone.
pub async fn subject_of(client: &Client, subject: &str) -> anyhow::Result<Option<Entry>> {
    let history = client.history(subject).await?;
    if history.is_empty() || !history.iter().all(Registered::is_plain_avro) {
        return Ok(None);
    }
    let version = |found: Registered| -> anyhow::Result<Version> {
        let schema = parse(&found.schema, &format!("{subject}, version {}", found.version))?;
        Ok(Version { label: format!("version {}", found.version), schema })
    };
    let versions = history.into_iter().map(version).collect::<anyhow::Result<_>>()?;
    Ok(Some(Entry { name: subject.to_owned(), versions, level: Some(client.level(Some(subject)).await?) }))
}
