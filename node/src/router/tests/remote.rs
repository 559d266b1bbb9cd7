//! The router with peers: real heads over fake engines, behind connections that break.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use ed25519_dalek::SigningKey;
use protocol::advert::Abilities;
use protocol::generate::{EmbedInput, Embedding, GenerateEvent, embed_input};
use tokio::time::Instant;

use super::*;
use crate::core::relay::{HEDGE_FLOOR, STALL};
use crate::head::{Head, HeadFacts, Profile};
use crate::peers::{OpenError, Path, RemoteHead};

const ANSWER: &str = "The otter 🦦 swims, é là, and sleeps.";

fn node(n: u8) -> NodeId {
    NodeId::from(&SigningKey::from_bytes(&[n; 32]))
}

/// What a peer does with the next request that comes.
#[derive(Debug, Clone)]
enum Fate {
    /// Lost after this many events.
    Cut(usize),
    /// Silent after this many events.
    Silent(usize),
    Refuse(ErrorCode),
    Unreachable,
}

/// One peer: a head over an engine that answers [`ANSWER`] to everybody.
struct Peer {
    head: Head,
    is_member: bool,
    fates: Mutex<Vec<Fate>>,
    asked: watch::Sender<Vec<GenerateRequest>>,
    /// Streams that nobody listens to any more.
    dropped: watch::Sender<usize>,
}

impl Peer {
    fn new(n: u8, fates: Vec<Fate>) -> (NodeId, Arc<Self>) {
        Self::saying(n, ANSWER, fates)
    }

    fn saying(n: u8, answer: impl Into<String>, fates: Vec<Fate>) -> (NodeId, Arc<Self>) {
        let script = Script::say(answer).at_pace(Duration::from_millis(10));
        let config = FakeConfig::default().with_script(move |_| script.clone());
        let facts = HeadFacts {
            model: "org/far".into(),
            ..HeadFacts::default()
        };
        let head = Head::new(
            Arc::new(Profile::new(facts)),
            Arc::new(FakeEngine::new(config)),
            Surroundings::default(),
        );
        let peer = Self {
            head,
            is_member: n.is_multiple_of(2),
            fates: Mutex::new(fates),
            asked: watch::Sender::new(Vec::new()),
            dropped: watch::Sender::new(0),
        };
        (node(n), Arc::new(peer))
    }

    async fn serve(self: Arc<Self>, request: GenerateRequest) -> Result<GenerateStream, OpenError> {
        self.asked.send_modify(|asked| asked.push(request.clone()));
        let fate = self.fates.lock().unwrap().pop();
        let left = match fate {
            None => usize::MAX,
            Some(Fate::Cut(left) | Fate::Silent(left)) => left,
            Some(Fate::Unreachable) => return Err(OpenError::Unreachable),
            Some(Fate::Refuse(code)) => return Err(OpenError::Refused(Failure::new(code, "no"))),
        };
        request.validate().unwrap();
        let mut events = self.head.generate(request, ()).await.unwrap();
        let (out, stream) = mpsc::channel::<GenerateEvent>(4);
        tokio::spawn(async move {
            for _ in 0..left {
                let gone = match events.recv().await {
                    Some(event) => out.send(event).await.is_err(),
                    None => return,
                };
                if gone {
                    return self.dropped.send_modify(|dropped| *dropped += 1);
                }
            }
            if matches!(fate, Some(Fate::Silent(_))) {
                out.closed().await;
                self.dropped.send_modify(|dropped| *dropped += 1);
            }
        });
        Ok(stream)
    }

    fn asked(&self) -> usize {
        self.asked.borrow().len()
    }
}

/// Peers that serve `org/far` and, like this node, `org/tiny`; and `org/rare`, once they were
/// looked for.
struct FakePeers(BTreeMap<NodeId, Arc<Peer>>, AtomicBool);

