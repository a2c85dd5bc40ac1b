//! The page, in a real browser.

use crate::world::{PATIENCE, Plan, World, free_address};
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value as Json, json};
use std::process::{Child, Command, Stdio};

/// chromedriver, ended with the test (and the browser with it).
struct Driver(Child, tempfile::TempDir);

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn browser() -> (Driver, Client) {
    let at = free_address();
    let profile = tempfile::tempdir().unwrap();
    let child = Command::new("chromedriver").arg(format!("--port={}", at.port())).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let driver = Driver(child.expect("chromedriver (package chromium-driver)"), profile);
    let args = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--window-size=1400,900",
    ];
    let mut args: Vec<String> = args.map(String::from).into();
    args.push(format!("--user-data-dir={}", driver.1.path().display()));
    let mut capabilities = serde_json::Map::new();
    capabilities.insert("goog:chromeOptions".into(), json!({"args": args}));
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        match ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities.clone())
            .connect(&format!("http://{at}"))
            .await
        {
            Ok(client) => return (driver, client),
            Err(error) if std::time::Instant::now() > deadline => panic!("no browser: {error}"),
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}

/// Waits until a script gives a true value.
async fn until(page: &Client, what: &str, script: &str) -> Json {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let value = page.execute(script, vec![]).await.expect("the script runs");
        if !value.is_null() && value != json!(false) && value != json!("") {
            return value;
        }
        if std::time::Instant::now() > deadline {
            let text = page.execute("return document.body.innerText", vec![]).await.unwrap_or_default();
            panic!("not within {PATIENCE:?}: {what}; the page shows {text}");
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn cell(email: &str, system: &str, script: &str) -> String {
    format!(
        "const row = [...document.querySelectorAll('#rows tr')].find(r => r.innerText.includes('{email}')); \
         const cell = row && row.querySelector('[data-system=\"{system}\"]'); return cell ? {script} : null;"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_the_page_shows_edits_as_they_happen_and_edits_itself() {
    let world = World::running(Plan::usual()).await;
    world.stripe().create(json!({"name": "Grace", "email": "grace@example.com", "phone": "+1 5"})).unwrap();
    let (_driver, page) = browser().await;
    page.goto(&world.url("/")).await.unwrap();
    until(
        &page,
        "Grace is shown in step in both systems",
        &cell("grace@example.com", "product", "cell.innerText.includes('in step') && cell.innerText.includes('Grace')"),
    )
    .await;

    let summary = "return document.getElementById('summary').textContent.startsWith('1 customer,')";
    until(&page, "one customer is no plural", summary).await;

    // Her second record there is shown beside the first.
    world.stripe().create(json!({"name": "G. Hopper", "email": "grace@example.com"})).unwrap();
    let ids: Vec<String> = world.stripe_by_email("grace@example.com").iter().map(|c| c["id"].as_str().unwrap().to_string()).collect();
    let both: Vec<String> = ids.iter().map(|id| format!("li.innerText.includes('stripe:{id}')")).collect();
    let duplicate = "const li = document.querySelector('#conflicts [data-kind=duplicate_candidate]'); return Boolean(li)";
    until(&page, "both records of the duplicate candidate are named", &format!("{duplicate} && {};", both.join(" && "))).await;

    // Add by the form.
    page.find(Locator::Id("add")).await.unwrap().click().await.unwrap();
    page.find(Locator::Css("#form [name=name]")).await.unwrap().send_keys("Ada").await.unwrap();
    page.find(Locator::Css("#form [name=email]")).await.unwrap().send_keys("nobody").await.unwrap();
    page.find(Locator::Id("save")).await.unwrap().click().await.unwrap();
    until(
        &page,
        "a mistake is shown beside its field",
        "return document.querySelector('.error[data-for=email]').textContent.includes('valid')",
    )
    .await;
    let email = page.find(Locator::Css("#form [name=email]")).await.unwrap();
    email.clear().await.unwrap();
    email.send_keys("ada@example.com").await.unwrap();
    page.find(Locator::Id("save")).await.unwrap().click().await.unwrap();
    until(
        &page,
        "Ada is in Stripe, without a reload",
        &cell("ada@example.com", "stripe", "cell.innerText.includes('in step') && cell.innerText.includes('Ada')"),
    )
    .await;
    let id = world.stripe_by_email("ada@example.com")[0]["id"].as_str().unwrap().to_string();

    // Edited elsewhere, the page follows.
    world.stripe().update(&id, json!({"phone": "+44 20 7946"})).unwrap();
    until(&page, "the phone is shown in the product", &cell("ada@example.com", "product", "cell.innerText.includes('+44 20 7946')")).await;

    // What Stripe refuses is marked, with the reason.
    world
        .sql(&format!("update public.customers set attributes = '{{\"note\": \"{}\"}}' where email = 'ada@example.com'", "x".repeat(600)))
        .await;
    until(&page, "the refused value is marked", &cell("ada@example.com", "stripe", "cell.innerText.includes('refused: attributes.note')"))
        .await;

    if let Ok(folder) = std::env::var("CONCORD_SCREENSHOTS") {
        std::fs::write(std::path::Path::new(&folder).join("page.png"), page.screenshot().await.unwrap()).unwrap();
    }

    // Edit and delete by the form.
    let open = "const row = [...document.querySelectorAll('#rows tr')].find(r => r.innerText.includes('ada@example.com')); row.click(); return document.getElementById('editor').open;";
    until(&page, "the form opens", open).await;
    let name = page.find(Locator::Css("#form [name=name]")).await.unwrap();
    name.clear().await.unwrap();
    name.send_keys("Ada King").await.unwrap();
    page.find(Locator::Id("save")).await.unwrap().click().await.unwrap();
    until(&page, "the new name is in Stripe", &cell("ada@example.com", "stripe", "cell.innerText.includes('Ada King')")).await;
    until(&page, "the form opens again", open).await;
    page.find(Locator::Id("delete")).await.unwrap().click().await.unwrap();
    page.accept_alert().await.unwrap();
    world.until("she is gone from Stripe", async |w: &World| w.stripe_by_email("ada@example.com").is_empty()).await;
    until(&page, "the page says that she is deleted", "return [...document.querySelectorAll('#rows tr.deleted')].length === 1").await;
    page.close().await.unwrap();
}
