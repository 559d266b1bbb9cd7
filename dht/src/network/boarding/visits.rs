//! Reconciliations, and peers' requests, each in a task of its own beside the network's.

use std::{sync::Arc, time::Duration};

use protocol::{NodeId, board::BoardName, names::Protocol};
use tokio::{sync::oneshot, time::timeout};

use super::Done;
use crate::{
    board::{CallError, Clerk, Reconciled, Served, reconcile, serve_boards},
    core::board::{Ending, MeetingId},
    network::{OpenError, actor::Actor},
    streams::Stream,
};

/// One reconciliation, and a peer's requests on one stream: eight thousand notes of a kilobyte over
/// 2 Mbit/s take half a minute. What came until then counts, and another goes on.
const MOST_TIME: Duration = Duration::from_secs(120);

impl Actor {
    pub(super) fn begin_meeting(&mut self, id: MeetingId, peer: NodeId, board: BoardName) {
        let (opened, stream) = oneshot::channel();
        self.open(peer, Protocol::Boards, opened);
        let Some(desk) = &mut self.boarding.desk else {
            return;
        };
        let clerk = desk.clerk.clone();
        desk.tasks.spawn(async move {
            let ending = meet(stream, &clerk, peer, board).await;
            Done::Reconciled(id, ending)
        });
    }

    /// A peer's stream: served beside the task, unless too many are.
    pub(in crate::network) fn serve_boards(&mut self, peer: NodeId, stream: Stream) {
        let Some(desk) = &mut self.boarding.desk else {
            return;
        };
        if !desk.guests.try_enter(peer) {
            return;
        }
        let (clerk, followed) = (desk.clerk.clone(), Arc::clone(&desk.followed));
        desk.tasks.spawn(async move {
            let mut came = Served::default();
            let serving = serve_boards(stream, &clerk, peer, &followed, &mut came);
            let served = timeout(MOST_TIME, serving).await;
            let is_whole = matches!(served, Ok(Ok(())));
            let is_violation = served.is_ok_and(|served| served.is_err_and(|e| e.is_violation()));
            Done::Served {
                peer,
                came,
                is_whole,
                is_violation,
            }
        });
    }
}

/// One reconciliation on a stream that is being opened; how it ended.
async fn meet(
    stream: oneshot::Receiver<Result<Stream, OpenError>>,
    clerk: &Clerk,
    peer: NodeId,
    board: BoardName,
) -> Ending {
    let Ok(Ok(stream)) = stream.await else {
        return Ending::Failed;
    };
    let mut came = Reconciled::default();
    let reconciling = reconcile(stream, clerk, peer, board, &mut came);
    let ended = timeout(MOST_TIME, reconciling).await;
    let news = came.news > 0;
    match ended {
        Ok(Err(error)) if error.is_violation() => Ending::Poisoned,
        Ok(Ok(())) if came.is_whole => Ending::Whole { news },
        Ok(Ok(())) => Ending::Partial { news },
        Ok(Err(CallError::Refused(_))) => Ending::Failed,
        // It was cut while it brought something: another goes on.
        _ if news => Ending::Partial { news },
        _ => Ending::Failed,
    }
}