#[async_trait]
impl Peers for FakePeers {
    fn candidates(&self, model: &ModelName) -> Vec<RemoteHead> {
        let is_found = self.1.load(Ordering::Relaxed);
        let served = ["org/far", "org/tiny"].contains(&model.as_str())
            || (model.as_str() == "org/rare" && is_found);
        let peers = self.0.iter().filter(|_| served);
        let heads = peers.map(|(node, peer)| RemoteHead {
            node: *node,
            context_tokens: 4096,
            parallel: 4,
            running: 0,
            queued: 0,
            prefill_tokens_per_second: Some(1000.0),
            decode_tokens_per_second: Some(100.0),
            rtt: Some(Duration::from_millis(10)),
            is_member: peer.is_member,
            path: Path::Direct,
            abilities: Abilities::default(),
        });
        heads.collect()
    }

    async fn find(&self, model: &ModelName) {
        if model.as_str() == "org/rare" {
            self.1.store(true, Ordering::Relaxed);
        }
    }

    fn models(&self) -> Vec<ModelName> {
        ["org/far", "org/tiny"]
            .map(|name| name.parse().unwrap())
            .to_vec()
    }

    async fn open(
        &self,
        peer: NodeId,
        request: GenerateRequest,
    ) -> Result<GenerateStream, OpenError> {
        Arc::clone(&self.0[&peer]).serve(request).await
    }

    async fn embed(&self, peer: NodeId, request: EmbedRequest) -> Result<EmbedResponse, OpenError> {
        let peer = &self.0[&peer];
        let fate = peer.fates.lock().unwrap().pop();
        match fate {
            Some(Fate::Unreachable) => Err(OpenError::Unreachable),
            Some(Fate::Refuse(code)) => Err(OpenError::Refused(Failure::new(code, "no"))),
            // Vectors that are none.
            Some(_) => Ok(EmbedResponse {
                embeddings: vec![Embedding {
                    values: vec![f32::NAN],
                }],
                ..EmbedResponse::default()
            }),
            None => peer.head.embed(request).await.map_err(OpenError::Refused),
        }
    }
}

fn swarm(peers: Vec<(NodeId, Arc<Peer>)>, default: Level) -> Router {
    let privacy = PrivacyPolicy {
        default,
        trusted: BTreeSet::new(),
    };
    let peers = FakePeers(peers.into_iter().collect(), AtomicBool::new(false));
    router().with_peers(Arc::new(peers), privacy)
}

fn far() -> GenerateRequest {
    GenerateRequest {
        request_id: "r1".into(),
        ..asking("org/far")
    }
}

/// What a client saw of an answer.
#[derive(Debug, Default)]
struct Seen {
    started: Vec<protocol::generate::Started>,
    text: String,
    tokens: Vec<u32>,
    end: Option<Out>,
}

async fn see(mut stream: GenerateStream) -> Seen {
    let mut seen = Seen::default();
    while let Some(event) = stream.recv().await {
        match event.event.unwrap() {
            Out::Queued(_) => {}
            Out::Started(started) => seen.started.push(started),
            Out::Delta(delta) => {
                seen.text.push_str(&delta.text);
                seen.tokens.extend(delta.tokens);
            }
            end => seen.end = Some(end),
        }
    }
    seen
}

impl Seen {
    fn finished(&self) -> &protocol::generate::Finished {
        match &self.end {
            Some(Out::Finished(finished)) => finished,
            other => panic!("ended with {other:?}"),
        }
    }

    fn failure(&self) -> &Failure {
        match &self.end {
            Some(Out::Failed(failure)) => failure,
            other => panic!("ended with {other:?}"),
        }
    }
}

