//! A chain of which the head alone has the model: the others fetch their layers from it, and find them
//! on the disk after a new start. And the README's example of it, line by line.

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
};

use tests::{
    chain::SIZE,
    process::{ON_LOOPBACK, bootstrap_binary, fixture},
};

use super::*;

/// Headers of the model, and half of that once more: how they are asked for.
const HEADER_BYTES: u64 = 93 << 10;

/// A node of the swarm, with or without the model.
fn node(swarm: &Swarm, name: &str, memory: &str) -> Result<Node> {
    let limits = ["--max-memory", memory, "--listen", TCP];
    let serving = ["--serve-public", "yes", "--serve-models", MODEL];
    swarm.node(name, &[&limits[..], &serving].concat())
}

/// Bytes of models that came to a node since its start.
async fn received(node: &Node) -> Result<u64> {
    let url = format!("{}/metrics", node.url);
    let metrics = api::client()?.get(url).send().await?.text().await?;
    let name = "shoal_peers_weights_received_bytes_total ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.context("the metric")?.trim().parse()?)
}

/// The size of the only slice of layers that a node has, and of the model's manifest.
fn slice_and_manifest(data: &Path) -> Result<(u64, u64)> {
    let mut slices = Vec::new();
    for entry in fs::read_dir(data.join("slices"))? {
        slices.push(entry?.metadata()?.len());
    }
    ensure!(slices.len() == 1, "slices of {slices:?} bytes");
    let part = fs::read_dir(data.join("weights/slices"))?.next();
    let part = part.context("a part of the model")??.path();
    Ok((slices[0], fs::metadata(part.join("manifest"))?.len()))
}

/// Waits until a node knows what so many others have.
async fn until_servers(url: &str, servers: usize) -> Result<()> {
    let end = std::time::Instant::now() + tests::swarm::PATIENCE;
    loop {
        let list = api::client()?
            .get(format!("{url}/api/peers"))
            .send()
            .await?;
        let list: Value = list.json().await?;
        let peers = list["peers"].as_array().into_iter().flatten();
        if peers.filter(|peer| peer["role"] == "server").count() == servers {
            return Ok(());
        }
        ensure!(std::time::Instant::now() < end, "{list:#}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Who holds which layers.
fn layers(plan: &Value) -> Vec<(Value, Value, Value)> {
    let stages = plan.as_array().into_iter().flatten();
    let part = |stage: &Value, name: &str| stage[name].clone();
    let stages = stages.map(|stage| {
        let (first, last) = (part(stage, "first_layer"), part(stage, "last_layer"));
        (part(stage, "peer"), first, last)
    });
    stages.collect()
}

#[tokio::test]
async fn a_stage_fetches_the_layers_that_it_lacks_once() -> Result<()> {
    let swarm = Swarm::start()?;
    let large = swarm.large()?;
    let expected = ask(&large, &Question::default(), |_| {}).await?.text;
    drop(large);
    let names = ["one"];
    let mut first_plan = None;
    for is_new in [true, false] {
        let head = node(&swarm, "head", FOR_TWO)?;
        if is_new {
            swarm.pull("head")?;
        }
        let mut stages = Vec::new();
        for name in names {
            stages.push(node(&swarm, name, FOR_TWO)?);
        }
        until_servers(&head.url, stages.len()).await?;
        let answer = ask(&head, &Question::default(), |_| {}).await?.text;
        assert_eq!(answer, expected, "new: {is_new}");
        let peers = planned(&head).await?;
        let own = identity(&head).await?;
        ensure!(peers.iter().any(|peer| *peer != own), "{peers:?}");
        let plan = shown(&head, &format!("/api/plan?model={MODEL}")).await?["stages"].clone();
        // Of equal plans another may be taken after a new start; then some layers are not there.
        let is_same = *first_plan.get_or_insert_with(|| layers(&plan)) == layers(&plan);
        for (name, stage) in names.iter().zip(&stages) {
            let came = received(stage).await?;
            eprintln!("{name}: {came} bytes came; new: {is_new}, the same layers: {is_same}");
            if is_new {
                let (slice, manifest) = slice_and_manifest(&swarm.data(name))?;
                let most = slice + slice / 100 + manifest + HEADER_BYTES;
                assert!(came > slice / 2 && came <= most, "{came} of {most}");
            } else if is_same {
                assert_eq!(came, 0);
            }
        }
        for node in stages.into_iter().chain([head]) {
            node.terminate(std::time::Duration::from_secs(30))?;
        }
    }
    Ok(())
}

/// The lines of the README's blocks of commands below a heading.
fn lines<'a>(readme: &'a str, heading: &str) -> Result<Vec<&'a str>> {
    let section = readme.split(heading).nth(1).context("the section")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let block = section.split("```text\n").nth(1).context("a block")?;
    let block = block.split("```").next().unwrap_or_default();
    Ok(block.lines().filter(|line| !line.is_empty()).collect())
}

/// Processes that are killed at the end.
struct Terminals(Vec<Child>);

impl Drop for Terminals {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The README's example, with free ports in the place of its own.
struct Example {
    folder: tempfile::TempDir,
    model: &'static str,
    ports: Vec<(String, String)>,
    terminals: Terminals,
}

impl Example {
    fn new(model: &'static str, file: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::copy(file, folder.path().join(format!("{model}.gguf")))?;
        let mut ports = Vec::new();
        for port in ["9400", "9401", "9402", "9403", "9411", "9412", "9413"] {
            // One that is free for both transports.
            let tcp = TcpListener::bind("127.0.0.1:0")?;
            let free = tcp.local_addr()?.port();
            UdpSocket::bind(("127.0.0.1", free))?;
            ports.push((port.to_owned(), free.to_string()));
        }
        let terminals = Terminals(Vec::new());
        Ok(Self {
            folder,
            model,
            ports,
            terminals,
        })
    }

    fn written(&self, line: &str) -> Result<String> {
        let mut line = line.replace("pull MODEL", &format!("pull ./{}.gguf", self.model));
        line = line.replace("MODEL", self.model);
        for (port, free) in &self.ports {
            line = line.replace(port.as_str(), free);
        }
        if line.contains("ADDRESS") {
            let addresses = fs::read_to_string(self.folder.path().join("s/addresses"))?;
            let address = addresses.lines().next().context("an address")?;
            line = line.replace("ADDRESS", address);
        }
        Ok(line)
    }

    fn command(&self, line: &str) -> Result<Command> {
        let folder = bootstrap_binary()?;
        let folder = folder.parent().context("the binaries' folder")?;
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", line])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", folder.display()))
            .envs(
                ON_LOOPBACK
                    .into_iter()
                    .filter(|(name, _)| !["SHOAL_BOOTSTRAP", "SHOAL_LISTEN"].contains(name)),
            )
            .stdin(Stdio::null());
        Ok(command)
    }

    /// A line that is done when it ends: what it says.
    fn run(&self, line: &str) -> Result<String> {
        let line = self.written(line)?;
        let output = self.command(&line)?.output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`{line}`: {said}\n{errors}");
        Ok(said)
    }

    /// A line that has a terminal of its own, until a file is there.
    fn open(&mut self, line: &str, until: &str) -> Result<()> {
        let line = format!("exec {}", self.written(line)?);
        let log = fs::File::create(self.folder.path().join("log"))?;
        let mut command = self.command(&line)?;
        let child = command.stdout(Stdio::null()).stderr(log).spawn()?;
        self.terminals.0.push(child);
        let file = self.folder.path().join(until);
        let there = tests::process::wait_for(until, tests::swarm::PATIENCE, || {
            let text = fs::read_to_string(&file).ok()?;
            text.ends_with('\n').then_some(text)
        });
        let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        there.with_context(log)?;
        Ok(())
    }
}

