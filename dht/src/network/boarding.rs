//! Boards: their topics, notes that come by gossip, reconciliations with those who follow the same,
//! and peers' requests. What a note is worth the ledger says, from its own thread.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    panic::resume_unwind,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use libp2p::{
    PeerId,
    gossipsub::{IdentTopic, Message, MessageId, TopicHash},
};
use protocol::{
    NodeId,
    board::{BoardName, topic},
    limits::MAX_ENTRY_BYTES,
    names::{Protocol, SwarmName},
    record_key::RecordKey,
};
use tokio::{sync::oneshot, task::JoinSet, time::timeout};

use super::{FollowError, OpenError, actor::Actor, config::Config, gossip::score_topic};
use crate::{
    board::{CallError, Clerk, Ledger, Reconciled, Served, reconcile, serve_boards},
    core::{
        board::{Ending, Guests, Input, MeetingId, Meetings, Output, Passage, Toll, Verdict, Way},
        score::Offence,
    },
    peer::{node_id, peer_id},
    streams::Stream,
};

/// One reconciliation, and a peer's requests on one stream: eight thousand notes of a kilobyte over
/// 2 Mbit/s take half a minute. What came until then counts, and another goes on.
const MOST_TIME: Duration = Duration::from_secs(120);

/// What came to its end beside the task.
pub(super) enum Done {
    /// The ledger looked at a note that came by gossip.
    Judged {
        neighbour: PeerId,
        message: MessageId,
        verdict: Verdict,
    },
    /// A reconciliation.
    Reconciled(MeetingId, Ending),
    /// A peer's requests on one stream.
    Served {
        peer: NodeId,
        came: Served,
        is_whole: bool,
        is_violation: bool,
    },
}

/// Boards, if this node keeps notes.
pub(super) struct Boarding {
    desk: Option<Desk>,
}

struct Desk {
    clerk: Clerk,
    swarm: SwarmName,
    topics: BTreeMap<TopicHash, BoardName>,
    followed: Arc<BTreeSet<BoardName>>,
    meetings: Meetings,
    toll: Toll,
    guests: Guests,
    /// Notes that wait for the ledger, as many as its queue holds; what is reconciled and served,
    /// bounded by their cores; and one that watches the ledger's thread.
    tasks: JoinSet<Done>,
    waiting: Vec<Input>,
}

impl Boarding {
    /// Nothing is followed yet.
    pub(super) fn new(config: &Config, own: NodeId, now: Instant) -> Self {
        let ledger = config.ledger.clone();
        Self {
            desk: ledger.map(|ledger| Desk::new(ledger, &config.swarm, own, now)),
        }
    }

    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let desk = self.desk.as_ref()?;
        let waiting = (!desk.waiting.is_empty()).then_some(now);
        waiting.or_else(|| desk.meetings.next_deadline(now))
    }

    /// Whatever ends next; never, without boards.
    pub(super) async fn next(&mut self) -> Option<Done> {
        let Some(desk) = &mut self.desk else {
            return pending().await;
        };
        match desk.tasks.join_next().await? {
            Ok(done) => Some(done),
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_) => None,
        }
    }

    /// The board of a topic that is followed.
    pub(super) fn board(&self, topic: &TopicHash) -> Option<BoardName> {
        self.desk.as_ref()?.topics.get(topic).cloned()
    }

    /// Under what this node is found as one who follows boards.
    pub(super) fn keys(&self) -> impl Iterator<Item = RecordKey> {
        let desks = self.desk.iter();
        desks.flat_map(|desk| {
            let boards = desk.followed.iter();
            boards.map(|board| RecordKey::board(&desk.swarm, board))
        })
    }

    pub(super) fn followers(&self, board: &BoardName) -> Vec<NodeId> {
        let desk = self.desk.iter();
        desk.flat_map(|desk| desk.meetings.followers(board))
            .collect()
    }

    /// A peer follows what a topic is of, or no longer does.
    pub(super) fn on_subscription(&mut self, peer: &PeerId, topic: &TopicHash, follows: bool) {
        let (Some(board), Some(peer)) = (self.board(topic), node_id(peer)) else {
            return;
        };
        self.push(match follows {
            true => Input::Met(peer, board),
            false => Input::Parted(peer, board),
        });
    }

    /// A peer is not connected any more.
    pub(super) fn on_gone(&mut self, peer: NodeId) {
        self.push(Input::Gone(peer));
    }

    fn push(&mut self, input: Input) {
        if let Some(desk) = &mut self.desk {
            desk.waiting.push(input);
        }
    }
}

impl Desk {
    fn new(ledger: Arc<dyn Ledger>, swarm: &SwarmName, own: NodeId, now: Instant) -> Self {
        let (clerk, thread) = Clerk::start(ledger);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            if let Err(error) = thread.await
                && error.is_panic()
            {
                resume_unwind(error.into_panic());
            }
            pending().await
        });
        Self {
            clerk,
            swarm: swarm.clone(),
            topics: BTreeMap::new(),
            followed: Arc::default(),
            meetings: Meetings::new(own),
            toll: Toll::new(now),
            guests: Guests::default(),
            tasks,
            waiting: Vec::new(),
        }
    }

    fn topic(&self, board: &BoardName) -> IdentTopic {
        IdentTopic::new(topic(&self.swarm, board))
    }

    /// Lets the ledger look at a note, if there is room; else what gossip does with it.
    fn judge(
        &mut self,
        board: BoardName,
        from: (PeerId, NodeId),
        message: MessageId,
        bytes: Bytes,
    ) -> Option<Verdict> {
        let (neighbour, node) = from;
        if bytes.len() > MAX_ENTRY_BYTES {
            return Some(Verdict::Invalid);
        }
        let take = move |ledger: &dyn Ledger| ledger.take(&board, node, bytes, Way::Gossip);
        let Some(answer) = self.clerk.try_ask(take) else {
            return Some(Verdict::Ignored);
        };
        self.tasks.spawn(async move {
            let verdict = answer.await.unwrap_or(Verdict::Ignored);
            Done::Judged {
                neighbour,
                message,
                verdict,
            }
        });
        None
    }
}

