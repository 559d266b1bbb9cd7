//! Slices of a model that is not here: fetched from givers in memory, made, made again from the
//! disk, and what of hostile models is refused.

use std::fs;
use std::path::Path;
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ed25519_dalek::SigningKey;
use futures::StreamExt;
use futures::stream::iter;
use llama_sys::gguf::{Builder, specimen};
use protocol::NodeId;
use protocol::weights::{ChunkHash, ChunkSet, Layout, Manifest};
use tempfile::TempDir;

use super::super::holders::Found;
use super::*;
use crate::core::fetch::Source as From;
use crate::models::registry::InMemory;
use crate::store::Store;
use crate::weights::{GiveError, Giver, Incoming};

fn peer(number: u8) -> NodeId {
    NodeId::from(&SigningKey::from_bytes(&[number; 32]))
}

/// Has a model in memory, and counts what it is asked for.
struct Memory {
    peer: NodeId,
    files: Vec<Vec<u8>>,
    manifest: Manifest,
    given: AtomicU64,
    asked: AtomicUsize,
}

impl Memory {
    fn new(number: u8, files: Vec<Vec<u8>>) -> Arc<Self> {
        let lengths: Vec<u64> = files.iter().map(|file| file.len() as u64).collect();
        let layout = Layout::new(&lengths).unwrap();
        let size = usize::try_from(layout.chunk_bytes()).unwrap();
        let chunks = files.iter().flat_map(|file| file.chunks(size));
        let hashes = chunks.map(ChunkHash::of).collect();
        Arc::new(Self {
            peer: peer(number),
            files,
            manifest: Manifest::new(layout, hashes).unwrap(),
            given: AtomicU64::new(0),
            asked: AtomicUsize::new(0),
        })
    }

    fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            name: "org/model:Q4_0".parse().unwrap(),
            manifest: self.manifest.id(),
            head: self.peer,
        }
    }
}

#[async_trait]
impl Giver for Memory {
    fn source(&self) -> From {
        From::Peer(self.peer)
    }

    async fn manifest(&self, _: ManifestId) -> Result<Manifest, GiveError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(self.manifest.clone())
    }

    async fn held(&self, _: ManifestId, layout: &Layout) -> Result<ChunkSet, GiveError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(ChunkSet::all(layout.chunk_count()))
    }

    async fn range(&self, _: ManifestId, span: Span) -> Result<Incoming, GiveError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let from = usize::try_from(span.offset).unwrap();
        let to = from + usize::try_from(span.length).unwrap();
        let bytes = &self.files[usize::try_from(span.file).unwrap()][from..to];
        self.given.fetch_add(span.length, Ordering::Relaxed);
        let pieces: Vec<_> = bytes.chunks(4096).map(Bytes::copy_from_slice).collect();
        // Slow enough that one alone does not give all.
        let pause = Duration::from_millis(u64::from(bytes.len() < 1 << 20));
        let slowly = iter(pieces).then(move |piece| async move {
            tokio::time::sleep(pause).await;
            Ok(piece)
        });
        Ok(slowly.boxed())
    }
}

/// The holders of a test, whoever asks.
struct These(Vec<Arc<Memory>>);

impl Holders for These {
    fn find(&self, _: &Wanted, _: Reach) -> Found {
        let givers = self.0.iter();
        Found::only(givers.map(|g| Arc::clone(g) as Arc<dyn Giver>).collect())
    }
}

fn slices(dir: &Path, holders: &[Arc<Memory>], budget: Option<u64>) -> Slices {
    let store = Store::open(&dir.join("state")).unwrap();
    let weights = Weights::open(dir.join("weights"), &store).unwrap();
    let config = crate::models::Config::new(dir.join("models"));
    let models = Models::open(config, Box::<InMemory>::default()).unwrap();
    let holders = Arc::new(These(holders.to_vec()));
    Slices::new(dir.join("slices"), models, weights, holders, budget)
}

/// What the slice is where the whole model is.
fn expected(model: &[u8], part: &Part) -> Vec<u8> {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("model.gguf");
    fs::write(&file, model).unwrap();
    let model = Model::open(&file).unwrap();
    let sliceable = Sliceable::of(&model.headers).unwrap();
    let plan = match part {
        Part::Head => sliceable.head(),
        Part::Layers(layers) => sliceable.stage(layers.clone()),
        Part::Experts(sets) => sliceable.shard(sets),
    };
    let plan = plan.unwrap();
    let order = Materialising {
        plan: Arc::new(plan),
        files: &model.files,
        to: &dir.path().join("slice"),
        budget_bytes: u64::MAX,
    };
    slice::materialise(&order, &mut |_, _| true).unwrap();
    fs::read(dir.path().join("slice")).unwrap()
}

