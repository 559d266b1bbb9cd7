//! The way without any configuration, in a closed network: real nodes that know nobody, remember
//! nobody and hear no multicast meet in a DHT of the public one's kind, and then need it no longer.
//! Once on loopback, and once on an internet of this machine, from behind a NAT (it needs root).

use std::{net::Ipv4Addr, path::Path};

use anyhow::{Context, Result, ensure};
use protocol::NodeId;
use serde_json::{Value, json};
use tests::{
    api,
    meeting_place::MeetingPlace,
    process::{Node, fixture, shoal_binary},
    swarm::{identity, until, until_it_lists},
};

const MODEL: &str = "tiny-draft-f16";

/// Servers of the DHT: as many as a record is left at.
const SERVERS: usize = 20;

/// A node that has nothing but one server of the DHT to begin at.
fn node(folder: &Path, name: &str, entry: &str, args: &[&str]) -> Result<Node> {
    let environment = [
        ("SHOAL_RENDEZVOUS", Some("true")),
        ("SHOAL_RENDEZVOUS_SERVERS", Some(entry)),
    ];
    Node::start_with(&shoal_binary()?, &folder.join(name), args, &environment)
}

/// The ways that are on.
fn ways(status: &Value) -> Vec<&str> {
    let ways = status["ways"].as_array().into_iter().flatten();
    let on = ways.filter(|way| way["state"] != "off");
    on.filter_map(|way| way["way"].as_str()).collect()
}

/// The whole answer, and the peer that gave it.
async fn ask(node: &Node) -> Result<(String, Option<String>)> {
    let question = json!({
        "model": MODEL,
        "messages": [{ "role": "user", "content": "Tell a story." }],
        "max_tokens": 16,
        "temperature": 0.0,
    });
    let url = format!("{}/v1/chat/completions", node.url);
    let response = api::client()?.post(url).json(&question).send().await?;
    let peer = response.headers().get("x-shoal-served-by");
    let peer = peer.and_then(|peer| Some(peer.to_str().ok()?.to_owned()));
    let status = response.status();
    let text = response.text().await?;
    ensure!(status.is_success(), "{status}: {text}\n{}", node.log_tail());
    let answer: Value = serde_json::from_str(&text)?;
    let said = answer["choices"][0]["message"]["content"].as_str();
    Ok((said.context("an answer")?.to_owned(), peer))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_know_nobody_meet_in_the_dht() -> Result<()> {
    let place = MeetingPlace::open(Ipv4Addr::LOCALHOST, SERVERS).await?;
    let folder = tempfile::tempdir()?;
    let model = fixture(&format!("{MODEL}.gguf"));
    let model = model.to_str().context("a path of text")?.to_owned();
    let serving = ["--model", &model, "--serve-public", "yes"];
    let server = node(folder.path(), "server", &place.addresses[0], &serving)?;
    let id = identity(&server).await?;
    let announced = place.until_it_knows(&id.parse::<NodeId>()?).await;
    announced.with_context(|| server.log_tail())?;

    // It begins at another server, which speaks another transport.
    let asker = node(folder.path(), "asker", &place.addresses[1], &["--client"])?;
    let has_met = |status: &Value| {
        let mut all = status["ways"].as_array().into_iter().flatten();
        status["state"] == "joined" && all.any(|way| way["worked"] == true)
    };
    let status = until(&asker, "/api/peers", has_met).await?;
    assert_eq!(ways(&status), ["rendezvous"]);
    until_it_lists(&asker, MODEL, true).await?;

    // They have met; the answer comes from one to the other.
    drop(place);
    let (there, peer) = ask(&asker).await?;
    let (here, _) = ask(&server).await?;
    assert_eq!(peer, Some(id));
    assert_eq!(there, here);
    assert!(!there.is_empty());
    Ok(())
}

/// The meeting place as a process, since a host of an internet runs nothing else. It is this test's
/// own program: it runs the test below, which is none.
#[cfg(target_os = "linux")]
mod on_an_internet {
    use std::{
        env, fs, io,
        io::Read,
        path::PathBuf,
        process::{Child, Stdio},
    };

    use tests::{
        internet::{Host, Kind},
        process::wait_for,
        scene::Scene,
        swarm::PATIENCE,
    };

    use super::*;

    /// The folder in which the process says how it is.
    const FOLDER: &str = "MEETING_PLACE";

    /// Where the process serves.
    const IP: &str = "MEETING_PLACE_IP";

    /// A running process. Dropping it kills it.
    struct Place {
        process: Child,
        folder: tempfile::TempDir,
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }

    impl Place {
        fn start(host: &Host) -> Result<Self> {
            let folder = tempfile::tempdir()?;
            let log = fs::File::create(folder.path().join("log"))?;
            let process = host
                .command(&env::current_exe()?)
                .args(["--exact", "on_an_internet::serves_if_it_is_told_to"])
                .env(FOLDER, folder.path())
                .env(IP, host.outside.to_string())
                .stdin(Stdio::piped())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()?;
            Ok(Self { process, folder })
        }

        /// Waits until the process has said something.
        fn said(&self, what: &str) -> Result<String> {
            let read = |name: &str| fs::read_to_string(self.folder.path().join(name));
            let said = wait_for(what, PATIENCE, || read(what).ok());
            said.with_context(|| read("log").unwrap_or_default())
        }
    }

    /// Written whole or not at all.
    fn say(folder: &Path, what: &str, text: &str) -> Result<()> {
        let new = folder.join("new");
        fs::write(&new, text)?;
        Ok(fs::rename(new, folder.join(what))?)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn serves_if_it_is_told_to() -> Result<()> {
        let Some(folder) = env::var_os(FOLDER).map(PathBuf::from) else {
            return Ok(());
        };
        let place = MeetingPlace::open(env::var(IP)?.parse()?, SERVERS).await?;
        say(&folder, "addresses", &place.addresses.join("\n"))?;
        place.until_it_knows_somebody().await?;
        say(&folder, "announced", "")?;
        // Its end is that of the test that began it.
        io::stdin().read_to_end(&mut Vec::new())?;
        Ok(())
    }

    #[test]
    fn a_home_finds_a_public_node_that_knew_nobody() -> Result<()> {
        let mut scene = match Scene::start() {
            Ok(scene) => scene,
            Err(error) => {
                println!("skipped: {error}");
                return Ok(());
            }
        };
        let (dht, public) = (scene.public()?, scene.public()?);
        let home = scene.home(Kind::Cone)?;
        let place = Place::start(&dht)?;
        let addresses = place.said("addresses")?;
        let mut entries = addresses.lines();
        let mut entry = || entries.next().context("an address");
        let meet = |entry| ["--rendezvous", "true", "--rendezvous-servers", entry];
        let model = fixture(&format!("{MODEL}.gguf"));
        let model = model.to_str().context("a path of text")?.to_owned();
        let serving = ["--model", &model, "--serve-public", "yes"];
        let serving = [&serving[..], &meet(entry()?)].concat();
        let server = scene.node(&public, "server", &[], &serving)?;
        let announced = place.said("announced");
        announced.with_context(|| server.node.log_tail())?;

        let asking = [&["--client"][..], &meet(entry()?)].concat();
        let asker = scene.node(&home, "asker", &[], &asking)?;
        asker.until_joined(PATIENCE)?;
        asker.until_it_knows(&server)?;
        let status = asker.peers().context("what the node shows")?;
        assert_eq!(ways(&status), ["rendezvous"]);
        asker.ask()?.until_answered(PATIENCE)
    }
}
