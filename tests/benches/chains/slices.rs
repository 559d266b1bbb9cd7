//! Machines that get their layers from others: how many bytes come for a slice, from one source, from
//! two at once, with a machine killed in the middle of it, and with a source that sends what is wrong.

use std::{
    fmt::Write as _,
    fs::{self, File, FileTimes},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    Setting,
    door::question,
    member::{FORMING, Ground, LOOK, Member, whole},
};

/// What is asked; by the answer it shows whether the layers are right.
const PROMPT: &str = "Once upon a time, in a village by the sea, there lived";
const TOKENS: u32 = 24;

/// What a giver may send where the fetch is to last some seconds, bytes a second.
const SLOW: &str = "4MB";

/// Where a machine keeps what it fetched of models, and the slices that it made of it.
const PARTS: &str = "weights/slices";
const SLICES: &str = "slices";

/// How often a damaged file has a wrong byte: no chunk is without.
const DAMAGE_EVERY: u64 = 64 << 10;

/// Memory with which a machine gives what it has and holds no layer.
const LITTLE: &str = "40MiB";

/// One fetch.
struct Row {
    what: &'static str,
    slice: u64,
    came: u64,
    /// From the head's machine, and from another.
    given: [u64; 2],
    target: &'static str,
}

/// A head whose machine has the model and half of the layers, and the others.
struct Trial<'a> {
    setting: &'a Setting<'a>,
    ground: Ground,
    head: Member,
    expected: String,
}

/// The section's text.
pub(super) async fn measure(setting: &Setting<'_>) -> Result<String> {
    let mut rows = Vec::new();
    let mut trial = Trial::start(setting, None).await?;
    let first = trial.stage()?;
    trial.ask().await?;
    rows.push(trial.row("one source", &first, None, "≤ slice + 1 %")?);
    // It keeps what it fetched, and gives it to the next.
    let giver = trial.as_giver(first)?;
    let second = trial.stage()?;
    acquainted(&second, &giver)?;
    trial.ask().await?;
    rows.push(trial.row("two sources", &second, Some(&giver), "≤ slice + 1 %")?);
    drop(second);
    damage(&giver.folder(PARTS))?;
    let giver = trial.as_giver(giver)?;
    let third = trial.stage()?;
    acquainted(&third, &giver)?;
    trial.ask().await?;
    rows.push(trial.row(
        "two sources, one of them wrong",
        &third,
        Some(&giver),
        "the same answer",
    )?);
    drop(trial);
    let mut slow = Trial::start(setting, Some(SLOW)).await?;
    rows.push(slow.cut().await?);
    Ok(table(&rows))
}

impl<'a> Trial<'a> {
    /// `upload` is what the head's machine may send.
    async fn start(setting: &'a Setting<'a>, upload: Option<&str>) -> Result<Self> {
        let product = setting.product;
        let mut alone = Ground::loopback()?;
        let reference = whole(product, &mut alone, 1)?;
        let body = question(&product.name(), PROMPT, TOKENS);
        let told = reference.door(product).ask(vec![body]).await?;
        let expected = told.into_iter().next().context("an answer")?.text;
        let mut ground = Ground::loopback()?;
        let memory = setting.chain_of(2).memory().to_string();
        let mut args = vec!["--max-memory", &memory];
        args.extend(upload.into_iter().flat_map(|rate| ["--max-upload", rate]));
        args.extend(product.plain);
        let head = ground.node(product, None, 1, &args)?;
        head.pull(product)?;
        Ok(Self {
            setting,
            ground,
            head,
            expected,
        })
    }

    /// One more machine with room for the other half, without the model.
    fn stage(&mut self) -> Result<Member> {
        let product = self.setting.product;
        let (memory, name) = (
            self.setting.chain_of(2).memory().to_string(),
            product.name(),
        );
        let serving = ["--serve-public", "yes", "--serve-models", &name];
        let args = [&serving[..], &["--max-memory", &memory]].concat();
        self.ground.node(product, None, 1, &args)
    }

    /// The same machine, started anew with memory for nothing.
    fn as_giver(&mut self, member: Member) -> Result<Member> {
        let name = self.setting.product.name();
        let serving = ["--serve-public", "yes", "--serve-models", &name];
        let args = [&serving[..], &["--max-memory", LITTLE]].concat();
        member.again(self.setting.product, &self.ground, 1, &args)
    }

