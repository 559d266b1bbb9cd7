//! What this node says itself: checked, scrubbed, signed, on the disk before it is answered for.

use std::time::Duration;

use protocol::UnixMillis;
use protocol::board::{Attachment, Entry, Kind, Note, NoteId, Saying};
use protocol::limits::{
    MAX_ATTACHMENT_BYTES, MAX_ATTACHMENTS, MAX_CLOCK_SKEW, MAX_NOTE_LIFETIME, NOTE_LIFETIME,
};
use web::boards::{BoardError, NewAttachment, NewNote, NoteView, SecretFinding};

use super::{Keeper, MAX_ATTACHMENTS_BYTES, Reach, State, now};
use crate::core::board::desk::{Refusal, Way};
use crate::core::board::holdings;
use crate::core::board::scrub::{Finding, scrub};

/// What was posted, for the network, and what the poster is told.
pub(super) struct Posted {
    pub(super) entry: Entry,
    pub(super) view: NoteView,
}

impl Keeper {
    /// Whether this node posts.
    pub(super) fn may_post(&self, state: &State) -> bool {
        let said = state.settings.posting;
        said.unwrap_or(self.0.reach != Reach::Public)
    }

    pub(super) fn write(&self, post: &NewNote) -> Result<Posted, BoardError> {
        let mut state = self.state();
        if !self.may_post(&state) {
            return Err(BoardError::PostingOff);
        }
        let warnings = check_secrets(post)?;
        let lifetime = lifetime(post.expires_in_seconds)?;
        let note = note(&state, post)?;
        self.check_room(&state, &post.attachments)?;
        let written = state.next_time(now().unix);
        let expires = written.saturating_add(lifetime);
        let signed = Entry::sign(
            &self.0.key,
            &self.0.swarm,
            Saying::Note(note),
            written,
            expires,
        );
        let entry = signed.map_err(|error| BoardError::Invalid(error.to_string()))?;
        self.follow_here(&mut state, entry.saying.board(), true)?;
        self.judge(&mut state, &entry)?;
        self.put(&mut state, &entry, &post.attachments)?;
        self.keep(&mut state, &entry, &warnings);
        let view = self.view(&state, &entry, warnings);
        Ok(Posted { entry, view })
    }

    pub(super) fn take_back(&self, id: &str) -> Result<Entry, BoardError> {
        let mut state = self.state();
        let known = self.entry_named(&state, id)?;
        if known.author != self.0.own {
            return Err(BoardError::NotYours);
        }
        let Some(withdrawal) = known.withdrawal() else {
            // It was withdrawn before: that is what was asked for.
            return Ok(known);
        };
        let written = state.next_time(now().unix);
        let saying = Saying::Withdrawal(withdrawal);
        let signed = Entry::sign(&self.0.key, &self.0.swarm, saying, written, known.expires);
        let entry = signed.map_err(|error| BoardError::Invalid(error.to_string()))?;
        self.follow_here(&mut state, entry.saying.board(), true)?;
        self.judge(&mut state, &entry)?;
        self.put(&mut state, &entry, &[])?;
        self.keep(&mut state, &entry, &[]);
        Ok(entry)
    }

    fn judge(&self, state: &mut State, entry: &Entry) -> Result<(), BoardError> {
        match state.desk.judge(entry, Way::Own, now()) {
            Ok(()) => Ok(()),
            Err(Refusal::TooFast(retry_after)) => Err(BoardError::RateLimited { retry_after }),
            Err(Refusal::Holdings(holdings::Refusal::Share)) => Err(BoardError::Full(
                "this node's share of the board is full of newer notes: its clock may be slow"
                    .into(),
            )),
            Err(Refusal::Holdings(holdings::Refusal::Old)) => Err(BoardError::Full(
                "the board is full of newer notes: this node's clock may be slow".into(),
            )),
            Err(_) => Err(BoardError::Internal),
        }
    }

    fn check_room(&self, state: &State, attachments: &[NewAttachment]) -> Result<(), BoardError> {
        let size =
            |attachment: &NewAttachment| u64::try_from(attachment.bytes.len()).unwrap_or(u64::MAX);
        let here: u64 = state.attachments.values().sum();
        let more: u64 = attachments.iter().map(size).sum();
        if more > 0 && here + more > MAX_ATTACHMENTS_BYTES {
            return Err(BoardError::Full(
                "there is no room for attachments here until notes that have some expire; post \
                 without"
                    .into(),
            ));
        }
        Ok(())
    }

    /// On the disk when it returns.
    fn put(
        &self,
        state: &mut State,
        entry: &Entry,
        attachments: &[NewAttachment],
    ) -> Result<(), BoardError> {
        let disk = &self.0.disk;
        let put = || {
            for attachment in attachments {
                let digest = blake3::hash(&attachment.bytes);
                disk.put_attachment(digest.as_bytes(), &attachment.bytes)?;
            }
            disk.put(entry)?;
            disk.flush()
        };
        put().map_err(|error| {
            tracing::error!(%error, "a note is not kept");
            BoardError::Internal
        })?;
        for attachment in attachments {
            let digest = *blake3::hash(&attachment.bytes).as_bytes();
            let bytes = u64::try_from(attachment.bytes.len()).unwrap_or(u64::MAX);
            state.attachments.insert(digest, bytes);
        }
        Ok(())
    }
}