/// Which node's data a line names.
fn data(line: &str) -> Option<&str> {
    line.split("--data-dir ").nth(1)?.split(' ').next()
}

#[tokio::test]
async fn the_readmes_chain_answers_with_the_model_on_one_machine_only() -> Result<()> {
    let readme = include_str!("../../README.md");
    // The README's sizes are those of its model; the fixture's are larger for a smaller one.
    let (model, file, sizes) = match std::env::var_os("TEST_MODEL") {
        Some(real) => ("SmolLM2-135M", real.into(), None),
        None => (MODEL, fixture(&format!("{MODEL}.gguf")), Some(FOR_TWO)),
    };
    let mut example = Example::new(model, &file)?;
    for line in lines(readme, "## Run a private swarm")? {
        if line.starts_with("shoal-bootstrap ") {
            // Its page of health is at a free port, too.
            let line = line.replacen(' ', " --health 127.0.0.1:0 ", 1);
            example.open(&line, "s/addresses")?;
        } else if !line.starts_with("shoal up ") {
            example.run(line)?;
        }
    }
    let mut answers = Vec::new();
    let mut nodes = 0;
    for line in lines(readme, "## One model over several machines")? {
        let mut line = line.to_owned();
        if let Some(memory) = sizes {
            line = line.replace("250MiB", memory);
            line = line.replace("--ctx-size 2048 --parallel 4", &SIZE.join(" "));
        }
        if line.starts_with("shoal up ") {
            let data = data(&line).context("a node's data")?.to_owned();
            example.open(&line, &format!("{data}/run/api.addr"))?;
            nodes += 1;
            continue;
        }
        if line.starts_with("shoal plan ") {
            // Somebody at a keyboard is slower than nodes that get to know one another.
            let api = fs::read_to_string(example.folder.path().join("o/run/api.addr"))?;
            until_servers(&format!("http://{}", api.trim()), nodes - 1).await?;
            let has_plan = || example.run(&line).ok();
            tests::process::wait_for("a plan", tests::swarm::PATIENCE, has_plan)?;
        }
        answers.push(example.run(&line)?);
    }
    assert_eq!(nodes, 3);
    let answer: Value = serde_json::from_str(answers.last().context("an answer")?)?;
    let text = answer["choices"][0]["message"]["content"].as_str();
    ensure!(text.is_some_and(|text| !text.is_empty()), "{answer:#}");
    let mut fetched = 0;
    for data in ["m", "n"] {
        let data = example.folder.path().join(data);
        let slices = fs::read_dir(data.join("slices"));
        fetched += slices.map_or(0, Iterator::count);
    }
    ensure!(fetched > 0, "nobody fetched a slice");
    Ok(())
}
