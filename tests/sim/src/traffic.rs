//! What peers send, and what for. It does not know when or to whom.

use std::time::Duration;

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// An advert on its way through a mesh.
    Advert,
    /// Gossip's announcements to peers beside the mesh.
    Announcement,
    /// Links of meshes made and ended.
    Link,
    /// Lookups in the table, answers included.
    Lookup,
    /// New connections.
    Handshake,
    /// Probes of round-trip times, answers included.
    Probe,
}

/// Messages and their bytes, with what the transport adds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages.
    pub messages: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What one peer sent, by purpose.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sent([Tally; Purpose::ALL.len()]);

/// What settled honest peers send, each.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traffic {
    /// Peers that this is the mean of.
    pub peers: usize,
    /// Messages a second.
    pub messages: f64,
    /// Bytes a second.
    pub bytes: f64,
    /// Bytes a second of the peer that 95 % do not exceed.
    pub bytes_p95: f64,
    /// Bytes a second by purpose, in the order of [`Purpose::ALL`].
    pub by_purpose: [f64; Purpose::ALL.len()],
}

impl Purpose {
    /// Each of them.
    pub const ALL: [Self; 6] = [
        Self::Advert,
        Self::Announcement,
        Self::Link,
        Self::Lookup,
        Self::Handshake,
        Self::Probe,
    ];
}

impl Sent {
    pub(crate) fn count(&mut self, purpose: Purpose, messages: u64, bytes: usize) {
        let tally = &mut self.0[purpose as usize];
        tally.messages += messages;
        tally.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|tally| tally.bytes).sum()
    }
}

impl Traffic {
    /// Out of what each peer sent in this time.
    pub(crate) fn new(mut sent: Vec<Sent>, over: Duration) -> Self {
        sent.sort_unstable_by_key(Sent::bytes);
        let p95 = sent.get(sent.len() * 95 / 100).map_or(0, Sent::bytes);
        let seconds = over.as_secs_f64();
        let all = seconds * float(sent.len().max(1).try_into().unwrap_or(u64::MAX));
        let sum = |of: &dyn Fn(&Sent) -> u64| float(sent.iter().map(of).sum());
        Self {
            peers: sent.len(),
            messages: sum(&|sent| sent.0.iter().map(|tally| tally.messages).sum()) / all,
            bytes: sum(&Sent::bytes) / all,
            bytes_p95: float(p95) / seconds,
            by_purpose: std::array::from_fn(|n| sum(&|sent| sent.0[n].bytes) / all),
        }
    }
}

/// Exact up to 2^52, which is more than a run sends.
fn float(count: u64) -> f64 {
    count as f64
}
