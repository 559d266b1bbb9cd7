//! The list of bootstrap nodes: one multiaddr a line, each with the peer's identity, so that
//! nobody can put another node in its place.
//!
//! The text is compiled in (`bootstrap.list`) or comes from a configuration or an invite, so it
//! is parsed strictly and bounded. It knows no transport: dialing is the swarm's business.

mod address;

pub use address::{Address, AddressError, Host, PeerId, PeerIdError, Transport};

/// The list that is compiled in.
const COMPILED_IN: &str = include_str!("../bootstrap.list");

/// Nodes in one list: a node dials them all at once on its first start.
pub const MAX_NODES: usize = 64;

/// Why a text is no list of bootstrap nodes. Lines are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// A line is no address of a bootstrap node.
    #[error("line {line} is no address of a bootstrap node")]
    Line {
        /// The line.
        line: usize,
        /// What is wrong with it.
        source: AddressError,
    },
    /// The address was there before.
    #[error("line {line}: the same address again")]
    Duplicate {
        /// The line.
        line: usize,
    },
    /// More than [`MAX_NODES`].
    #[error("more than {MAX_NODES} bootstrap nodes")]
    TooMany,
}

/// The bootstrap nodes of the public mesh that this build knows; there may be none.
pub fn compiled_in() -> Vec<Address> {
    parse(COMPILED_IN).expect("a test parses the list that is compiled in")
}

/// Reads a list: an address a line; empty lines and lines that begin with `#` are ignored.
///
/// # Errors
/// The first line at fault, as a [`ListError`].
pub fn parse(text: &str) -> Result<Vec<Address>, ListError> {
    let mut addresses = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let address: Address = line.parse().map_err(|source| ListError::Line {
            line: number,
            source,
        })?;
        if addresses.contains(&address) {
            return Err(ListError::Duplicate { line: number });
        }
        if addresses.len() == MAX_NODES {
            return Err(ListError::TooMany);
        }
        addresses.push(address);
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests;
