//! The commands that ask a running process.

use crate::{
    cli::Server,
    client::Client,
    config::{Env, Overrides},
    show, stdout,
};
use anyhow::bail;
use serde_json::{Value as Json, json};
use uuid::Uuid;

/// Prints one thing: as JSON for scripts, or as `text` makes it for people.
fn print(body: &Json, as_json: bool, text: impl FnOnce(&Json) -> String) -> anyhow::Result<()> {
    if as_json { stdout::print(format_args!("{body:#}\n")) } else { stdout::print(text(body)) }
}

fn list(body: &Json) -> &[Json] {
    body.as_array().map_or(&[], Vec::as_slice)
}

/// `--limit` of any size, page by page; and the last one's key, if there are more.
async fn pages(
    client: &Client,
    path: &str,
    mut query: Vec<(&str, String)>,
    limit: u32,
    key: &str,
) -> anyhow::Result<(Vec<Json>, Option<String>)> {
    let limit = limit as usize;
    let mut all: Vec<Json> = Vec::new();
    loop {
        let mut page_query = query.clone();
        page_query.push(("limit", (limit - all.len()).min(500).to_string()));
        let page = client.page(path, &page_query).await?;
        let last = page.items.last().and_then(|last| last[key].as_str()).map(str::to_string);
        all.extend(page.items);
        let Some(last) = last.filter(|_| page.more) else { return Ok((all, None)) };
        if all.len() >= limit {
            return Ok((all, Some(last)));
        }
        query.retain(|(name, _)| *name != "after");
        query.push(("after", last));
    }
}

/// The list; with a table, also how to see what is not in it. JSON has the same key in its last item.
fn print_page(
    (all, last): (Vec<Json>, Option<String>),
    as_json: bool,
    table: impl FnOnce(&[Json], Option<usize>) -> String,
) -> anyhow::Result<()> {
    print(&Json::Array(all), as_json, |body| table(list(body), show::width()))?;
    if let Some(last) = last
        && !as_json
    {
        eprintln!("there are more: the next page is --after {last}; --limit shows more at once");
    }
    Ok(())
}

fn given(pairs: Vec<(&str, Option<String>)>) -> Vec<(&str, String)> {
    pairs.into_iter().filter_map(|(name, v)| Some((name, v?))).collect()
}

pub struct ListCustomers {
    pub email: Option<String>,
    pub system: Option<String>,
    pub external_id: Option<String>,
    pub limit: u32,
    pub after: Option<String>,
}

pub async fn list_customers(client: &Client, asked: ListCustomers, as_json: bool) -> anyhow::Result<()> {
    let ListCustomers { email, system, external_id, limit, after } = asked;
    let query = given(vec![("email", email), ("system", system), ("external_id", external_id), ("after", after)]);
    let found = pages(client, "/api/v1/customers", query, limit, "customer_id").await?;
    print_page(found, as_json, show::customers)
}

/// `id`: a customer id, `<system>:<external id>`, or a system with its external id given, too.
pub async fn show_customer(client: &Client, id: String, external_id: Option<String>, as_json: bool) -> anyhow::Result<()> {
    let record = match &external_id {
        Some(external_id) => Some((id.as_str(), external_id.as_str())),
        None => id.split_once(':'),
    };
    let found = match record {
        Some((system, external_id)) => {
            let query = [("system", system.to_string()), ("external_id", external_id.to_string())];
            client.page("/api/v1/customers", &query).await?.items.into_iter().next()
        }
        None if id.parse::<Uuid>().is_ok() => client.find(&format!("/api/v1/customers/{id}")).await?,
        None => None,
    };
    let Some(body) = found else {
        let sought = record.map_or_else(|| format!("the id {id}"), |(system, external_id)| format!("the record {system}:{external_id}"));
        bail!(
            "no customer has {sought}. Give a customer id (a UUID), or a record as SYSTEM:ID or SYSTEM ID (product:ada); \
             `concord customers list` shows both, and finds an e-mail address with --email"
        );
    };
    print(&body, as_json, |body| show::customer(body, show::width()))
}

pub struct ListConflicts {
    pub customer_id: Option<String>,
    pub kind: Option<String>,
    pub limit: u32,
    pub after: Option<String>,
}

pub async fn conflicts(client: &Client, asked: ListConflicts, as_json: bool) -> anyhow::Result<()> {
    let ListConflicts { customer_id, kind, limit, after } = asked;
    let query = given(vec![("customer_id", customer_id), ("kind", kind), ("after", after)]);
    let found = pages(client, "/api/v1/conflicts", query, limit, "id").await?;
    print_page(found, as_json, show::conflicts)
}

/// Exit code 0 while the process can do its work.
pub async fn status(client: &Client, as_json: bool) -> anyhow::Result<bool> {
    let (status, body) = client.ask("/readyz", &[]).await?;
    print(&body, as_json, show::status)?;
    Ok(status == 200)
}

pub async fn healthcheck(server: &Server, overrides: &Overrides, env: &Env) -> bool {
    let ready = match Client::new(server, overrides, env) {
        Ok(client) => client.ask("/readyz", &[]).await,
        Err(error) => Err(error),
    };
    match ready {
        Ok((200, _)) => true,
        Ok((status, body)) => {
            eprintln!("not ready ({status}): {}", json!(body));
            false
        }
        Err(error) => {
            eprintln!("{error:#}");
            false
        }
    }
}
