//! Slices on disk.

use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

struct Disk {
    folder: tempfile::TempDir,
    source: Source,
    paths: Vec<PathBuf>,
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Source::of(KINDS[9]);
        let path = folder.path().join("source.gguf");
        std::fs::write(&path, &source.files[0]).unwrap();
        Self {
            folder,
            source,
            paths: vec![path],
        }
    }

    fn plan(&self) -> Arc<SlicePlan> {
        Arc::new(self.source.sliceable().stage(4..8).unwrap())
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("slice.gguf")
    }

    fn order<'a>(&'a self, to: &'a std::path::Path) -> Materialising<'a> {
        Materialising {
            plan: self.plan(),
            files: &self.paths,
            to,
            budget_bytes: u64::MAX,
        }
    }

    /// Files beside the source.
    fn others(&self) -> usize {
        std::fs::read_dir(self.folder.path()).unwrap().count() - 1
    }
}

#[test]
fn a_slice_is_made_of_local_files() {
    let disk = Disk::new();
    let target = disk.target();
    std::fs::write(&target, "an older one").unwrap();
    let mut last = 0;
    let made = materialise(&disk.order(&target), &mut |done, total| {
        assert!(done >= last && done <= total);
        last = done;
        true
    });
    made.unwrap();
    let plan = disk.plan();
    assert_eq!(last, plan.bytes());
    assert_eq!(std::fs::read(&target).unwrap(), disk.source.build(&plan));
    assert_eq!(disk.others(), 1);
}

#[test]
fn nothing_is_left_of_what_was_stopped() {
    let disk = Disk::new();
    let target = disk.target();
    for stop_at in 0..4 {
        let mut calls = 0;
        let made = materialise(&disk.order(&target), &mut |_, _| {
            calls += 1;
            calls <= stop_at
        });
        assert!(matches!(made, Err(MaterialiseError::Stopped)));
        assert_eq!(disk.others(), 0);
    }
}

#[test]
fn a_budget_is_kept_to() {
    let disk = Disk::new();
    let target = disk.target();
    let needed = disk.plan().stored_bytes();
    let mut order = disk.order(&target);
    order.budget_bytes = needed - 1;
    let made = materialise(&order, &mut |_, _| true);
    assert!(matches!(made, Err(MaterialiseError::NoRoom { needed: n, .. }) if n == needed));
    assert_eq!(disk.others(), 0);
    order.budget_bytes = needed;
    materialise(&order, &mut |_, _| true).unwrap();
}

#[test]
fn a_source_that_shrank_or_went_is_noticed() {
    let disk = Disk::new();
    let target = disk.target();
    let file = std::fs::File::options()
        .write(true)
        .open(&disk.paths[0])
        .unwrap();
    file.set_len(disk.source.files[0].len() as u64 / 2).unwrap();
    let made = materialise(&disk.order(&target), &mut |_, _| true);
    assert!(matches!(made, Err(MaterialiseError::Short(_))));
    let mut order = disk.order(&target);
    order.files = &[];
    let made = materialise(&order, &mut |_, _| true);
    assert!(matches!(made, Err(MaterialiseError::Missing(0))));
    std::fs::remove_file(&disk.paths[0]).unwrap();
    let made = materialise(&disk.order(&target), &mut |_, _| true);
    assert!(matches!(made, Err(MaterialiseError::Source { .. })));
    assert_eq!(std::fs::read_dir(disk.folder.path()).unwrap().count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever pieces the source comes in, and in whatever order.
    #[test]
    fn a_slice_is_filled_piece_by_piece(
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..30),
        seed in any::<u64>(),
    ) {
        let disk = Disk::new();
        let plan = disk.plan();
        let bytes = &disk.source.files[0];
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        ends.extend([0, bytes.len()]);
        ends.sort_unstable();
        let mut chunks: Vec<_> = ends.windows(2).map(|pair| pair[0]..pair[1]).collect();
        chunks.sort_by_key(|chunk| (chunk.start as u64).wrapping_mul(seed | 1));
        let file = SliceFile::create(Arc::clone(&plan), &disk.target(), u64::MAX).unwrap();
        let mut placed = 0;
        for chunk in chunks {
            placed += file.write(0, chunk.start as u64, &bytes[chunk]).unwrap();
        }
        prop_assert_eq!(file.write(1, 0, bytes).unwrap(), 0);
        file.finish().unwrap();
        let needed: u64 = plan.needed(0).iter().map(|range| range.end - range.start).sum();
        prop_assert_eq!(placed, needed);
        prop_assert_eq!(std::fs::read(disk.target()).unwrap(), disk.source.build(&plan));
    }

    /// What is needed is enough, and lies in the source.
    #[test]
    fn the_parts_that_are_needed_are_enough(kind in proptest::sample::select(KINDS.to_vec())) {
        let source = Source::of(kind);
        let model = source.sliceable();
        for layers in stages(&model) {
            let plan = model.stage(layers).unwrap();
            let mut end = 0;
            let mut placed = 0;
            for range in plan.needed(0) {
                prop_assert!(end == 0 || range.start > end, "in order and apart");
                end = range.end;
                placed += plan.placements(0, range).map(|place| place.bytes).sum::<u64>();
            }
            prop_assert!(end <= source.files[0].len() as u64);
            let from_files = plan.pieces().iter().filter(|p| matches!(p.origin, Origin::File { .. }));
            prop_assert_eq!(placed, from_files.map(|piece| piece.bytes).sum::<u64>());
        }
    }
}
