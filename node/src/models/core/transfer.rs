//! How the transfer of one file goes on: what to ask for next, what an answer's head means for
//! the bytes that are already there, when to wait and when to give up. It moves no byte.
//!
//! ```text
//! Asking ──200 / 206 that fits──▶ Reading ──all bytes──▶ Checking ──digest fits──▶ done
//!   ▲  │                            │                       │
//!   │  └─ 404, 401, … ─▶ given up   │ cut, stall            │ wrong bytes, too many bytes
//!   └──── wait, at most `tries` ◀───┘                       │
//!   └──── from zero, once ◀─────────────────────────────────┘
//! ```

use std::time::Duration;

use super::digest::Sha256;

/// Bytes that make an attempt count as progress, so that the tries start anew: a server that
/// trickles less than this per connection does not hold us for ever.
pub const PROGRESS_BYTES: u64 = 64 << 10;
/// Longest wait that a server may impose by `Retry-After`.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(120);
/// Times that a file is fetched anew after wrong bytes.
const SCRATCH_RESTARTS: u32 = 1;

/// What the file must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    /// Its size, bytes.
    pub size: u64,
    /// Its digest, where the hub publishes one.
    pub sha256: Option<Sha256>,
    /// The strong entity tag of the first answer, for files without a digest.
    pub etag: Option<String>,
}

/// How patient a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Failures in a row, without progress between them, before it gives up.
    pub tries: u32,
    /// The first wait; each further failure doubles it.
    pub backoff: Duration,
    /// The longest wait of our own.
    pub backoff_max: Duration,
}

impl Default for Patience {
    /// Eight tries over about two minutes: long enough for a router that restarts.
    fn default() -> Self {
        Self {
            tries: 8,
            backoff: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
        }
    }
}

impl Patience {
    /// The wait after so many failures in a row; `None`: no more tries. A server's own wish
    /// (`Retry-After`) goes before, up to [`MAX_RETRY_AFTER`]; `jitter` in 0..=1 spreads clients.
    #[must_use]
    pub fn wait(&self, failures: u32, wish: Option<Duration>, jitter: f64) -> Option<Duration> {
        if failures >= self.tries {
            return None;
        }
        let doubled = 2u32.saturating_pow(failures.saturating_sub(1));
        let full = self.backoff.saturating_mul(doubled).min(self.backoff_max);
        let own = full.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        Some(wish.map_or(own, |wish| wish.min(MAX_RETRY_AFTER)))
    }
}

/// What matters of an answer's head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// The HTTP status.
    pub status: u16,
    /// `Content-Length`.
    pub content_length: Option<u64>,
    /// `Content-Range`.
    pub content_range: Option<ContentRange>,
    /// `ETag`, if it is a strong one.
    pub etag: Option<String>,
    /// `Retry-After` in seconds.
    pub retry_after: Option<Duration>,
    /// SHA-256 that the hub states in its redirect (`X-Linked-Etag`).
    pub linked_sha256: Option<Sha256>,
}

/// `Content-Range: bytes START-END/TOTAL` (RFC 9110, section 14.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// The first byte.
    pub start: u64,
    /// Size of the whole; `None`: `*`.
    pub total: Option<u64>,
}

impl ContentRange {
    /// Reads the header's value; `None`: it is malformed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (start, end) = range.split_once('-')?;
        let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
        let total = match total {
            "*" => None,
            total => Some(total.parse().ok()?),
        };
        let sound = start <= end && total.is_none_or(|total: u64| end < total);
        sound.then_some(Self { start, total })
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask for the bytes from `from` on; with `if_range`, only if the file is still that one.
    Ask {
        /// The first byte wanted.
        from: u64,
        /// Value of `If-Range`.
        if_range: Option<String>,
    },
    /// Write the body from this byte on; what lies behind it is dropped first.
    Read {
        /// Where the body begins.
        from: u64,
    },
    /// Every byte is there: compare the digest.
    Check,
    /// Wait, then ask again.
    Wait(Duration),
    /// Drop every byte, then ask again.
    Scratch,
    /// No use.
    GiveUp(Trouble),
}

/// What went wrong with one attempt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// The connection could not be made, broke, or its answer was malformed.
    #[error("the connection failed ({0})")]
    Connection(String),
    /// The body ended before its length.
    #[error("the connection was cut")]
    Cut,
    /// No byte came for the stall time.
    #[error("no data came for {} s", .0.as_secs_f32())]
    Stalled(Duration),
    /// 429 or a failing server.
    #[error("the server answered {0}")]
    Busy(u16),
    /// 401 or 403.
    #[error("the server answered {0}: the file needs a token (HF_TOKEN) that may read it")]
    Denied(u16),
    /// 404 or 410.
    #[error("the server answered {0}: there is no such file")]
    Missing(u16),
    /// Any other status.
    #[error("the server answered {0}, which makes no sense here")]
    Status(u16),
    /// The answer is for another size than was published.
    #[error("the server sends a file of {got} bytes where {want} were published")]
    Size {
        /// Published.
        want: u64,
        /// Sent.
        got: u64,
    },
    /// The bytes do not have the published digest.
    #[error("the SHA-256 is {got}, not the published {want}; the file was discarded")]
    Digest {
        /// Published.
        want: Sha256,
        /// Computed.
        got: Sha256,
    },
    /// The first bytes are no model's.
    #[error("the server sends something that is no GGUF file")]
    NotGguf,
}