#[tokio::test]
async fn layers_come_from_who_has_them_and_then_from_the_disk() {
    let model = specimen::tiny_llama().bytes();
    let holders = [1, 2].map(|number| Memory::new(number, vec![model.clone()]));
    let wanted = holders[0].wanted();
    let dir = TempDir::new().unwrap();
    let own = slices(dir.path(), &holders, None);
    let source = own.source_of(&wanted).await.unwrap();
    let headers: u64 = holders.iter().map(|holder| holder.given()).sum();
    assert!(headers < 64 << 10, "{headers}");
    let told = Arc::new(StdMutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let tell = move |progress: f32| telling.lock().unwrap().push(progress);
    let slice = own.make(&source, Part::Layers(0..1), tell).await.unwrap();
    let bytes = fs::read(&slice.file).unwrap();
    assert_eq!(bytes, expected(&model, &Part::Layers(0..1)));
    assert!(!slice.is_last);
    let told = told.lock().unwrap().clone();
    assert!(told.is_sorted() && told.last() == Some(&1.0), "{told:?}");
    assert!(told.iter().any(|part| (0.1..FETCHING).contains(part)));
    // Together no more than the slice: one chunk at each end of what lies together. (It is one ask
    // long, so one may have given all.)
    let given: u64 = holders.iter().map(|holder| holder.given()).sum();
    let most = bytes.len() as u64 + headers + (32 << 10);
    assert!(given <= most && most < model.len() as u64, "{given}");
    assert!(own.weights.received().bytes() >= given);

    // After a new start nobody is asked, neither for the file nor for what it is made of.
    drop((source, own));
    let asked = || {
        let each = holders.iter();
        each.map(|h| h.asked.load(Ordering::Relaxed)).sum::<usize>()
    };
    let before = asked();
    let own = slices(dir.path(), &holders, None);
    for is_there in [true, false] {
        if !is_there {
            fs::remove_file(&slice.file).unwrap();
        }
        let source = own.source_of(&wanted).await.unwrap();
        let again = own.make(&source, Part::Layers(0..1), |_| {}).await.unwrap();
        assert_eq!(fs::read(&again.file).unwrap(), bytes);
    }
    assert_eq!((asked(), own.weights.received().bytes()), (before, 0));
    // The rest of the model costs the rest only.
    let source = own.source_of(&wanted).await.unwrap();
    let last = own.make(&source, Part::Layers(1..2), |_| {}).await.unwrap();
    assert!(last.is_last);
    assert_eq!(
        fs::read(&last.file).unwrap(),
        expected(&model, &Part::Layers(1..2))
    );
    let all: u64 = holders.iter().map(|holder| holder.given()).sum();
    assert!(all <= model.len() as u64, "{all}");
}

/// Experts are apart in the file, so each range of them costs a chunk at each end at most.
#[tokio::test]
async fn of_a_mixture_only_the_kept_experts_are_fetched() {
    let mixture = specimen::KINDS.into_iter().find(|kind| kind.mixture);
    let model = specimen::of_kind(mixture.unwrap()).bytes();
    let holder = Memory::new(1, vec![model.clone()]);
    let dir = TempDir::new().unwrap();
    let own = slices(dir.path(), std::slice::from_ref(&holder), None);
    let source = own.source_of(&holder.wanted()).await.unwrap();
    let headers = holder.given();
    let half = |layer: u32| (layer % 4..layer % 4 + 4).collect();
    let sets = ExpertSets::new(8, (0..8).map(half).collect()).unwrap();
    let part = Part::Experts(sets.clone());
    let slice = own.make(&source, part.clone(), |_| {}).await.unwrap();
    let bytes = fs::read(&slice.file).unwrap();
    assert_eq!(bytes, expected(&model, &part));
    assert!(slice.is_last);
    let given = holder.given() - headers;
    let plan = Sliceable::of(&source.model.headers).unwrap();
    let ranges = plan.shard(&sets).unwrap().needed(0).len() as u64;
    let chunks = 2 * ranges * holder.manifest.layout().chunk_bytes();
    assert!(given <= bytes.len() as u64 + chunks, "{given}, {chunks}");
    // Another set is another file, the same one is there.
    let asked = holder.asked.load(Ordering::Relaxed);
    let again = own.make(&source, part.clone(), |_| {}).await.unwrap();
    assert_eq!(
        (again.file, holder.asked.load(Ordering::Relaxed)),
        (slice.file, asked)
    );
    assert!(given < model.len() as u64, "{given} of {}", model.len());
}

#[tokio::test]
async fn what_is_no_model_is_refused_after_little_was_fetched() {
    let model = specimen::tiny_llama().bytes();
    let mut endless = model.clone();
    // Says that it has keys without end.
    endless[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut long = model[..24].to_vec();
    // One key whose value is as long as the file.
    long[16..24].copy_from_slice(&1_u64.to_le_bytes());
    long.extend([3, 0, 0, 0, 0, 0, 0, 0]);
    long.extend(b"key");
    long.extend(8_u32.to_le_bytes());
    long.extend((60_u64 << 20).to_le_bytes());
    long.resize(62 << 20, 7);
    let hostile: [(Vec<Vec<u8>>, u64); 4] = [
        (vec![vec![7; 1 << 20]], 64 << 10),
        (vec![endless], 64 << 10),
        // Split, by what the manifest says alone.
        (vec![model.clone(), model.clone()], 64 << 10),
        (vec![long], 64 << 20),
    ];
    for (number, (files, most)) in (0..).zip(hostile) {
        let holder = Memory::new(number, files);
        let dir = TempDir::new().unwrap();
        let own = slices(dir.path(), std::slice::from_ref(&holder), None);
        let refused = own.source_of(&holder.wanted()).await;
        assert!(
            matches!(refused, Err(SliceError::Unusable(_))),
            "{number}: {refused:?}"
        );
        assert!(holder.given() <= most, "{number}: {}", holder.given());
    }
    // Nobody has it.
    let dir = TempDir::new().unwrap();
    let own = slices(dir.path(), &[], None);
    let wanted = Memory::new(1, vec![model]).wanted();
    let refused = own.source_of(&wanted).await;
    assert!(matches!(
        refused,
        Err(SliceError::Fetch(FetchError::NoManifest))
    ));
}

#[tokio::test]
async fn the_headers_of_a_model_in_several_files_are_read() {
    let part = |builder: Builder, number: u32| {
        let builder = builder
            .unsigned("split.no", number)
            .unsigned("split.count", 2)
            .tensor_f32(&format!("extra.{number}"), &[4], &[0.0; 4]);
        builder.bytes()
    };
    let files = vec![part(specimen::tiny_llama(), 0), part(Builder::default(), 1)];
    let holder = Memory::new(1, files);
    let dir = TempDir::new().unwrap();
    let own = slices(dir.path(), std::slice::from_ref(&holder), None);
    let source = own.source_of(&holder.wanted()).await.unwrap();
    assert_eq!(source.model.files.len(), 2);
    assert!(source.model.headers[1].tensor("extra.1").is_some());
}

#[tokio::test]
async fn the_budget_holds_and_what_is_oldest_goes_for_it() {
    let model = specimen::tiny_llama().bytes();
    let holder = Memory::new(1, vec![model.clone()]);
    let dir = TempDir::new().unwrap();
    let own = slices(dir.path(), std::slice::from_ref(&holder), Some(300 << 10));
    let source = own.source_of(&holder.wanted()).await.unwrap();
    let refused = own.make(&source, Part::Layers(0..2), |_| {}).await;
    assert!(
        matches!(refused, Err(SliceError::NoRoom { .. })),
        "{refused:?}"
    );
    // Another model's part makes room, unless a chain needs it.
    let needed = own.share(source.manifest);
    assert!(own.weights.removable().unwrap().is_empty());
    drop(needed);
    let removable = own.weights.removable().unwrap();
    assert_eq!(removable.len(), 1);
    let taken = own.weights.kept_bytes().unwrap();
    assert_eq!(removable[0].bytes, taken);
    let folder = own.folder().await;
    folder.make_room((300 << 10) - taken).unwrap();
    assert_eq!(own.weights.removable().unwrap().len(), 1);
    folder.make_room((300 << 10) - taken + 1).unwrap();
    assert_eq!(own.weights.kept_bytes().unwrap(), 0);
}
