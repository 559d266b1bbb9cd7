//! Nodes of a chain: on this machine's loopback, or on hosts of an internet with delays. It knows
//! how a chain of so many stages is brought about, not what is asked of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{
    internet::{Change, Host, Link},
    process::Node,
    scene::{PORT, Scene},
    swarm::Bootstrap,
};

use super::door::{Door, question};

/// With these the cache is much larger than the model, and is what has to be split.
pub(super) const SIZE: [&str; 4] = ["--ctx-size", "1024", "--parallel", "64"];

/// How long a swarm may take until its adverts say all that a plan needs: longer than the time from one
/// heartbeat to the next.
pub(super) const FORMING: Duration = Duration::from_secs(180);

/// How often something is looked at that another process does.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// How long a change of delays takes until packets have it, and those on the way are there.
const SETTLE: Duration = Duration::from_millis(300);

/// A host that a command runs on; `None`: this machine.
pub(super) type Place = Option<Arc<Host>>;

/// A program, to be run at a place.
pub(super) fn command(place: &Place, program: &Path) -> Command {
    match place {
        Some(host) => host.command(program),
        None => Command::new(program),
    }
}

/// The product and the model that is measured.
#[derive(Clone, Copy)]
pub(super) struct Product<'a> {
    pub(super) shoal: &'a Path,
    pub(super) model: &'a Path,
    /// Arguments of a node that does not guess tokens.
    pub(super) plain: &'static [&'static str],
    /// A folder for each number of threads, as a node leaves it that has measured its devices.
    pub(super) measured: &'a Path,
}

impl Product<'_> {
    /// Measures the devices, once for all nodes: they are all on this machine.
    pub(super) fn measure(&self, threads: usize) -> Result<()> {
        let mut bench = Command::new(self.shoal);
        let folder = self.measured.join(threads.to_string());
        bench.arg("bench").arg("--data-dir").arg(folder);
        bench.env("SHOAL_THREADS", threads.to_string());
        let output = bench.stdin(Stdio::null()).output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{errors}");
        Ok(())
    }

    /// Gives a node that is not started yet the figures.
    fn tell(&self, data: &Path, threads: usize) -> Result<()> {
        fs::create_dir_all(data)?;
        let state = self.measured.join(threads.to_string()).join("state");
        let mut copy = Command::new("cp");
        let status = copy.arg("-r").arg(state).arg(data.join("state")).status()?;
        ensure!(status.success(), "the figures are not copied");
        Ok(())
    }

    /// The model's name.
    pub(super) fn name(&self) -> String {
        let stem = self.model.file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    }
}

/// Where a swarm is: its nodes end with it.
pub(super) struct Ground {
    scene: Option<Scene>,
    folder: TempDir,
    bootstrap: Bootstrap,
    started: usize,
}

