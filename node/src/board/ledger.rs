//! What peers bring and ask for: [`dht::board::Ledger`].

use std::time::Instant;

use bytes::Bytes;
use dht::board::{Item, Ledger, Verdict, Way};
use protocol::board::{BoardName, Entry, NoteId};
use protocol::{NodeId, UnixMillis};
use tracing::{debug, warn};

use super::{Keeper, now};
use crate::core::board::desk::{self, Refusal};
use crate::core::board::holdings;

impl Ledger for Keeper {
    fn take(&self, board: &BoardName, from: NodeId, bytes: Bytes, way: Way) -> Verdict {
        let entry = match Entry::decode(&bytes, &self.0.swarm, now().unix) {
            Ok(entry) if entry.saying.board() == board => entry,
            Ok(_) => return Verdict::Invalid,
            Err(error) => {
                debug!(%from, %error, "no entry of a board");
                return match error.blames_sender() {
                    true => Verdict::Invalid,
                    false => Verdict::Ignored,
                };
            }
        };
        let way = match way {
            Way::Gossip => desk::Way::Gossip,
            Way::Reconciled => desk::Way::Reconciled,
        };
        let mut state = self.state();
        match state.desk.judge(&entry, way, now()) {
            Ok(()) => {}
            Err(Refusal::Holdings(holdings::Refusal::Known)) => return Verdict::Known,
            Err(refusal) => {
                debug!(%from, id = ?entry.id, ?refusal, "an entry is not taken");
                return Verdict::Ignored;
            }
        }
        if let Err(error) = self.0.disk.put(&entry) {
            warn!(%error, "a note is not kept");
            return Verdict::Ignored;
        }
        state.is_unflushed = true;
        self.keep(&mut state, &entry, &[]);
        Verdict::New
    }

    fn floor(&self, board: &BoardName) -> UnixMillis {
        self.state().desk.holdings.floor(board, now().unix)
    }

    fn items(&self, board: &BoardName, since: UnixMillis) -> Vec<Item> {
        let mut state = self.state();
        self.let_go(&mut state);
        let items = state.desk.holdings.items(board, since).into_iter();
        items.map(|(written, id)| Item { written, id }).collect()
    }

    fn entries(&self, board: &BoardName, ids: &[NoteId]) -> Vec<Bytes> {
        let here: Vec<NoteId> = {
            let holdings = &self.state().desk.holdings;
            let is_here = |id: &&NoteId| holdings.is_on(id, board);
            ids.iter().filter(is_here).copied().collect()
        };
        let rows = here.iter().filter_map(|id| match self.0.disk.read(id) {
            Ok(bytes) => bytes.map(Bytes::from),
            Err(error) => {
                warn!(%error, "a note cannot be read");
                None
            }
        });
        rows.collect()
    }

    fn lacks(&self, _: &BoardName, ids: Vec<NoteId>) -> Vec<NoteId> {
        self.state().desk.lacks(ids, Instant::now())
    }

    fn attachment(&self, digest: &[u8; 32]) -> Option<Bytes> {
        let is_here = self.state().attachments.contains_key(digest);
        let bytes = is_here.then(|| self.0.disk.attachment(digest))?;
        match bytes {
            Ok(bytes) => bytes.map(Bytes::from),
            Err(error) => {
                warn!(%error, "an attachment cannot be read");
                None
            }
        }
    }
}
