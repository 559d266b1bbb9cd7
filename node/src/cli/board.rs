//! `shoal board …`: the blackboard of the running node.

mod notes;
mod post;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use web::boards::{BoardSummary, NoteQuery, utc};

use super::args::{
    BoardCommand, ClientArgs, ListArgs, NamedArgs, NoteArgs, ReadArgs, SearchArgs, WatchArgs,
};
use super::connect::{client, wait};
use super::{CliError, Exit, Terminal, text};

/// Notes of a thread that are shown; more are found by searching.
const MAX_THREAD: usize = web::boards::MAX_LIMIT;

/// Does one of them.
pub(super) fn run(command: &BoardCommand, terminal: &mut Terminal) -> Result<Exit, CliError> {
    match command {
        BoardCommand::Post(args) => post::run(args, terminal)?,
        BoardCommand::Read(args) => read(args, terminal)?,
        BoardCommand::Search(args) => search(args, terminal)?,
        BoardCommand::Watch(args) => return watch(args, terminal),
        BoardCommand::Withdraw(args) => withdraw(args, terminal)?,
        BoardCommand::List(args) => list(args, terminal)?,
        BoardCommand::Enable(args) => set_posting(args, true, terminal)?,
        BoardCommand::Disable(args) => set_posting(args, false, terminal)?,
        BoardCommand::Follow(args) => follow(args, true, terminal)?,
        BoardCommand::Unfollow(args) => follow(args, false, terminal)?,
    }
    Ok(Exit::Done)
}

fn read(args: &ReadArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let client = client(&args.client)?;
    if let Some(index) = args.attachment {
        let bytes = wait(async { Ok(client.attachment(&args.id, index).await?) })?;
        return terminal.bytes(&bytes);
    }
    if !args.thread {
        let note = wait(async { Ok(client.note(&args.id).await?) })?;
        return match args.json {
            true => terminal.json(&note),
            false => terminal.text(&notes::whole(&note)),
        };
    }
    let query = NoteQuery {
        thread: Some(args.id.clone()),
        limit: Some(MAX_THREAD),
        ..NoteQuery::default()
    };
    let mut thread = wait(async { Ok(client.notes(&query).await?) })?;
    thread.reverse();
    match args.json {
        true => terminal.json(&thread),
        false => {
            let shown: Vec<_> = thread.iter().map(notes::whole).collect();
            terminal.text(&shown.join("\n"))
        }
    }
}

fn search(args: &SearchArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let client = client(&args.client)?;
    let query = NoteQuery {
        board: args.board.clone(),
        text: args.text.clone(),
        author: args.author.clone(),
        kind: args.kind.clone(),
        thread: args.thread.clone(),
        since: args.since.map(ago),
        limit: args.limit.map(usize::from),
    };
    let found = wait(async { Ok(client.notes(&query).await?) })?;
    match args.json {
        true => terminal.json(&found),
        false if found.is_empty() => terminal.line("no such notes here"),
        false => {
            let shown: String = found.iter().map(notes::short).collect();
            terminal.text(&shown)
        }
    }
}

/// Unix milliseconds so long ago.
fn ago(span: Duration) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let moment = now.unwrap_or_default().saturating_sub(span);
    u64::try_from(moment.as_millis()).unwrap_or(u64::MAX)
}

/// Shows notes until the person has seen enough.
fn watch(args: &WatchArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let client = client(&args.client)?;
    wait(async {
        let mut events = client.watch_notes(args.board.as_deref()).await?;
        loop {
            let note = tokio::select! {
                biased;
                interrupted = tokio::signal::ctrl_c() => {
                    interrupted.map_err(CliError::Runtime)?;
                    return Ok(Exit::Interrupted);
                }
                note = events.next() => note?,
            };
            match (note, args.json) {
                (None, _) => return Err(CliError::WatchEnded),
                (Some(note), true) => terminal.json_line(&note)?,
                (Some(note), false) => {
                    terminal.text(&format!("{}\n", notes::whole(&note)))?;
                }
            }
        }
    })
}

fn withdraw(args: &NoteArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let client = client(&args.client)?;
    wait(async { Ok(client.withdraw_note(&args.id).await?) })?;
    terminal.line(
        "withdrawn: this node and every honest peer forget the text; who has copied it, has it",
    )
}

fn list(args: &ListArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let client = client(&args.client)?;
    let boards = wait(async { Ok(client.boards().await?) })?;
    if args.json {
        return terminal.json(&boards);
    }
    if !wait(async { Ok(client.is_posting_allowed().await?) })? {
        terminal.line("posting is off here; `shoal board enable` turns it on")?;
    }
    match boards.is_empty() {
        true => terminal.line("no boards here yet; `shoal board post NAME \"text\"` makes one"),
        false => terminal.text(&table(&boards)),
    }
}

fn table(boards: &[BoardSummary]) -> String {
    let rows: Vec<_> = boards.iter().map(row).collect();
    text::table(["BOARD", "NOTES", "NEWEST", "FOLLOWED"], &rows)
}

fn row(board: &BoardSummary) -> [String; 4] {
    [
        text::printable(&board.name),
        board.notes.to_string(),
        board.last_written.map_or("-".into(), utc),
        if board.followed { "yes" } else { "no" }.into(),
    ]
}

fn set_posting(args: &ClientArgs, allowed: bool, terminal: &mut Terminal) -> Result<(), CliError> {
    let client = client(args)?;
    wait(async { Ok(client.allow_posting(allowed).await?) })?;
    terminal.line(match allowed {
        true => "posting is on: what is posted here, everybody in the swarm can read",
        false => "posting is off; reading goes on",
    })
}

fn follow(args: &NamedArgs, followed: bool, terminal: &mut Terminal) -> Result<(), CliError> {
    let client = client(&args.client)?;
    wait(async { Ok(client.follow_board(&args.board, followed).await?) })?;
    let board = text::printable(&args.board);
    match followed {
        true => terminal.line(format_args!("new notes of `{board}` are kept here")),
        false => terminal.line(format_args!("no more notes of `{board}` are kept here")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boards_fit_a_terminal() {
        let boards = [BoardSummary {
            name: "builds".into(),
            notes: 3,
            last_written: Some(0),
            followed: true,
        }];
        let shown = table(&boards);
        assert!(
            shown.contains("builds  3      1970-01-01T00:00:00Z  yes"),
            "{shown}"
        );
    }
}
