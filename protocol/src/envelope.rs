//! Messages that outlive a connection, signed by their author.
//!
//! A [`Signed`] came from anywhere and proves nothing. [`Signed::verify`] is the only way to a
//! [`Verified`], so a function that takes one cannot be called with an unchecked message. In
//! order: size, before anything is decoded; key; expiry and lifetime, before the costly part;
//! signature (strict, RFC 8032, no small-order keys); and only then the payload.
//!
//! Domain separation: the signature covers the type's label, so an advert's signature is never
//! one over a note. A payload that belongs to one swarm names the swarm itself. It does not know
//! what the payloads mean, nor which sequence numbers were seen before.

use std::{fmt, marker::PhantomData, time::Duration};

use ed25519_dalek::{Signature, Signer, SigningKey};
use prost::Message;

use crate::{
    ids::{NodeId, NodeIdError, Sequence, UnixMillis},
    limits::{MAX_CLOCK_SKEW, MAX_ENVELOPE_OVERHEAD_BYTES},
};

mod wire {
    #![allow(missing_docs, reason = "generated; documented in proto/envelope.proto")]
    include!(concat!(env!("OUT_DIR"), "/shoal.envelope.v1.rs"));
}

/// A message that travels signed.
pub trait Payload: Message + Default {
    /// Names the type and its version, as `shoal/advert/1`; unique among all types, ASCII.
    const LABEL: &'static str;
    /// The longest encoding that is signed or accepted.
    const MAX_BYTES: usize;
    /// The longest time before its expiry that it is accepted: how long an author can make
    /// others keep it.
    const MAX_LIFETIME: Duration;
}

/// A message with its author's key and signature, not checked yet.
///
/// It keeps the payload's bytes as they were signed, so that passing it on never re-encodes it
/// and fields of later versions survive.
pub struct Signed<T> {
    envelope: wire::Envelope,
    payload: PhantomData<fn() -> T>,
}

/// A message whose author, integrity and time were checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified<T> {
    author: NodeId,
    message: T,
    signed: Signed<T>,
}

/// Why a message was not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// Its encoding is over the type's limit.
    #[error("the message has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes of its encoding.
        bytes: usize,
        /// [`Payload::MAX_BYTES`].
        limit: usize,
    },
}

/// Why bytes are no envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// More bytes than any envelope of the type has; nothing was decoded.
    #[error("the envelope has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes that came.
        bytes: usize,
        /// The type's limit with [`MAX_ENVELOPE_OVERHEAD_BYTES`].
        limit: usize,
    },
    /// Not the protobuf message of an envelope.
    #[error("the envelope cannot be decoded")]
    Malformed(#[source] prost::DecodeError),
}

