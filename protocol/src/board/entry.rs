//! An entry of a board: what was said, by whom and when, with its proof.

use bytes::Bytes;
use ed25519_dalek::SigningKey;

use super::{
    check::{Signing, check, check_times},
    error::EntryError,
    note_id::{NoteId, Parts, content_of},
    saying::{Saying, Withdrawal},
    wire,
    write::write,
};
use crate::{
    envelope::Signed,
    ids::{NodeId, Sequence, UnixMillis},
    names::SwarmName,
};

/// A note or a withdrawal, signed and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Which.
    pub id: NoteId,
    /// Who signed it.
    pub author: NodeId,
    /// When, by the author's clock.
    pub written: UnixMillis,
    /// The time from which it no longer holds. It is not checked again: whoever keeps an entry
    /// drops it then.
    pub expires: UnixMillis,
    /// What was said.
    pub saying: Saying,
    /// The envelope as it travels, at most
    /// [`MAX_ENTRY_BYTES`](crate::limits::MAX_ENTRY_BYTES); two peers have the same of it,
    /// whatever a third added on the way.
    pub bytes: Bytes,
    content: [u8; 32],
}

impl Entry {
    /// Signs what is said.
    ///
    /// # Errors
    /// A field or time that no peer would take: [`EntryError`].
    pub fn sign(
        key: &SigningKey,
        swarm: &SwarmName,
        saying: Saying,
        written: UnixMillis,
        expires: UnixMillis,
    ) -> Result<Self, EntryError> {
        check_times(written, expires, written)?;
        let message = write(&saying, swarm);
        let signing = Signing {
            author: NodeId::from(key),
            written,
            expires,
        };
        if check(&message, swarm, &signing)? != saying {
            return Err(EntryError::Altered);
        }
        let signed = Signed::sign(key, Sequence(written.0), expires, &message)?;
        Ok(Self::of(&signing, saying, &signed))
    }

    /// Reads and checks an entry that came from anywhere: size, envelope, times, signature, form,
    /// swarm.
    ///
    /// # Errors
    /// Every [`EntryError`] but [`EntryError::Sign`] and [`EntryError::Altered`].
    pub fn decode(bytes: &[u8], swarm: &SwarmName, now: UnixMillis) -> Result<Self, EntryError> {
        let signed = Signed::<wire::Saying>::decode(bytes)?;
        let written = UnixMillis(signed.claimed_sequence().0);
        check_times(written, signed.claimed_expiry(), now)?;
        let verified = signed.verify(now)?;
        let signing = Signing {
            author: verified.author(),
            written,
            expires: verified.expires(),
        };
        let saying = check(verified.message(), swarm, &signing)?;
        Ok(Self::of(&signing, saying, verified.signed()))
    }

    /// Reads an entry that this node itself checked before it stored it: signature and time are
    /// not looked at again. Never for bytes that came from elsewhere.
    ///
    /// # Errors
    /// The bytes are not those of an entry of this swarm.
    pub fn stored(bytes: &[u8], swarm: &SwarmName) -> Result<Self, EntryError> {
        let signed = Signed::<wire::Saying>::decode(bytes)?;
        let signing = Signing {
            author: signed.claimed_author()?,
            written: UnixMillis(signed.claimed_sequence().0),
            expires: signed.claimed_expiry(),
        };
        let saying = check(&signed.claimed_payload()?, swarm, &signing)?;
        Ok(Self::of(&signing, saying, &signed))
    }

    /// What its author signs to take it back; `None` if it is a withdrawal itself. The signed
    /// withdrawal expires with the note: at [`Entry::expires`].
    pub fn withdrawal(&self) -> Option<Withdrawal> {
        let note = self.saying.note()?;
        Some(Withdrawal {
            board: note.board.clone(),
            note: self.id,
            written: self.written,
            expires: self.expires,
            content: self.content,
            kind: note.kind,
            parent: note.parent,
        })
    }

    fn of(signing: &Signing, saying: Saying, signed: &Signed<wire::Saying>) -> Self {
        let content = content_of(signed.payload_bytes());
        let parts = Parts {
            written: signing.written,
            expires: signing.expires,
            content,
        };
        Self {
            id: NoteId::of(&signing.author, &parts),
            author: signing.author,
            written: signing.written,
            expires: signing.expires,
            saying,
            bytes: signed.encode().into(),
            content,
        }
    }
}
