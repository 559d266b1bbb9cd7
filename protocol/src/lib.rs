//! What peers, heads and clients say to one another: messages, signed envelopes, ids, limits,
//! the names of protocols and topics.
//!
//! Pure: it knows no socket, no clock and no file. Whatever it decodes may come from a hostile
//! peer: a size limit is checked before anything is allocated for it, and nothing panics.

pub mod advert;
pub mod board;
pub mod chain;
pub mod demand;
pub mod digest;
pub mod envelope;
pub mod frame;
pub mod generate;
pub mod ids;
pub mod limits;
pub mod membership;
pub mod names;
pub mod reconcile;
pub mod record_key;
pub mod weights;

pub use envelope::{Payload, Signed, Verified};
pub use ids::{
    ChannelId, DeploymentId, LeaseId, ManifestId, ModelName, NodeId, RequestId, Seed, Sequence,
    UnixMillis,
};
