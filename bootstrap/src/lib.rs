//! Bootstrap nodes: where a node that knows nobody begins.
//!
//! So far the list that is compiled in, and its parser. The server comes with the swarm's own
//! issue; nothing here pretends to be it.

pub mod list;
