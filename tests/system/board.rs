//! The blackboard between real processes: a note posted on one node is read on another, and on a
//! third that was away meanwhile; `kill -9` loses nothing that was acknowledged; and the README's
//! two terminals do what they say.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tests::{
    api,
    process::{Node, ON_LOOPBACK, run, said, shoal_binary, wait_for},
    seed,
    swarm::{PATIENCE, Swarm, until},
};
use tokio::sync::watch;

const BOARD: &str = "builds";
/// Posts that must be acknowledged by a node that is killed again and again.
const ACKNOWLEDGED: usize = 200;
/// Posts of each of its lives at most.
const POSTS: usize = 10;
/// A kill falls somewhere into a post, or shortly after it: they take less than a millisecond.
const LONGEST_POST: Duration = Duration::from_millis(1);

fn parsed(data: &Path, args: &[&str]) -> Result<Value> {
    let args = [args, &["--json"]].concat();
    Ok(serde_json::from_str(&said(data, &args)?)?)
}

/// A node without a model.
fn node(swarm: &Swarm, name: &str) -> Result<Node> {
    swarm.node(name, &["--client"], &[])
}

/// Waits until a node has these notes, and answers them as it shows them, oldest first.
async fn until_it_has(node: &Node, ids: &[String]) -> Result<Vec<Value>> {
    let path = format!("/api/boards/notes?board={BOARD}");
    let found = until(node, &path, |notes| {
        let notes = notes.as_array().into_iter().flatten();
        let there: Vec<_> = notes.filter_map(|note| note["id"].as_str()).collect();
        ids.iter().all(|id| there.contains(&id.as_str()))
    })
    .await?;
    let mut notes = found.as_array().context("notes")?.clone();
    notes.reverse();
    Ok(notes)
}

fn post(data: &Path, text: &str, more: &[&str]) -> Result<Value> {
    let args = [&["board", "post", BOARD, text], more].concat();
    parsed(data, &args)
}

fn id(note: &Value) -> Result<String> {
    Ok(note["id"].as_str().context("an id")?.to_owned())
}

/// In the public mesh nobody posts before a person said so.
fn nobody_posts_by_accident(data: &Path) -> Result<()> {
    let refused = run(data, &["board", "post", BOARD, "hello"])?;
    let error = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1));
    let is_one_line = error.lines().count() == 1;
    assert!(
        is_one_line && error.contains("shoal board enable"),
        "{error}"
    );
    said(data, &["board", "enable"])?;
    Ok(())
}

/// What a node thinks of two authors, one of whom answered, is its own and told in what it shows.
fn opinions_are_ones_own(data: &Path, author: &Value, answerer: &Value) -> Result<()> {
    let author = author.as_str().context("an author")?;
    let answerer = answerer.as_str().context("an author")?;
    said(data, &["trust", "add", author, "--name", "ann"])?;
    let by_name = said(data, &["board", "search", "cmake", "--author", "ann"])?;
    assert!(by_name.contains("ann (trusted)"), "{by_name}");
    said(data, &["trust", "mute", answerer])?;
    let left = parsed(data, &["board", "search", "--board", BOARD])?;
    assert!(!left.to_string().contains("-DBAR=OFF"), "{left:#}");
    Ok(())
}

/// Ann posts with a file; bob has the note as it was signed, and gets the file.
async fn a_note_arrives(swarm: &Swarm, bob: &Node) -> Result<Value> {
    let log = swarm.data("build.log");
    std::fs::write(&log, "line 1\nline 2\n")?;
    let log = log.to_str().context("a path of text")?;
    let more = ["--agent", "codex", "--attach", log];
    let posted = post(&swarm.data("ann"), "cmake breaks foo", &more)?;
    let id = id(&posted)?;
    let seen = until_it_has(bob, std::slice::from_ref(&id)).await?;
    assert_eq!(seen[0]["body"], "cmake breaks foo");
    assert_eq!(seen[0]["author"], posted["author"]);
    assert_eq!(seen[0]["agent"], "codex");
    assert_eq!(seen[0]["standing"], "unknown");
    assert_eq!(seen[0]["verified"], true);
    // The note may have come by way of another before bob is connected to ann, who has the file.
    let attached = wait_for("the attachment", PATIENCE, || {
        let read = ["board", "read", &id, "--attachment", "0"];
        said(&swarm.data("bob"), &read).ok()
    })?;
    assert_eq!(attached, "line 1\nline 2\n");
    Ok(posted)
}

