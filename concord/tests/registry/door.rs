//! Who may ask.

use crate::server::Server;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_asked_for_where_they_are_set_and_never_shown() {
    let mut server = Server::prepared();
    let password = server.data.with_extension("users");
    std::fs::write(&password, "ada:s3cret-one\ngrace:s3cret-two\n").unwrap();
    server.env.push(("CONCORD_REGISTRY_BASIC_AUTH_FILE".into(), password.display().to_string()));
    server.env.push(("CONCORD_REGISTRY_TOKEN".into(), "s3cret-token".into()));
    server.start().await;
    let get = || server.http.get(server.url("/subjects"));
    let refused = get().send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert!(refused.headers()["www-authenticate"].to_str().unwrap().starts_with("Basic "));
    let body = refused.text().await.unwrap();
    assert!(body.contains("\"error_code\":401") && !body.contains("s3cret"), "{body}");
    for (user, secret) in [("ada", "s3cret-one"), ("grace", "s3cret-two")] {
        assert_eq!(get().basic_auth(user, Some(secret)).send().await.unwrap().status(), 200, "{user}");
        assert_eq!(get().basic_auth(user, Some("s3cret-token")).send().await.unwrap().status(), 401, "{user}");
    }
    assert_eq!(get().bearer_auth("s3cret-token").send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_page_reads_and_changes_nothing() {
    let server = Server::running().await;
    let foreign = server.http.get(server.url("/subjects")).header("host", "evil.example").send().await.unwrap();
    assert_eq!(foreign.status(), 403);
    let post = server.http.post(server.url("/subjects/a/versions")).body(json!({"schema": "\"int\""}).to_string());
    assert_eq!(post.header("origin", "http://evil.example").send().await.unwrap().status(), 403);
    assert_eq!(server.ask("GET", "/subjects", None).await, (200, json!([])));
}

#[test]
fn what_cannot_be_served_is_told_and_names_what_to_do() {
    let run = |env: &[(&str, &str)], listen: &str| {
        let mut server = Server::prepared();
        server.listen = listen.parse().unwrap();
        let done = server.command().envs(env.iter().copied()).output().unwrap();
        assert!(!done.status.success());
        String::from_utf8_lossy(&done.stderr).into_owned()
    };
    let told = run(&[], "0.0.0.0:1");
    assert!(told.contains("CONCORD_REGISTRY_BASIC_AUTH"), "{told}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let told = run(&[], &taken.local_addr().unwrap().to_string());
    assert!(told.contains("CONCORD_REGISTRY_LISTEN") && told.contains("off"), "{told}");
    let told = run(&[("CONCORD_REGISTRY_TOKEN", "")], "127.0.0.1:0");
    assert!(told.contains("CONCORD_REGISTRY_TOKEN"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_has_one_registry() {
    let server = Server::running().await;
    let mut second = Server::prepared();
    second.data = server.data.clone();
    let done = second.command().output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success() && told.contains("--data-dir"), "{told}");
}
