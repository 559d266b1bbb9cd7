//! Two nodes' shells over streams in memory: a part of a model from two sources, one hostile of three,
//! a cut and its resume, what is refused, the limit of upload, files that change.

mod hub;
mod network;
mod pipe;

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dht::weights::{CallError, ask_have, ask_manifest};
use ed25519_dalek::SigningKey;
use protocol::weights::{ChunkSet, RefusalCode, Span};
use tempfile::TempDir;
use tokio::sync::watch;

use self::pipe::{Manner, PipeGiver};
use super::*;
use crate::core::fetch::Failure;
use crate::serving::upload::Upload;

const MODEL: &str = "org/model:Q4_0";

fn peer(number: u8) -> NodeId {
    NodeId::from(&SigningKey::from_bytes(&[number; 32]))
}

fn model() -> ModelName {
    MODEL.parse().unwrap()
}

/// Lets everybody have everything, unless told otherwise.
#[derive(Default)]
struct Open {
    is_shut: AtomicBool,
    hides_models: AtomicBool,
}

impl Gate for Open {
    fn serves(&self, is_trusted: bool) -> bool {
        is_trusted || !self.is_shut.load(Ordering::Relaxed)
    }

    fn offers(&self, _: &ModelName) -> bool {
        !self.hides_models.load(Ordering::Relaxed)
    }
}

/// A node's part in this.
struct Node {
    id: NodeId,
    dir: TempDir,
    weights: Weights,
    gate: Arc<Open>,
    giving: Giving,
}

fn open(dir: &Path) -> Weights {
    let store = Store::open(&dir.join("state")).unwrap();
    Weights::open(dir.join("weights"), &store).unwrap()
}

impl Node {
    fn new(number: u8) -> Self {
        Self::with_upload(number, None)
    }

    fn with_upload(number: u8, bytes_per_second: Option<u64>) -> Self {
        let dir = TempDir::new().unwrap();
        let weights = open(dir.path());
        let gate = Arc::new(Open::default());
        let upload = Upload::new(bytes_per_second);
        let giving = Giving::new(weights.clone(), Arc::clone(&gate) as _, upload);
        Self {
            id: peer(number),
            dir,
            weights,
            gate,
            giving,
        }
    }

    /// Makes the model's files here, and hashes them.
    async fn with_model(self) -> Self {
        let files = self.model_files();
        for (path, bytes) in files.iter().zip(content()) {
            fs::write(path, bytes).unwrap();
        }
        self.weights
            .manifest_of(model(), files, |_| {})
            .await
            .unwrap();
        self
    }

    fn model_files(&self) -> Vec<PathBuf> {
        ["a.gguf", "b.gguf"]
            .map(|name| self.dir.path().join(name))
            .into()
    }

    fn id_of_model(&self) -> ManifestId {
        *self.weights.state().held.keys().next().unwrap()
    }

    fn giver(&self, manner: Manner) -> Arc<PipeGiver> {
        Arc::new(PipeGiver::new(self.id, self.giving.clone(), manner))
    }

    async fn fetch(&self, want: Want, givers: &[Arc<PipeGiver>]) -> Result<Fetched, FetchError> {
        let givers = givers
            .iter()
            .map(|giver| Arc::clone(giver) as Arc<dyn Giver>);
        let (_keep, givers) = watch::channel(givers.collect());
        self.weights
            .fetch(want, givers, watch::Sender::default())
            .await
    }
}

/// 3 MiB and 1 MiB, in chunks of 4 KiB.
fn content() -> [Vec<u8>; 2] {
    let bytes = |seed: u32, count: u32| {
        let word = |n: u32| (n ^ seed).wrapping_mul(2_654_435_761).to_le_bytes();
        (0..count).flat_map(word).collect()
    };
    [bytes(1, 3 << 18), bytes(2, 1 << 18)]
}

fn span(file: u32, offset: u64, length: u64) -> Span {
    Span {
        file,
        offset,
        length,
    }
}

fn want(id: ManifestId) -> Want {
    Want {
        id,
        model: model(),
        ranges: vec![span(0, 1_000_000, 1_500_000), span(1, 5, 900_000)],
        room_bytes: None,
    }
}

fn check(fetched: &Fetched, want: &Want) {
    let content = content();
    for range in &want.ranges {
        let file = usize::try_from(range.file).unwrap();
        let from = usize::try_from(range.offset).unwrap();
        let to = from + usize::try_from(range.length).unwrap();
        let bytes = fs::read(&fetched.files[file]).unwrap();
        assert_eq!(bytes.len(), content[file].len());
        assert_eq!(bytes[from..to], content[file][from..to]);
    }
}

