//! The grammar of `shoal experts …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ClientArgs;
use crate::core::shards::score::Bar;

/// `shoal experts`.
#[derive(Debug, Args)]
pub struct ExpertsArgs {
    /// What about them.
    #[command(subcommand)]
    pub command: ExpertsCommand,
}

/// What to do with a mixture's experts.
#[derive(Debug, Subcommand)]
pub enum ExpertsCommand {
    /// Measure which experts are used most, and how well the whole model reads.
    Rank(RankArgs),
    /// Measure how good the model is with some of its experts only.
    Score(ScoreArgs),
    /// Write the file of a shard: the model with its most used experts only.
    Cut(CutArgs),
}

/// `shoal experts rank`.
#[derive(Debug, Args)]
pub struct RankArgs {
    /// The model's name, or the path of its file.
    #[arg(value_name = "MODEL|FILE")]
    pub model: String,
    /// A text to read, called as its file (repeatable) [default: ten of many sorts, built in].
    #[arg(long = "text", value_name = "FILE")]
    pub texts: Vec<PathBuf>,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// The node.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `shoal experts score`.
#[derive(Debug, Args)]
pub struct ScoreArgs {
    /// The whole model's name, or the path of its file; it was ranked before.
    #[arg(value_name = "MODEL|FILE")]
    pub model: String,
    /// So many of the most used experts of each layer.
    #[arg(
        long,
        value_name = "N",
        required_unless_present = "shard",
        conflicts_with = "shard"
    )]
    pub experts: Option<u32>,
    /// The file of a shard.
    #[arg(long, value_name = "FILE")]
    pub shard: Option<PathBuf>,
    /// How many times the whole model's perplexity is good enough.
    #[arg(long, value_name = "RATIO", default_value = "1.10", value_parser = parse_bar)]
    pub bar: Bar,
    /// The texts that the model was ranked on, where they were not the built-in ones (repeatable).
    #[arg(long = "text", value_name = "FILE")]
    pub texts: Vec<PathBuf>,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// The node.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `shoal experts cut`.
#[derive(Debug, Args)]
pub struct CutArgs {
    /// The whole model's name, or the path of its file; it was ranked before.
    #[arg(value_name = "MODEL|FILE")]
    pub model: String,
    /// So many of the most used experts of each layer.
    #[arg(long, value_name = "N")]
    pub experts: u32,
    /// The file to write; one that is there is replaced.
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// The node.
    #[command(flatten)]
    pub client: ClientArgs,
}

fn parse_bar(text: &str) -> Result<Bar, String> {
    let bar = text.parse().ok().and_then(Bar::new);
    bar.ok_or_else(|| "a number of 1 or more".into())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn score(args: &[&str]) -> Option<ScoreArgs> {
        let all = [&["shoal", "experts", "score", "m"], args].concat();
        match Cli::try_parse_from(all).ok()?.command? {
            Command::Experts(ExpertsArgs {
                command: ExpertsCommand::Score(args),
            }) => Some(args),
            _ => None,
        }
    }

    #[test]
    fn a_score_is_of_a_number_of_experts_or_of_a_file() {
        let args = score(&["--experts", "12"]).unwrap();
        assert_eq!((args.experts, args.bar), (Some(12), Bar::default()));
        let args = score(&["--shard", "s.gguf", "--bar", "1.3"]).unwrap();
        assert_eq!((args.experts, args.bar.ratio()), (None, 1.3));
        assert!(score(&[]).is_none());
        assert!(score(&["--experts", "12", "--shard", "s.gguf"]).is_none());
        for bar in ["0.9", "nan", "inf", "x"] {
            assert!(score(&["--experts", "12", "--bar", bar]).is_none());
        }
    }
}
