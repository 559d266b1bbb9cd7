//! `shoal run`: a conversation in the terminal, or one answer.

use std::io::{self, IsTerminal, Read};

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use super::args::RunArgs;
use super::connect::{configuration, wait};
use super::{CliError, Exit, Terminal, text};
use crate::api_client::{Client, Question, Turn};
use crate::data_dir::Layout;

/// Bytes of a prompt from stdin at most: more than any context holds.
const MAX_PROMPT_BYTES: u64 = 16 << 20;

/// Lines of the history kept.
const MAX_HISTORY: usize = 1000;

const HELP: &str =
    "/clear forgets the conversation, /bye ends it; so does Ctrl-D. Ctrl-C stops an answer.";

/// Answers one prompt, or talks until the person leaves.
pub(super) fn run(args: &RunArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let effective = configuration(&args.client)?;
    let client = Client::find(args.client.api.as_deref(), &effective)?;
    let mut chat = Chat::new(args, client);
    match prompt(args)? {
        Some(prompt) => match chat.answer(prompt, terminal)? {
            Answer::Whole => Ok(Exit::Done),
            Answer::Interrupted => Ok(Exit::Interrupted),
        },
        None => converse(&mut chat, &Layout::new(effective.config.data_dir), terminal),
    }
}

/// The one prompt: from the command line, or from stdin where that is no terminal.
fn prompt(args: &RunArgs) -> Result<Option<String>, CliError> {
    let text = match args.prompt.as_deref() {
        Some(text) if text != "-" => text.to_owned(),
        None if io::stdin().is_terminal() => return Ok(None),
        _ => from_stdin()?,
    };
    match text.trim().is_empty() {
        true => Err(CliError::NoPrompt),
        false => Ok(Some(text)),
    }
}

fn from_stdin() -> Result<String, CliError> {
    let mut text = String::new();
    let read = io::stdin()
        .take(MAX_PROMPT_BYTES + 1)
        .read_to_string(&mut text);
    read.map_err(|error| CliError::Input(error.to_string()))?;
    if text.len() as u64 > MAX_PROMPT_BYTES {
        return Err(CliError::Input("it is larger than 16 MiB".into()));
    }
    Ok(text)
}

fn converse(chat: &mut Chat, layout: &Layout, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let failed = |error: ReadlineError| CliError::Input(error.to_string());
    let config = rustyline::Config::builder()
        .max_history_size(MAX_HISTORY)
        .map_err(failed)?
        .build();
    let mut editor = DefaultEditor::with_config(config).map_err(failed)?;
    // Without a history of earlier days the conversation works as well.
    let _ = editor.load_history(&layout.history());
    terminal.line(HELP)?;
    loop {
        let line = match editor.readline("> ") {
            Ok(line) => line,
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => break,
            Err(error) => return Err(failed(error)),
        };
        match line.trim() {
            "" => {}
            "/bye" => break,
            "/clear" => chat.clear(),
            "/help" | "/?" => terminal.line(HELP)?,
            said => {
                // A line that is too long for the history is only not remembered.
                let _ = editor.add_history_entry(said);
                if let Err(error) = chat.answer(said.to_owned(), terminal) {
                    complain(error)?;
                }
            }
        }
    }
    let _ = editor.save_history(&layout.history());
    Ok(Exit::Done)
}

/// A refused answer does not end the conversation; a missing node does.
fn complain(error: CliError) -> Result<(), CliError> {
    match error {
        CliError::Client(ref refused) if !refused.is_no_node() => {
            Terminal::complain(&error);
            Ok(())
        }
        error => Err(error),
    }
}

enum Answer {
    Whole,
    Interrupted,
}

/// A conversation with one model.
struct Chat {
    client: Client,
    question: Question,
    /// Turns that stay when the conversation is forgotten.
    fixed: usize,
}

impl Chat {
    fn new(args: &RunArgs, client: Client) -> Self {
        let turns: Vec<Turn> = args.system.iter().cloned().map(Turn::system).collect();
        Self {
            client,
            fixed: turns.len(),
            question: Question {
                model: args.model.clone(),
                turns,
                max_tokens: args.max_tokens,
                temperature: args.temperature,
                seed: args.seed,
            },
        }
    }

    fn clear(&mut self) {
        self.question.turns.truncate(self.fixed);
    }

    /// Asks, prints the answer as it comes, and remembers both; a refused question is forgotten.
    fn answer(&mut self, prompt: String, terminal: &mut Terminal) -> Result<Answer, CliError> {
        let before = self.question.turns.len();
        self.question.turns.push(Turn::user(prompt));
        let mut text = String::new();
        let outcome = wait(self.stream(&mut text, terminal));
        match &outcome {
            // Stopped before the first word: as if it had not been asked.
            Ok(Answer::Interrupted) if text.is_empty() => self.question.turns.truncate(before),
            Ok(_) => self.question.turns.push(Turn::assistant(text)),
            Err(_) => self.question.turns.truncate(before),
        }
        outcome
    }

    async fn stream(&self, text: &mut String, terminal: &mut Terminal) -> Result<Answer, CliError> {
        let work = self.print(text, terminal);
        tokio::select! {
            biased;
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.map_err(CliError::Runtime)?;
                terminal_break()?;
                Ok(Answer::Interrupted)
            }
            done = work => done.map(|()| Answer::Whole),
        }
    }

    async fn print(&self, text: &mut String, terminal: &mut Terminal) -> Result<(), CliError> {
        let mut events = self.client.chat(&self.question).await?;
        let mut cut = false;
        while let Some(chunk) = events.next().await? {
            let shown = [chunk.reasoning(), chunk.text()].concat();
            if !shown.is_empty() {
                terminal.text(&text::printable_lines(&shown))?;
            }
            text.push_str(chunk.text());
            cut |= chunk.is_cut();
        }
        terminal.line(if cut { " […]" } else { "" })
    }
}

/// The shell's next prompt begins on its own line after Ctrl-C.
fn terminal_break() -> Result<(), CliError> {
    Terminal::process().line("")
}