#[tokio::test]
async fn models_of_peers_are_listed_once_each() {
    let ids = |router: Router| async move {
        let cards = router.models().await;
        cards.into_iter().map(|card| card.id).collect::<Vec<_>>()
    };
    let peers = || vec![Peer::new(1, vec![])];
    assert_eq!(
        ids(swarm(peers(), Level::Swarm)).await,
        ["alone", "org/far", "org/tiny"]
    );
    assert_eq!(
        ids(swarm(peers(), Level::Trusted)).await,
        ["alone", "org/tiny"]
    );
    assert_eq!(
        ids(swarm(peers(), Level::Local)).await,
        ["alone", "org/tiny"]
    );
    let members = vec![Peer::new(2, vec![])];
    assert_eq!(
        ids(swarm(members, Level::Trusted)).await,
        ["alone", "org/far", "org/tiny"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_model_of_a_peer_is_answered_by_it() {
    let (id, peer) = Peer::new(1, vec![]);
    let router = swarm(vec![(id, Arc::clone(&peer))], Level::Swarm);
    let seen = see(router.generate(far()).await.unwrap()).await;
    assert_eq!(seen.text, ANSWER);
    assert_eq!(seen.started[0].served_by, id.to_string());
    assert_eq!(seen.finished().served_by, [id.to_string()]);
    let asked = peer.asked.borrow()[0].clone();
    assert_eq!(asked.sampling.unwrap().seed, Some(seen.started[0].seed));
    assert_eq!(asked.privacy, i32::from(Privacy::Swarm));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_nobody_was_heard_to_serve_is_looked_for() {
    let rare = || GenerateRequest {
        model: "org/rare".into(),
        ..far()
    };
    let (id, peer) = Peer::new(1, vec![]);
    let router = swarm(vec![(id, peer)], Level::Swarm);
    let local = GenerateRequest {
        privacy: Privacy::Local.into(),
        ..rare()
    };
    let refused = router.generate(local).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::ModelNotFound);
    let seen = see(router.generate(rare()).await.unwrap()).await;
    assert_eq!(seen.started[0].served_by, id.to_string());
}

#[tokio::test(start_paused = true)]
async fn the_own_model_is_answered_here() {
    let (id, peer) = Peer::new(1, vec![]);
    let router = swarm(vec![(id, Arc::clone(&peer))], Level::Swarm);
    let mut stream = router.generate(asking("org/tiny")).await.unwrap();
    let mut text = String::new();
    while text != "Hello" {
        match stream.recv().await.unwrap().event {
            Some(Out::Started(started)) => assert_eq!(started.served_by, ""),
            Some(Out::Delta(delta)) => text.push_str(&delta.text),
            _ => {}
        }
    }
    assert_eq!(peer.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_peer_killed_at_every_position_leaves_no_seam() {
    let events = ANSWER.chars().count() + 2;
    for at in 0..events {
        let peers = (1..=2).map(|n| Peer::new(n, vec![])).collect::<Vec<_>>();
        // Whichever is asked first is lost, and only once.
        let cut = |peer: &Arc<Peer>| peer.fates.lock().unwrap().push(Fate::Cut(at));
        let router = swarm(peers.clone(), Level::Swarm);
        let request = GenerateRequest {
            top_logprobs: Some(0),
            ..far()
        };
        let first = first_choice(&router);
        let lost = peers.iter().find(|(node, _)| *node == first).unwrap();
        cut(&lost.1);
        let seen = see(router.generate(request).await.unwrap()).await;
        assert_eq!(seen.text, ANSWER, "killed after {at}");
        assert_eq!(
            seen.tokens,
            ANSWER.chars().map(u32::from).collect::<Vec<_>>()
        );
        assert_eq!(seen.started.len(), 1);
        assert_eq!(
            seen.finished().completion_tokens as usize,
            seen.tokens.len()
        );
        let asked: usize = peers.iter().map(|(_, peer)| peer.asked()).sum();
        assert_eq!(asked, 2, "killed after {at}");
    }
}

/// The head that is asked first: with one salt for all, it is known before.
fn first_choice(router: &Router) -> NodeId {
    let ask = router.ask(PromptSize::of_bytes(1), None, Level::Swarm);
    let rivals = Rivals {
        model: "org/far".parse().unwrap(),
        own: None,
        trusted: BTreeSet::new(),
    };
    match router.heads.reach(ask, rivals).rank().unwrap()[0].target {
        crate::core::ranking::Target::Peer(node) => node,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_go_on_to_the_next_and_end_with_a_name() {
    for code in [
        ErrorCode::Overloaded,
        ErrorCode::ModelNotFound,
        ErrorCode::Internal,
    ] {
        let peers: Vec<_> = (1..=2).map(|n| Peer::new(n, vec![])).collect();
        let router = swarm(peers.clone(), Level::Swarm);
        let first = first_choice(&router);
        let (_, bad) = peers.iter().find(|(node, _)| *node == first).unwrap();
        bad.fates.lock().unwrap().push(Fate::Refuse(code));
        let seen = see(router.generate(far()).await.unwrap()).await;
        assert_eq!(seen.text, ANSWER);
        // It is remembered: the next request goes to the other at once.
        assert_ne!(first_choice(&router), first);
    }
    let full = || vec![Fate::Refuse(ErrorCode::Overloaded); 2];
    let router = swarm(
        vec![Peer::new(1, full()), Peer::new(3, full())],
        Level::Swarm,
    );
    let seen = see(router.generate(far()).await.unwrap()).await;
    assert_eq!(seen.failure().code(), ErrorCode::Overloaded);
    let gone = || vec![Fate::Unreachable; 2];
    let router = swarm(vec![Peer::new(1, gone())], Level::Swarm);
    let seen = see(router.generate(far()).await.unwrap()).await;
    assert_eq!(seen.failure().code(), ErrorCode::NoPeer);
    let cut = vec![Fate::Cut(4), Fate::Cut(9)];
    let router = swarm(vec![Peer::new(1, cut)], Level::Swarm);
    let seen = see(router.generate(far()).await.unwrap()).await;
    assert_eq!(seen.failure().code(), ErrorCode::WorkerLost);
    assert!(ANSWER.starts_with(&seen.text) && !seen.text.is_empty());
}

#[tokio::test(start_paused = true)]
async fn privacy_levels_are_kept() {
    let (id, stranger) = Peer::new(1, vec![]);
    let (_, member) = Peer::new(2, vec![]);
    let peers = vec![(id, Arc::clone(&stranger)), (node(2), Arc::clone(&member))];
    let router = swarm(peers, Level::Swarm);
    let at = |level: Privacy| GenerateRequest {
        privacy: level.into(),
        ..far()
    };
    for _ in 0..8 {
        let seen = see(router.generate(at(Privacy::Trusted)).await.unwrap()).await;
        assert_eq!(seen.finished().served_by, [node(2).to_string()]);
    }
    assert_eq!((stranger.asked(), member.asked()), (0, 8));
    let failure = router.generate(at(Privacy::Local)).await.unwrap_err();
    assert_eq!(failure.code(), ErrorCode::Privacy);
    // The owner's level holds for requests that name none.
    let (id, stranger) = Peer::new(1, vec![]);
    let router = swarm(vec![(id, Arc::clone(&stranger))], Level::Trusted);
    let failure = router.generate(far()).await.unwrap_err();
    assert_eq!(failure.code(), ErrorCode::Privacy);
    assert_eq!(stranger.asked(), 0);
    let trusting = PrivacyPolicy {
        default: Level::Trusted,
        trusted: BTreeSet::from([id]),
    };
    let peers = FakePeers(BTreeMap::from([(id, stranger)]), AtomicBool::new(false));
    let router = router.with_peers(Arc::new(peers), trusting);
    let seen = see(router.generate(far()).await.unwrap()).await;
    assert_eq!(seen.text, ANSWER);
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_fits_nowhere_is_refused_before_it_is_sent() {
    let (id, peer) = Peer::new(1, vec![]);
    let router = swarm(vec![(id, Arc::clone(&peer))], Level::Swarm);
    let tokens = protocol::generate::TokenPrompt {
        tokens: vec![65; 5000],
    };
    let request = GenerateRequest {
        prompt: Some(Prompt::Tokens(tokens)),
        ..far()
    };
    let failure = router.generate(request).await.unwrap_err();
    assert_eq!(failure.code(), ErrorCode::ContextLengthExceeded);
    assert_eq!(peer.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_hedged_before_and_left_during_an_answer() {
    let peers: Vec<_> = (1..=2).map(|n| Peer::new(n, vec![])).collect();
    let router = swarm(peers.clone(), Level::Swarm);
    let first = first_choice(&router);
    let (_, slow) = peers.iter().find(|(node, _)| *node == first).unwrap();
    slow.fates.lock().unwrap().push(Fate::Silent(0));
    let begin = Instant::now();
    let seen = see(router.generate(far()).await.unwrap()).await;
    assert_eq!(seen.text, ANSWER);
    let took = begin.elapsed();
    assert!(took >= HEDGE_FLOOR && took < HEDGE_FLOOR * 2, "{took:?}");
    let mut dropped = slow.dropped.subscribe();
    dropped.wait_for(|dropped| *dropped == 1).await.unwrap();

    let peers: Vec<_> = (1..=2).map(|n| Peer::new(n, vec![])).collect();
    let router = swarm(peers.clone(), Level::Swarm);
    let first = first_choice(&router);
    let (_, slow) = peers.iter().find(|(node, _)| *node == first).unwrap();
    slow.fates.lock().unwrap().push(Fate::Silent(6));
    let begin = Instant::now();
    let seen = see(router.generate(far()).await.unwrap()).await;
    assert_eq!(seen.text, ANSWER);
    let took = begin.elapsed();
    assert!(took >= STALL && took < STALL * 2, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_cancels_at_the_peer() {
    let (id, peer) = Peer::new(1, vec![]);
    let router = swarm(vec![(id, Arc::clone(&peer))], Level::Swarm);
    let mut stream = router.generate(far()).await.unwrap();
    stream.recv().await.unwrap();
    drop(stream);
    let mut dropped = peer.dropped.subscribe();
    dropped.wait_for(|dropped| *dropped == 1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_is_no_reason_to_leave_a_peer() {
    // More than all channels on the way hold.
    let long = ANSWER.repeat(20);
    let (id, peer) = Peer::saying(1, long.as_str(), vec![]);
    let router = swarm(vec![(id, Arc::clone(&peer))], Level::Swarm);
    let mut stream = router.generate(far()).await.unwrap();
    let first = stream.recv().await.unwrap();
    tokio::time::sleep(STALL * 3).await;
    let seen = see(stream).await;
    assert!(matches!(first.event, Some(Out::Started(_))));
    assert_eq!(seen.text, long);
    assert_eq!(peer.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_leaves_its_model_open_goes_to_what_is_loaded() {
    let open = || GenerateRequest {
        model: "auto".into(),
        ..far()
    };
    let (id, peer) = Peer::new(1, vec![]);
    let router = swarm(vec![(id, Arc::clone(&peer))], Level::Swarm);
    let seen = see(router.generate(open()).await.unwrap()).await;
    assert_eq!(seen.text, ANSWER);
    assert_eq!(peer.asked.borrow()[0].model, "org/far");
    // Where peers may not see it, this node's own answers.
    let router = swarm(vec![(id, Arc::clone(&peer))], Level::Local);
    let mut stream = router.generate(open()).await.unwrap();
    stream.recv().await.unwrap();
    assert_eq!(peer.asked(), 1);
}

#[tokio::test]
async fn embeddings_come_from_whoever_gives_them() {
    let request = || EmbedRequest {
        request_id: "e".into(),
        model: "org/far".into(),
        inputs: vec![EmbedInput {
            input: Some(embed_input::Input::Text("hi".into())),
        }],
        ..EmbedRequest::default()
    };
    let router = swarm(vec![Peer::new(1, vec![])], Level::Swarm);
    let answer = router.embed(request()).await.unwrap();
    assert_eq!(answer.served_by, node(1).to_string());
    assert_eq!(answer.embeddings.len(), 1);
    for fate in [
        Fate::Unreachable,
        Fate::Cut(0),
        Fate::Refuse(ErrorCode::Overloaded),
    ] {
        let peers = vec![Peer::new(1, vec![]), Peer::new(3, vec![fate])];
        let router = swarm(peers, Level::Swarm);
        let answer = router.embed(request()).await.unwrap();
        assert_eq!(answer.embeddings.len(), 1);
    }
    let router = swarm(vec![Peer::new(1, vec![])], Level::Trusted);
    let failure = router.embed(request()).await.unwrap_err();
    assert_eq!(failure.code(), ErrorCode::Privacy);
    let router = swarm(vec![Peer::new(1, vec![Fate::Unreachable])], Level::Swarm);
    let failure = router.embed(request()).await.unwrap_err();
    assert_eq!(failure.code(), ErrorCode::NoPeer);
}
