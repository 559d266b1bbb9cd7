//! Notes as a person reads them: who signed a note stands in the head, and every line of its text
//! begins with a bar, so that no text can pass for a head.

use web::boards::{AttachmentView, NoteView, StandingView, utc};

use crate::cli::text;

/// Digits of an id that are shown in lists: enough to be the only one.
const SHORT_ID: usize = 16;
/// Characters of a text that are shown in lists.
const EXCERPT: usize = 100;

/// A note in two lines.
pub(super) fn short(note: &NoteView) -> String {
    let id = &note.id[..note.id.floor_char_boundary(SHORT_ID)];
    let head = format!(
        "{id}  {}  {}  {}  {}",
        utc(note.written),
        text::printable(&note.kind),
        text::printable(&note.board),
        author(note)
    );
    format!("{head}\n  | {}\n", excerpt(note))
}

/// A note with all that is known of it.
pub(super) fn whole(note: &NoteView) -> String {
    let mut lines = vec![
        format!("note     {}", note.id),
        format!(
            "what     {} on {}",
            text::printable(&note.kind),
            text::printable(&note.board)
        ),
        format!("signed   {}", signed(note)),
        format!(
            "written  {}, kept until {}",
            utc(note.written),
            utc(note.expires)
        ),
    ];
    if let Some(agent) = &note.agent {
        let agent = text::printable(agent);
        lines.push(format!("agent    {agent} (by the author's own words)"));
    }
    if let Some(parent) = &note.parent {
        lines.push(format!("answers  {parent}"));
    }
    for (index, attachment) in note.attachments.iter().enumerate() {
        lines.push(format!("file {index}   {}", shown(attachment)));
    }
    lines.extend(body(note).map(|line| format!("  | {line}").trim_end().to_owned()));
    lines.join("\n") + "\n"
}

fn body(note: &NoteView) -> impl Iterator<Item = String> {
    let text = match note.withdrawn {
        true => "(withdrawn by its author)",
        false => &note.body,
    };
    text.lines().map(text::printable)
}

fn excerpt(note: &NoteView) -> String {
    let mut lines = body(note);
    let first = lines.next().unwrap_or_default();
    let cut: String = first.chars().take(EXCERPT).collect();
    let more = cut.len() < first.len() || lines.next().is_some();
    cut + if more { " …" } else { "" }
}

fn author(note: &NoteView) -> String {
    match (&note.author_name, note.standing) {
        (_, StandingView::Own) => "this node".into(),
        (Some(name), standing) => format!("{} ({standing})", text::printable(name)),
        (None, standing) => {
            let author = text::printable(&note.author);
            let short: String = author.chars().take(SHORT_ID).collect();
            format!("{short}… ({standing})")
        }
    }
}

fn signed(note: &NoteView) -> String {
    let author = text::printable(&note.author);
    let known = match (&note.author_name, note.standing) {
        (_, StandingView::Own) => "this node".into(),
        (Some(name), standing) => format!("{}, {standing} here", text::printable(name)),
        (None, standing) => format!("{standing} here"),
    };
    let checked = match note.verified {
        true => "signature checked",
        false => "signature NOT checked",
    };
    format!("{author} ({known}; {checked})")
}

fn shown(attachment: &AttachmentView) -> String {
    let name = attachment.name.as_deref().unwrap_or("(no name)");
    let size = text::bytes(attachment.bytes.into());
    let place = match attachment.here {
        true => "",
        false => ", fetched from a peer when it is read",
    };
    format!("{}, {size}{place}", text::printable(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(body: &str) -> NoteView {
        NoteView {
            id: "0123456789abcdef".repeat(4),
            board: "builds".into(),
            kind: "tip".into(),
            parent: None,
            body: body.into(),
            agent: Some("codex".into()),
            author: "stranger".into(),
            author_name: None,
            standing: StandingView::Unknown,
            verified: true,
            written: 0,
            expires: 604_800_000,
            withdrawn: false,
            attachments: Vec::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn a_text_cannot_pass_for_a_head() {
        let shown = whole(&note("hello\nsigned   me (this node)\x1b[2K\r\n\u{85}x"));
        let heads: Vec<&str> = shown.lines().filter(|l| l.starts_with("signed")).collect();
        assert_eq!(
            heads,
            ["signed   stranger (unknown here; signature checked)"]
        );
        assert!(shown.contains("  | signed   me (this node)"), "{shown}");
        assert!(!shown.contains('\x1b'));
    }

    #[test]
    fn lists_show_the_beginning() {
        let two = short(&note("first\nsecond"));
        let id = "0123456789abcdef";
        assert_eq!(
            two,
            format!("{id}  1970-01-01T00:00:00Z  tip  builds  stranger… (unknown)\n  | first …\n")
        );
        let long = short(&note(&"ä".repeat(200)));
        assert!(long.ends_with("ä …\n"), "{long}");
        let mut gone = note("");
        gone.withdrawn = true;
        gone.standing = StandingView::Own;
        let gone = short(&gone);
        assert!(
            gone.contains("this node\n  | (withdrawn by its author)\n"),
            "{gone}"
        );
    }
}
