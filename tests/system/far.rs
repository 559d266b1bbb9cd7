//! Chains whose machines are apart: real processes on hosts of an internet with delays, jitter and
//! loss. An answer is what one machine would say, also when a machine with a stage dies or is cut off
//! in the middle of it. Passed over with a message where that cannot be had (it needs root).

#![cfg(target_os = "linux")]

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tests::{
    chain::{FOR_TWO, MODEL, Question, SIZE, Stage, Swarm, ask, ring_of, spares_of},
    internet::{Change, Host, Internet, Link},
    process::{fixture, wait_for},
    scene::{Peer, Scene},
    swarm::{Bootstrap, PATIENCE},
};

/// Beside the head: one of them has a stage, one is kept ready.
const OTHERS: usize = 3;

/// What the machine is slow by when it builds at the same time; how long a pause is in peace is what
/// the benchmark tells. This one says that nothing waits for a lease's end.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// What happens to the machine of a stage.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// `kill -9`.
    Killed,
    /// No packet comes from it or to it any more, and it lives.
    CutOff,
}

/// How far everybody is from everybody, and what happens there.
const RUNS: [(Link, Fault); 3] = [
    (far(20, 2), Fault::CutOff),
    (far(40, 4), Fault::Killed),
    (far(60, 6), Fault::CutOff),
];

/// A round trip with jitter, in milliseconds; of a hundred packets one is lost.
const fn far(rtt: u64, jitter: u64) -> Link {
    Link {
        delay: Duration::from_millis(rtt / 2),
        jitter: Duration::from_millis(jitter),
        loss: 0.01,
    }
}

/// Nodes that hold the model together, and one that could hold a part.
struct Far {
    scene: Scene,
    _server: Bootstrap,
    head: Peer,
    others: Others,
}

/// Those beside the head, by their ids; `None`: killed.
type Others = BTreeMap<String, (Arc<Host>, Option<Peer>)>;

impl Far {
    /// `None`: there is no internet here.
    #[expect(clippy::print_stdout, reason = "who passes a test over says so")]
    fn form(link: Link) -> Result<Option<Self>> {
        let mut scene = match Scene::start() {
            Ok(scene) => scene,
            Err(error) => {
                println!("skipped: {error}");
                return Ok(None);
            }
        };
        scene.internet.change(Change::DefaultLink(link));
        let host = scene.public()?;
        let server = scene.server(&host, "server")?;
        let (_, head) = member(&mut scene, "head", &server)?;
        let mut others = BTreeMap::new();
        for number in 0..OTHERS {
            let (host, peer) = member(&mut scene, &format!("peer-{number}"), &server)?;
            others.insert(peer.id.clone(), (host, Some(peer)));
        }
        let far = Self {
            scene,
            _server: server,
            head,
            others,
        };
        let heard = |list: &Value| {
            let peers = list["peers"].as_array().into_iter().flatten();
            let servers =
                peers.filter(|peer| peer["role"] == "server" && !peer["rtt_ms"].is_null());
            servers.count() == OTHERS
        };
        far.head.until("the others", PATIENCE, heard)?;
        Ok(Some(far))
    }

    /// Asks while it happens after so many characters; the answer, and its longest pause from then on.
    fn ask(
        &mut self,
        question: &Question,
        after: usize,
        fault: Fault,
    ) -> Result<(String, Duration)> {
        let Self {
            scene,
            head,
            others,
            ..
        } = self;
        let (mut at, mut failed) = (None, None);
        let told = head.stream(question, |characters| {
            if characters >= after && at.is_none() {
                at = Some(Instant::now());
                failed = inject(fault, &ring_of(&head.node), others, &scene.internet).err();
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        let at = at.context("the answer ended before anything happened")?;
        Ok((told.text.clone(), told.longest_gap(at)))
    }
}

/// A node that holds stages of the model for whoever asks, and never all of it.
fn member(scene: &mut Scene, name: &str, server: &Bootstrap) -> Result<(Arc<Host>, Peer)> {
    let host = scene.public()?;
    let limits = ["--threads", "1", "--max-memory", FOR_TWO];
    let serving = ["--serve-public", "yes", "--serve-models", MODEL];
    let args = [&SIZE[..], &limits, &serving].concat();
    let peer = scene.node(&host, name, &[server], &args)?;
    peer.pull(&fixture(&format!("{MODEL}.gguf")))?;
    Ok((host, peer))
}

/// Lets it happen to whoever has a stage beside the head.
fn inject(fault: Fault, ring: &[Stage], others: &mut Others, internet: &Internet) -> Result<()> {
    let stage = ring.iter().find(|stage| others.contains_key(&stage.peer));
    let stage = stage.with_context(|| format!("a stage elsewhere: {ring:?}"))?;
    let (host, peer) = others.get_mut(&stage.peer).context("found above")?;
    match fault {
        Fault::Killed => drop(peer.take().context("it lives")?.node.kill()?),
        Fault::CutOff => internet.change(Change::Cut(host.id, true)),
    }
    Ok(())
}

#[tokio::test]
async fn answers_over_far_chains_outlive_a_machine_that_dies_or_is_cut_off() -> Result<()> {
    let question = Question {
        max_tokens: 80,
        ..Question::default()
    };
    let expected = ask(&Swarm::start()?.large()?, &question, |_| {})
        .await?
        .text;
    let mut rng = StdRng::seed_from_u64(tests::seed());
    for (link, fault) in RUNS {
        let Some(mut far) = Far::form(link)? else {
            return Ok(());
        };
        let undisturbed = far.head.stream(&question, |_| {})?.text;
        assert_eq!(undisturbed, expected, "{link:?}");
        let spare = || (spares_of(&far.head.node) > 0).then_some(());
        wait_for("a spare", PATIENCE, spare).with_context(|| far.head.node.log_tail())?;
        let after = rng.random_range(1..expected.chars().count() / 2);
        let (text, pause) = far.ask(&question, after, fault)?;
        let of_run = format!("{fault:?} after {after}, {link:?}: a pause of {pause:?}");
        println!("{of_run}");
        assert_eq!(text, expected, "{of_run}");
        ensure!(
            pause < LONGEST_PAUSE,
            "{of_run}\n{}",
            far.head.node.log_tail()
        );
    }
    Ok(())
}