#[tokio::test]
async fn notes_reach_every_node_and_one_that_was_away() -> Result<()> {
    let swarm = Swarm::start()?;
    let (ann, bob, eve) = (
        node(&swarm, "ann")?,
        node(&swarm, "bob")?,
        node(&swarm, "eve")?,
    );
    let (anns, bobs, eves) = (swarm.data("ann"), swarm.data("bob"), swarm.data("eve"));
    for data in [&anns, &bobs, &eves] {
        said(data, &["board", "follow", BOARD])?;
    }
    nobody_posts_by_accident(&anns)?;
    let first = a_note_arrives(&swarm, &bob).await?;
    let first_id = id(&first)?;
    until_it_has(&eve, std::slice::from_ref(&first_id)).await?;

    // One goes away; the others go on talking, and one takes a note back.
    eve.terminate(PATIENCE)?;
    said(&bobs, &["board", "enable"])?;
    let more = ["--kind", "answer", "--parent", &first_id];
    let answer = post(&bobs, "it helps to pass -DBAR=OFF", &more)?;
    let second = post(&anns, "it does", &["--kind", "done"])?;
    let wrong = post(&anns, "to be taken back", &[])?;
    until_it_has(&bob, &[id(&second)?, id(&wrong)?]).await?;
    said(&anns, &["board", "withdraw", &id(&wrong)?])?;
    let of_another = run(&anns, &["board", "withdraw", &id(&answer)?])?;
    assert_eq!(of_another.status.code(), Some(1));

    // It comes back and has everything, also that a note was taken back.
    let eve = node(&swarm, "eve")?;
    until_it_has(&eve, &[first_id.clone(), id(&answer)?, id(&second)?]).await?;
    for node in [&ann, &bob, &eve] {
        let path = format!("/api/boards/notes?board={BOARD}&text=taken");
        let none = |notes: &Value| notes.as_array().is_some_and(Vec::is_empty);
        until(node, &path, none).await?;
    }
    let thread = parsed(&eves, &["board", "read", &first_id[..16], "--thread"])?;
    assert_eq!(thread[1]["body"], "it helps to pass -DBAR=OFF");
    opinions_are_ones_own(&eves, &first["author"], &answer["author"])
}

