//! The admission stream's messages, checked.
//!
//! They live on one connection, which the transport encrypts and authenticates, so they are not
//! signed themselves. Their order and meaning are the handshake's.

use prost::Message;

use super::{Chain, ChainDecodeError, RefusalCode, wire};
use crate::{ids::UnixMillis, limits::MAX_ADMISSION_BYTES};

/// Random bytes that make one handshake unlike every other.
pub const NONCE_BYTES: usize = 32;

/// A keyed hash.
pub const TAG_BYTES: usize = 32;

/// One message of the admission stream.
#[derive(Debug, Clone, PartialEq)]
pub enum AdmissionMessage {
    /// First from either side: the sender knows the swarm.
    Hello {
        /// Random.
        nonce: [u8; NONCE_BYTES],
        /// Proves it.
        tag: [u8; TAG_BYTES],
    },
    /// The dialer belongs to the swarm.
    Proof {
        /// The dialer's.
        certificate: Chain<wire::MembershipCertificate>,
        /// Over both nonces.
        tag: [u8; TAG_BYTES],
    },
    /// The dialer asks for a certificate.
    Redeem {
        /// What it has.
        invite: Chain<wire::Invite>,
        /// Over both nonces.
        tag: [u8; TAG_BYTES],
    },
    /// The listener takes the dialer in.
    Welcome {
        /// The listener's.
        certificate: Chain<wire::MembershipCertificate>,
        /// The dialer's new one, after `Redeem`.
        granted: Option<Chain<wire::MembershipCertificate>>,
    },
    /// The listener does not.
    Refused {
        /// Why; a code of a later version reads as `NotAccepted`.
        code: RefusalCode,
        /// The listener's clock.
        now: UnixMillis,
    },
}

/// Why bytes are no message of the admission stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdmissionMessageError {
    /// Over the limit; nothing was decoded.
    #[error("an admission message of {0} bytes, the limit is {MAX_ADMISSION_BYTES}")]
    TooLarge(usize),
    /// Not the protobuf encoding of the message.
    #[error("the admission message cannot be decoded")]
    Malformed(#[source] prost::DecodeError),
    /// No message in it, or one of a later version.
    #[error("an admission message of an unknown kind")]
    Kind,
    /// The nonce has another length.
    #[error("a nonce has {NONCE_BYTES} bytes, not {0}")]
    Nonce(usize),
    /// The tag has another length.
    #[error("a tag has {TAG_BYTES} bytes, not {0}")]
    Tag(usize),
    /// The certificate or invite is missing or unreadable.
    #[error("the certificate or invite is missing or unreadable")]
    Chain(#[source] ChainDecodeError),
}

impl AdmissionMessage {
    /// Reads a peer's message.
    ///
    /// # Errors
    /// Every [`AdmissionMessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, AdmissionMessageError> {
        use wire::admission_message::Message as M;
        if bytes.len() > MAX_ADMISSION_BYTES {
            return Err(AdmissionMessageError::TooLarge(bytes.len()));
        }
        let message =
            wire::AdmissionMessage::decode(bytes).map_err(AdmissionMessageError::Malformed)?;
        Ok(match message.message.ok_or(AdmissionMessageError::Kind)? {
            M::Hello(hello) => Self::Hello {
                nonce: nonce(&hello.nonce)?,
                tag: tag(&hello.tag)?,
            },
            M::Proof(proof) => Self::Proof {
                certificate: chain(proof.certificate.as_ref())?,
                tag: tag(&proof.tag)?,
            },
            M::Redeem(redeem) => Self::Redeem {
                invite: chain(redeem.invite.as_ref())?,
                tag: tag(&redeem.tag)?,
            },
            M::Welcome(welcome) => Self::Welcome {
                certificate: chain(welcome.certificate.as_ref())?,
                granted: welcome.granted.as_ref().map(read_chain).transpose()?,
            },
            M::Refused(refused) => Self::Refused {
                code: code(refused.code),
                now: UnixMillis(refused.now_unix_millis),
            },
        })
    }

    /// The message as it travels.
    pub fn encode(&self) -> Vec<u8> {
        use wire::admission_message::Message as M;
        let message = match self {
            Self::Hello { nonce, tag } => M::Hello(wire::Hello {
                nonce: nonce.to_vec(),
                tag: tag.to_vec(),
            }),
            Self::Proof { certificate, tag } => M::Proof(wire::Proof {
                certificate: Some(certificate.encode()),
                tag: tag.to_vec(),
            }),
            Self::Redeem { invite, tag } => M::Redeem(wire::Redeem {
                invite: Some(invite.encode()),
                tag: tag.to_vec(),
            }),
            Self::Welcome {
                certificate,
                granted,
            } => M::Welcome(wire::Welcome {
                certificate: Some(certificate.encode()),
                granted: granted.as_ref().map(Chain::encode),
            }),
            Self::Refused { code, now } => M::Refused(wire::Refused {
                code: (*code).into(),
                now_unix_millis: now.0,
            }),
        };
        let message = Some(message);
        wire::AdmissionMessage { message }.encode_to_vec()
    }
}

fn nonce(bytes: &[u8]) -> Result<[u8; NONCE_BYTES], AdmissionMessageError> {
    let length = bytes.len();
    bytes
        .try_into()
        .map_err(|_| AdmissionMessageError::Nonce(length))
}

fn tag(bytes: &[u8]) -> Result<[u8; TAG_BYTES], AdmissionMessageError> {
    let length = bytes.len();
    bytes
        .try_into()
        .map_err(|_| AdmissionMessageError::Tag(length))
}

fn chain<T: super::Statement>(
    chain: Option<&wire::Chain>,
) -> Result<Chain<T>, AdmissionMessageError> {
    let missing = AdmissionMessageError::Chain(ChainDecodeError::Missing);
    read_chain(chain.ok_or(missing)?)
}

fn read_chain<T: super::Statement>(chain: &wire::Chain) -> Result<Chain<T>, AdmissionMessageError> {
    Chain::decode(chain).map_err(AdmissionMessageError::Chain)
}

fn code(number: i32) -> RefusalCode {
    match RefusalCode::try_from(number) {
        Ok(RefusalCode::Unspecified) | Err(_) => RefusalCode::NotAccepted,
        Ok(code) => code,
    }
}
