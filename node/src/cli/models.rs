//! `shoal models`: what is on disk, by the running node or, without one, by the store itself;
//! and what the catalog has.

use llama_sys::hardware::Memory;
use serde_json::json;
use web::manage::StoredModel;

use super::args::ModelsArgs;
use super::connect::{configuration, wait};
use super::{CliError, Exit, Terminal, text};
use crate::api_client::Client;
use crate::config::{Config, Effective};
use crate::core::sizing::default_budget;
use crate::data_dir::DataDir;
use crate::models::core::catalog::{Catalog, Entry};
use crate::shelf;
use crate::store::Store;

/// Lists models.
pub(super) fn run(args: &ModelsArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let effective = configuration(&args.client)?;
    if args.catalog {
        return catalog(args.json, &effective.config, terminal);
    }
    let stored = match ask(args, &effective) {
        // With an address of its own, the question is for that node only.
        Err(CliError::Client(error)) if error.is_no_node() && args.client.api.is_none() => {
            read(&effective.config)?
        }
        answered => answered?,
    };
    match args.json {
        true => terminal.json(&stored)?,
        false => terminal.text(&table(&stored))?,
    }
    Ok(Exit::Done)
}

fn ask(args: &ModelsArgs, effective: &Effective) -> Result<Vec<StoredModel>, CliError> {
    let client = Client::find(args.client.api.as_deref(), effective)?;
    wait(async { Ok(client.stored().await?) })
}

/// Reads the store while no node runs. A data directory that was never used has no models, and
/// none is made for the asking.
fn read(config: &Config) -> Result<Vec<StoredModel>, CliError> {
    if !config.data_dir.is_dir() {
        return Ok(Vec::new());
    }
    let dir = DataDir::claim(&config.data_dir)?;
    let store = Store::open(&dir.layout().state())?;
    Ok(shelf::open(config, &store)?.list())
}

fn table(stored: &[StoredModel]) -> String {
    if stored.is_empty() {
        return "no models here yet; `shoal models --catalog` lists some to pull\n".into();
    }
    let rows: Vec<_> = stored.iter().map(row).collect();
    text::table(
        ["MODEL", "SIZE", "QUANT", "KIND", "CONTEXT", "PLACE"],
        &rows,
    )
}

fn row(model: &StoredModel) -> [String; 6] {
    let place = model.external_path.as_ref();
    [
        text::printable(&model.name),
        text::bytes(model.size_bytes),
        text::printable(&model.quantization),
        text::printable(&model.architecture),
        model.context_length.to_string(),
        place.map_or("store".into(), |path| {
            text::printable(&path.display().to_string())
        }),
    ]
}

fn catalog(as_json: bool, config: &Config, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let limit = config.residency.memory_limit_bytes;
    let budget = limit.unwrap_or_else(|| default_budget(Memory::detect().total_bytes));
    let entries = Catalog::builtin().entries();
    if as_json {
        let shown = entries.iter().map(|entry| {
            json!({
                "name": entry.name,
                "size_bytes": entry.size_mb.saturating_mul(1_000_000),
                "memory_bytes": entry.memory_bytes(),
                "fits": entry.memory_bytes() <= budget,
                "licence": entry.licence,
                "purpose": entry.purpose,
            })
        });
        terminal.json(&shown.collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| catalog_row(entry, budget))
        .collect();
    let heading = ["MODEL", "DOWNLOAD", "MEMORY", "FITS", "LICENCE", "FOR"];
    terminal.text(&text::table(heading, &rows))?;
    Ok(Exit::Done)
}

fn catalog_row(entry: &Entry, budget: u64) -> [String; 6] {
    [
        entry.name.clone(),
        text::bytes(entry.size_mb.saturating_mul(1_000_000)),
        text::bytes(entry.memory_bytes()),
        if entry.memory_bytes() <= budget {
            "yes"
        } else {
            "no"
        }
        .into(),
        entry.licence.clone(),
        entry.purpose.clone(),
    ]
}
