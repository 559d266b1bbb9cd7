//! The hostile peer, as a process of its own (`bench attack NAME MULTIADDR`), and one that only burns
//! as much processor time (`bench burn SHARE`); both for one [`TURN`]. It does what
//! `dht/src/network/tests/attack.rs` does, at a bounded rate, and comes again as somebody else when it
//! is cut off. It knows nothing of the victim but an address.

use std::{
    collections::VecDeque,
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, anyhow};
use dht::{
    core::shards::CELL,
    probe::Probes,
    streams::{self, Stream, Streams},
};
use ed25519_dalek::SigningKey;
use futures::{AsyncWriteExt, FutureExt, StreamExt};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder,
    gossipsub::{self, IdentTopic, MessageAuthenticity, MessageId, ValidationMode},
    identify, identity, noise,
    swarm::{ConnectionId, NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use protocol::{
    Sequence, Signed, UnixMillis,
    advert::{Abilities, Advert, Deployed, NodeRole, Profile},
    limits::{ADVERT_LIFETIME, MAX_REQUEST_BYTES},
    names::{Protocol, ShardPrefix, SwarmName, Topic},
};
use rand::RngExt;
use serde_json::{Value, json};
use tests::process::cpu_time_of;

use super::TURN;

/// What is done to the victim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Garbage,
    Frames,
    Streams,
    Author,
    Authors,
}

/// One attack, as the command line and the report name it.
pub(super) struct Attack {
    kind: Kind,
    pub(super) name: &'static str,
    /// What is counted as sent.
    pub(super) unit: &'static str,
}

const fn attack(kind: Kind, name: &'static str, unit: &'static str) -> Attack {
    Attack { kind, name, unit }
}

/// All of them.
pub(super) static ATTACKS: [Attack; 5] = [
    attack(Kind::Garbage, "garbage", "messages"),
    attack(Kind::Frames, "huge-frames", "bytes"),
    attack(Kind::Streams, "streams", "streams"),
    attack(Kind::Author, "one-author", "messages"),
    attack(Kind::Authors, "made-up-authors", "messages"),
];

/// Once each of these the peer does its harm.
const STEP: Duration = Duration::from_millis(1);

/// Adverts in a step: 10,000 a second, as the issue has it.
const ADVERTS: u32 = 10;

/// Streams in a step: 8,000 a second.
const STREAMS: u32 = 8;

/// Steps for each stream of garbage, beside a message of garbage in every step.
const STEPS_PER_GARBAGE_STREAM: u64 = 16;

/// Streams with huge frames that are open at once, and what each sends in a step: 64 MB a second.
const FRAMES: usize = 32;
const CHUNK: [u8; 2048] = [0; 2048];

/// Streams that are held: beyond the 64 that the victim takes on one connection, and with 32 on
/// their way all that [`Streams`] opens.
const HELD: usize = 96;

/// Between being cut off and coming again.
const RECONNECT: Duration = Duration::from_millis(100);

/// Only the victim ends a connection: longer than any turn.
const NEVER: Duration = Duration::from_secs(3600);

/// In each of these the burner computes for its share.
const BURN_PERIOD: Duration = Duration::from_millis(5);

/// Does what the command line asks for, if it is one of the two; the report.
pub(crate) fn run() -> Result<Option<Value>> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let end = Instant::now() + TURN;
    let mut report = match given.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["attack", name, victim] => {
            let attack = ATTACKS.iter().find(|attack| attack.name == name);
            let kind = attack.context("no such attack")?.kind;
            in_one_thread(kind, victim.parse()?, end)?
        }
        ["burn", share] => {
            burn(share.parse()?, end);
            json!({})
        }
        _ => return Ok(None),
    };
    let share = cpu_time_of(std::process::id()).as_secs_f64() / TURN.as_secs_f64();
    report["share"] = share.into();
    Ok(Some(report))
}

/// One core at most, as the burner.
fn in_one_thread(kind: Kind, victim: Multiaddr, end: Instant) -> Result<Value> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build()?;
    let attacking = thread::spawn(move || runtime.block_on(besiege(kind, &victim, end)));
    let report = attacking.join();
    report.map_err(|_| anyhow!("the attacker panicked"))?
}

