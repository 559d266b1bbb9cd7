//! A chain beside llama.cpp's RPC backend over the same links, with the same threads: its server
//! with layers on other machines' `ggml-rpc-server`s.

use std::{
    fmt::Write as _,
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use tempfile::TempDir;
use tests::{
    internet::{Change, Host, Link},
    process::wait_for,
    scene::Scene,
    swarm::PATIENCE,
};

use super::{
    Setting,
    door::{Door, decode_speed, story},
    figures::Values,
    member::{Chain, Ground, Wish},
};

/// Round trips between the machines, ms.
const RTTS: [u64; 2] = [20, 40];

/// Tokens of each answer.
const TOKENS: u32 = 48;

/// Where an RPC server and the server listen on their hosts.
const RPC_PORT: u16 = 50_052;
const PORT: u16 = 8080;

/// With one RPC server, the second half of the model's layers is there, and its output; with two,
/// all layers are.
const HALF: &str = "16";
const ALL: &str = "99";

/// llama.cpp's server, and RPC servers on hosts of their own.
struct Reference {
    door: Door,
    processes: Vec<Child>,
    /// Their namespaces.
    _remotes: Vec<Arc<Host>>,
    _log: TempDir,
}

impl Drop for Reference {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Reference {
    fn start(setting: &Setting<'_>, scene: &mut Scene, count: usize) -> Result<Self> {
        let log = tempfile::tempdir()?;
        let rpc = setting.llama_server.with_file_name("ggml-rpc-server");
        let host = scene.public()?;
        let (mut processes, mut remotes, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..count {
            let remote = scene.public()?;
            let mut server = remote.command(&rpc);
            server.args(["-H", "0.0.0.0", "-t", "1", "-p", &RPC_PORT.to_string()]);
            processes.push(quietly(server, &log.path().join(number.to_string()))?);
            addresses.push(format!("{}:{RPC_PORT}", remote.outside));
            remotes.push(remote);
        }
        // A server that does not reach one of them ends.
        for remote in &remotes {
            wait_for("an RPC server", PATIENCE, || listens(remote, RPC_PORT))?;
        }
        let layers = if count == 1 { HALF } else { ALL };
        let mut server = host.command(setting.llama_server);
        server
            .args(["--host", "127.0.0.1", "--port", &PORT.to_string(), "-m"])
            .arg(setting.product.model)
            .args(["-np", "1", "-c", "1024", "--threads", "1", "-ngl", layers])
            .args(["--rpc", &addresses.join(",")]);
        let said = log.path().join("server");
        processes.push(quietly(server, &said)?);
        let reference = Self {
            door: Door {
                url: format!("http://127.0.0.1:{PORT}/v1/completions"),
                model: setting.product.name(),
                place: Some(host.clone()),
            },
            processes,
            _remotes: remotes,
            _log: log,
        };
        let ready = wait_for("llama.cpp's server", PATIENCE, || is_ready(&host));
        ready.with_context(|| fs::read_to_string(said).unwrap_or_default())?;
        Ok(reference)
    }
}

fn quietly(mut command: Command, log: &Path) -> Result<Child> {
    let log = File::create(log)?;
    let command = command.stdin(Stdio::null()).stdout(log.try_clone()?);
    Ok(command.stderr(log).spawn()?)
}

fn listens(host: &Host, port: u16) -> Option<()> {
    let output = host
        .command(Path::new("ss"))
        .args(["-ltnH"])
        .output()
        .ok()?;
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    listed.contains(&format!(":{port} ")).then_some(())
}

fn is_ready(host: &Host) -> Option<()> {
    let url = format!("http://127.0.0.1:{PORT}/health");
    let mut curl = host.command(Path::new("curl"));
    let status = curl.args(["-sf", "-o", "/dev/null", &url]).status();
    status.is_ok_and(|status| status.success()).then_some(())
}

/// One that is measured.
struct Side<'a> {
    name: &'static str,
    door: &'a Door,
    speeds: [Values; RTTS.len()],
}

/// The section's text.
pub(super) async fn measure(setting: &Setting<'_>, rng: &mut StdRng) -> Result<String> {
    let product = setting.product;
    let mut ground = Ground::internet()?;
    let two = Chain::form(product, &mut ground, setting.chain_of(2)).await?;
    let bare = Wish {
        is_head_bare: true,
        ..setting.chain_of(2)
    };
    let mut other = Ground::internet()?;
    let apart = Chain::form(product, &mut other, bare).await?;
    let mut scene = Scene::start().context("no internet here")?;
    let one_remote = Reference::start(setting, &mut scene, 1)?;
    let two_remotes = Reference::start(setting, &mut scene, 2)?;
    let doors = [two.door(product), apart.door(product)];
    let mut sides = [
        side(
            "Shoal, 2 machines: the head with a half, the other half",
            &doors[0],
        ),
        side(
            "Shoal, 3 machines: the head, a half, the other half",
            &doors[1],
        ),
        side(
            "llama.cpp, 2 machines: the server with a half, the other half",
            &one_remote.door,
        ),
        side(
            "llama.cpp, 3 machines: the server, a half, the other half",
            &two_remotes.door,
        ),
    ];
    for round in 0..=setting.rounds {
        for (at, rtt) in RTTS.into_iter().enumerate() {
            let rtt = Duration::from_millis(rtt);
            for ground in [&ground, &other] {
                ground.set_rtt(rtt);
            }
            scene
                .internet
                .change(Change::DefaultLink(Link::of_rtt(rtt)));
            std::thread::sleep(Duration::from_millis(300));
            let prompt = story(rng);
            for turn in 0..sides.len() {
                let side = &mut sides[(round + turn) % 4];
                let told = side
                    .door
                    .decode(std::slice::from_ref(&prompt), TOKENS)
                    .await?;
                if round > 0 {
                    side.speeds[at].add(decode_speed(&told));
                }
            }
        }
    }
    Ok(table(&sides))
}

fn side<'a>(name: &'static str, door: &'a Door) -> Side<'a> {
    Side {
        name,
        door,
        speeds: Default::default(),
    }
}

fn table(sides: &[Side<'_>; 4]) -> String {
    let mut text =
        String::from("| decode of one stream, tokens/s | 20 ms | 40 ms |\n|---|---:|---:|\n");
    for side in sides {
        let [near, far] = &side.speeds;
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            side.name,
            near.shown(1),
            far.shown(1)
        );
    }
    for (what, own, other, target) in [
        ("Shoal's 2 machines, of llama.cpp's 2", 0, 2, ""),
        ("Shoal's 3 machines, of llama.cpp's 3", 1, 3, ""),
        (
            "Shoal's 2 machines that compute, of llama.cpp's 2 that do (its server is a third)",
            0,
            3,
            " (to reach: ≥ 1.5)",
        ),
    ] {
        let [near, far] = [0, 1].map(|at| sides[own].speeds[at].of(&sides[other].speeds[at]));
        let _ = writeln!(
            text,
            "| {what}{target} | {} | {} |",
            near.shown(2),
            far.shown(2)
        );
    }
    text.push_str(
        "\nEvery machine that holds layers computes with 1 thread, so 2 threads in all on each side. \
         llama.cpp's server runs with `-ngl 16` (the second half of the layers and the output remote) or `-ngl \
         99` (all remote). No speculation.\n",
    );
    text
}
