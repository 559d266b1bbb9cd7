//! Real `shoal` and `shoal-bootstrap` processes on the hosts of an [`Internet`]. Their APIs listen
//! on the hosts' own loopback, so they are asked by the product's commands, run there.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{
    chain::{self, Told},
    internet::{Host, Internet, Kind, Unavailable},
    process::{Node, bootstrap_binary, fixture, shoal_binary, wait_for},
    swarm::{Bootstrap, PATIENCE},
};

/// The model that is served in scenes: it answers at once, nonsense.
pub const MODEL: &str = "tiny-draft-f16";

/// The port that everybody listens at.
pub const PORT: u16 = 9338;

/// An internet, and a folder for what its processes keep.
pub struct Scene {
    /// The internet.
    pub internet: Internet,
    folder: tempfile::TempDir,
}

impl Scene {
    /// One without hosts.
    ///
    /// # Errors
    /// As [`Internet::start`].
    pub fn start() -> Result<Self, Unavailable> {
        let internet = Internet::start()?;
        let folder = tempfile::tempdir().map_err(|error| Unavailable::Refused(error.into()))?;
        Ok(Self { internet, folder })
    }

    /// A host that everybody reaches.
    ///
    /// # Errors
    /// As [`Internet::public`].
    pub fn public(&mut self) -> Result<Arc<Host>> {
        Ok(Arc::new(self.internet.public()?))
    }

    /// A host behind a NAT.
    ///
    /// # Errors
    /// As [`Internet::home`].
    pub fn home(&mut self, kind: Kind) -> Result<Arc<Host>> {
        Ok(Arc::new(self.internet.home(kind)?))
    }

    /// A bootstrap server on a public host; under a name that was used it has that one's key.
    ///
    /// # Errors
    /// It does not start.
    pub fn server(&self, host: &Arc<Host>, name: &str) -> Result<Bootstrap> {
        let (args, listening) = server_args(host);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let command = host.command(&bootstrap_binary()?);
        Bootstrap::start_by(command, &self.folder.path().join(name), &args, listening)
    }

    /// A node that knows these servers; under a name that was used it has that one's memory.
    ///
    /// # Errors
    /// It does not start.
    pub fn node(
        &self,
        host: &Arc<Host>,
        name: &str,
        servers: &[&Bootstrap],
        args: &[&str],
    ) -> Result<Peer> {
        let servers: Vec<String> = servers.iter().map(|server| server.list()).collect();
        let port = PORT.to_string();
        let servers = servers.join(",");
        let environment = [
            ("SHOAL_LISTEN", Some(port.as_str())),
            ("SHOAL_BOOTSTRAP", Some(servers.as_str())),
        ];
        let data = self.folder.path().join(name);
        let shoal = shoal_binary()?;
        let node = Node::start_by(host.command(&shoal), &data, args, &environment)?;
        let mut peer = Peer {
            id: String::new(),
            node,
            host: host.clone(),
            shoal,
            data,
        };
        let status = wait_for("the node's status", PATIENCE, || {
            peer.command(&["status", "--json"])
        });
        let status = status.with_context(|| peer.node.log_tail())?;
        peer.id = status["node_id"].as_str().context("an id")?.to_owned();
        Ok(peer)
    }

    /// The same, serving [`MODEL`] to everybody.
    ///
    /// # Errors
    /// It does not start.
    pub fn serving(&self, host: &Arc<Host>, name: &str, servers: &[&Bootstrap]) -> Result<Peer> {
        let model = fixture(&format!("{MODEL}.gguf"));
        let model = model.to_str().context("a path of text")?.to_owned();
        self.node(
            host,
            name,
            servers,
            &["--model", &model, "--serve-public", "yes"],
        )
    }
}

/// What a bootstrap server on a host is told: its own addresses, and how many there are.
fn server_args(host: &Host) -> (Vec<String>, usize) {
    let ipv4 = host.outside;
    let mut args = vec!["--listen".to_owned(), format!("{ipv4}:{PORT}")];
    if let Some(ipv6) = host.ipv6 {
        args.extend(["--listen".to_owned(), format!("[{ipv6}]:{PORT}")]);
    }
    for transport in [format!("udp/{PORT}/quic-v1"), format!("tcp/{PORT}")] {
        args.extend(["--external".to_owned(), format!("/ip4/{ipv4}/{transport}")]);
        if let Some(ipv6) = host.ipv6 {
            args.extend(["--external".to_owned(), format!("/ip6/{ipv6}/{transport}")]);
        }
    }
    (args, if host.ipv6.is_some() { 4 } else { 2 })
}

/// A node on a host. Dropping it kills it.
pub struct Peer {
    /// Its id, as peers are listed by.
    pub id: String,
    /// Its process.
    pub node: Node,
    host: Arc<Host>,
    shoal: PathBuf,
    data: PathBuf,
}

impl Peer {
    /// What `shoal peers` says; `None`: it does not answer.
    pub fn peers(&self) -> Option<Value> {
        self.command(&["peers", "--json"])
    }

    /// What it says of one peer.
    pub fn peer(&self, id: &str) -> Option<Value> {
        let status = self.peers()?;
        let mut peers = status["peers"].as_array()?.iter();
        peers.find(|peer| peer["id"] == id).cloned()
    }

