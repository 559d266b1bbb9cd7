//! Bootstrap nodes: where a node that knows nobody begins. The list that is compiled in, the
//! private swarms that a node or a server knows with the invites that it redeems, and the server
//! `shoal-bootstrap`: a known address, a node of the DHT and a relay, without an engine.

pub mod args;
pub mod health;
pub mod list;
pub mod memberships;
pub mod server;
