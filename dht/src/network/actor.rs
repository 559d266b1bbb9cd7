//! The task: waits for whatever comes first, hands it to its part, and lets every core do what is
//! due. It decides nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures::{FutureExt, StreamExt};
use libp2p::{Swarm, swarm::SwarmEvent};
use protocol::{NodeId, UnixMillis, advert::Profile};
use rand::{SeedableRng, rngs::StdRng};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    StartError,
    admitting::{Admitting, Kept},
    behaviour::{Behaviour, BehaviourEvent, InsideEvent, swarm},
    boarding::Boarding,
    command::Command,
    config::Config,
    demanding::{self, Demanding},
    finding::Finding,
    grouping::Grouping,
    joining::Joining,
    linking::Linking,
    listening::Listening,
    meeting::Meeting,
    opening::{Inbound, Opening},
    sharding::Sharding,
    standing::Standing,
    telling::Telling,
    viewing::Viewing,
};
use crate::{
    core::{adverts::Moment, score::Offence},
    peer::peer_id,
    view::View,
};

/// The longest sleep: whatever a core forgot to name is looked at then.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The swarm's events that are taken before the cores are driven: as many as one wake brings, and
/// few enough that commands and deadlines do not wait for long.
const EVENTS_AT_ONCE: usize = 32;

/// All that the task owns.
pub(super) struct Actor {
    pub(super) own: NodeId,
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) rng: StdRng,
    pub(super) profile: watch::Receiver<Profile>,
    pub(super) joining: Joining,
    pub(super) linking: Linking,
    pub(super) meeting: Meeting,
    pub(super) listening: Listening,
    pub(super) telling: Telling,
    pub(super) grouping: Grouping,
    pub(super) sharding: Sharding,
    pub(super) standing: Standing,
    pub(super) finding: Finding,
    pub(super) opening: Opening,
    pub(super) viewing: Viewing,
    pub(super) admitting: Admitting,
    pub(super) boarding: Boarding,
    pub(super) demanding: Demanding,
}

/// What others look at.
pub(super) struct Shown {
    pub(super) view: watch::Receiver<Arc<View>>,
    pub(super) kept: watch::Receiver<Kept>,
    pub(super) demand: demanding::Shown,
}

impl Actor {
    /// Sets everything up and listens.
    pub(super) fn new(
        mut config: Config,
        profile: watch::Receiver<Profile>,
        inbound: mpsc::Sender<Inbound>,
    ) -> Result<(Self, Shown), StartError> {
        let now = Instant::now();
        let own = NodeId::from(&config.key);
        let private = config.private.take();
        let mut swarm = swarm(&config, private)?;
        let listening = Listening::begin(&config, &mut swarm)?;
        let joining = Joining::new(&config, now);
        let mut rng = StdRng::from_rng(&mut rand::rng());
        let telling = Telling::new(&config, own, &mut rng);
        let (viewing, view) = Viewing::new(joining.report(), now);
        let (admitting, kept) = Admitting::new();
        let (demanding, demand) = Demanding::begin(&config, own, &mut swarm, now);
        let actor = Self {
            own,
            rng,
            profile,
            joining,
            meeting: Meeting::new(&config),
            sharding: Sharding::new(&config, own, now),
            grouping: Grouping::new(now),
            opening: Opening::new(&config, inbound),
            boarding: Boarding::new(&config, own, now),
            linking: Linking::new(own, config.connections),
            listening,
            telling,
            standing: Standing::new(now),
            finding: Finding::default(),
            viewing,
            admitting,
            demanding,
            swarm,
        };
        let shown = Shown { view, kept, demand };
        Ok((actor, shown))
    }

