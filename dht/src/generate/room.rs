//! Memory for requests that are not whole yet. What a stranger has sent is held before anybody
//! can say whether it is worth it, so there is a limit for all of them together. It counts bytes
//! that came, not streams: whoever sends slowly takes nothing from the others.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What unfinished requests hold together, beyond each one's free beginning: eight of the longest.
pub const MAX_ROOM_BYTES: usize = 64 << 20;

/// The beginning of a request that needs no room, and the grain in which room is taken: nearly
/// every request is shorter, and the number of streams is limited elsewhere.
const GRAIN_BYTES: usize = 64 << 10;

/// The room. Clones share it; a node has one.
#[derive(Debug, Clone)]
pub struct RequestRoom(Arc<Semaphore>);

impl Default for RequestRoom {
    fn default() -> Self {
        Self::with_bytes(MAX_ROOM_BYTES)
    }
}

impl RequestRoom {
    pub(super) fn with_bytes(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / GRAIN_BYTES)))
    }

    pub(super) fn lease(&self) -> Lease {
        Lease {
            room: self.0.clone(),
            held: None,
        }
    }
}

/// One request's part, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    room: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Lease {
    /// Takes what is missing for this many bytes; false if there is not enough.
    pub(super) fn covers(&mut self, bytes: usize) -> bool {
        let wanted = bytes.saturating_sub(GRAIN_BYTES).div_ceil(GRAIN_BYTES);
        let held = self.held.as_ref().map_or(0, |held| held.num_permits());
        let Some(missing) = wanted.checked_sub(held).filter(|missing| *missing > 0) else {
            return true;
        };
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        let Ok(more) = self.room.clone().try_acquire_many_owned(missing) else {
            return false;
        };
        match &mut self.held {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_shared_and_given_back() {
        let room = RequestRoom::with_bytes(4 * GRAIN_BYTES);
        let (mut first, mut second) = (room.lease(), room.lease());
        assert!(first.covers(GRAIN_BYTES) && second.covers(GRAIN_BYTES));
        assert!(first.covers(4 * GRAIN_BYTES) && first.covers(10));
        assert!(second.covers(2 * GRAIN_BYTES) && !second.covers(2 * GRAIN_BYTES + 1));
        assert!(!room.lease().covers(GRAIN_BYTES + 1));
        assert!(room.lease().covers(GRAIN_BYTES));
        drop(first);
        assert!(second.covers(5 * GRAIN_BYTES) && !second.covers(6 * GRAIN_BYTES));
    }
}
