//! `/shoal/<swarm>/generate/1` and `/shoal/<swarm>/embed/1`: a request to a peer and what streams
//! back, over any stream of bytes.
//!
//! The client writes one framed request and leaves its direction open: an end of it, in whatever
//! form, or a further byte means that it is gone, and the work for it stops. The server writes
//! framed replies in the order of [`protocol::generate::ReplyOrder`]; the last of them says that
//! it is, so an end before it is a cut ([`CallError::Cut`]). Whoever answers says at least every
//! [`protocol::limits::REPLY_HEARTBEAT`] that it is at work. One stream carries one request.
//!
//! It knows neither whom it speaks with nor how an answer is made, and keeps no state beyond one
//! request.

mod call;
mod embed;
mod error;
mod reader;
mod room;
mod serve;

pub use self::{
    call::{Answer, Call},
    embed::{EmbedError, embed, serve_embed},
    error::{CallError, ServeError, Violation},
    room::{MAX_ROOM_BYTES, RequestRoom},
    serve::{MAX_STALL, serve_generate},
};

#[cfg(test)]
mod tests;
