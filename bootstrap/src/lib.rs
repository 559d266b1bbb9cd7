//! Bootstrap nodes: where a node that knows nobody begins. The list that is compiled in, and the
//! server `shoal-bootstrap`: a known address, a node of the DHT and a relay, without an engine.

pub mod args;
pub mod health;
pub mod list;
pub mod server;
