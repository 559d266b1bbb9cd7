//! Why something about a private swarm cannot be done: each is one line that says what to do.

use std::io;
use std::path::{Path, PathBuf};

use dht::core::membership::{ListError, NotMember, RestoreError};
use protocol::NodeId;
use protocol::envelope::SignError;
use protocol::limits::MAX_REVOKED;
use protocol::membership::{ChainFault, InviteError, PassError, TokenError};
use protocol::names::SwarmName;

use dht::identity::IdentityError;

/// Why something about a private swarm cannot be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwarmError {
    /// A file or folder cannot be read or written.
    #[error("cannot use {}: {cause}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A file does not hold what was written into it.
    #[error(
        "{} is damaged ({cause}): restore a copy; or leave the swarm (`shoal swarm leave`) and join it again",
        path.display()
    )]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// Another command changes the swarms and does not end.
    #[error("{} is held by another shoal command; let it end and try again", .0.display())]
    Busy(PathBuf),
    /// A key cannot be read.
    #[error(transparent)]
    Key(IdentityError),
    /// The root key's file holds another key, or none.
    #[error(
        "{} does not hold the root key of `{swarm}`: put the backup of the right key there",
        path.display()
    )]
    RootKey {
        /// The file.
        path: PathBuf,
        /// The swarm.
        swarm: SwarmName,
    },
    /// No private swarm at all.
    #[error(
        "this node knows no private swarm: make one with `shoal swarm create NAME`, or join one with `shoal join TOKEN`"
    )]
    NoSwarm,
    /// Not this one.
    #[error(
        "this node knows no swarm `{name}` ({}): join it with `shoal join TOKEN`, or make it with `shoal swarm create {name}`",
        listed(.known)
    )]
    Unknown {
        /// What was asked for.
        name: SwarmName,
        /// What there is.
        known: Vec<SwarmName>,
    },
    /// Nobody said which.
    #[error(
        "this node knows several swarms ({}): say which one with --swarm NAME, or `swarm = \"NAME\"` in the configuration",
        listed(.0)
    )]
    Several(Vec<SwarmName>),
    /// The public mesh's name.
    #[error("`public` is the mesh that everyone may join; give the private swarm another name")]
    PublicName,
    /// The public mesh has no members, invites or keys.
    #[error("`public` is the mesh that everyone may join; name a private swarm with --swarm NAME")]
    Public,
    /// There is a swarm of that name here, under another root or made before.
    #[error(
        "this node knows a swarm `{name}` already, under the root {root}: leave it first (`shoal swarm leave --swarm {name}`), or use another --data-dir"
    )]
    Exists {
        /// Its name.
        name: SwarmName,
        /// Its root.
        root: NodeId,
    },
    /// The node's own certificate does not hold.
    #[error("swarm `{swarm}`: {fault}{}", way_back(.fault))]
    Own {
        /// Of which swarm.
        swarm: SwarmName,
        /// What is wrong with it.
        fault: NotMember,
    },
    /// The invite does not hold for this node.
    #[error("swarm `{swarm}`: {fault}{}", way_back(.fault))]
    NotInvited {
        /// Of which swarm.
        swarm: SwarmName,
        /// What is wrong with it.
        fault: NotMember,
    },
    /// Neither certificate nor invite.
    #[error(
        "this node is no member of `{0}` yet and has no invite: ask its owner for a token and run `shoal join TOKEN`"
    )]
    NoCredential(SwarmName),
    /// What `join` or `join_file` of the configuration holds cannot be used.
    #[error("{setting} of the configuration: {cause}")]
    Configured {
        /// Which setting.
        setting: &'static str,
        /// Why.
        cause: Box<SwarmError>,
    },
    /// The text is no token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token's invite does not hold.
    #[error(transparent)]
    Invite(#[from] InviteError),
    /// The text is no pass.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// None of the invite's addresses means anything here.
    #[error(
        "no bootstrap address of this token is one that this version can use; ask for a new token"
    )]
    Addresses,
    /// Neither the root key nor a delegation for it.
    #[error(
        "this node may not {act} in `{swarm}`: do it where the root key is, or let its owner run `shoal swarm delegate {own}` there"
    )]
    MayNot {
        /// What, as a verb.
        act: &'static str,
        /// Where.
        swarm: SwarmName,
        /// This node.
        own: NodeId,
    },
    /// A list of revocations that is kept does not hold.
    #[error("the list of revocations {} does not hold: {cause}", path.display())]
    List {
        /// Its file.
        path: PathBuf,
        /// Why.
        cause: ListError,
    },
    /// No more fit one list.
    #[error("{MAX_REVOKED} peers are revoked already: make a new swarm and invite who stays")]
    TooManyRevoked,
    /// The ledger of invites makes no sense.
    #[error("{}: {cause}; restore a copy of the folder", path.display())]
    Ledger {
        /// Its folder.
        path: PathBuf,
        /// Why.
        cause: RestoreError,
    },
    /// More certificates were given by hand than are listed.
    #[error("this node gave {0} certificates by hand already; use invites (`shoal swarm invite`)")]
    TooManyIssued(usize),
    /// What is to be signed is too large.
    #[error("it cannot be signed: {0}; give fewer or shorter --bootstrap addresses")]
    Sign(#[from] SignError),
    /// Leaving would destroy the root key.
    #[error(
        "the root key of `{swarm}` is here: copy {} to a safe place first, then say --forget-root-key",
        path.display()
    )]
    RootKeyHere {
        /// The swarm.
        swarm: SwarmName,
        /// The key's file.
        path: PathBuf,
    },
}

impl SwarmError {
    pub(super) fn damaged(path: &Path, cause: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_path_buf(),
            cause: cause.into(),
        }
    }

    /// Whether what the user typed is at fault, not what was found.
    pub fn is_usage(&self) -> bool {
        if let Self::Configured { cause, .. } = self {
            return cause.is_usage();
        }
        matches!(
            self,
            Self::Token(_)
                | Self::Pass(_)
                | Self::Unknown { .. }
                | Self::Several(_)
                | Self::NoSwarm
                | Self::PublicName
                | Self::Public
        )
    }

    /// Whether the swarm does not take this node, though everything here can be read: it expired,
    /// was revoked, waits for an invite, or its clock is wrong.
    pub fn is_not_member(&self) -> bool {
        if let Self::Configured { cause, .. } = self {
            return cause.is_not_member();
        }
        matches!(
            self,
            Self::Own { .. } | Self::NotInvited { .. } | Self::NoCredential(_) | Self::Invite(_)
        )
    }
}

fn listed(names: &[SwarmName]) -> String {
    let names: Vec<_> = names.iter().map(SwarmName::to_string).collect();
    match names.is_empty() {
        true => "none is here".into(),
        false => names.join(", "),
    }
}

/// What to do, where the fault itself does not say it.
fn way_back(fault: &NotMember) -> String {
    match fault {
        NotMember::Chain(error) => match error.fault {
            ChainFault::Expired(_) => ": ask the owner for a token (`shoal join TOKEN`)".into(),
            ChainFault::NotYet(_) | ChainFault::TooLongLived => {
                ": set this machine's clock and try again".into()
            }
            _ => ": ask the owner for a new token (`shoal join TOKEN`)".into(),
        },
        NotMember::OtherPeer(_) => {
            ": restore this node's identity.key, or ask the owner for a token (`shoal join TOKEN`)"
                .into()
        }
        NotMember::Revoked { peer } => format!(" (`shoal swarm renew {peer}`)"),
        _ => String::new(),
    }
}