    /// Asks until the chain answers, and then what is compared, by itself: beside another answer its
    /// tokens would lie in another order in the cache, which is no other answer but for rounding.
    async fn ask(&self) -> Result<()> {
        let end = Instant::now() + FORMING;
        let door = self.head.door(self.setting.product);
        loop {
            match door.ask(vec![question(&door.model, "warm", 1)]).await {
                Ok(_) => break,
                // A chain that lost its stage is planned anew.
                Err(error) if Instant::now() > end => return Err(error),
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
        let told = door
            .ask(vec![question(&door.model, PROMPT, TOKENS)])
            .await?;
        let text = &told.first().context("an answer")?.text;
        ensure!(
            *text == self.expected,
            "another answer: {text:?} instead of {:?}",
            self.expected
        );
        Ok(())
    }

    fn row(
        &self,
        what: &'static str,
        stage: &Member,
        giver: Option<&Member>,
        target: &'static str,
    ) -> Result<Row> {
        let given = |member: &Member| member.counter("shoal_peers_weights_bytes_total");
        Ok(Row {
            what,
            slice: bytes_in(&stage.folder(SLICES))?,
            came: stage.counter("shoal_peers_weights_received_bytes_total")?,
            given: [given(&self.head)?, giver.map_or(Ok(0), given)?],
            target,
        })
    }

    /// A machine is killed when a part of its layers is there, and started anew.
    async fn cut(&mut self) -> Result<Row> {
        let stage = self.stage()?;
        let name = "shoal_peers_weights_received_bytes_total";
        let product = self.setting.product;
        let (door, body) = (
            self.head.door(product),
            question(&product.name(), PROMPT, 1),
        );
        let asking = tokio::spawn(async move { door.ask(vec![body]).await });
        let end = Instant::now() + FORMING;
        let mut before = 0;
        // Parts are noted every five seconds; what came since is fetched again.
        while before < 24 << 20 {
            ensure!(Instant::now() < end, "nothing comes: {before} bytes");
            tokio::time::sleep(Duration::from_millis(100)).await;
            before = stage.counter(name)?;
        }
        let (memory, model) = (
            self.setting.chain_of(2).memory().to_string(),
            product.name(),
        );
        let serving = ["--serve-public", "yes", "--serve-models", &model];
        let args = [&serving[..], &["--max-memory", &memory]].concat();
        let stage = stage.again(product, &self.ground, 1, &args)?;
        // It may fail, or be answered after all.
        let _ = asking.await;
        self.ask().await?;
        let mut row = self.row(
            "killed in the middle, started anew",
            &stage,
            None,
            "it goes on",
        )?;
        println!("before the cut {before} bytes, after it {}", row.came);
        row.came += before;
        Ok(row)
    }
}

/// Waits until a machine knows another well enough to ask it: on loopback a slice has come before a
/// machine looks again for who else has it.
fn acquainted(stage: &Member, giver: &Member) -> Result<()> {
    stage.until("/api/peers", |list| {
        let mut peers = list["peers"].as_array().into_iter().flatten();
        peers.any(|peer| {
            peer["id"] == *giver.id && peer["role"] == "server" && !peer["rtt_ms"].is_null()
        })
    })?;
    Ok(())
}

/// Changes bytes all over the model's files in a folder, so that their times tell nothing.
fn damage(folder: &Path) -> Result<()> {
    let mut damaged = 0;
    for path in files_in(folder)? {
        let is_model = path.file_name().is_some_and(|name| name == "0");
        if !is_model {
            continue;
        }
        let file = File::options().read(true).write(true).open(&path)?;
        let facts = file.metadata()?;
        for at in (0..facts.len()).step_by(usize::try_from(DAMAGE_EVERY)?) {
            file.write_all_at(&[0x5a; 16], at)?;
        }
        file.set_times(FileTimes::new().set_modified(facts.modified()?))?;
        damaged += 1;
    }
    if damaged == 0 {
        bail!("no part of a model in {}", folder.display());
    }
    Ok(())
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry?;
        if entry.file_type().is_file() {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

fn bytes_in(folder: &Path) -> Result<u64> {
    let sizes = files_in(folder)?.into_iter().map(fs::metadata);
    sizes.map(|facts| Ok(facts?.len())).sum()
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| a slice of layers comes from | slice, MiB | came, MiB | of it | given by the head's machine, by another, MiB | to reach |\n\
         |---|---:|---:|---:|---:|---|\n",
    );
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    for row in rows {
        let [head, other] = row.given.map(mib);
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.1} | {:.3} | {head:.1}, {other:.1} | {} |",
            row.what,
            mib(row.slice),
            mib(row.came),
            row.came as f64 / row.slice as f64,
            row.target
        );
    }
    text.push_str(
        "\nA chain of two on loopback; the second machine does not have the model. What came are the bytes of its metric, \
         manifest and headers in them; what the head's machine gave is counted from its start, over all rows. Every answer \
         was the whole model's.\n",
    );
    text
}
