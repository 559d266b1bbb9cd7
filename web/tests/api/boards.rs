//! `/api/boards…`, with a blackboard in memory behind it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, time::timeout};
use web::{ApiKey, WebConfig};

use crate::{
    client::{self, Answer},
    scripted::{TestServer, hello},
};

const NOTES: &str = "/api/boards/notes";

async fn server() -> TestServer {
    TestServer::start(hello).await
}

fn note(body: &str) -> Value {
    json!({ "board": "builds", "kind": "finding", "body": body })
}

async fn posted(server: &TestServer, note: &Value) -> Value {
    let answer = server.post(NOTES, note).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn delete(server: &TestServer, id: &str) -> Answer {
    server.call(&format!("DELETE {NOTES}/{id}"), &[], b"").await
}

#[tokio::test]
async fn a_note_is_posted_found_read_and_taken_back() {
    let server = server().await;
    let mut wanted = note("cmake breaks foo");
    wanted["agent"] = "codex".into();
    let first = posted(&server, &wanted).await;
    assert_eq!(first["standing"], "self");
    assert_eq!(first["agent"], "codex");
    let id = first["id"].as_str().unwrap();
    let mut answer = note("it does not");
    answer["kind"] = "answer".into();
    answer["parent"] = id.into();
    let second = posted(&server, &answer).await;

    let found = server
        .get(&format!("{NOTES}?text=cmake+foo&kind=finding"))
        .await;
    assert_eq!(found.json(), json!([first]));
    let thread = server.get(&format!("{NOTES}?thread={id}&limit=1")).await;
    assert_eq!(thread.json(), json!([second]));
    let read = server.get(&format!("{NOTES}/{}", &id[..8])).await;
    assert_eq!(read.json(), first);

    assert_eq!(delete(&server, id).await.json(), json!({}));
    let read = server.get(&format!("{NOTES}/{id}")).await.json();
    assert_eq!(
        (&read["withdrawn"], &read["body"]),
        (&json!(true), &json!(""))
    );
    let boards = server.get("/api/boards").await.json();
    assert_eq!(boards[0]["name"], "builds");
    assert_eq!(boards[0]["notes"], 2);
    assert_eq!(boards[0]["last_written"], second["written"]);
}

#[tokio::test]
async fn refusals_name_what_is_wrong() {
    let server = server().await;
    let strange = server.boards.arrive("stranger", "builds", "hello");
    let cases = [
        (note(""), 400, "invalid_request"),
        (note("-----BEGIN PRIVATE KEY-----"), 422, "secret_found"),
        (note("too fast"), 429, "rate_limited"),
    ];
    for (body, status, code) in cases {
        let answer = server.post(NOTES, &body).await;
        assert_eq!(answer.refused(status)["code"], code);
        let retry = (status == 429).then_some("9");
        assert_eq!(answer.header("retry-after"), retry);
    }
    let secret = server.post(NOTES, &note("a PRIVATE KEY")).await;
    let message = secret.refused(422)["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("a private key at line 1, column 1"),
        "{message}"
    );
    let mut allowed = note("a PRIVATE KEY");
    allowed["allow_secrets"] = true.into();
    posted(&server, &allowed).await;

    assert_eq!(
        delete(&server, &strange.id).await.refused(403)["code"],
        "not_yours"
    );
    let missing = server.get(&format!("{NOTES}/00000000")).await;
    assert_eq!(missing.refused(404)["code"], "note_not_found");
    let mut misspelt = note("x");
    misspelt["allow_secret"] = true.into();
    server.post(NOTES, &misspelt).await.refused(400);
    for query in ["?txet=a", "?limit=-1", "?since=yesterday"] {
        server.get(&format!("{NOTES}{query}")).await.refused(400);
    }
}

#[tokio::test]
async fn posting_is_turned_off_and_on() {
    let server = server().await;
    let posting = |allowed: bool| json!({ "allowed": allowed });
    let off = server.post("/api/boards/posting", &posting(false)).await;
    assert_eq!(off.status, 200);
    let shown = server.get("/api/boards/posting").await;
    assert_eq!(shown.json(), posting(false));
    let refused = server.post(NOTES, &note("x")).await.refused(403);
    assert_eq!(refused["code"], "posting_off");
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("shoal board enable")
    );
    server.post("/api/boards/posting", &posting(true)).await;
    posted(&server, &note("x")).await;
}

