//! Parts of a swarm on loopback: a bootstrap server as a process, and what a node shows of its
//! peers.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    api,
    process::{Node, bootstrap_binary, shoal_binary, wait_for},
};

/// Far beyond what anything on loopback takes; what waits for it has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running `shoal-bootstrap`. Dropping it kills it.
pub struct Bootstrap {
    child: Child,
    /// Its multiaddrs.
    pub addresses: Vec<String>,
}

impl Drop for Bootstrap {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.kill();
    }
}

impl Bootstrap {
    /// Starts one over `data` and waits until it listens.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub fn start(data: &Path, args: &[&str]) -> Result<Self> {
        let command = Command::new(bootstrap_binary()?);
        let args = [&["--listen", "127.0.0.1:0"], args].concat();
        Self::start_by(command, data, &args, 2)
    }

    /// The same by a command that runs the binary with what is appended, until it listens at so
    /// many addresses.
    ///
    /// # Errors
    /// As [`Bootstrap::start`].
    pub fn start_by(
        mut command: Command,
        data: &Path,
        args: &[&str],
        listening: usize,
    ) -> Result<Self> {
        fs::create_dir_all(data)?;
        let path = data.join("addresses");
        let _ = fs::remove_file(&path);
        let log = fs::File::create(data.join("log"))?;
        let child = command
            .args(["--health", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let mut server = Self {
            child,
            addresses: Vec::new(),
        };
        let addresses = wait_for("the bootstrap server's addresses", PATIENCE, || {
            let text = fs::read_to_string(&path).ok()?;
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            (lines.len() == listening).then_some(lines)
        });
        let log = || fs::read_to_string(data.join("log")).unwrap_or_default();
        server.addresses = addresses.with_context(log)?;
        Ok(server)
    }

    /// `kill -9`; its addresses are still known.
    ///
    /// # Errors
    /// The system does not do it.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Its peer, as multiaddrs name it.
    pub fn peer(&self) -> &str {
        let first = self.addresses.first();
        let peer = first.and_then(|address| address.rsplit('/').next());
        peer.unwrap_or_default()
    }

    /// All of them, as a setting takes them.
    pub fn list(&self) -> String {
        self.addresses.join(",")
    }
}

/// A swarm of the public kind on loopback: a bootstrap server, and a folder for what its nodes keep.
pub struct Swarm {
    folder: tempfile::TempDir,
    bootstrap: Bootstrap,
}

impl Swarm {
    /// One without nodes.
    ///
    /// # Errors
    /// The server does not start.
    pub fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let bootstrap = Bootstrap::start(&folder.path().join("bootstrap"), &[])?;
        Ok(Self { folder, bootstrap })
    }

    /// The folder of a node's data.
    pub fn data(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A node of the swarm, with settings beside those of all tests.
    ///
    /// # Errors
    /// It does not start.
    pub fn node(&self, name: &str, args: &[&str], settings: &[(&str, &str)]) -> Result<Node> {
        let list = self.bootstrap.list();
        let mut environment = vec![("SHOAL_BOOTSTRAP", Some(list.as_str()))];
        environment.extend(settings.iter().map(|(name, value)| (*name, Some(*value))));
        Node::start_with(&shoal_binary()?, &self.data(name), args, &environment)
    }
}

/// What the node shows at a path of its API.
///
/// # Errors
/// When it does not answer with JSON.
pub async fn shown(node: &Node, path: &str) -> Result<Value> {
    let url = format!("{}{path}", node.url);
    Ok(api::client()?.get(url).send().await?.json().await?)
}

/// The node's id.
///
/// # Errors
/// When it does not answer.
pub async fn identity(node: &Node) -> Result<String> {
    let status = shown(node, "/api/status").await?;
    Ok(status["node_id"].as_str().context("an id")?.to_owned())
}

/// The models that the node lists.
///
/// # Errors
/// When it does not answer.
pub async fn models(node: &Node) -> Result<Vec<String>> {
    let list = shown(node, "/v1/models").await?;
    let data = list["data"].as_array().context("a list")?.iter();
    let ids = data.filter_map(|model| Some(model["id"].as_str()?.to_owned()));
    Ok(ids.collect())
}

/// Waits until what the node shows at a path is as wanted.
///
/// # Errors
/// When it is not within [`PATIENCE`]; what it was at last, and the node's log, come with it.
pub async fn until(node: &Node, path: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let end = Instant::now() + PATIENCE;
    loop {
        let value = shown(node, path).await?;
        if wanted(&value) {
            return Ok(value);
        }
        ensure!(
            Instant::now() < end,
            "{path} is not as wanted: {value:#}\n{}",
            node.log_tail()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the node lists a model, or no longer does.
///
/// # Errors
/// As [`until`].
pub async fn until_it_lists(node: &Node, model: &str, is_listed: bool) -> Result<()> {
    let lists = |list: &Value| {
        let data = list["data"].as_array().into_iter().flatten();
        data.into_iter().any(|entry| entry["id"] == model)
    };
    until(node, "/v1/models", |list| lists(list) == is_listed).await?;
    Ok(())
}
