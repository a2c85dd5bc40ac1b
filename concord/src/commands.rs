//! The commands that ask a running process.

use crate::{
    cli::Server,
    client::Client,
    config::{Env, Overrides},
    show,
};
use serde_json::{Value as Json, json};

/// Prints one thing: as JSON for scripts, or as `text` makes it for people.
fn print(body: &Json, as_json: bool, text: impl FnOnce(&Json) -> String) {
    if as_json { println!("{body:#}") } else { print!("{}", text(body)) }
}

fn list(body: &Json) -> &[Json] {
    body.as_array().map_or(&[], Vec::as_slice)
}

/// `--limit` of any size, page by page.
async fn pages(client: &Client, path: &str, mut query: Vec<(&str, String)>, limit: u32, key: &str) -> anyhow::Result<Json> {
    let mut all: Vec<Json> = Vec::new();
    loop {
        let wanted = (limit as usize - all.len()).min(500);
        if wanted == 0 {
            break;
        }
        let mut page_query = query.clone();
        page_query.push(("limit", wanted.to_string()));
        let page = client.get(path, &page_query).await?;
        let Json::Array(page) = page else { break };
        let Some(last) = page.last().and_then(|last| last[key].as_str()).map(str::to_string) else { break };
        let short = page.len() < wanted;
        all.extend(page);
        if short {
            break;
        }
        query.retain(|(name, _)| *name != "after");
        query.push(("after", last));
    }
    Ok(Json::Array(all))
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
    let body = pages(client, "/api/v1/customers", query, limit, "customer_id").await?;
    print(&body, as_json, |body| show::customers(list(body)));
    Ok(())
}

pub async fn show_customer(client: &Client, id: String, external_id: Option<String>, as_json: bool) -> anyhow::Result<()> {
    let body = match external_id {
        None => client.get(&format!("/api/v1/customers/{id}"), &[]).await?,
        Some(external_id) => {
            let found = client.get("/api/v1/customers", &[("system", id.clone()), ("external_id", external_id.clone())]).await?;
            found.get(0).cloned().ok_or_else(|| anyhow::anyhow!("no customer has the record {external_id} of {id}"))?
        }
    };
    print(&body, as_json, show::customer);
    Ok(())
}

pub async fn conflicts(
    client: &Client,
    customer_id: Option<String>,
    kind: Option<String>,
    limit: u32,
    as_json: bool,
) -> anyhow::Result<()> {
    let query = given(vec![("customer_id", customer_id), ("kind", kind)]);
    let body = pages(client, "/api/v1/conflicts", query, limit, "id").await?;
    print(&body, as_json, |body| show::conflicts(list(body)));
    Ok(())
}

/// Exit code 0 while the process can do its work.
pub async fn status(client: &Client, as_json: bool) -> anyhow::Result<bool> {
    let (status, body) = client.ask("/readyz", &[]).await?;
    print(&body, as_json, show::status);
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