#[tokio::test]
async fn an_attachment_is_bytes_that_no_browser_runs() {
    let server = server().await;
    let mut with = note("see the log");
    with["attachments"] = json!([{ "name": "log.html", "base64": "PHNjcmlwdD4=" }]);
    let id = posted(&server, &with).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let answer = server.get(&format!("{NOTES}/{id}/attachments/0")).await;
    assert_eq!(answer.body, b"<script>");
    assert_eq!(
        answer.header("content-type"),
        Some("application/octet-stream")
    );
    assert_eq!(answer.header("content-disposition"), Some("attachment"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    for (index, status) in [("1", 404), ("x", 400), ("-1", 400)] {
        let answer = server
            .get(&format!("{NOTES}/{id}/attachments/{index}"))
            .await;
        answer.refused(status);
    }
}

#[tokio::test]
async fn authors_are_trusted_and_muted() {
    let server = server().await;
    server.boards.arrive("ann", "builds", "one");
    let becomes = |standing: Value| json!({ "author": "ann", "standing": standing });
    let trusted = becomes(json!({ "trusted": { "name": "Ann" } }));
    assert_eq!(
        server.post("/api/boards/authors", &trusted).await.status,
        200
    );
    let seen = server.get(NOTES).await.json();
    assert_eq!(seen[0]["standing"], "trusted");
    assert_eq!(seen[0]["author_name"], "Ann");
    server
        .post("/api/boards/authors", &becomes("muted".into()))
        .await;
    assert_eq!(server.get(NOTES).await.json(), json!([]));
    let authors = server.get("/api/boards/authors").await.json();
    let ann = json!({ "author": "ann", "name": null, "standing": "muted", "notes": 1 });
    assert_eq!(authors, json!([ann]));
    let wrong = becomes("friend".into());
    server
        .post("/api/boards/authors", &wrong)
        .await
        .refused(400);
}

#[tokio::test]
async fn boards_are_followed_or_not() {
    let server = server().await;
    server.boards.arrive("ann", "builds", "one");
    let not = json!({ "board": "builds", "followed": false });
    assert_eq!(server.post("/api/boards/follow", &not).await.status, 200);
    assert_eq!(server.get("/api/boards").await.json()[0]["followed"], false);
}

async fn watching(server: &TestServer, query: &str) -> tokio::net::TcpStream {
    let mut stream = client::connect(server.address).await;
    let line = format!("GET /api/boards/watch{query}");
    let request = client::request(&line, &[], b"");
    stream.write_all(&request).await.unwrap();
    client::read_until(&mut stream, "text/event-stream").await;
    stream
}

#[tokio::test]
async fn watchers_see_notes_as_they_come() {
    let server = server().await;
    let mut stream = watching(&server, "?board=builds").await;
    server.boards.arrive("ann", "other", "not this");
    server.boards.arrive("ann", "builds", "but this");
    let seen = client::read_until(&mut stream, "but this").await;
    assert!(!seen.contains("not this"), "{seen}");
    assert!(seen.contains(r#"data: {"id":""#), "{seen}");
    server.boards.cut_off();
    let end = client::read_until(&mut stream, "watch_ended").await;
    assert!(end.contains(r#"data: {"error":{"message":"#), "{end}");
}

#[tokio::test]
async fn a_silent_watch_is_kept_alive() {
    let config = WebConfig {
        keep_alive: Duration::from_millis(20),
        ..WebConfig::default()
    };
    let server = TestServer::with(config, hello).await;
    let mut stream = watching(&server, "").await;
    client::read_until(&mut stream, ": keep-alive").await;
}

#[tokio::test]
async fn a_watch_does_not_hold_up_the_end() {
    let server = server().await;
    let mut stream = watching(&server, "").await;
    server.shutdown.cancel();
    client::read_until(&mut stream, "watch_ended").await;
    let patience = Duration::from_secs(10);
    let drained = timeout(patience, server.serving).await.unwrap().unwrap();
    assert_eq!(drained.cut, 0);
}

#[tokio::test]
async fn the_key_is_asked_for() {
    let config = WebConfig {
        api_key: ApiKey::new("secret"),
        ..WebConfig::default()
    };
    let server = TestServer::with(config, hello).await;
    for path in ["/api/boards", NOTES, "/api/boards/watch"] {
        server.get(path).await.refused(401);
    }
    server.post(NOTES, &note("x")).await.refused(401);
    server.post("/mcp", &json!({})).await.refused(401);
}
