//! Payloads to bytes and back. What comes in is from a peer and believed nothing: a payload is
//! bounded before it is read, every count is checked against the rows that are there, and numbers
//! are what they say. Whether a stage can do what is asked is the stage's to check.
//!
//! ```text
//! u32 little-endian: bytes of the head | head (protobuf) | hidden states
//! ```

mod back;

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use self::back::{failure_from_wire, failure_to_wire, given_from_wire, given_to_wire};
use super::wire;
use super::{Back, Forward, Opening, Part, Precision, TokenRows, Voice, Wanted};
use crate::core::scheduler::JobId;
use crate::core::slots::{KvOp, ParkId, SlotId};
use crate::core::speculation::Spent;
use crate::wire::{grammar_from_wire, grammar_to_wire};

/// Bytes of a payload at most: 256 rows of 8,192 exact numbers are 8 MiB less what the head of the
/// payload takes. Larger batches gain nothing on the way, and one of them is in each neighbour's
/// memory several times.
pub const MAX_PAYLOAD_BYTES: usize = 8 << 20;

/// Bytes of a payload that are left to its head.
const HEAD_BYTES: usize = 512 << 10;

/// Numbers in a row at most; the widest models that are published have 16,384.
const MAX_WIDTH: usize = 1 << 16;

/// Bytes of a failure's words that are passed on.
const MAX_WORDS: usize = 512;

/// Why bytes are no payload.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// Longer than [`MAX_PAYLOAD_BYTES`].
    #[error("a payload of {0} bytes; {MAX_PAYLOAD_BYTES} are allowed")]
    TooLarge(usize),
    /// It ends before its head does.
    #[error("a payload that is cut short")]
    Short,
    /// The head is no protobuf message, or not this one.
    #[error("a payload without a head")]
    Garbage(#[source] prost::DecodeError),
    /// A value that cannot be.
    #[error("a payload with a bad {0}")]
    Bad(&'static str),
}

/// Rows of hidden states that fit into a payload; one at least.
#[must_use]
pub fn rows_that_fit(precision: Precision, width: usize) -> usize {
    ((MAX_PAYLOAD_BYTES - HEAD_BYTES) / precision.row_bytes(width).max(1)).max(1)
}

impl Forward {
    /// The bytes.
    ///
    /// # Errors
    /// [`PayloadError::TooLarge`].
    pub fn encode(self) -> Result<Bytes, PayloadError> {
        let head = wire::Forward {
            ring: self.ring,
            batch: self.batch,
            ops: self.ops.into_iter().map(op_to_wire).collect(),
            parts: self.parts.into_iter().map(part_to_wire).collect(),
            open: self.open.into_iter().map(opening_to_wire).collect(),
            close: self.close.into_iter().map(|job| job.0).collect(),
            failures: self.failures.into_iter().map(failure_to_wire).collect(),
            precision: self.hidden.precision.id(),
            width: small(self.hidden.width),
            spent_micros: micros(self.spent.total),
            slowest_micros: micros(self.spent.slowest),
        };
        frame(&head, &self.hidden.bytes)
    }

    /// The payload in these bytes. Hidden states are not copied.
    ///
    /// # Errors
    /// Every [`PayloadError`].
    pub fn decode(payload: Bytes) -> Result<Self, PayloadError> {
        let (head, rows) = unframe::<wire::Forward>(payload)?;
        let precision = Precision::from_id(head.precision).ok_or(PayloadError::Bad("format"))?;
        let width = head.width as usize;
        if width == 0 || width > MAX_WIDTH {
            return Err(PayloadError::Bad("width"));
        }
        let parts = collect(head.parts, part_from_wire)?;
        let wanted = parts
            .iter()
            .try_fold(0_usize, |n, p: &Part| n.checked_add(p.n));
        let bytes = wanted.and_then(|rows| rows.checked_mul(precision.row_bytes(width)));
        if bytes != Some(rows.len()) {
            return Err(PayloadError::Bad("number of rows"));
        }
        Ok(Self {
            ring: head.ring,
            batch: head.batch,
            ops: collect(head.ops, op_from_wire)?,
            parts,
            open: collect(head.open, opening_from_wire)?,
            close: head.close.into_iter().map(JobId).collect(),
            failures: collect(head.failures, failure_from_wire)?,
            spent: Spent {
                total: Duration::from_micros(head.spent_micros),
                slowest: Duration::from_micros(head.slowest_micros),
            },
            hidden: TokenRows {
                precision,
                width,
                bytes: rows,
            },
        })
    }
}

impl Back {
    /// The bytes.
    ///
    /// # Errors
    /// [`PayloadError::TooLarge`].
    pub fn encode(self) -> Result<Bytes, PayloadError> {
        let head = wire::Back {
            ring: self.ring,
            batch: self.batch,
            given: self.given.into_iter().map(given_to_wire).collect(),
            failures: self.failures.into_iter().map(failure_to_wire).collect(),
            spent_micros: micros(self.spent.total),
            slowest_micros: micros(self.spent.slowest),
        };
        frame(&head, &[])
    }

    /// The payload in these bytes.
    ///
    /// # Errors
    /// Every [`PayloadError`].
    pub fn decode(payload: Bytes) -> Result<Self, PayloadError> {
        let (head, rest) = unframe::<wire::Back>(payload)?;
        if !rest.is_empty() {
            return Err(PayloadError::Bad("end"));
        }
        Ok(Self {
            ring: head.ring,
            batch: head.batch,
            given: collect(head.given, given_from_wire)?,
            failures: collect(head.failures, failure_from_wire)?,
            spent: Spent {
                total: Duration::from_micros(head.spent_micros),
                slowest: Duration::from_micros(head.slowest_micros),
            },
        })
    }
}

fn frame(head: &impl prost::Message, rows: &[u8]) -> Result<Bytes, PayloadError> {
    let length = head.encoded_len();
    let total = 4 + length + rows.len();
    if total > MAX_PAYLOAD_BYTES {
        return Err(PayloadError::TooLarge(total));
    }
    let mut out = BytesMut::with_capacity(total);
    out.put_u32_le(small(length));
    head.encode(&mut out)
        .expect("a BytesMut takes what was reserved in it");
    out.extend_from_slice(rows);
    Ok(out.freeze())
}

fn unframe<M: prost::Message + Default>(mut payload: Bytes) -> Result<(M, Bytes), PayloadError> {
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(PayloadError::TooLarge(payload.len()));
    }
    if payload.len() < 4 {
        return Err(PayloadError::Short);
    }
    let length = payload.get_u32_le() as usize;
    if payload.len() < length {
        return Err(PayloadError::Short);
    }
    let head = payload.split_to(length);
    let head = M::decode(head).map_err(PayloadError::Garbage)?;
    Ok((head, payload))
}

