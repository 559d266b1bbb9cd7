//! `shoal up`: the node in this process, and what it says on stdout.

use super::args::UpArgs;
use super::{CliError, Exit, Terminal};
use crate::config::{Effective, System};
use crate::lifecycle::Ending;
use crate::logging;
use crate::up::{self, Listening};

/// Runs the node until it is told to stop.
pub(super) fn run(args: &UpArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let effective = Effective::read(&System, args.place.config.as_deref(), &args.flags())?;
    effective.config.check_exposure()?;
    logging::init(effective.config.log_format);
    let ending = up::run(effective, &mut |listening| {
        // Whoever started it may have closed stdout; the node serves all the same.
        let _ = terminal.text(&greeting(&listening));
    })?;
    Ok(match ending {
        Ending::Drained => Exit::Done,
        Ending::CutShort => Exit::CutShort,
    })
}

/// The first line is for programs too: `listening on http://ADDR:PORT`.
fn greeting(listening: &Listening) -> String {
    let base = format!("http://{}", listening.api);
    let first = format!("listening on {base}\n");
    let Some(model) = &listening.model else {
        let waits = match listening.takes_on {
            true => " (or wait: it takes on what helps most, see shoal status)",
            false => "",
        };
        return format!(
            "{first}OpenAI API: {base}/v1. No model is here yet: shoal pull smollm2:135m{waits}\n"
        );
    };
    let key = match listening.needs_key {
        true => " -H \"Authorization: Bearer $SHOAL_API_KEY\"",
        false => "",
    };
    format!(
        "{first}OpenAI API: {base}/v1. Try:\n  curl {base}/v1/chat/completions{key} \
         -H 'Content-Type: application/json' -d '{{\"model\": \"{model}\", \"messages\": \
         [{{\"role\": \"user\", \"content\": \"Say hello.\"}}]}}'\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_address_and_no_key_is_shown() {
        let listening = Listening {
            api: ([127, 0, 0, 1], 4711).into(),
            model: Some("m".into()),
            needs_key: true,
            takes_on: false,
        };
        let text = greeting(&listening);
        assert_eq!(
            text.lines().next(),
            Some("listening on http://127.0.0.1:4711")
        );
        let curl = text
            .lines()
            .find(|line| line.trim_start().starts_with("curl "));
        assert!(curl.unwrap().contains("$SHOAL_API_KEY"), "{text}");
    }
}