impl Ground {
    /// On loopback.
    pub(super) fn loopback() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let bootstrap = Bootstrap::start(&folder.path().join("bootstrap"), &[])?;
        Ok(Self {
            scene: None,
            folder,
            bootstrap,
            started: 0,
        })
    }

    /// Every node on a host of its own, and so the bootstrap server.
    pub(super) fn internet() -> Result<Self> {
        let mut scene = Scene::start().context("no internet here")?;
        let host = scene.public()?;
        let bootstrap = scene.server(&host, "bootstrap")?;
        Ok(Self {
            scene: Some(scene),
            folder: tempfile::tempdir()?,
            bootstrap,
            started: 0,
        })
    }

    /// A place for one more node.
    pub(super) fn place(&mut self) -> Result<Place> {
        self.scene.as_mut().map(Scene::public).transpose()
    }

    /// From now on everybody is so far from everybody. Nothing on loopback.
    pub(super) fn set_rtt(&self, rtt: Duration) {
        if let Some(scene) = &self.scene {
            let link = Link::of_rtt(rtt);
            scene.internet.change(Change::DefaultLink(link));
            std::thread::sleep(SETTLE);
        }
    }

    /// A node with so many threads at a place, with what else is told to it.
    pub(super) fn node(
        &mut self,
        product: Product<'_>,
        place: Place,
        threads: usize,
        args: &[&str],
    ) -> Result<Member> {
        self.started += 1;
        let data = self.folder.path().join(self.started.to_string());
        product.tell(&data, threads)?;
        self.start(product, (place, data), threads, args)
    }

    fn start(
        &self,
        product: Product<'_>,
        (place, data): (Place, PathBuf),
        threads: usize,
        args: &[&str],
    ) -> Result<Member> {
        let threads = threads.to_string();
        let args = [&SIZE[..], &["--threads", &threads], args].concat();
        let (list, port) = (self.bootstrap.list(), PORT.to_string());
        let mut environment = vec![("SHOAL_BOOTSTRAP", Some(list.as_str()))];
        if place.is_some() {
            environment.push(("SHOAL_LISTEN", Some(port.as_str())));
        }
        let command = command(&place, product.shoal);
        let node = Node::start_by(command, &data, &args, &environment)?;
        let mut member = Member {
            node,
            place,
            data,
            id: String::new(),
        };
        let status = member.shown("/api/status")?;
        member.id = status["node_id"].as_str().context("an id")?.to_owned();
        Ok(member)
    }
}

/// A node. Dropping it kills it.
pub(super) struct Member {
    pub(super) node: Node,
    pub(super) id: String,
    place: Place,
    data: PathBuf,
}

impl Member {
    /// What it shows at a path of its API.
    pub(super) fn shown(&self, path: &str) -> Result<Value> {
        self.call(&["-sS", &format!("{}{path}", self.node.url)])
    }

    fn call(&self, args: &[&str]) -> Result<Value> {
        let mut curl = command(&self.place, Path::new("curl"));
        let output = curl.args(args).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&said).with_context(|| format!("{args:?}: {said}"))
    }

    /// Waits until what it shows is as wanted.
    pub(super) fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let end = Instant::now() + FORMING;
        loop {
            let value = self.shown(path)?;
            if wanted(&value) {
                return Ok(value);
            }
            ensure!(
                Instant::now() < end,
                "{path} is not as wanted: {value:#}\n{}",
                self.node.log_tail()
            );
            std::thread::sleep(LOOK);
        }
    }

    /// The same machine with its memory of before, killed and started anew.
    pub(super) fn again(
        self,
        product: Product<'_>,
        ground: &Ground,
        threads: usize,
        args: &[&str],
    ) -> Result<Self> {
        self.node.kill()?;
        ground.start(product, (self.place, self.data), threads, args)
    }

    /// A folder of its data.
    pub(super) fn folder(&self, name: &str) -> PathBuf {
        self.data.join(name)
    }

    /// What a counter of its metrics says.
    pub(super) fn counter(&self, name: &str) -> Result<u64> {
        let mut curl = command(&self.place, Path::new("curl"));
        let url = format!("{}/metrics", self.node.url);
        let output = curl.args(["-sS", &url]).stdin(Stdio::null()).output()?;
        let metrics = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        let value = line.with_context(|| format!("no {name}"))?;
        Ok(value.trim().parse()?)
    }

    /// Makes the model known to it, without having it loaded.
    pub(super) fn pull(&self, product: Product<'_>) -> Result<()> {
        let mut pull = command(&self.place, product.shoal);
        let pull = pull.arg("pull").arg(product.model).arg("--data-dir");
        let output = pull.arg(&self.data).stdin(Stdio::null()).output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{errors}");
        Ok(())
    }

    /// Where its answers are asked for.
    pub(super) fn door(&self, product: Product<'_>) -> Door {
        Door {
            url: format!("{}/v1/completions", self.node.url),
            model: product.name(),
            place: self.place.clone(),
        }
    }

    /// How the model is planned to run now.
    pub(super) fn plan(&self, product: Product<'_>) -> Result<Value> {
        self.shown(&plan_path(product))
    }
}