fn collect<W, T>(
    list: Vec<W>,
    convert: impl Fn(W) -> Result<T, PayloadError>,
) -> Result<Vec<T>, PayloadError> {
    list.into_iter().map(convert).collect()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A number that is below the context's size, or the limit on payloads.
fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn op_to_wire(op: KvOp) -> wire::Op {
    use wire::{Cut, OpKind, Parked, Share};
    let kind = match op {
        KvOp::Cut { slot, keep } => OpKind::Cut(Cut {
            slot: slot.0,
            keep: small(keep),
        }),
        KvOp::Share { from, to, len } => OpKind::Share(Share {
            from: from.0,
            to: to.0,
            len: small(len),
        }),
        KvOp::Park { slot, id } => OpKind::Park(Parked {
            slot: slot.0,
            id: id.0,
        }),
        KvOp::Unpark { id, slot } => OpKind::Unpark(Parked {
            slot: slot.0,
            id: id.0,
        }),
        KvOp::Discard { id } => OpKind::Discard(id.0),
    };
    wire::Op { kind: Some(kind) }
}

fn op_from_wire(op: wire::Op) -> Result<KvOp, PayloadError> {
    use wire::OpKind;
    Ok(match op.kind.ok_or(PayloadError::Bad("operation"))? {
        OpKind::Cut(cut) => KvOp::Cut {
            slot: SlotId(cut.slot),
            keep: cut.keep as usize,
        },
        OpKind::Share(share) => KvOp::Share {
            from: SlotId(share.from),
            to: SlotId(share.to),
            len: share.len as usize,
        },
        OpKind::Park(parked) => KvOp::Park {
            slot: SlotId(parked.slot),
            id: ParkId(parked.id),
        },
        OpKind::Unpark(parked) => KvOp::Unpark {
            id: ParkId(parked.id),
            slot: SlotId(parked.slot),
        },
        OpKind::Discard(id) => KvOp::Discard { id: ParkId(id) },
    })
}

fn part_to_wire(part: Part) -> wire::Part {
    let mut out = wire::Part {
        job: part.job.0,
        slot: part.slot.0,
        keep_n: small(part.keep_n),
        n: small(part.n),
        ..wire::Part::default()
    };
    match part.wanted {
        Wanted::Nothing => {}
        Wanted::Token { position } => out.position = Some(position),
        Wanted::Prompt { next, position } => {
            (out.next, out.position, out.is_prompt) = (next, position, true);
        }
        Wanted::Window {
            position,
            assumed,
            drafts,
        } => (out.position, out.assumed, out.drafts) = (Some(position), assumed, drafts),
    }
    out
}

fn part_from_wire(part: wire::Part) -> Result<Part, PayloadError> {
    let n = part.n as usize;
    let wanted = match (part.position, part.is_prompt) {
        _ if n == 0 => return Err(PayloadError::Bad("part without rows")),
        (position, true) if part.next.len() <= n => Wanted::Prompt {
            next: part.next,
            position,
        },
        (_, true) => return Err(PayloadError::Bad("number of following tokens")),
        (Some(position), false) if part.drafts.is_empty() && part.assumed.is_none() => {
            Wanted::Token { position }
        }
        (Some(position), false) if part.drafts.len() + 1 == n => Wanted::Window {
            position,
            assumed: part.assumed,
            drafts: part.drafts,
        },
        (Some(_), false) => return Err(PayloadError::Bad("number of drafts")),
        (None, false) => Wanted::Nothing,
    };
    Ok(Part {
        job: JobId(part.job),
        slot: SlotId(part.slot),
        keep_n: part.keep_n as usize,
        n,
        wanted,
    })
}

fn opening_to_wire(opening: Opening) -> wire::Opening {
    let voice = opening.voice;
    wire::Opening {
        job: opening.job.0,
        sampling: Some(voice.sampling.into()),
        seed: voice.seed,
        grammar: grammar_to_wire(voice.grammar),
        logprobs: voice.logprobs.map(u32::from),
        recent: voice.recent,
        answer: opening.answer,
    }
}

fn opening_from_wire(opening: wire::Opening) -> Result<Opening, PayloadError> {
    let sampling = opening.sampling.ok_or(PayloadError::Bad("sampling"))?;
    let logprobs = opening.logprobs.map(u8::try_from).transpose();
    Ok(Opening {
        job: JobId(opening.job),
        voice: Voice {
            sampling: sampling
                .try_into()
                .map_err(|_| PayloadError::Bad("logit bias"))?,
            seed: opening.seed,
            grammar: grammar_from_wire(opening.grammar),
            logprobs: logprobs.map_err(|_| PayloadError::Bad("number of log-probabilities"))?,
            recent: opening.recent,
        },
        answer: opening.answer,
    })
}