fn burn(share: f64, end: Instant) {
    let mut next = Instant::now();
    while next < end {
        let until = next + BURN_PERIOD.mul_f64(share.clamp(0.0, 1.0));
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        next += BURN_PERIOD;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Attacks until the end, each time as a new peer, for the one before may be banned.
async fn besiege(kind: Kind, victim: &Multiaddr, end: Instant) -> Result<Value> {
    let mut attacker = Attacker::new(kind)?;
    let (mut refused, mut cut, mut uncut) = (0, Vec::new(), Vec::new());
    while Instant::now() < end {
        attacker.connect(victim)?;
        let attacked = tokio::time::timeout_at(end.into(), attacker.until_cut_off()).await;
        let since = attacker.connected.map(|(_, _, since)| since);
        match since.map(|since| since.elapsed().as_secs_f64()) {
            Some(seconds) if attacked.is_ok() => cut.push(seconds),
            Some(seconds) => uncut.push(seconds),
            None => refused += 1,
        }
        tokio::time::sleep(RECONNECT).await;
    }
    Ok(json!({ "cut": cut, "uncut": uncut, "refused": refused, "sent": attacker.sent }))
}

/// A peer without any scruple, that looks like one of the swarm.
#[derive(NetworkBehaviour)]
struct Hostile {
    identify: identify::Behaviour,
    gossip: gossipsub::Behaviour,
    probes: Probes,
    streams: Streams,
}

struct Attacker {
    kind: Kind,
    swarm: Swarm<Hostile>,
    connected: Option<(PeerId, ConnectionId, Instant)>,
    held: VecDeque<Stream>,
    topic: IdentTopic,
    requests: StreamProtocol,
    bait: Advert,
    author: SigningKey,
    steps: u64,
    opened: u64,
    sent: u64,
}

impl Attacker {
    fn new(kind: Kind) -> Result<Self> {
        let prefix = ShardPrefix::new(0, 0);
        let topic = Topic::Adverts { cell: CELL, prefix }.of(&SwarmName::public());
        let topic = IdentTopic::new(topic);
        Ok(Self {
            kind,
            swarm: swarm(&topic)?,
            connected: None,
            held: VecDeque::new(),
            topic,
            requests: named(Protocol::Generate)?,
            bait: bait()?,
            author: somebody(),
            steps: 0,
            opened: 0,
            sent: 0,
        })
    }

    fn connect(&mut self, victim: &Multiaddr) -> Result<()> {
        self.held.clear();
        self.connected = None;
        self.swarm = swarm(&self.topic)?;
        Ok(self.swarm.dial(victim.clone())?)
    }

    /// Does harm at each step until the victim closes the connection, or takes none.
    async fn until_cut_off(&mut self) {
        let mut step = tokio::time::interval(STEP);
        loop {
            let event = tokio::select! {
                event = self.swarm.select_next_some() => event,
                _ = step.tick() => {
                    if let Some((victim, connection, _)) = self.connected {
                        self.harm(victim, connection);
                    }
                    continue;
                }
            };
            match event {
                SwarmEvent::ConnectionEstablished {
                    peer_id,
                    connection_id,
                    ..
                } => self.connected = Some((peer_id, connection_id, Instant::now())),
                SwarmEvent::ConnectionClosed { .. }
                | SwarmEvent::OutgoingConnectionError { .. } => return,
                SwarmEvent::Behaviour(HostileEvent::Streams(streams::Event::Opened {
                    result: Ok(stream),
                    ..
                })) => self.on_opened(stream),
                _ => {}
            }
        }
    }

    fn harm(&mut self, victim: PeerId, connection: ConnectionId) {
        self.steps += 1;
        match self.kind {
            Kind::Garbage => {
                self.publish(garbage());
                if self.steps.is_multiple_of(STEPS_PER_GARBAGE_STREAM) {
                    self.open(victim, connection);
                }
            }
            Kind::Frames => {
                if self.held.len() < FRAMES {
                    self.open(victim, connection);
                }
                self.push_frames();
            }
            Kind::Streams => (0..STREAMS).for_each(|_| self.open(victim, connection)),
            Kind::Author => (0..ADVERTS).for_each(|_| self.publish_bait(&self.author.clone())),
            Kind::Authors => (0..ADVERTS).for_each(|_| self.publish_bait(&somebody())),
        }
    }

    fn open(&mut self, victim: PeerId, connection: ConnectionId) {
        let streams = &mut self.swarm.behaviour_mut().streams;
        streams.open(victim, connection, self.requests.clone());
    }

    /// A stream is there: it begins as its attack wants it, and is held as long as there is room.
    fn on_opened(&mut self, mut stream: Stream) {
        self.opened += 1;
        let begin = match self.kind {
            Kind::Garbage => garbage(),
            Kind::Frames => frame(self.opened),
            Kind::Streams | Kind::Author | Kind::Authors => Vec::new(),
        };
        self.sent += u64::from(self.kind == Kind::Streams);
        let begun = begin.is_empty() || matches!(stream.write(&begin).now_or_never(), Some(Ok(_)));
        if begun {
            self.held.push_back(stream);
        }
        if self.held.len() > HELD {
            self.held.pop_front();
        }
    }

    /// More of each frame, as far as the victim takes it.
    fn push_frames(&mut self) {
        let sent = &mut self.sent;
        self.held
            .retain_mut(|stream| match stream.write(&CHUNK).now_or_never() {
                Some(Ok(bytes)) => {
                    *sent += bytes as u64;
                    bytes > 0
                }
                Some(Err(_)) => false,
                None => true,
            });
    }

    fn publish(&mut self, bytes: Vec<u8>) {
        // It fails until the victim has said that it listens.
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        let published = gossip.publish(self.topic.clone(), bytes);
        self.sent += u64::from(published.is_ok());
    }

    /// A valid advert, another one each time.
    fn publish_bait(&mut self, author: &SigningKey) {
        let now = UnixMillis::from(SystemTime::now());
        let expires = now.saturating_add(ADVERT_LIFETIME);
        let sequence = Sequence(now.0 + self.sent);
        let signed = Signed::sign(author, sequence, expires, &self.bait);
        self.publish(signed.expect("an advert of one model fits").encode());
    }
}

fn named(protocol: Protocol) -> Result<StreamProtocol> {
    let name = protocol.of(&SwarmName::public());
    Ok(StreamProtocol::try_from_owned(name)?)
}

fn somebody() -> SigningKey {
    SigningKey::from_bytes(&rand::rng().random())
}

fn garbage() -> Vec<u8> {
    rand::rng().random::<[u8; 32]>().to_vec()
}

/// The beginning of a frame of data that is as long as a frame can say, or as a request may be.
fn frame(number: u64) -> Vec<u8> {
    let longest_allowed = u32::try_from(MAX_REQUEST_BYTES + 1).unwrap_or(u32::MAX);
    let bytes = if number.is_multiple_of(2) {
        u32::MAX
    } else {
        longest_allowed
    };
    [&bytes.to_be_bytes()[..], &[1]].concat()
}

fn bait() -> Result<Advert> {
    let mut profile = Profile::new(SwarmName::public(), NodeRole::Server);
    profile.deployments.push(Deployed {
        model: "org/bait".parse()?,
        context_tokens: 4096,
        parallel: 2,
        running: 0,
        queued: 0,
        prefill_tokens_per_second: None,
        decode_tokens_per_second: Some(50.0),
        abilities: Abilities::default(),
    });
    Ok(Advert::fitting(&profile))
}

/// A new peer that listens to everybody's adverts.
fn swarm(topic: &IdentTopic) -> Result<Swarm<Hostile>> {
    let tcp = tcp::Config::default();
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp, noise::Config::new, yamux::Config::default)
        .map_err(|error| anyhow!("{error}"))?
        .with_behaviour(hostile)
        .map_err(|error| anyhow!("{error}"))?
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(NEVER))
        .build();
    let subscribed = swarm.behaviour_mut().gossip.subscribe(topic);
    subscribed.map_err(|error| anyhow!("{error}"))?;
    Ok(swarm)
}

type SetupError = Box<dyn std::error::Error + Send + Sync>;

fn hostile(key: &identity::Keypair) -> Result<Hostile, SetupError> {
    let protocols = vec![named(Protocol::Generate)?, named(Protocol::Embed)?];
    Ok(Hostile {
        identify: identify::Behaviour::new(identify::Config::new("/x/1".into(), key.public())),
        gossip: gossip()?,
        probes: Probes::new(named(Protocol::Probe)?),
        streams: Streams::new(protocols),
    })
}

/// Without announcements: of all that it says they would be one frame that is too large.
fn gossip() -> Result<gossipsub::Behaviour, SetupError> {
    let config = gossipsub::ConfigBuilder::default()
        .protocol_id_prefix("/shoal/public/gossip")
        .validation_mode(ValidationMode::Anonymous)
        .message_id_fn(|message| MessageId::from(message.data.clone()))
        .gossip_lazy(0)
        .gossip_factor(0.0)
        .build()?;
    Ok(gossipsub::Behaviour::new(
        MessageAuthenticity::Anonymous,
        config,
    )?)
}
