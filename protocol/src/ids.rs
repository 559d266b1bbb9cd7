//! Ids as types of their own: one cannot stand where another belongs, and each holds only
//! values that were checked.
//!
//! Text that comes from outside becomes an id by `FromStr` (and so by serde); nothing here
//! knows what the id stands for.

mod chain;
mod manifest_id;
mod model_name;
mod node_id;
mod numbers;
mod request_id;

pub use chain::{ChainIdError, ChannelId, DeploymentId, LeaseId};
pub use manifest_id::{ManifestId, ManifestIdError};
pub use model_name::{ModelName, ModelNameError};
pub use node_id::{NodeId, NodeIdError};
pub use numbers::{Seed, Sequence, UnixMillis};
pub use request_id::{RequestId, RequestIdError};