/// Why a message was not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The payload is over the type's limit.
    #[error("the payload has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes of the payload.
        bytes: usize,
        /// [`Payload::MAX_BYTES`].
        limit: usize,
    },
    /// The author's key is none.
    #[error("the author's key is unusable")]
    Author(#[source] NodeIdError),
    /// It no longer holds.
    #[error("the message expired")]
    Expired,
    /// It would hold for longer than its type may.
    #[error("the message expires later than its kind may")]
    TooLongLived,
    /// The signature is not the author's over this label, these numbers and this payload.
    #[error("the signature is wrong")]
    Signature,
    /// Signed, but not the protobuf message of its type.
    #[error("the payload cannot be decoded")]
    Payload(#[source] prost::DecodeError),
}

impl<T: Payload> Signed<T> {
    /// Signs a message.
    ///
    /// # Errors
    /// When its encoding is over [`Payload::MAX_BYTES`].
    pub fn sign(
        key: &SigningKey,
        sequence: Sequence,
        expires: UnixMillis,
        message: &T,
    ) -> Result<Self, SignError> {
        let (bytes, limit) = (message.encoded_len(), T::MAX_BYTES);
        if bytes > limit {
            return Err(SignError::TooLarge { bytes, limit });
        }
        let mut envelope = wire::Envelope {
            public_key: NodeId::from(key).as_bytes().to_vec(),
            sequence: sequence.0,
            expires_unix_millis: expires.0,
            payload: message.encode_to_vec(),
            signature: Vec::new(),
        };
        let signature = key.sign(&signed_bytes(T::LABEL, &envelope));
        envelope.signature = signature.to_bytes().to_vec();
        Ok(Self::from(envelope))
    }

    /// Reads an envelope, its payload still as bytes.
    ///
    /// # Errors
    /// Every [`EnvelopeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let limit = T::MAX_BYTES.saturating_add(MAX_ENVELOPE_OVERHEAD_BYTES);
        if bytes.len() > limit {
            let bytes = bytes.len();
            return Err(EnvelopeError::TooLarge { bytes, limit });
        }
        wire::Envelope::decode(bytes)
            .map(Self::from)
            .map_err(EnvelopeError::Malformed)
    }

    /// The envelope as it travels.
    pub fn encode(&self) -> Vec<u8> {
        self.envelope.encode_to_vec()
    }

    /// The expiry that it claims: to say by how much it is past, never to rely on.
    pub fn claimed_expiry(&self) -> UnixMillis {
        UnixMillis(self.envelope.expires_unix_millis)
    }

    /// The sequence number that it claims: to pass over what is known already, never to rely on.
    pub fn claimed_sequence(&self) -> Sequence {
        Sequence(self.envelope.sequence)
    }

    /// The payload's bytes, as they were signed.
    pub(crate) fn payload_bytes(&self) -> &[u8] {
        &self.envelope.payload
    }

    /// What it claims to say, before anything is known of its author: to learn what to check it
    /// against, never to rely on.
    ///
    /// # Errors
    /// [`VerifyError::TooLarge`] and [`VerifyError::Payload`].
    pub fn claimed_payload(&self) -> Result<T, VerifyError> {
        self.check_size()?;
        T::decode(self.envelope.payload.as_slice()).map_err(VerifyError::Payload)
    }

    /// Who is said to have signed it: nothing that is not checked by [`Signed::verify`] is to be
    /// relied on.
    ///
    /// # Errors
    /// [`VerifyError::Author`].
    pub fn claimed_author(&self) -> Result<NodeId, VerifyError> {
        NodeId::from_bytes(&self.envelope.public_key).map_err(VerifyError::Author)
    }

    /// Checks everything that can be checked without knowing what the message means.
    ///
    /// # Errors
    /// Every [`VerifyError`].
    pub fn verify(self, now: UnixMillis) -> Result<Verified<T>, VerifyError> {
        self.check_size()?;
        let author = self.claimed_author()?;
        self.check_time(now)?;
        self.check_signature(author)?;
        let message = T::decode(self.envelope.payload.as_slice()).map_err(VerifyError::Payload)?;
        Ok(Verified {
            author,
            message,
            signed: self,
        })
    }

    fn check_size(&self) -> Result<(), VerifyError> {
        let (bytes, limit) = (self.envelope.payload.len(), T::MAX_BYTES);
        if bytes > limit {
            return Err(VerifyError::TooLarge { bytes, limit });
        }
        Ok(())
    }

    fn check_time(&self, now: UnixMillis) -> Result<(), VerifyError> {
        let expires = UnixMillis(self.envelope.expires_unix_millis);
        if expires <= now {
            return Err(VerifyError::Expired);
        }
        // An author whose clock is ahead signs for a little longer than may be.
        let longest = T::MAX_LIFETIME.saturating_add(MAX_CLOCK_SKEW);
        if expires > now.saturating_add(longest) {
            return Err(VerifyError::TooLongLived);
        }
        Ok(())
    }

    fn check_signature(&self, author: NodeId) -> Result<(), VerifyError> {
        let signature =
            Signature::from_slice(&self.envelope.signature).map_err(|_| VerifyError::Signature)?;
        author
            .verifying_key()
            .verify_strict(&signed_bytes(T::LABEL, &self.envelope), &signature)
            .map_err(|_| VerifyError::Signature)
    }
}

impl<T> Verified<T> {
    /// Who signed it.
    pub fn author(&self) -> NodeId {
        self.author
    }

    /// How new it is among its author's.
    pub fn sequence(&self) -> Sequence {
        Sequence(self.signed.envelope.sequence)
    }

    /// The time from which it no longer holds. It is not checked again: whoever keeps a message
    /// drops it then.
    pub fn expires(&self) -> UnixMillis {
        UnixMillis(self.signed.envelope.expires_unix_millis)
    }

    /// What the author said.
    pub fn message(&self) -> &T {
        &self.message
    }

    /// The envelope, to keep or to pass on byte for byte.
    pub fn signed(&self) -> &Signed<T> {
        &self.signed
    }
}

/// What a signature covers: `label ‖ 0 ‖ sequence ‖ expiry ‖ length ‖ payload`, numbers as 8
/// bytes, big-endian. A label has no zero byte, so no two inputs give the same bytes.
fn signed_bytes(label: &str, envelope: &wire::Envelope) -> Vec<u8> {
    let payload = envelope.payload.as_slice();
    let length = u64::try_from(payload.len()).expect("a length in memory fits 64 bits");
    [
        label.as_bytes(),
        &[0],
        &envelope.sequence.to_be_bytes(),
        &envelope.expires_unix_millis.to_be_bytes(),
        &length.to_be_bytes(),
        payload,
    ]
    .concat()
}

impl<T> From<wire::Envelope> for Signed<T> {
    fn from(envelope: wire::Envelope) -> Self {
        Self {
            envelope,
            payload: PhantomData,
        }
    }
}

impl<T> Clone for Signed<T> {
    fn clone(&self) -> Self {
        Self::from(self.envelope.clone())
    }
}

impl<T> PartialEq for Signed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.envelope == other.envelope
    }
}

impl<T> fmt::Debug for Signed<T> {
    /// Not the payload: it is a stranger's, and may be long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed")
            .field("sequence", &self.envelope.sequence)
            .field("expires_unix_millis", &self.envelope.expires_unix_millis)
            .field("payload_bytes", &self.envelope.payload.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
