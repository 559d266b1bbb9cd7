//! Names in configured addresses, resolved by the system: bootstrap nodes and rendezvous servers.
//!
//! Entries are multiaddrs that end in `/p2p/PEER` and begin with an IP address or with `dns`,
//! `dns4` or `dns6` and a name. They come from this machine's owner, an invite or the compiled-in
//! lists, so any machine may be named; how many names, for how long and how many answers each are
//! bounded all the same. `dnsaddr` needs TXT records, which the system's resolver does not read.

use std::{collections::BTreeMap, future::Future, io, net::IpAddr, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use tokio::time::{Instant, timeout_at};

use crate::{
    core::join::Candidate,
    reach::{self, Reach},
};

/// Entries that are looked at: 64 nodes with two transports each, twice a bootstrap list.
pub const MAX_ENTRIES: usize = 128;

/// Addresses that one name may have; a name with more is a list of its own.
pub const MAX_ADDRESSES_PER_NAME: usize = 8;

/// Names that are asked for at once: each holds a thread of the system's resolver.
pub const CONCURRENT_LOOKUPS: usize = 16;

/// After this the answers that are there must do. A resolver that works answers in a second; one
/// that does not must not hold up the entries that are IP addresses.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A host's name (RFC 1035 section 2.3.4).
const MAX_NAME_BYTES: usize = 253;

/// Why an entry led nowhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// Not an address of a form that can be dialed.
    #[error(
        "not of the form /dns/HOST/udp/PORT/quic-v1/p2p/PEER or /ip4/ADDRESS/tcp/PORT/p2p/PEER"
    )]
    Form,
    /// The resolver said no.
    #[error("the name did not resolve: check the DNS")]
    Lookup(#[source] io::Error),
    /// The name has no address of the asked kind.
    #[error("the name has no address of this kind")]
    NoAddress,
    /// No answer within [`RESOLVE_TIMEOUT`].
    #[error("no answer from the DNS within {} s", RESOLVE_TIMEOUT.as_secs())]
    TimedOut,
    /// More than [`MAX_ENTRIES`].
    #[error("more than {MAX_ENTRIES} addresses: the rest is left out")]
    TooMany,
}

/// Whoever knows the addresses of names.
pub trait Lookup: Sync {
    /// The addresses of a host, in the order to try them.
    fn lookup(&self, host: &str) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send;
}

/// The system's resolver: the hosts file, the DNS, or whatever else the owner has set up.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((host, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// What became of a list of entries.
#[derive(Debug, Default)]
pub struct Resolved {
    /// Peers and their addresses, names replaced, in the order of the list.
    peers: Vec<(PeerId, Vec<Multiaddr>)>,
    /// The entries that led nowhere, and why.
    pub problems: Vec<(String, ResolveError)>,
}

impl Resolved {
    /// For the join: nodes, which have Ed25519 keys. Other peers are left out.
    pub fn candidates(&self) -> Vec<Candidate> {
        let peers = self.peers.iter();
        peers
            .filter_map(|(peer, addresses)| reach::candidate(peer, addresses, Reach::Any))
            .collect()
    }

    /// Peers with keys of any kind.
    pub(crate) fn peers(&self) -> &[(PeerId, Vec<Multiaddr>)] {
        &self.peers
    }

