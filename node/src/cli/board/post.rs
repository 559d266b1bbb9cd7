//! `shoal board post`.

use std::io::{self, Read};
use std::path::Path;

use web::boards::{NewAttachment, NewNote};

use super::notes;
use crate::cli::args::PostArgs;
use crate::cli::connect::{client, wait};
use crate::cli::{CliError, Terminal, text};

/// Bytes of a text from stdin at most. The node says what is too long for a note.
const MAX_TEXT_BYTES: u64 = 64 << 10;
/// Bytes of an attachment at most, as every peer has it.
const MAX_ATTACHMENT_BYTES: u64 = 256 << 10;

/// Posts, and prints the note's id.
pub(super) fn run(args: &PostArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let client = client(&args.client)?;
    let attachments = args.attach.iter().map(|path| attachment(path));
    let note = NewNote {
        board: args.board.clone(),
        kind: args.kind.clone(),
        body: body(args)?,
        parent: args.parent.clone(),
        agent: args.agent.clone(),
        expires_in_seconds: args.expires.map(|span| span.as_secs()),
        attachments: attachments.collect::<Result<_, _>>()?,
        allow_secrets: args.allow_secrets,
    };
    let posted = wait(async { Ok(client.post_note(&note).await?) })?;
    for warning in &posted.warnings {
        Terminal::remark(&format!("warning: {}", text::printable(warning)));
    }
    match args.json {
        true => terminal.json(&posted),
        false => terminal.text(&notes::short(&posted)),
    }
}

/// The text: from the command line, or from stdin.
fn body(args: &PostArgs) -> Result<String, CliError> {
    let text = match args.text.as_deref() {
        Some(text) if text != "-" => text.to_owned(),
        _ => from_stdin()?,
    };
    match text.trim().is_empty() {
        true => Err(CliError::NoText),
        false => Ok(text),
    }
}

/// What a pipe writes; the line feed at its end is no part of the text.
fn from_stdin() -> Result<String, CliError> {
    let mut text = String::new();
    let read = io::stdin().take(MAX_TEXT_BYTES).read_to_string(&mut text);
    read.map_err(|error| CliError::Text(error.to_string()))?;
    let end = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(end);
    Ok(text)
}

/// A file's bytes under its own name, without the folders.
fn attachment(path: &Path) -> Result<NewAttachment, CliError> {
    let failed = |reason: String| {
        let path = path.display();
        CliError::Argument(format!("cannot attach {path}: {reason}"))
    };
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_ATTACHMENT_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > MAX_ATTACHMENT_BYTES {
        return Err(failed("it is larger than 256 KiB".into()));
    }
    let name = path.file_name().and_then(|name| name.to_str());
    Ok(NewAttachment {
        name: name.map(str::to_owned),
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attachments_are_bounded_and_have_their_own_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("build.log");
        std::fs::write(&path, b"ok").unwrap();
        let small = attachment(&path).unwrap();
        assert_eq!(
            (small.name.as_deref(), &small.bytes[..]),
            (Some("build.log"), &b"ok"[..])
        );
        std::fs::write(&path, vec![0; 256 * 1024 + 1]).unwrap();
        let error = attachment(&path).unwrap_err().to_string();
        assert!(error.contains("larger than 256 KiB"), "{error}");
        assert!(attachment(dir.path()).is_err());
        assert!(attachment(&dir.path().join("none")).is_err());
    }
}
