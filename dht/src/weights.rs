//! `/shoal/<swarm>/weights/1`: parts of a model's files from a peer, over any stream of bytes.
//!
//! The client writes one framed request. The server answers with one framed reply; if that says that
//! bytes follow, they come in frames of their own; then comes END. An end before it is a cut, and the
//! client's going, in whatever form, ends the sending. One stream carries one request.
//!
//! It knows neither whom it speaks with nor what the bytes should be: whoever asked compares them with
//! the model's manifest.

mod call;
mod error;
mod serve;

pub use self::{
    call::{Answer, Incoming, ask, ask_have, ask_manifest},
    error::{CallError, ServeError, Violation},
    serve::{Given, serve_weights},
};

#[cfg(test)]
mod tests;