fn plan_path(product: Product<'_>) -> String {
    format!("/api/plan?model={}", product.name())
}

/// The whole model on one node, alone.
pub(super) fn whole(product: Product<'_>, ground: &mut Ground, threads: usize) -> Result<Member> {
    let args = [&["--offline"], product.plain].concat();
    let member = ground.node(product, None, threads, &args)?;
    member.pull(product)?;
    Ok(member)
}

/// A chain as it shall be.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    /// Machines with layers.
    pub(super) stages: usize,
    /// Machines that could have some, beside these.
    pub(super) spares: usize,
    /// Whether the head's machine has none.
    pub(super) is_head_bare: bool,
    /// Threads of each stage.
    pub(super) threads: usize,
    /// Settings of the head's node beside these.
    pub(super) head_args: &'a [&'a str],
    /// Bytes that the whole model takes on one machine.
    pub(super) whole_bytes: u64,
}

impl Wish<'_> {
    /// Memory for each machine with which no fewer hold the model, and so many do, with room to
    /// spare: each stage takes some for itself, beside its part of what the whole takes.
    pub(super) fn memory(&self) -> u64 {
        let percent = match self.stages {
            1 => 120,
            2 => 58,
            3 => 39,
            _ => 32,
        };
        self.whole_bytes / 100 * percent
    }
}

/// What a head without layers may take: the embedding table and its process, no stage's buffers.
const BARE: &str = "130MiB";

/// A chain that answers.
pub(super) struct Chain {
    /// Its nodes: the head, the others in no order, spares too.
    pub(super) head: Member,
    pub(super) _others: Vec<Member>,
    /// What the planner said of it before it was made.
    pub(super) plan: Value,
}

impl Chain {
    /// Starts its nodes, and waits until it answers.
    pub(super) async fn form(
        product: Product<'_>,
        ground: &mut Ground,
        wish: Wish<'_>,
    ) -> Result<Self> {
        let memory = wish.memory().to_string();
        let name = product.name();
        let serving = ["--serve-public", "yes", "--serve-models", &name];
        let limited = [&serving[..], &["--max-memory", &memory]].concat();
        let bare = [&serving[..], &["--max-memory", BARE]].concat();
        let head_args = if wish.is_head_bare { &bare } else { &limited };
        let place = ground.place()?;
        let head = ground.node(
            product,
            place,
            wish.threads,
            &[head_args, wish.head_args].concat(),
        )?;
        let besides = wish.stages + wish.spares - usize::from(!wish.is_head_bare);
        let mut others = Vec::new();
        for _ in 0..besides {
            let place = ground.place()?;
            others.push(ground.node(product, place, wish.threads, &limited)?);
        }
        for member in others.iter().chain([&head]) {
            member.pull(product)?;
        }
        let plan = planned(product, &head, &others, wish.stages)?;
        let chain = Self {
            head,
            _others: others,
            plan,
        };
        chain
            .door(product)
            .ask(vec![question(&name, "warm", 1)])
            .await?;
        Ok(chain)
    }

    /// Where its answers are asked for.
    pub(super) fn door(&self, product: Product<'_>) -> Door {
        self.head.door(product)
    }

    /// Tokens a second that were predicted for one stream.
    pub(super) fn predicted(&self) -> f64 {
        let prediction = &self.plan["prediction"];
        prediction["tokens_per_second"].as_f64().unwrap_or(f64::NAN)
    }
}

/// Waits until the head knows the others' figures and way, and plans with so many stages.
fn planned(product: Product<'_>, head: &Member, others: &[Member], stages: usize) -> Result<Value> {
    let heard = |list: &Value| {
        let peers = list["peers"].as_array().into_iter().flatten();
        peers.filter(|peer| peer["role"] == "server").count() >= others.len()
    };
    head.until("/api/peers", heard)?;
    head.until(&plan_path(product), |plan| {
        let found = plan["stages"].as_array().map_or(0, Vec::len);
        found == stages && plan["prediction"]["is_assumed"] == json!(false)
    })
}