fn wanted_bytes(want: &Want) -> u64 {
    want.ranges.iter().map(|range| range.length).sum()
}

#[tokio::test]
async fn a_slice_comes_from_two_sources_and_is_then_here() {
    let (one, other, own) = (Node::new(1), Node::new(2), Node::new(3));
    let (one, other) = (one.with_model().await, other.with_model().await);
    let want = want(one.id_of_model());
    // Each gives slowly enough that both are needed.
    let givers = [one.giver(Manner::Slow), other.giver(Manner::Slow)];
    let fetched = own.fetch(want.clone(), &givers).await.unwrap();
    check(&fetched, &want);
    assert!(
        fetched.came_bytes * 100 <= wanted_bytes(&want) * 101,
        "{}",
        fetched.came_bytes
    );
    for giver in &givers {
        assert!(giver.gave() > 0);
    }
    // Now it needs nobody, also after a new start, and may be given on.
    let again = own.fetch(want.clone(), &[]).await.unwrap();
    assert_eq!(again.came_bytes, 0);
    let third = Node::new(4);
    let fetched = third
        .fetch(want.clone(), &[own.giver(Manner::Honest)])
        .await
        .unwrap();
    check(&fetched, &want);
    let Node {
        dir,
        weights,
        giving,
        ..
    } = third;
    drop((weights, giving));
    let weights = open(dir.path());
    let (_keep, nobody) = watch::channel(Vec::new());
    let again = weights
        .fetch(want.clone(), nobody, watch::Sender::default())
        .await
        .unwrap();
    assert_eq!(again.came_bytes, 0);
    check(&again, &want);
    weights.remove(want.id).unwrap();
    assert!(weights.manifest(&want.id).is_none());
}