impl State {
    /// Later than what this node wrote before, so that each note has an id and a place of its own;
    /// but not from a future that peers would not believe, when the clock was set back.
    pub(super) fn next_time(&mut self, now: UnixMillis) -> UnixMillis {
        let next = UnixMillis(self.last_written.0.saturating_add(1));
        self.last_written = match next <= now.saturating_add(MAX_CLOCK_SKEW) {
            true => now.max(next),
            false => now,
        };
        self.last_written
    }

    /// The whole id of a note that is here or was.
    pub(super) fn note_id(&self, text: &str) -> Result<NoteId, BoardError> {
        let text = text.trim().to_ascii_lowercase();
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        self.fact(&text).map(|fact| fact.note)
    }

    /// What is known of the note whose id begins so.
    pub(super) fn fact(&self, text: &str) -> Result<holdings::Fact, BoardError> {
        let text = text.trim().to_ascii_lowercase();
        if text.len() < MIN_PREFIX {
            return Err(BoardError::Invalid(format!(
                "a note is named by its id, or by {MIN_PREFIX} or more digits of its beginning"
            )));
        }
        self.desk
            .holdings
            .named(&text)
            .map_err(|error| match error {
                holdings::NameError::None => BoardError::NotFound(format!(
                    "no note here has an id that begins with `{text}`"
                )),
                holdings::NameError::Several => BoardError::NotFound(format!(
                    "several notes have ids that begin with `{text}`: give more of it"
                )),
            })
    }
}

/// Digits that name a note: of a million notes no two have them in common, as a rule.
const MIN_PREFIX: usize = 8;

fn note(state: &State, post: &NewNote) -> Result<Note, BoardError> {
    let invalid = |error: &dyn std::error::Error| BoardError::Invalid(error.to_string());
    if post.attachments.len() > MAX_ATTACHMENTS {
        let text = format!("a note has {MAX_ATTACHMENTS} attachments at most");
        return Err(BoardError::Invalid(text));
    }
    let limit = usize::try_from(MAX_ATTACHMENT_BYTES).unwrap_or(usize::MAX);
    if (post.attachments.iter()).any(|a| a.bytes.is_empty() || a.bytes.len() > limit) {
        let text = "an attachment has 1 byte to 256 KiB: shorten it or put it elsewhere";
        return Err(BoardError::Invalid(text.into()));
    }
    let agent = post.agent.as_deref().map(str::parse).transpose();
    let parent = post.parent.as_deref().map(|id| state.note_id(id));
    let attachments = post.attachments.iter();
    let attachments = attachments.map(|a| Attachment::of(&a.bytes, a.name.clone()));
    Ok(Note {
        board: post
            .board
            .parse()
            .map_err(|error| invalid(&error as &protocol::board::BoardNameError))?,
        kind: kind(&post.kind)?,
        parent: parent.transpose()?,
        body: body(&post.body),
        agent: agent.map_err(|error: protocol::board::AgentNameError| invalid(&error))?,
        attachments: attachments.collect(),
    })
}

pub(super) fn kind(text: &str) -> Result<Kind, BoardError> {
    let kind = text.trim().to_ascii_lowercase().parse::<Kind>();
    kind.map_err(|error| BoardError::Invalid(format!("{error}, not `{text}`")))
}

/// Line ends of one kind, and none at the end.
fn body(text: &str) -> String {
    text.replace("\r\n", "\n").trim_end().to_owned()
}

fn lifetime(seconds: Option<u64>) -> Result<Duration, BoardError> {
    let lifetime = seconds.map_or(NOTE_LIFETIME, Duration::from_secs);
    let may = !lifetime.is_zero() && lifetime <= MAX_NOTE_LIFETIME;
    may.then_some(lifetime)
        .ok_or_else(|| BoardError::Invalid("a note expires after 1 second to 30 days".into()))
}

/// What is only warned of; a refusal unless the poster says that it is none.
fn check_secrets(post: &NewNote) -> Result<Vec<String>, BoardError> {
    let (mut refused, mut warnings) = (Vec::new(), Vec::new());
    let mut look = |text: &str, place: &str| {
        for finding in scrub(text) {
            let told = told(&finding, place);
            match finding.is_warning || post.allow_secrets {
                true => warnings.push(told.to_string()),
                false => refused.push(told),
            }
        }
    };
    look(&body(&post.body), "");
    look(
        post.agent.as_deref().unwrap_or_default(),
        " in the agent's name",
    );
    for (n, attachment) in (1..).zip(&post.attachments) {
        let place = format!(" in attachment {n}");
        look(attachment.name.as_deref().unwrap_or_default(), &place);
        look(&String::from_utf8_lossy(&attachment.bytes), &place);
    }
    match refused.is_empty() {
        true => Ok(warnings),
        false => Err(BoardError::Secret { findings: refused }),
    }
}

fn told(finding: &Finding, place: &str) -> SecretFinding {
    SecretFinding {
        what: format!("{}{place}", finding.what),
        line: finding.line,
        column: finding.column,
    }
}