impl Actor {
    /// Listens to a board's topic, and reconciles with those who do.
    pub(super) fn follow(&mut self, board: BoardName) -> Result<(), FollowError> {
        let desk = self.boarding.desk.as_mut().ok_or(FollowError::Unkept)?;
        if desk.followed.contains(&board) {
            return Ok(());
        }
        if !desk.meetings.may_follow(&board) {
            return Err(FollowError::TooMany);
        }
        let topic = desk.topic(&board);
        let gossip = &mut self.swarm.behaviour_mut().inside.inner_mut().gossip;
        gossip
            .subscribe(&topic)
            .expect("the filter allows the swarm's own topics");
        score_topic(gossip, &topic);
        let hash = topic.hash();
        let peers = gossip.all_peers();
        let follow = peers.filter(|(_, topics)| topics.contains(&&hash));
        let met = follow.filter_map(|(peer, _)| node_id(peer));
        desk.waiting.push(Input::Followed(board.clone()));
        let met = met.map(|peer| Input::Met(peer, board.clone()));
        desk.waiting.extend(met);
        Arc::make_mut(&mut desk.followed).insert(board.clone());
        desk.topics.insert(hash, board);
        // The swarm's table is told that this node follows it.
        self.telling.on_change();
        Ok(())
    }

    pub(super) fn unfollow(&mut self, board: BoardName) {
        let Some(desk) = &mut self.boarding.desk else {
            return;
        };
        let topic = desk.topic(&board);
        let gossip = &mut self.swarm.behaviour_mut().inside.inner_mut().gossip;
        gossip.unsubscribe(&topic);
        Arc::make_mut(&mut desk.followed).remove(&board);
        desk.topics.remove(&topic.hash());
        desk.waiting.push(Input::Unfollowed(board));
        self.telling.on_change();
    }

    /// Tells a note of this node's own. Where nobody listens yet, it is reconciled when somebody
    /// does.
    pub(super) fn tell_note(&mut self, board: &BoardName, bytes: &Bytes) {
        let Some(desk) = &self.boarding.desk else {
            return;
        };
        let topic = desk.topic(board);
        let gossip = &mut self.swarm.behaviour_mut().inside.inner_mut().gossip;
        let _ = gossip.publish(topic, bytes.to_vec());
    }

    /// A note by gossip: counted, and looked at by the ledger before it is passed on.
    pub(super) fn hear_note(
        &mut self,
        board: BoardName,
        neighbour: &PeerId,
        id: &MessageId,
        message: Message,
    ) {
        let Some(node) = node_id(neighbour) else {
            return self.judge(neighbour, id, Verdict::Ignored.gossip());
        };
        let Some(desk) = &mut self.boarding.desk else {
            return;
        };
        let verdict = match desk.toll.on_note(node, Instant::now()) {
            Passage::Free => {
                let (from, bytes) = ((*neighbour, node), message.data.into());
                match desk.judge(board, from, id.clone(), bytes) {
                    Some(verdict) => verdict,
                    None => return,
                }
            }
            Passage::Full => Verdict::Ignored,
            Passage::Excess => {
                self.on_offence(neighbour, Offence::RateExcess);
                Verdict::Ignored
            }
        };
        self.judge(neighbour, id, verdict.gossip());
    }

    pub(super) fn on_boarding(&mut self, done: Done) {
        match done {
            Done::Judged {
                neighbour,
                message,
                verdict,
            } => self.judge(&neighbour, &message, verdict.gossip()),
            Done::Reconciled(id, ending) => self.boarding.push(Input::Ended(id, ending)),
            Done::Served {
                peer,
                came,
                is_whole,
                is_violation,
            } => self.on_served(peer, came, (is_whole, is_violation)),
        }
    }

    fn on_served(&mut self, peer: NodeId, came: Served, (is_whole, is_violation): (bool, bool)) {
        let Some(desk) = &mut self.boarding.desk else {
            return;
        };
        desk.guests.on_left(peer);
        let news = came.news > 0;
        if let Some(board) = came.board.filter(|_| is_whole || news) {
            desk.waiting.push(Input::Served(peer, board, news));
        }
        if is_violation {
            self.cut_off(peer);
        }
    }

    /// Nobody answers so by mistake.
    fn cut_off(&mut self, peer: NodeId) {
        self.on_offence(&peer_id(&peer), Offence::ProtocolViolation);
        self.disconnect(peer);
    }

    /// Reconciles what is due.
    pub(super) fn drive_boarding(&mut self, now: Instant) {
        let Some(desk) = &mut self.boarding.desk else {
            return;
        };
        let mut outputs = Vec::new();
        for input in std::mem::take(&mut desk.waiting) {
            desk.meetings
                .handle(input, now, &mut self.rng, &mut outputs);
        }
        desk.meetings.poll(now, &mut self.rng, &mut outputs);
        for output in outputs {
            match output {
                Output::Reconcile { id, peer, board } => self.begin_meeting(id, peer, board),
                Output::Seek(board) => self.seek(&board),
                Output::Blame(peer) => self.cut_off(peer),
            }
        }
    }

    fn begin_meeting(&mut self, id: MeetingId, peer: NodeId, board: BoardName) {
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
    pub(super) fn serve_boards(&mut self, peer: NodeId, stream: Stream) {
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