#[tokio::test]
async fn one_hostile_source_of_three_costs_no_corruption_and_is_remembered() {
    let nodes = [Node::new(1), Node::new(2), Node::new(3)];
    let [one, two, liar] = nodes;
    let (one, two, liar) = (
        one.with_model().await,
        two.with_model().await,
        liar.with_model().await,
    );
    let own = Node::new(4);
    let want = want(one.id_of_model());
    let hostile = liar.giver(Manner::Hostile);
    let givers = [
        Arc::clone(&hostile),
        one.giver(Manner::Slow),
        two.giver(Manner::Slow),
    ];
    let fetched = own.fetch(want.clone(), &givers).await.unwrap();
    check(&fetched, &want);
    assert!(fetched.came_bytes * 100 <= wanted_bytes(&want) * 101);
    assert!(own.weights.is_distrusted(&liar.id) && !own.weights.is_distrusted(&one.id));
    assert!(hostile.was_blamed());
    // Over a new start too.
    let Node {
        dir,
        weights,
        giving,
        ..
    } = own;
    drop((weights, giving));
    let weights = open(dir.path());
    assert!(weights.is_distrusted(&liar.id));
    weights.remove(want.id).unwrap();
    let asked = hostile.asked();
    let only = vec![Arc::clone(&hostile) as Arc<dyn Giver>];
    let givers = watch::Sender::new(only).subscribe();
    let failed = weights.fetch(want, givers, watch::Sender::default()).await;
    assert!(matches!(failed, Err(FetchError::NoManifest)));
    assert_eq!(hostile.asked(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_is_cut_goes_on_where_it_was() {
    let one = Node::new(1).with_model().await;
    let own = Node::new(2);
    let want = want(one.id_of_model());
    let total = wanted_bytes(&want);
    let mut came = 0;
    for part in 1..4 {
        let giver = one.giver(Manner::StopsAfter(total / 4));
        let (progress, mut seen) = watch::channel(Progress::default());
        let givers = watch::Sender::new(vec![Arc::clone(&giver) as Arc<dyn Giver>]);
        let fetching = own
            .weights
            .fetch(want.clone(), givers.subscribe(), progress);
        let noted = async {
            let enough = |progress: &Progress| progress.done_bytes > part * (total / 4) - 300_000;
            let _ = seen.wait_for(enough).await;
            // The note of what came.
            tokio::time::sleep(Duration::from_secs(6)).await;
        };
        tokio::select! {
            ended = fetching => panic!("{ended:?}"),
            () = noted => {}
        }
        came += giver.gave();
    }
    let last = one.giver(Manner::Honest);
    let fetched = own.fetch(want.clone(), &[Arc::clone(&last)]).await.unwrap();
    check(&fetched, &want);
    came += last.gave();
    // Only what was on its way was lost: a chunk of each lane.
    assert!(came <= total + total / 50, "{came} of {total}");
}

#[tokio::test]
async fn only_what_is_here_and_for_peers_is_given() {
    let one = Node::new(1).with_model().await;
    let id = one.id_of_model();
    let giver = one.giver(Manner::Honest);
    let refusal = async |asked: ManifestId| match ask_have(giver.stream(), asked).await {
        Err(CallError::Refused(refusal)) => Some(refusal.code),
        Ok(_) => None,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(refusal(id).await, None);
    let unknown = ManifestId::new([9; 32]);
    assert_eq!(refusal(unknown).await, Some(RefusalCode::NotHeld));
    let manifest = ask_manifest(giver.stream(), unknown).await;
    assert!(matches!(manifest, Err(CallError::Refused(_))));
    let beyond = giver.range(id, span(0, 3 << 20, 1)).await;
    assert_eq!(
        beyond.err(),
        Some(GiveError(crate::core::fetch::End::NotHeld))
    );
    let file = giver.range(id, span(2, 0, 1)).await;
    assert!(file.is_err());
    // A model that is not offered is as good as not here, unless a chain needs it.
    one.gate.hides_models.store(true, Ordering::Relaxed);
    assert_eq!(refusal(id).await, Some(RefusalCode::NotHeld));
    let share = one.weights.share(id);
    assert_eq!(refusal(id).await, None);
    drop(share);
    assert_eq!(refusal(id).await, Some(RefusalCode::NotHeld));
    one.gate.is_shut.store(true, Ordering::Relaxed);
    assert_eq!(refusal(id).await, Some(RefusalCode::NotAllowed));
}

#[tokio::test]
async fn files_that_changed_are_not_given_and_are_hashed_again() {
    let one = Node::new(1).with_model().await;
    let id = one.id_of_model();
    let giver = one.giver(Manner::Honest);
    let hashed = Arc::new(AtomicU64::new(0));
    let hash = async || {
        let seen = Arc::clone(&hashed);
        let note = move |bytes| seen.store(bytes, Ordering::Relaxed);
        one.weights
            .manifest_of(model(), one.model_files(), note)
            .await
            .unwrap()
    };
    assert_eq!(hash().await, id);
    assert_eq!(
        hashed.load(Ordering::Relaxed),
        0,
        "hashed again for nothing"
    );
    let path = &one.model_files()[0];
    let mut bytes = content()[0].clone();
    bytes[7] ^= 1;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
    let range = giver.range(id, span(0, 0, 9)).await;
    assert!(range.is_err());
    assert!(matches!(
        ask_have(giver.stream(), id).await,
        Err(CallError::Refused(_))
    ));
    assert_ne!(hash().await, id);
    assert_eq!(hashed.load(Ordering::Relaxed), 4 << 20);
}

#[tokio::test]
async fn one_peer_takes_no_more_streams_than_its_share() {
    let one = Node::new(1).with_model().await;
    let id = one.id_of_model();
    let giver = one.giver(Manner::Honest);
    let mut open = Vec::new();
    // More than a pipe holds, so that none ends.
    for _ in 0..MAX_STREAMS_OF_ONE {
        open.push(giver.range(id, span(0, 0, 2 << 20)).await.unwrap());
    }
    let more = giver.range(id, span(0, 0, 1)).await.err();
    assert!(matches!(
        more,
        Some(GiveError(crate::core::fetch::End::Busy(Some(_))))
    ));
    // Somebody else still finds a place, and everybody's are limited.
    for number in 10..13 {
        let other = PipeGiver::asked_by(&giver, peer(number));
        for _ in 0..MAX_STREAMS_OF_ONE {
            open.push(other.range(id, span(0, 0, 2 << 20)).await.unwrap());
        }
    }
    assert_eq!(open.len(), MAX_STREAMS);
    let last = PipeGiver::asked_by(&giver, peer(20));
    assert!(last.range(id, span(0, 0, 1)).await.is_err());
    open.clear();
    for _ in 0..500 {
        if last.range(id, span(0, 0, 1)).await.is_ok() {
            return;
        }
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no place became free");
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_upload_holds_and_answers_go_first() {
    let rate: u64 = 100_000;
    let upload = Upload::new(Some(rate));
    let start = tokio::time::Instant::now();
    let sent = Arc::new(Mutex::new(0_u64));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (upload, sent) = (upload.clone(), Arc::clone(&sent));
        tasks.spawn(async move {
            for _ in 0..10 {
                upload.send_behind(16_000).await;
                let mut sent = sent.lock().unwrap();
                *sent += 16_000;
                let passed = start.elapsed().as_secs_f64();
                let allowed = 25_000.0 + 100_000.0 * passed + 1.0;
                assert!(f64::from(u32::try_from(*sent).unwrap()) <= allowed);
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = tokio::time::Instant::now();
    upload.send(1000).await;
    // One piece that was let through before, at most.
    assert!(
        before.elapsed() <= Duration::from_millis(180),
        "{:?}",
        before.elapsed()
    );
    while tasks.join_next().await.is_some() {}
    assert!(start.elapsed() >= Duration::from_secs(12));
    assert_eq!(upload.given_bytes(), 8 * 10 * 16_000);
}

#[tokio::test]
async fn what_a_node_gives_is_counted_against_the_limit() {
    let one = Node::with_upload(1, Some(1 << 30)).with_model().await;
    let upload_limited = one.giving.clone();
    let own = Node::new(2);
    let want = want(one.id_of_model());
    own.fetch(want.clone(), &[one.giver(Manner::Honest)])
        .await
        .unwrap();
    assert!(upload_limited.given_bytes() >= wanted_bytes(&want));
}

#[tokio::test]
async fn no_room_and_nobody_are_said() {
    let one = Node::new(1).with_model().await;
    let own = Node::new(2);
    let mut small = want(one.id_of_model());
    small.room_bytes = Some(1000);
    let failed = own.fetch(small, &[one.giver(Manner::Honest)]).await;
    assert!(matches!(failed, Err(FetchError::NoRoom { room: 1000, .. })));
    let mut beyond = want(one.id_of_model());
    beyond.ranges.push(span(7, 0, 1));
    let failed = own.fetch(beyond, &[one.giver(Manner::Honest)]).await;
    assert!(matches!(failed, Err(FetchError::Range(_))));
    let (sender, nobody) = watch::channel(Vec::new());
    drop(sender);
    let failed = own.weights.fetch(
        want(ManifestId::new([1; 32])),
        nobody,
        watch::Sender::default(),
    );
    assert!(matches!(failed.await, Err(FetchError::NoManifest)));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_whose_sources_are_gone_ends() {
    let one = Node::new(1).with_model().await;
    let own = Node::new(2);
    let want = want(one.id_of_model());
    let giver = one.giver(Manner::StopsAfter(100_000));
    let failed = own.fetch(want, &[giver]).await;
    assert!(matches!(
        failed,
        Err(FetchError::Failed(Failure::Stalled | Failure::NoSource))
    ));
}

#[test]
fn a_slices_note_survives_what_it_must() {
    let dir = TempDir::new().unwrap();
    let lengths = content().map(|bytes| bytes.len() as u64);
    let layout = protocol::weights::Layout::new(&lengths).unwrap();
    let hashes = content()
        .iter()
        .flat_map(|file| {
            file.chunks(4096)
                .map(protocol::weights::ChunkHash::of)
                .collect::<Vec<_>>()
        })
        .collect();
    let manifest = Arc::new(Manifest::new(layout, hashes).unwrap());
    let id = manifest.id();
    let open = || slice::Slice::open(dir.path(), id, model(), Arc::clone(&manifest)).unwrap();
    let mut slice = open();
    let count = manifest.layout().chunk_count();
    assert!(
        slice
            .writer()
            .put(3, &content()[0][3 * 4096..4 * 4096])
            .unwrap()
    );
    assert!(
        !slice
            .writer()
            .put(4, &content()[0][3 * 4096..4 * 4096])
            .unwrap()
    );
    // Not noted: not there.
    assert!(open().noted().is_empty());
    let note = ChunkSet::of_runs(count, std::iter::once(3..4));
    let noted = slice.note(&note)().unwrap();
    slice.noted_are(noted);
    assert_eq!(open().noted(), &note);
    // A damaged note, or files that are gone: nothing is there.
    let folder = dir.path().join(id.to_string());
    let held = fs::read(folder.join("held")).unwrap();
    fs::write(folder.join("held"), &held[1..]).unwrap();
    assert!(open().noted().is_empty());
    fs::write(folder.join("held"), &held).unwrap();
    assert_eq!(open().noted(), &note);
    fs::remove_file(folder.join("1")).unwrap();
    assert!(open().noted().is_empty());
}