    fn add(&mut self, peer: PeerId, address: Multiaddr) {
        let index = self.peers.iter().position(|(known, _)| *known == peer);
        let index = index.unwrap_or_else(|| {
            self.peers.push((peer, Vec::new()));
            self.peers.len() - 1
        });
        let addresses = &mut self.peers[index].1;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
}

/// An entry, taken apart.
struct Entry {
    peer: PeerId,
    host: Host,
    /// What follows the host.
    rest: Multiaddr,
}

enum Host {
    Ip(IpAddr),
    Name(String, Kind),
}

/// Which addresses of a name are meant.
#[derive(Clone, Copy)]
enum Kind {
    Both,
    V4,
    V6,
}

impl Kind {
    fn takes(self, ip: IpAddr) -> bool {
        match self {
            Self::Both => true,
            Self::V4 => ip.is_ipv4(),
            Self::V6 => ip.is_ipv6(),
        }
    }
}

/// What the resolver said of each name; a name without an entry timed out.
type Answers = BTreeMap<String, io::Result<Vec<IpAddr>>>;

/// Resolves a list. It takes at most [`RESOLVE_TIMEOUT`] and never fails as a whole; dropping it
/// stops it.
pub async fn resolve<L: Lookup>(entries: &[String], lookup: &L) -> Resolved {
    let mut resolved = Resolved::default();
    let left_out = entries.iter().skip(MAX_ENTRIES);
    let too_many = left_out.map(|text| (text.clone(), ResolveError::TooMany));
    let mut parsed = Vec::new();
    for text in entries.iter().take(MAX_ENTRIES) {
        match parse(text) {
            Some(entry) => parsed.push((text, entry)),
            None => resolved.problems.push((text.clone(), ResolveError::Form)),
        }
    }
    let mut answers = ask(&parsed, lookup).await;
    for (text, entry) in parsed {
        if let Err(error) = place(&entry, &mut answers, &mut resolved) {
            resolved.problems.push((text.clone(), error));
        }
    }
    resolved.problems.extend(too_many);
    resolved
}

/// Asks for each name once.
async fn ask<L: Lookup>(entries: &[(&String, Entry)], lookup: &L) -> Answers {
    let mut names: Vec<String> = Vec::new();
    for (_, entry) in entries {
        if let Host::Name(name, _) = &entry.host
            && !names.contains(name)
        {
            names.push(name.clone());
        }
    }
    let deadline = Instant::now() + RESOLVE_TIMEOUT;
    let one = |name: String| {
        let answer = async move {
            let answer = lookup.lookup(&name).await;
            (name, answer)
        };
        answer.boxed()
    };
    let asked: Vec<BoxFuture<'_, _>> = names.into_iter().map(one).collect();
    let mut asked = stream::iter(asked).buffer_unordered(CONCURRENT_LOOKUPS);
    let mut answers = Answers::new();
    while let Ok(Some((name, answer))) = timeout_at(deadline, asked.next()).await {
        answers.insert(name, answer);
    }
    answers
}

/// Puts an entry's addresses among the resolved ones.
fn place(
    entry: &Entry,
    answers: &mut Answers,
    resolved: &mut Resolved,
) -> Result<(), ResolveError> {
    let (ips, kind) = match &entry.host {
        Host::Ip(ip) => (vec![*ip], Kind::Both),
        Host::Name(name, kind) => match answers.get_mut(name) {
            None => return Err(ResolveError::TimedOut),
            Some(Ok(ips)) => (ips.clone(), *kind),
            // The error itself goes to the first entry with this name.
            Some(answer) => {
                let error = std::mem::replace(answer, Ok(Vec::new()));
                return Err(error.map_or_else(ResolveError::Lookup, |_| ResolveError::NoAddress));
            }
        },
    };
    let usable = |ip: &IpAddr| kind.takes(*ip) && Reach::Any.allows(*ip);
    let mut count = 0;
    for ip in ips.into_iter().filter(usable).take(MAX_ADDRESSES_PER_NAME) {
        let rest = entry.rest.iter();
        let address = rest.fold(Multiaddr::from(ip), |address, part| address.with(part));
        resolved.add(entry.peer, address);
        count += 1;
    }
    if count == 0 {
        return Err(ResolveError::NoAddress);
    }
    Ok(())
}

/// Takes an entry apart; its form is that of a direct address once the name is an IP address.
fn parse(text: &str) -> Option<Entry> {
    let address: Multiaddr = text.parse().ok()?;
    let Some(Protocol::P2p(peer)) = address.iter().last() else {
        return None;
    };
    let host = match address.iter().next()? {
        Protocol::Ip4(ip) => Host::Ip(ip.into()),
        Protocol::Ip6(ip) => Host::Ip(ip.into()),
        Protocol::Dns(name) => Host::Name(host_name(&name)?, Kind::Both),
        Protocol::Dns4(name) => Host::Name(host_name(&name)?, Kind::V4),
        Protocol::Dns6(name) => Host::Name(host_name(&name)?, Kind::V6),
        _ => return None,
    };
    let mut rest: Multiaddr = address.iter().skip(1).collect();
    // Any machine's address will do to see whether the rest can be dialed.
    let sample = match host {
        Host::Ip(ip) => ip,
        Host::Name(..) => IpAddr::from([127, 0, 0, 1]),
    };
    let whole = rest
        .iter()
        .fold(Multiaddr::from(sample), |address, part| address.with(part));
    let is_circuit = rest.iter().any(|part| part == Protocol::P2pCircuit);
    reach::address(&whole, &peer, Reach::Any).filter(|_| !is_circuit)?;
    rest.pop();
    Some(Entry { peer, host, rest })
}

/// A host's name (RFC 1123 section 2.1); what else a resolver may be asked is not for lists.
fn host_name(text: &str) -> Option<String> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_');
    let fits = !text.is_empty() && text.len() <= MAX_NAME_BYTES;
    (fits && text.bytes().all(plain)).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests;
