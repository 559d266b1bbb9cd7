//! Measures what reading a header really allocates: it must stay in proportion to the bytes that
//! the file holds, whatever the file claims. One test, so that nothing else allocates meanwhile.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Cursor;
use std::sync::atomic::{AtomicUsize, Ordering};

use llama_sys::gguf::{Builder, Header, ModelFacts, specimen};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The reader's buffer and what an error takes.
const FIXED_BYTES: usize = 128 << 10;

/// Memory for a byte of the file: an empty string takes 8 bytes there and three words here, and a
/// growing list is held twice while it moves.
const FACTOR: usize = 32;

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; only counters are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the pointer came from `alloc` above, so from the system, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most memory that reading this file took beyond the file itself.
fn peak(bytes: Vec<u8>, claimed: u64) -> usize {
    let mut source = Cursor::new(bytes);
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    if let Ok(header) = Header::read_prefix(&mut source, claimed) {
        drop(ModelFacts::from_header(&header));
    }
    PEAK.load(Ordering::Relaxed) - before
}

fn check(bytes: Vec<u8>, claimed: u64) {
    let allowed = FIXED_BYTES + FACTOR * bytes.len();
    let taken = peak(bytes, claimed);
    assert!(taken <= allowed, "{taken} bytes taken, {allowed} allowed");
}

#[test]
fn memory_is_in_proportion_to_the_file() {
    claims();
    dense();
    mutations();
}

/// Small files that claim the most, in files that claim to be large.
fn claims() {
    for claimed in [64, 1 << 20, 1 << 40] {
        for length in [1 << 10, 1 << 20, 64 << 20, 1 << 40, u64::MAX] {
            let length = u64::to_le_bytes(length);
            check(Builder::default().value("k", 8, &length).bytes(), claimed);
            for element in 0..13 {
                let count = u64::from_le_bytes(length);
                check(
                    Builder::default().array("k", element, count, &[]).bytes(),
                    claimed,
                );
            }
            for at in [8, 16] {
                let mut bytes = specimen::tiny_llama().header();
                bytes[at..at + 8].copy_from_slice(&length);
                check(bytes, claimed);
            }
        }
    }
}

/// Files that hold as many small things as they can.
fn dense() {
    let keys = |all: Builder, number: u32| all.value(&format!("{number:x}"), 0, &[0]);
    let builder = (0..4000).fold(Builder::default(), keys);
    let bytes = builder.bytes();
    check(bytes.clone(), bytes.len() as u64);
    let tensors = |all: Builder, number: u32| all.tensor_zeros(&format!("{number:x}"), &[1], 24, 0);
    let bytes = (0..4000).fold(Builder::default(), tensors).header();
    check(bytes.clone(), 1 << 40);
    for (element, width) in [(0, 1), (7, 1), (8, 8), (12, 8)] {
        let arrays = |all: Builder, number: u32| {
            all.array(&number.to_string(), element, 1024, &vec![0; 1024 * width])
        };
        let bytes = (0..50).fold(Builder::default(), arrays).bytes();
        check(bytes.clone(), bytes.len() as u64);
    }
}

fn mutations() {
    let whole = specimen::tiny_llama().header();
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..2000 {
        let mut bytes = whole.clone();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..bytes.len() - 8);
            let number = u64::MAX >> random.random_range(0..64);
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        check(bytes, 1 << 40);
    }
}
