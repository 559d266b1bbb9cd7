//! A private swarm of real processes: its owner, its own bootstrap server, members who come by a
//! token, a stranger who has the address, and one who is put out.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::{
    api,
    process::{Node, bootstrap_binary, fixture, said, shoal_binary},
    swarm::{Bootstrap, identity, shown, until, until_it_lists},
};

const MODEL: &str = "tiny-draft-f16";

/// A folder with the data of every machine, and the swarm's bootstrap server.
struct Lab {
    folder: tempfile::TempDir,
    bootstrap: Bootstrap,
}

impl Lab {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (owner, server) = (folder.path().join("owner"), folder.path().join("server"));
        said(&owner, &["swarm", "create", "lab"])?;
        let id = Command::new(bootstrap_binary()?)
            .args(["--print-id", "--data-dir"])
            .arg(&server)
            .output()?;
        let id = String::from_utf8(id.stdout)?;
        let may = ["--may", "members,clients"];
        let pass = said(
            &owner,
            &[&["swarm", "delegate", id.trim()], &may[..]].concat(),
        )?;
        let bootstrap = Bootstrap::start(&server, &["--swarm", "lab", "--join", pass.trim()])?;
        Ok(Self { folder, bootstrap })
    }

    fn data(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn token(&self, role: &str) -> Result<String> {
        let mut args = vec!["swarm", "invite", "--role", role];
        for address in &self.bootstrap.addresses {
            args.extend(["--bootstrap", address.as_str()]);
        }
        Ok(said(&self.data("owner"), &args)?.trim().to_owned())
    }

    /// A node whose only address to begin at is the one in its token.
    fn node(&self, name: &str, args: &[&str], join: Option<&str>) -> Result<Node> {
        let environment = [("SHOAL_BOOTSTRAP", None), ("SHOAL_JOIN", join)];
        Node::start_with(&shoal_binary()?, &self.data(name), args, &environment)
    }

    /// A node without a proof that has the address.
    fn stranger(&self, swarm: &str) -> Result<Node> {
        let list = self.bootstrap.list();
        let environment = [("SHOAL_BOOTSTRAP", Some(list.as_str()))];
        let data = self.data(&format!("stranger-{swarm}"));
        Node::start_with(&shoal_binary()?, &data, &["--client"], &environment)
    }
}

async fn answer(node: &Node) -> Result<(String, Option<String>)> {
    let question = json!({
        "model": MODEL,
        "messages": [{ "role": "user", "content": "Tell a story." }],
        "max_tokens": 20,
        "temperature": 0,
    });
    let url = format!("{}/v1/chat/completions", node.url);
    let response = api::client()?.post(url).json(&question).send().await?;
    let peer = response.headers().get("x-shoal-served-by");
    let peer = peer.and_then(|peer| Some(peer.to_str().ok()?.to_owned()));
    let answer: Value = response.json().await?;
    let text = answer["choices"][0]["message"]["content"].as_str();
    Ok((text.with_context(|| format!("{answer}"))?.to_owned(), peer))
}

fn is_connected(status: &Value, id: &str) -> bool {
    let peers = status["peers"].as_array().into_iter().flatten();
    peers
        .filter(|peer| peer["id"] == id)
        .any(|peer| !peer["path"].is_null())
}

fn names(status: &Value, cause: &str) -> bool {
    let ways = status["ways"].as_array().into_iter().flatten();
    ways.into_iter().any(|way| {
        way["cause"]
            .as_str()
            .is_some_and(|told| told.contains(cause))
    })
}

#[tokio::test]
async fn members_serve_each_other_and_nobody_else_until_they_are_put_out() -> Result<()> {
    let lab = Lab::start()?;
    let model = fixture(&format!("{MODEL}.gguf"));
    let model = model.to_str().context("a path of text")?;
    // By command, and as a headless machine does it. Members are served whatever is public.
    said(&lab.data("member"), &["join", &lab.token("member")?])?;
    let member = lab.node("member", &["--model", model, "--serve-public", "no"], None)?;
    let client = lab.node("client", &["--client"], Some(&lab.token("client")?))?;
    until_it_lists(&client, MODEL, true).await?;
    let id = identity(&member).await?;
    let (there, peer) = answer(&client).await?;
    assert_eq!(peer.as_deref(), Some(id.as_str()));
    assert_eq!(there, answer(&member).await?.0);

    // The invite became a certificate, which is on the disk and enough the next time.
    let status = said(&lab.data("member"), &["swarm", "status"])?;
    assert!(status.contains("certificate  member for"), "{status}");
    assert!(status.contains("invite       none"), "{status}");
    let data = lab.data("client");
    client.terminate(std::time::Duration::from_secs(20))?;
    assert!(data.join("swarms/lab/pass").is_file());
    let client = lab.node("client", &["--client"], None)?;
    until_it_lists(&client, MODEL, true).await?;

    // A stranger with the address learns nothing, and nobody of it.
    let stranger = lab.stranger("public")?;
    let told = until(&stranger, "/api/peers", |status| {
        names(status, "another node or another version")
    })
    .await?;
    assert_eq!(told["peers"], json!([]));
    assert!(!is_connected(
        &shown(&member, "/api/peers").await?,
        &identity(&stranger).await?
    ));

    // The owner puts the member out; its own node comes later and spreads the list.
    let list = lab.bootstrap.list();
    let environment = [("SHOAL_BOOTSTRAP", Some(list.as_str()))];
    let data = lab.data("owner");
    let owner = Node::start_with(&shoal_binary()?, &data, &["--client"], &environment)?;
    until_it_lists(&owner, MODEL, true).await?;
    let put_out = said(
        &lab.data("owner"),
        &["swarm", "revoke", &id, "--api", &owner.url],
    )?;
    assert!(put_out.contains("spreads the list now"), "{put_out}");
    until_it_lists(&client, MODEL, false).await?;
    let told = until(&member, "/api/peers", |status| {
        names(status, "not a member")
    })
    .await?;
    let peers = told["peers"].as_array().context("peers")?;
    assert!(peers.iter().all(|peer| peer["path"].is_null()), "{told:#}");
    Ok(())
}
