//! `concord schemas register`, `list`, `get` and `config`: what is in a registry, and getting there.

use super::{
    args::{ConfigCommand, Get, List, Register},
    built_in,
    check::Verdict,
    place::{Entry, files, subject_of},
    print,
    registry::Client,
};
use crate::{
    config::{Env, Overrides},
    show, stdout,
};
use anyhow::{Context, bail};
use serde_json::{Value as Json, json};

/// What is done, or would be, with one subject.
pub struct Registration {
    pub entry: Entry,
    pub state: State,
}

pub enum State {
    /// As this version and id already.
    There {
        version: i32,
        id: u32,
    },
    /// New versions are taken; so many are there.
    New {
        after: usize,
    },
    /// It does not fit what is there.
    Refused(Verdict),
    Done {
        id: u32,
    },
}

/// What the registry would say to each: nothing is changed.
pub async fn plan(client: &Client, entries: Vec<Entry>) -> anyhow::Result<Vec<Registration>> {
    let mut planned = Vec::new();
    for entry in entries {
        let there = client.lookup(&entry.name, entry.schema().text()).await?;
        let state = match (there, subject_of(client, &entry.name).await?) {
            (Some(found), _) => State::There { version: found.version, id: found.id },
            (None, None) => State::New { after: 0 },
            (None, Some(old)) => {
                let verdict = Verdict::of(&old, &entry, None);
                if verdict.ok() { State::New { after: old.versions.len() } } else { State::Refused(verdict) }
            }
        };
        planned.push(Registration { entry, state });
    }
    Ok(planned)
}

/// Registers what is new. Nothing at all if one is refused: half a build's schemas help nobody.
pub async fn apply(client: &Client, planned: &mut [Registration]) -> anyhow::Result<()> {
    if planned.iter().any(|it| matches!(it.state, State::Refused(_))) {
        return Ok(());
    }
    for it in planned.iter_mut().filter(|it| matches!(it.state, State::New { .. })) {
        let id = client.register(&it.entry.name, it.entry.schema().text()).await.with_context(|| it.entry.name.clone())?;
        it.state = State::Done { id };
    }
    Ok(())
}

impl Registration {
    fn text(&self) -> String {
        let name = &self.entry.name;
        match &self.state {
            State::There { version, id } => format!("there       {name}: version {version}, id {id}\n"),
            State::New { .. } => format!("new         {name}\n"),
            State::Done { id } => format!("registered  {name}: id {id}\n"),
            State::Refused(verdict) => verdict.text(),
        }
    }

    fn json(&self) -> Json {
        let subject = &self.entry.name;
        match &self.state {
            State::There { version, id } => json!({"subject": subject, "state": "there", "version": version, "id": id}),
            State::New { .. } => json!({"subject": subject, "state": "new"}),
            State::Done { id } => json!({"subject": subject, "state": "registered", "id": id}),
            State::Refused(verdict) => json!({"subject": subject, "state": "refused", "verdict": verdict.json()}),
        }
    }
}

pub async fn register(args: Register, overrides: &Overrides, env: &Env) -> anyhow::Result<bool> {
    let client = Client::new(&args.at.registry, env)?;
    let entries = match (&args.file, &args.subject) {
        (Some(file), Some(subject)) => match files(file).with_context(|| file.display().to_string())?.as_slice() {
            [entry] => vec![Entry { name: subject.clone(), ..entry.clone() }],
            _ => bail!("{}: one file is wanted", file.display()),
        },
        _ => built_in(overrides, env)?,
    };
    let mut planned = plan(&client, entries).await?;
    if !args.dry_run {
        apply(&client, &mut planned).await?;
    }
    let ok = !planned.iter().any(|it| matches!(it.state, State::Refused(_)));
    let json = || json!({"ok": ok, "dry_run": args.dry_run, "subjects": planned.iter().map(Registration::json).collect::<Vec<_>>()});
    let text = || {
        let lines: String = planned.iter().map(Registration::text).collect();
        if ok || args.dry_run { lines } else { format!("{lines}Nothing was registered.\n") }
    };
    print(args.json, json, text)?;
    Ok(ok)
}

pub async fn list(args: List, env: &Env) -> anyhow::Result<bool> {
    let client = Client::new(&args.at.registry, env)?;
    let mut subjects = Vec::new();
    for subject in client.subjects().await? {
        let history = client.history(&subject).await?;
        let level = client.level(Some(&subject)).await?;
        let versions: Vec<Json> = history.iter().map(|it| json!({"version": it.version, "id": it.id})).collect();
        subjects.push(json!({"subject": subject, "level": level.to_string(), "versions": versions}));
    }
    let text = || {
        let row = |it: &Json| {
            let versions = it["versions"].as_array().map_or(&[][..], Vec::as_slice);
            let latest = versions.last().unwrap_or(&Json::Null);
            vec![
                show::value(&it["subject"]),
                versions.len().to_string(),
                show::value(&latest["version"]),
                show::value(&latest["id"]),
                show::value(&it["level"]),
            ]
        };
        show::table(&["SUBJECT", "VERSIONS", "LATEST", "ID", "LEVEL"], &subjects.iter().map(row).collect::<Vec<_>>(), show::width())
    };
    print(args.json, || json!({"registry": client.base(), "subjects": subjects}), text)?;
    Ok(true)
}

pub async fn get(args: Get, env: &Env) -> anyhow::Result<bool> {
    let client = Client::new(&args.at.registry, env)?;
    let (schema, mut around) = match (&args.subject, args.id) {
        (_, Some(id)) => {
            let schema = client.by_id(id).await?;
            (schema.with_context(|| format!("{}: no schema has the id {id}", client.base()))?, json!({"id": id}))
        }
        (subject, None) => {
            let subject = subject.as_deref().unwrap_or_default();
            let found = client.version(subject, &args.version).await?;
            let found = found.with_context(|| {
                format!("{}: {subject} has no version {:?}; concord schemas list shows what there is", client.base(), args.version)
            })?;
            (found.schema, json!({"subject": found.subject, "version": found.version, "id": found.id}))
        }
    };
    let parsed: Json = serde_json::from_str(&schema).unwrap_or(Json::String(schema.clone()));
    if args.json {
        around["schema"] = parsed;
        stdout::print(format_args!("{around:#}\n"))?;
    } else {
        // As it is registered: a registry compares texts.
        stdout::print(format_args!("{schema}\n"))?;
    }
    Ok(true)
}

pub async fn config(command: ConfigCommand, env: &Env) -> anyhow::Result<bool> {
    let (subject, level, as_json) = match command {
        ConfigCommand::Get { subject, at, json } => {
            let level = Client::new(&at.registry, env)?.level(subject.as_deref()).await?;
            (subject, level, json)
        }
        ConfigCommand::Set { level, subject, at, json } => {
            Client::new(&at.registry, env)?.set_level(subject.as_deref(), level).await?;
            (subject, level, json)
        }
    };
    print(as_json, || json!({"subject": subject, "level": level.to_string()}), || format!("{level}\n"))?;
    Ok(true)
}
