//! What the network of a private swarm brings, kept in the swarm's folder; and what changed in the
//! folder, brought to the network. Files are read and written apart from the async threads.

use std::time::Duration;

use dht::admission::{LedgerStore, NotKept};
use dht::core::membership::{LedgerEntry, ListError};
use dht::identity::Identity;
use dht::network::{Kept, Network, RevokeError};
use futures::FutureExt;
use futures::future::BoxFuture;
use protocol::membership::{Chain, Pass, wire};
use protocol::{NodeId, UnixMillis};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tracing::{error, info};

use super::membership::{check_pass, known_roster};
use super::{Membership, SwarmError, SwarmFiles, unix_now};

/// The folder is looked at this often without being told: where the root key is, a certificate
/// near its end is renewed then.
const RELOAD_INTERVAL: Duration = Duration::from_secs(12 * 3600);

/// The uses of invites, on the disk.
pub(super) struct Ledger(pub(super) SwarmFiles);

impl LedgerStore for Ledger {
    fn keep(&self, entry: LedgerEntry) -> BoxFuture<'static, Result<(), NotKept>> {
        let files = self.0.clone();
        let writing = spawn_blocking(move || files.save_entry(&entry));
        let written = async {
            match writing.await {
                Ok(written) => written.map_err(|error| NotKept(error.to_string())),
                Err(error) => Err(NotKept(error.to_string())),
            }
        };
        written.boxed()
    }
}

impl SwarmFiles {
    /// Keeps the certificate that a redeemer granted; the invite is gone then. Waits for the disk.
    ///
    /// # Errors
    /// It is not this node's, does not hold, or the disk.
    pub fn keep_granted(
        &self,
        granted: Chain<wire::MembershipCertificate>,
        own: NodeId,
        now: UnixMillis,
    ) -> Result<(), SwarmError> {
        let pass = Pass {
            certificate: granted,
            delegation: self.pass()?.and_then(|pass| pass.delegation),
        };
        check_pass(&pass, &known_roster(self, now)?, own, now)?;
        self.save_pass(&pass)?;
        self.remove_invite()
    }

    /// Keeps what is new since `last`.
    fn keep_all(&self, last: &Kept, kept: Kept, own: NodeId) -> Result<(), SwarmError> {
        for (issuer, list) in &kept.lists {
            self.save_list(*issuer, list)?;
        }
        match kept.certificate {
            Some(granted) if last.certificate.as_ref() != Some(&granted) => {
                self.keep_granted(granted, own, unix_now())
            }
            _ => Ok(()),
        }
    }
}

/// Keeps what the network brings, and brings it what changed in the folder whenever `changes`
/// says so, until the network has ended.
pub async fn keep(
    files: SwarmFiles,
    identity: Identity,
    network: Network,
    mut changes: watch::Receiver<()>,
) {
    let mut kept = network.kept();
    let mut last = Kept::default();
    let mut due = tokio::time::interval(RELOAD_INTERVAL);
    // The first tick is now, and what is in the folder was read just before.
    due.tick().await;
    loop {
        tokio::select! {
            changed = kept.changed() => {
                if changed.is_err() {
                    return;
                }
                let news = kept.borrow_and_update().clone();
                let before = std::mem::replace(&mut last, news.clone());
                let (files, own) = (files.clone(), identity.id());
                said(spawn_blocking(move || files.keep_all(&before, news, own)).await);
            }
            Ok(()) = changes.changed() => reload(&files, &identity, &network).await,
            _ = due.tick() => reload(&files, &identity, &network).await,
        }
    }
}

/// Reads the folder again: a certificate is shown from now on, a list of revocations is spread.
async fn reload(files: &SwarmFiles, identity: &Identity, network: &Network) {
    let (again, own) = (files.clone(), identity.clone());
    let loaded = spawn_blocking(move || Membership::load(again, &own, unix_now())).await;
    let Some(membership) = said(loaded) else {
        return;
    };
    if let Some(credential) = membership.credential() {
        // It fails when the network has ended, which the caller sees.
        let _ = network.show(credential).await;
    }
    for (issuer, _, list) in membership.roster.lists() {
        match network.revoke(list.clone()).await {
            Ok(true) => info!(%issuer, "a list of revocations is spread"),
            Ok(false) | Err(RevokeError::Left | RevokeError::List(ListError::Older { .. })) => {}
            Err(error) => error!(%issuer, %error, "a list of revocations was not taken"),
        }
    }
}

/// What came of work on the disk; a failure is said in the log, for nobody waits for it.
fn said<T>(done: Result<Result<T, SwarmError>, tokio::task::JoinError>) -> Option<T> {
    match done {
        Ok(Ok(value)) => return Some(value),
        Ok(Err(error)) => error!(%error, "the private swarm's folder"),
        Err(error) => error!(%error, "the private swarm's folder"),
    }
    None
}