    /// Runs until told to stop, or until nobody holds the handle any more.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        stop: CancellationToken,
    ) {
        self.drive();
        loop {
            let deadline = self.next_deadline();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => return,
                },
                Some(found) = self.joining.next_search() => self.on_search(found),
                Some(met) = self.meeting.next() => self.on_meeting(met),
                Some(done) = self.boarding.next() => self.on_boarding(done),
                Ok(()) = self.profile.changed() => self.telling.on_change(),
                () = tokio::time::sleep_until(deadline.into()) => {}
                event = self.swarm.select_next_some() => self.on_events(event),
            }
            self.drive();
        }
    }

    /// This moment on both clocks.
    pub(super) fn moment() -> Moment {
        Moment {
            now: Instant::now(),
            unix: UnixMillis::from(SystemTime::now()),
        }
    }

    fn next_deadline(&self) -> Instant {
        let now = Instant::now();
        let due = [
            self.joining.next_deadline(),
            self.meeting.next_deadline(),
            self.linking.next_deadline(),
            self.listening.next_deadline(),
            self.telling.next_deadline(),
            self.grouping.next_deadline(),
            self.sharding_deadline(),
            self.opening.next_deadline(),
            self.viewing.next_deadline(),
            self.boarding.next_deadline(now),
            self.demanding.next_deadline(),
        ];
        let latest = now + LONGEST_SLEEP;
        due.into_iter().flatten().fold(latest, Instant::min)
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Find { model, found } => self.find(&model, found),
            Command::Open {
                peer,
                protocol,
                opened,
            } => self.open(peer, protocol, opened),
            Command::Follow { board, done } => {
                // Whoever asked may have gone; the board is followed.
                let _ = done.send(self.follow(board));
            }
            Command::Unfollow(board) => self.unfollow(board),
            Command::Publish { board, bytes } => self.tell_note(&board, &bytes),
            Command::Followers { board, answer } => {
                let _ = answer.send(self.boarding.followers(&board));
            }
            Command::Asked { model, asked } => self.count(&model, asked),
            Command::Blame(peer) => {
                self.on_offence(&peer_id(&peer), Offence::ProtocolViolation);
            }
            Command::Show(credential) => self.show(credential),
            Command::Revoke { list, done } => {
                // Whoever asked may have gone; the list counts.
                let _ = done.send(self.revoke(*list));
            }
        }
    }

    /// Lets every core do what is due.
    fn drive(&mut self) {
        let at = Self::moment();
        self.drive_joining(at.now);
        self.drive_meeting(at.now);
        self.drive_linking(at.now);
        self.drive_listening(at.now);
        self.drive_grouping(at.now);
        self.drive_sharding(at.now);
        self.drive_telling(at);
        self.drive_boarding(at.now);
        self.drive_demanding(at);
        self.drive_opening(at.now);
        self.viewing_due(at.now);
    }

    fn viewing_due(&mut self, now: Instant) {
        if self.viewing.is_due(now) {
            let view = self.view(now);
            self.viewing.show(view, now);
        }
    }

    /// An event and those behind it. Where there are no more the swarm is asked again before the
    /// task sleeps, so nothing is lost by not being woken for it here.
    fn on_events(&mut self, first: SwarmEvent<BehaviourEvent>) {
        self.on_event(first);
        for _ in 1..EVENTS_AT_ONCE {
            let Some(event) = self.swarm.select_next_some().now_or_never() else {
                return;
            };
            self.on_event(event);
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Lan(found)) => self.on_lan(found),
            SwarmEvent::Behaviour(BehaviourEvent::Admission(event)) => self.on_admission(event),
            SwarmEvent::Behaviour(BehaviourEvent::Upnp(_)) => {}
            SwarmEvent::Behaviour(
                BehaviourEvent::Candidates(never) | BehaviourEvent::Turnstile(never),
            ) => match never {},
            SwarmEvent::Behaviour(BehaviourEvent::Inside(event)) => self.on_inside(event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => self.on_connected(peer_id, connection_id, &endpoint),
            SwarmEvent::ConnectionClosed { connection_id, .. } => {
                self.on_disconnected(connection_id)
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                error,
                ..
            } => self.on_dial_failed(connection_id, &error),
            SwarmEvent::ListenerClosed { listener_id, .. } => {
                self.on_listener_closed(listener_id);
                self.on_addresses_changed();
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => self.on_listen_addr(&address, false),
            SwarmEvent::NewListenAddr { address, .. } => self.on_listen_addr(&address, true),
            SwarmEvent::ExternalAddrConfirmed { .. } | SwarmEvent::ExternalAddrExpired { .. } => {
                self.on_addresses_changed()
            }
            _ => {}
        }
    }

    fn on_inside(&mut self, event: InsideEvent) {
        match event {
            InsideEvent::Identify(event) => self.on_identify(event),
            InsideEvent::Kad(event) => self.on_kad(event),
            InsideEvent::Gossip(event) => self.on_gossip(event),
            InsideEvent::Asking(event) => self.on_asking(event),
            InsideEvent::Pulses(never) => match never {},
            InsideEvent::Probes(probed) => self.on_probed(&probed),
            InsideEvent::Revocations(event) => self.on_revocations(event),
            InsideEvent::Streams(event) => self.on_streams(event),
            InsideEvent::AutonatClient(event) => self.on_autonat(&event),
            InsideEvent::RelayClient(event) => self.on_relay_client(&event),
            InsideEvent::RelayServer(_) | InsideEvent::Dcutr(_) | InsideEvent::AutonatServer(_) => {
            }
        }
    }
}