impl Trouble {
    /// What an unwanted status means.
    #[must_use]
    pub fn of_status(status: u16) -> Self {
        match status {
            408 | 429 | 500 | 502..=504 => Self::Busy(status),
            401 | 403 => Self::Denied(status),
            404 | 410 => Self::Missing(status),
            status => Self::Status(status),
        }
    }

    /// Whether asking again later may help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Connection(_) | Self::Cut | Self::Stalled(_) | Self::Busy(_)
        )
    }
}

/// One file's transfer.
#[derive(Debug, Clone)]
pub struct Transfer {
    expect: Expect,
    patience: Patience,
    have: u64,
    failures: u32,
    since_failure: u64,
    scratched: u32,
}

impl Transfer {
    /// A transfer that finds `have` bytes of an earlier attempt.
    #[must_use]
    pub fn new(expect: Expect, patience: Patience, have: u64) -> Self {
        Self {
            expect,
            patience,
            have,
            failures: 0,
            since_failure: 0,
            scratched: 0,
        }
    }

    /// Bytes that are there.
    #[must_use]
    pub fn have(&self) -> u64 {
        self.have
    }

    /// The entity tag that the bytes belong to, for files without a digest.
    #[must_use]
    pub fn etag(&self) -> Option<&str> {
        self.expect.etag.as_deref()
    }

    /// What to do when no answer is pending.
    #[must_use]
    pub fn next(&self) -> Step {
        let by_tag = self.expect.sha256.is_none();
        match self.have {
            have if have == self.expect.size => Step::Check,
            // Without digest or tag nothing says that the rest belongs to what is there.
            have if have > self.expect.size
                || (by_tag && self.expect.etag.is_none() && have > 0) =>
            {
                Step::Scratch
            }
            from => Step::Ask {
                from,
                if_range: self.expect.etag.clone().filter(|_| by_tag && from > 0),
            },
        }
    }

    /// What an answer means. `jitter` in 0..=1 spreads the retries of many clients.
    pub fn on_head(&mut self, head: &Head, jitter: f64) -> Step {
        match head.status {
            200 => self.on_whole(head),
            206 => self.on_partial(head, jitter),
            // Our idea of the size or the offset is not the server's.
            416 => {
                self.have = 0;
                self.on_trouble(Trouble::Status(416), None, jitter)
            }
            status => {
                let trouble = Trouble::of_status(status);
                if trouble.may_pass() {
                    return self.on_trouble(trouble, head.retry_after, jitter);
                }
                Step::GiveUp(trouble)
            }
        }
    }

    fn on_whole(&mut self, head: &Head) -> Step {
        match head.content_length {
            Some(got) if got != self.expect.size => self.on_wrong_size(got),
            _ => {
                self.have = 0;
                self.expect.etag.clone_from(&head.etag);
                Step::Read { from: 0 }
            }
        }
    }

    fn on_partial(&mut self, head: &Head, jitter: f64) -> Step {
        let Some(range) = head.content_range else {
            return self.on_trouble(Trouble::Status(206), None, jitter);
        };
        let tag_changed = self.expect.sha256.is_none() && head.etag != self.expect.etag;
        match range {
            ContentRange {
                total: Some(got), ..
            } if got != self.expect.size => self.on_wrong_size(got),
            ContentRange { start, .. } if start != self.have => {
                self.have = 0;
                self.on_trouble(Trouble::Status(206), None, jitter)
            }
            _ if tag_changed && self.have > 0 => self.on_wrong(Trouble::Cut),
            _ => Step::Read { from: self.have },
        }
    }

    /// Counts bytes of the body. `Err`: there are more than the file has.
    ///
    /// # Errors
    /// The step that follows.
    pub fn on_bytes(&mut self, count: u64) -> Result<(), Step> {
        let have = self.have.saturating_add(count);
        if have > self.expect.size {
            return Err(self.on_wrong_size(have));
        }
        self.have = have;
        self.since_failure = self.since_failure.saturating_add(count);
        Ok(())
    }

    /// The body ended.
    pub fn on_end(&mut self, jitter: f64) -> Step {
        if self.have == self.expect.size {
            return Step::Check;
        }
        self.on_trouble(Trouble::Cut, None, jitter)
    }

    /// An attempt failed; what is there stays.
    pub fn on_trouble(&mut self, trouble: Trouble, wait: Option<Duration>, jitter: f64) -> Step {
        if self.since_failure >= PROGRESS_BYTES {
            self.failures = 0;
        }
        self.since_failure = 0;
        self.failures += 1;
        match self.patience.wait(self.failures, wait, jitter) {
            Some(wait) => Step::Wait(wait),
            None => Step::GiveUp(trouble),
        }
    }

    /// The bytes that are there are wrong.
    pub fn on_wrong(&mut self, trouble: Trouble) -> Step {
        self.have = 0;
        if self.scratched == SCRATCH_RESTARTS {
            return Step::GiveUp(trouble);
        }
        self.scratched += 1;
        if self.expect.sha256.is_none() {
            self.expect.etag = None;
        }
        Step::Scratch
    }

    fn on_wrong_size(&mut self, got: u64) -> Step {
        let want = self.expect.size;
        self.on_wrong(Trouble::Size { want, got })
    }

    /// The bytes were dropped, as [`Step::Scratch`] asked.
    pub fn scratch(&mut self) {
        self.have = 0;
    }

    /// Compares the computed digest; `None`: it is the file.
    pub fn on_digest(&mut self, got: Sha256) -> Option<Step> {
        match self.expect.sha256 {
            Some(want) if want != got => Some(self.on_wrong(Trouble::Digest { want, got })),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
