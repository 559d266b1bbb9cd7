//! What gossip brings: handed to whoever knows the topic, and judged before it is passed on.

use libp2p::{
    PeerId,
    gossipsub::{self, MessageAcceptance, MessageId},
};

use super::{actor::Actor, gossip::is_graylisted};
use crate::{
    core::{adverts::Verdict, score::Offence},
    peer::node_id,
};

impl Actor {
    pub(super) fn on_gossip(&mut self, event: gossipsub::Event) {
        let (propagation_source, message_id, message) = match event {
            gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            } => (propagation_source, message_id, message),
            gossipsub::Event::Subscribed { peer_id, topic } => {
                self.boarding.on_subscription(&peer_id, &topic, true);
                self.tell_demand(Self::moment().unix);
                return self.on_listener();
            }
            gossipsub::Event::Unsubscribed { peer_id, topic } => {
                return self.boarding.on_subscription(&peer_id, &topic, false);
            }
            _ => return,
        };
        if let Some(board) = self.boarding.board(&message.topic) {
            return self.hear_note(board, &propagation_source, &message_id, message);
        }
        let verdict = match self.demanding.is_topic(&message.topic) {
            true => self.hear_demand(&propagation_source, &message),
            false => self.hear(&propagation_source, &message),
        };
        self.judge(&propagation_source, &message_id, verdict);
    }

    /// Says what becomes of a message, and blames whoever passed on one that nobody honest does.
    pub(super) fn judge(&mut self, from: &PeerId, message: &MessageId, verdict: Verdict) {
        let acceptance = match verdict {
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Ignore => MessageAcceptance::Ignore,
            Verdict::Reject => MessageAcceptance::Reject,
        };
        let gossip = &mut self.swarm.behaviour_mut().inside.inner_mut().gossip;
        gossip.report_message_validation_result(message, from, acceptance);
        if verdict != Verdict::Reject {
            return;
        }
        let is_unheard = is_graylisted(gossip, from);
        self.on_offence(from, Offence::InvalidMessage);
        // Gossip passes over it from now on, so nothing more would count against it.
        if is_unheard && let Some(node) = node_id(from) {
            self.disconnect(node);
        }
    }
}