    /// Waits until what `shoal peers` says fulfils something.
    ///
    /// # Errors
    /// It does not within `limit`; what it says instead comes with it.
    pub fn until(
        &self,
        what: &str,
        limit: Duration,
        is_so: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let status = wait_for(what, limit, || self.peers().filter(&is_so));
        status.with_context(|| {
            let status = self.peers().unwrap_or_default();
            format!("{status:#}\n{}", self.node.log_tail())
        })
    }

    /// Waits until somebody is connected.
    ///
    /// # Errors
    /// Nobody is within `limit`.
    pub fn until_joined(&self, limit: Duration) -> Result<()> {
        self.until("a peer", limit, |status| status["state"] == "joined")?;
        Ok(())
    }

    /// Waits until the model is known to be served by this peer.
    ///
    /// # Errors
    /// It is not within [`PATIENCE`].
    pub fn until_it_knows(&self, server: &Self) -> Result<()> {
        let serves = |peer: &Value| {
            let models = peer["models"].as_array();
            peer["id"] == *server.id && models.is_some_and(|all| !all.is_empty())
        };
        let knows = |status: &Value| {
            let peers = status["peers"].as_array();
            peers.is_some_and(|peers| peers.iter().any(serves))
        };
        self.until("the model's peer", PATIENCE, knows)?;
        Ok(())
    }

    /// Waits until others can reach it: at an address that was confirmed, or by a relay.
    ///
    /// # Errors
    /// They cannot within [`PATIENCE`].
    pub fn until_reachable(&self) -> Result<()> {
        let names = |list: &Value, part: &str| {
            let list = list.as_array().into_iter().flatten();
            let mut texts = list.filter_map(Value::as_str);
            texts.any(|text| text.contains(part))
        };
        // Of the two public ranges, whichever was seen first.
        let is_public = |list: &Value| names(list, "/ip4/45.") || names(list, "/ip6/2a0c:");
        let is_reachable =
            |s: &Value| is_public(&s["external"]) || names(&s["listening"], "p2p-circuit");
        self.until("an address for others", PATIENCE, is_reachable)?;
        Ok(())
    }

    /// Begins to ask its own API for a short answer of [`MODEL`].
    ///
    /// # Errors
    /// The command does not start.
    pub fn ask(&self) -> Result<Question> {
        let said = self.data.join("said");
        let output = fs::File::create(&said)?;
        let child = self
            .host
            .command(&self.shoal)
            .args(["run", MODEL, "Tell a story.", "--max-tokens", "8"])
            .args(["--temperature", "0", "--data-dir"])
            .arg(&self.data)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        Ok(Question { child, said })
    }

    /// How long its API takes for an answer of one token of [`MODEL`].
    ///
    /// # Errors
    /// There is none; what was said instead comes with it.
    pub fn time_of_one_token(&self) -> Result<Duration> {
        let body = json!({ "model": MODEL, "prompt": "Birds", "max_tokens": 1 }).to_string();
        let output = self
            .host
            .command(Path::new("curl"))
            .args(["-sS", "--fail-with-body", "-w", "\n%{time_total}", "--json"])
            .args([&body, &format!("{}/v1/completions", self.node.url)])
            .stdin(Stdio::null())
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{said}");
        let seconds = said.lines().last().context("the time")?.parse()?;
        Ok(Duration::from_secs_f64(seconds))
    }

    /// A streamed answer of its own API; `on_text` is told how many characters there are so far.
    ///
    /// # Errors
    /// It is none, or not whole; the end of the node's log comes with it.
    pub fn stream(
        &self,
        question: &chain::Question,
        mut on_text: impl FnMut(usize),
    ) -> Result<Told> {
        let url = format!("{}/v1/completions", self.node.url);
        let mut child = self
            .host
            .command(Path::new("curl"))
            .args(["-sSN", "--json", &question.body().to_string(), &url])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().context("its output")?;
        let mut answer = chain::Answer::default();
        for line in BufReader::new(output).lines() {
            let taken = answer.take(&line?, &mut on_text);
            taken.with_context(|| self.node.log_tail())?;
        }
        child.wait()?;
        answer.end().with_context(|| self.node.log_tail())
    }

    /// Takes a model's file into the node's store.
    ///
    /// # Errors
    /// The node refuses.
    pub fn pull(&self, model: &Path) -> Result<()> {
        let mut pull = self.host.command(&self.shoal);
        pull.arg("pull")
            .arg(model)
            .arg("--data-dir")
            .arg(&self.data);
        let output = pull.stdin(Stdio::null()).output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{errors}");
        Ok(())
    }

    /// Runs a command of the product on the node's host; its output as JSON.
    fn command(&self, arguments: &[&str]) -> Option<Value> {
        let mut command = self.host.command(&self.shoal);
        command.args(arguments).arg("--data-dir").arg(&self.data);
        let output = command.stdin(Stdio::null()).output().ok()?;
        serde_json::from_slice(&output.stdout).ok()
    }
}

/// A question under way.
pub struct Question {
    child: Child,
    said: PathBuf,
}

impl Drop for Question {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Question {
    /// Whether it was answered; `None`: not yet.
    pub fn is_answered(&mut self) -> Option<bool> {
        let status = self.child.try_wait().ok()??;
        Some(status.success())
    }

    /// What was said, an error too.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// None came within `limit`, or an error.
    pub fn until_answered(mut self, limit: Duration) -> Result<()> {
        let is_answered = wait_for("an answer", limit, || self.is_answered())?;
        ensure!(is_answered, "{}", self.said());
        Ok(())
    }
}