/// Posts until the node is gone; answers the ids that were acknowledged, with their texts, and
/// tells how many there are as they come.
async fn post_until_it_dies(
    url: String,
    life: usize,
    count: watch::Sender<usize>,
) -> Vec<(String, String)> {
    let mut acknowledged = Vec::new();
    let Ok(client) = api::client() else {
        return acknowledged;
    };
    for number in 0..POSTS {
        let body = format!("life {life}, post {number}");
        let note = json!({ "board": BOARD, "kind": "status", "body": body });
        let request = client.post(format!("{url}/api/boards/notes")).json(&note);
        let Ok(response) = request.send().await else {
            break;
        };
        // An answer that breaks off is none.
        let Ok(view) = response.json::<Value>().await else {
            break;
        };
        let id = view["id"]
            .as_str()
            .unwrap_or_else(|| panic!("refused: {view}"));
        acknowledged.push((id.to_owned(), body));
        count.send_replace(acknowledged.len());
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_to_kill_9() -> Result<()> {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("node");
    let binary = shoal_binary()?;
    let mut acknowledged = Vec::new();
    let (mut lives, mut cut_short) = (0, 0);
    while acknowledged.len() < ACKNOWLEDGED {
        lives += 1;
        let node = Node::start(&binary, &data, &["--offline"])?;
        let (count, mut counted) = watch::channel(0);
        let posting = tokio::spawn(post_until_it_dies(node.url.clone(), lives, count));
        let enough = random.random_range(0..POSTS);
        counted.wait_for(|count| *count >= enough).await?;
        // Tokio's sleeps are whole milliseconds.
        std::thread::sleep(random.random_range(Duration::ZERO..LONGEST_POST));
        node.kill_at_once()?;
        let kept = posting.await?;
        cut_short += usize::from(kept.len() < POSTS);
        acknowledged.extend(kept);
    }
    let node = Node::start(&binary, &data, &["--offline"])?;
    let ids: Vec<String> = acknowledged.iter().map(|(id, _)| id.clone()).collect();
    let path = format!("{}/api/boards/notes?board={BOARD}&limit=500", node.url);
    let notes: Value = api::client()?.get(path).send().await?.json().await?;
    let notes = notes.as_array().context("notes")?;
    for (id, body) in &acknowledged {
        let note = notes.iter().find(|note| note["id"] == **id);
        let note = note.with_context(|| format!("SEED={seed}: `{body}` is lost"))?;
        assert_eq!(note["body"], **body);
        assert_eq!(note["verified"], true);
    }
    println!(
        "SEED={seed}: {} acknowledged, {} kept, {cut_short} of {lives} lives cut short",
        ids.len(),
        notes.len()
    );
    assert!(
        cut_short >= lives / 2,
        "SEED={seed}: hardly a life was cut short"
    );
    assert!(notes.len() <= lives * POSTS);
    Ok(())
}

/// The lines of the README's two terminals.
fn terminals(readme: &str) -> Result<[Vec<&str>; 2]> {
    let section = readme
        .split("## Agents' blackboard")
        .nth(1)
        .context("the section")?;
    let section = section.split("\n## ").next().context("its end")?;
    let mut blocks = section.split("```text\n").skip(1);
    let mut lines = || {
        let block = blocks.next().and_then(|rest| rest.split("```").next());
        block
            .map(|block| block.lines().collect::<Vec<_>>())
            .context("a block")
    };
    Ok([lines()?, lines()?])
}

/// A line in the test's folder, at free ports of loopback.
fn shell(folder: &Path, line: &str) -> Result<Command> {
    let mut line = line.to_owned();
    let loopback = format!("--listen {}", ON_LOOPBACK[0].1);
    for (port, listen) in [("9411", "9401"), ("9412", "9402")] {
        line = line.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:0");
        line = line.replace(&format!("--listen {listen}"), &loopback);
    }
    let binaries = shoal_binary()?;
    let binaries = binaries.parent().context("the binary's folder")?.display();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("bash");
    command
        .args(["-euo", "pipefail", "-c", &line])
        .current_dir(folder)
        .envs(ON_LOOPBACK)
        .env_remove("SHOAL_BOOTSTRAP")
        .env_remove("SHOAL_LISTEN")
        .env("PATH", format!("{binaries}:{path}"))
        .stdin(Stdio::null());
    Ok(command)
}

/// A `shoal up` of the README. Dropping it kills it.
struct Upped(std::process::Child);

impl Upped {
    fn start(folder: &Path, line: &str, data: &str) -> Result<Self> {
        // The shell becomes the node, so that killing it kills the node.
        let line = format!("exec {}", line.trim_end_matches('&'));
        let mut upped = Self(
            shell(folder, &line)?
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?,
        );
        let address = folder.join(data).join("run/api.addr");
        wait_for("the API's address", PATIENCE, || {
            let ended = upped.0.try_wait().ok().flatten();
            (address.is_file() || ended.is_some()).then_some(())
        })?;
        ensure!(address.is_file(), "`{line}` ended");
        // A person is slower than the swarm's sockets.
        let look = format!("shoal peers --data-dir {data}");
        wait_for("the swarm's address", PATIENCE, || {
            let output = shell(folder, &look).ok()?.output().ok()?;
            let out = String::from_utf8_lossy(&output.stdout);
            out.contains("\naddress ").then_some(())
        })?;
        Ok(upped)
    }
}

impl Drop for Upped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_readmes_two_terminals_work() -> Result<()> {
    let [first, second] = terminals(include_str!("../../README.md"))?;
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let mut upped = Vec::new();
    for line in first.into_iter().chain(second) {
        if line.contains("shoal up") {
            let data = if line.contains("--data-dir a") {
                "a"
            } else {
                "b"
            };
            upped.push(Upped::start(folder, line, data)?);
            continue;
        }
        // A person looks again when a note is not there yet.
        let is_search = line.contains("board search");
        wait_for(line, PATIENCE, || {
            let output = shell(folder, line).and_then(|mut command| Ok(command.output()?));
            let output = match output {
                Ok(output) => output,
                Err(error) => return Some(Err(error)),
            };
            let out = String::from_utf8_lossy(&output.stdout).into_owned();
            if !output.status.success() {
                let error = String::from_utf8_lossy(&output.stderr).into_owned();
                return Some(Err(anyhow::anyhow!("`{line}` gave {out}{error}")));
            }
            (!is_search || out.contains("nightly build is green")).then_some(Ok(()))
        })??;
    }
    ensure!(upped.len() == 2, "the README starts two nodes");
    Ok(())
}
