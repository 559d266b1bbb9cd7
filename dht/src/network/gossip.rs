//! How gossip is set up: small frames, unsigned messages named by their content, nothing passed
//! on before it was checked, and scores that punish what is wrong rather than what is quiet.
//!
//! Messages carry their author's signature in their own envelope, so gossip signs nothing
//! itself: a second signature was half of its processor time, and proved no more.

use std::time::Duration;

use libp2p::PeerId;
use libp2p::gossipsub::{
    self, CallbackSubscriptionFilter, Config, ConfigBuilder, ConfigBuilderError, IdentTopic,
    IdentityTransform, MaxCountSubscriptionFilter, Message, MessageAuthenticity, MessageId,
    PeerScoreParams, PeerScoreThresholds, TopicHash, TopicScoreParams, ValidationMode,
};
use protocol::{digest::digest, names::SwarmName};

/// A frame: one advert with its envelope, and control.
const MAX_TRANSMIT_BYTES: usize = 8 << 10;

/// How long a message is known as seen; beyond the time that it needs through any mesh.
const SEEN_FOR: Duration = Duration::from_secs(180);

/// Topics of one peer that are remembered: its shards while they split, demand, boards.
const MAX_TOPICS_PER_PEER: usize = 64;

/// The score below which a peer is not heard: three invalid messages in a minute.
const GRAYLIST: f64 = -100.0;

/// The label of a message's name.
const ID_LABEL: &str = "shoal/gossip-id/1";

type Filter = MaxCountSubscriptionFilter<CallbackSubscriptionFilter<Allowed>>;
type Allowed = Box<dyn FnMut(&TopicHash) -> bool + Send>;

/// Gossip over the topics of one swarm.
pub(super) type Gossip = gossipsub::Behaviour<IdentityTransform, Filter>;

/// Why gossip cannot be set up: never by anything outside of this file.
#[derive(Debug, thiserror::Error)]
#[error("gossip cannot be set up: {0}")]
pub(super) struct GossipError(String);

/// A behaviour for one swarm.
pub(super) fn gossip(swarm: &SwarmName) -> Result<Gossip, GossipError> {
    let prefix = format!("/shoal/{swarm}/");
    let ours: Allowed = Box::new(move |topic| topic.as_str().starts_with(&prefix));
    let filter = MaxCountSubscriptionFilter {
        filter: CallbackSubscriptionFilter(ours),
        max_subscribed_topics: MAX_TOPICS_PER_PEER,
        max_subscriptions_per_request: MAX_TOPICS_PER_PEER,
    };
    let config = config(swarm).map_err(|error| GossipError(error.to_string()))?;
    let anonymous = MessageAuthenticity::Anonymous;
    let gossip = Gossip::new_with_subscription_filter(anonymous, config, filter);
    let mut gossip = gossip.map_err(|error| GossipError(error.into()))?;
    let (params, thresholds) = (scores(), thresholds());
    gossip
        .with_peer_score(params, thresholds)
        .map_err(GossipError)?;
    Ok(gossip)
}

/// Whether gossip hears nothing of this peer any more, for what it sent before.
pub(super) fn is_graylisted(gossip: &Gossip, peer: &PeerId) -> bool {
    gossip
        .peer_score(peer)
        .is_some_and(|score| score < GRAYLIST)
}

/// Scores a topic that was subscribed to.
pub(super) fn score_topic(gossip: &mut Gossip, topic: &IdentTopic) {
    // Only a failure to set scores up fails here, and they are.
    let _ = gossip.set_topic_params(topic.clone(), topic_scores());
}

fn config(swarm: &SwarmName) -> Result<Config, ConfigBuilderError> {
    ConfigBuilder::default()
        .protocol_id_prefix(format!("/shoal/{swarm}/gossip"))
        .mesh_n(5)
        .mesh_n_low(4)
        .mesh_n_high(8)
        .mesh_outbound_min(2)
        .gossip_lazy(4)
        // No more than those: a fourth of all neighbours, by default, would be told every second
        // what the mesh has brought them already.
        .gossip_factor(0.0)
        // Adverts are short, and a word to all neighbours for each costs more than a second copy.
        .idontwant_message_size_threshold(MAX_TRANSMIT_BYTES)
        .heartbeat_interval(Duration::from_secs(1))
        .flood_publish(false)
        .max_transmit_size(MAX_TRANSMIT_BYTES)
        .duplicate_cache_time(SEEN_FOR)
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(name)
        .build()
}

/// What is said twice is one message, whoever says it.
fn name(message: &Message) -> MessageId {
    let topic = message.topic.as_str().as_bytes();
    MessageId::from(&digest(ID_LABEL, &[topic, &message.data])[..20])
}

/// Topics are quiet most of the time, so nobody is punished for delivering little.
fn topic_scores() -> TopicScoreParams {
    TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.01,
        time_in_mesh_quantum: Duration::from_secs(1),
        time_in_mesh_cap: 300.0,
        first_message_deliveries_weight: 0.5,
        first_message_deliveries_decay: 0.9,
        first_message_deliveries_cap: 50.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -20.0,
        invalid_message_deliveries_decay: 0.9,
        ..TopicScoreParams::default()
    }
}

/// Neighbourhoods are bounded by the connections themselves, with their exemptions, so gossip
/// does not weigh addresses a second time. A message that was promised and did not come within
/// three seconds is a busy machine's more often than a liar's.
fn scores() -> PeerScoreParams {
    PeerScoreParams {
        ip_colocation_factor_weight: 0.0,
        behaviour_penalty_weight: -1.0,
        behaviour_penalty_threshold: 2.0,
        ..PeerScoreParams::default()
    }
}

fn thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds {
        gossip_threshold: -20.0,
        publish_threshold: -60.0,
        graylist_threshold: GRAYLIST,
        ..PeerScoreThresholds::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gossip_is_set_up() {
        gossip(&SwarmName::public()).unwrap();
        topic_scores().validate().unwrap();
    }

    #[test]
    fn a_name_is_of_topic_and_content() {
        let message = |topic: &str, data: &[u8], sequence_number| Message {
            source: None,
            data: data.to_vec(),
            sequence_number,
            topic: TopicHash::from_raw(topic),
        };
        let first = name(&message("a", b"x", None));
        assert_eq!(first, name(&message("a", b"x", Some(3))));
        assert_ne!(first, name(&message("b", b"x", None)));
        assert_ne!(first, name(&message("a", b"y", None)));
    }
}
