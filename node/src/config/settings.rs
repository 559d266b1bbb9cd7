//! The table of settings: for each key how a value is taken and shown. It knows neither files
//! nor the environment.

use protocol::NodeId;
use toml::Value;

use super::slot::{all, bytes, duration, hidden, number, secret, set, some, switch, text, texts};
use super::value::{self, Reason};
use super::{Config, LogFormat, board, placement, swarm};

/// Sequences of a model at most: llama.cpp's limit of a context.
const MAX_PARALLEL: u32 = 256;

/// Threads at most: more than any machine has cores; a typo beyond it would only thrash.
const MAX_THREADS: u32 = 1024;

/// Tokens of a context at least: less holds no system prompt.
const MIN_CTX_SIZE: u32 = 128;

/// Tokens of a context at most: ten times the largest model's.
const MAX_CTX_SIZE: u32 = 1 << 27;

/// One setting.
pub struct Setting {
    /// Its name in the file; flags and the environment derive theirs from it.
    pub key: &'static str,
    /// What holds while it is not set.
    pub unset: &'static str,
    /// Takes a value.
    pub(super) apply: fn(&mut Config, &Value) -> Result<(), Reason>,
    /// The effective value; `None`: not set.
    pub(super) show: fn(&Config) -> Option<Value>,
}

impl Setting {
    /// The setting of this key.
    pub fn named(key: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }

    /// Its name in the environment.
    pub fn variable(&self) -> String {
        format!("SHOAL_{}", self.key.to_uppercase())
    }
}

macro_rules! setting {
    ($key:literal, $unset:literal, $apply:expr, $show:expr) => {
        Setting {
            key: $key,
            unset: $unset,
            apply: $apply,
            show: $show,
        }
    };
}

/// Every setting, in the order in which `config show` prints them.
pub const SETTINGS: &[Setting] = &[
    setting!(
        "api",
        "",
        |c, v| set(&mut c.api.addr, value::addr(v)),
        |c| text(c.api.addr)
    ),
    setting!(
        "api_key",
        "requests need no key",
        |c, v| secret(&mut c.api.key, v),
        |c| hidden(&c.api.key)
    ),
    setting!(
        "no_api_key",
        "",
        |c, v| set(&mut c.api.no_key, value::switch(v)),
        |c| switch(c.api.no_key)
    ),
    setting!(
        "cors_origins",
        "",
        |c, v| set(&mut c.api.cors_origins, value::texts(v)),
        |c| texts(&c.api.cors_origins)
    ),
    setting!(
        "data_dir",
        "",
        |c, v| set(&mut c.data_dir, value::text(v).map(Into::into)),
        |c| text(c.data_dir.display())
    ),
    setting!(
        "client",
        "",
        |c, v| set(&mut c.client, value::switch(v)),
        |c| switch(c.client)
    ),
    setting!(
        "offline",
        "",
        |c, v| set(&mut c.offline, value::switch(v)),
        |c| switch(c.offline)
    ),
    setting!(
        "swarm",
        "the only private swarm that this node knows, else the public mesh",
        |c, v| some(&mut c.swarm.name, swarm::name(v)),
        |c| c.swarm.name.as_ref().and_then(text)
    ),
    setting!(
        "join",
        "no token to join with",
        |c, v| secret(&mut c.swarm.join, v),
        |c| hidden(&c.swarm.join)
    ),
    setting!(
        "join_file",
        "no file with a token to join with",
        |c, v| some(&mut c.swarm.join_file, value::text(v).map(Into::into)),
        |c| c
            .swarm
            .join_file
            .as_ref()
            .and_then(|file| text(file.display()))
    ),
    setting!(
        "bootstrap",
        "the addresses of the invite, or the compiled-in list",
        |c, v| some(&mut c.swarm.bootstrap, swarm::addresses(v)),
        |c| c.swarm.bootstrap.as_deref().and_then(all)
    ),
    setting!(
        "listen",
        "port 9338 over UDP and TCP; a free one where it is taken",
        |c, v| set(&mut c.swarm.listen, swarm::listen(v)),
        |c| swarm::show_listen(&c.swarm.listen)
    ),
    setting!(
        "mdns",
        "",
        |c, v| set(&mut c.swarm.mdns, value::switch(v)),
        |c| switch(c.swarm.mdns)
    ),
    setting!(
        "upnp",
        "",
        |c, v| set(&mut c.swarm.upnp, value::switch(v)),
        |c| switch(c.swarm.upnp)
    ),
    setting!(
        "rendezvous",
        "",
        |c, v| set(&mut c.swarm.rendezvous, value::switch(v)),
        |c| switch(c.swarm.rendezvous)
    ),
    setting!(
        "rendezvous_servers",
        "the public DHT's own entry servers",
        |c, v| some(&mut c.swarm.rendezvous_servers, swarm::addresses(v)),
        |c| c.swarm.rendezvous_servers.as_deref().and_then(all)
    ),
    setting!(
        "stage_precision",
        "",
        |c, v| set(&mut c.swarm.stage_precision, swarm::precision(v)),
        |c| text(swarm::precision_name(c.swarm.stage_precision))
    ),
    setting!(
        "privacy",
        "",
        |c, v| set(&mut c.privacy.default, swarm::level(v)),
        |c| text(swarm::level_name(c.privacy.default))
    ),
    setting!(
        "trusted_peers",
        "",
        |c, v| set(&mut c.privacy.trusted, swarm::nodes(v)),
        |c| texts(
            &c.privacy
                .trusted
                .iter()
                .map(NodeId::to_string)
                .collect::<Vec<_>>()
        )
    ),
    setting!(
        "model",
        "",
        |c, v| set(&mut c.pinned, value::texts(v)),
        |c| texts(&c.pinned)
    ),
    setting!(
        "ctx_size",
        "8192 or the model's own, as far as memory allows",
        |c, v| some(
            &mut c.engine.ctx_size,
            value::number(v, MIN_CTX_SIZE, MAX_CTX_SIZE)
        ),
        |c| number(c.engine.ctx_size)
    ),
    setting!(
        "parallel",
        "16",
        |c, v| some(&mut c.engine.parallel, value::number(v, 1, MAX_PARALLEL)),
        |c| number(c.engine.parallel)
    ),
    setting!(
        "threads",
        "the physical cores",
        |c, v| some(&mut c.engine.threads, value::number(v, 1, MAX_THREADS)),
        |c| number(c.engine.threads)
    ),
    setting!(
        "speculate",
        "",
        |c, v| set(&mut c.engine.speculate, value::speculate(v)),
        |c| text(c.engine.speculate.as_str())
    ),
    setting!(
        "draft",
        "no draft model; drafts are looked up in the answer's own text",
        |c, v| some(&mut c.engine.draft, value::text(v)),
        |c| c.engine.draft.as_ref().and_then(text)
    ),
    setting!(
        "keep_alive",
        "",
        |c, v| set(&mut c.residency.keep_alive, value::duration(v)),
        |c| duration(c.residency.keep_alive)
    ),
    setting!(
        "max_memory",
        "a share of the machine's memory",
        |c, v| some(&mut c.residency.memory_limit_bytes, value::bytes(v)),
        |c| bytes(c.residency.memory_limit_bytes)
    ),
    setting!(
        "load_timeout",
        "",
        |c, v| set(&mut c.residency.load_timeout, value::duration(v)),
        |c| duration(c.residency.load_timeout)
    ),
    setting!(
        "models_dir",
        "`models` in the data directory",
        |c, v| some(&mut c.models.dir, value::text(v).map(Into::into)),
        |c| c.models.dir.as_ref().and_then(|dir| text(dir.display()))
    ),
    setting!(
        "disk_budget",
        "the disk's free space",
        |c, v| some(&mut c.models.disk_budget_bytes, value::bytes(v)),
        |c| bytes(c.models.disk_budget_bytes)
    ),
    setting!(
        "hf_endpoint",
        "the hub's own address",
        |c, v| some(&mut c.models.hub_endpoint, value::origin(v)),
        |c| c.models.hub_endpoint.as_ref().and_then(text)
    ),
    setting!(
        "hf_token",
        "public models only",
        |c, v| secret(&mut c.models.hub_token, v),
        |c| hidden(&c.models.hub_token)
    ),
    setting!(
        "serve_public",
        "",
        |c, v| set(&mut c.serving.public, value::switch(v)),
        |c| switch(c.serving.public)
    ),
    setting!(
        "serve_models",
        "those that are loaded; peers have none loaded",
        |c, v| some(&mut c.serving.models, value::models(v)),
        |c| c.serving.models.as_ref().and_then(|models| all(models))
    ),
    setting!(
        "max_upload",
        "as fast as the line",
        |c, v| some(&mut c.serving.upload_bytes_per_second, value::rate(v)),
        |c| bytes(c.serving.upload_bytes_per_second)
    ),
    setting!(
        "own_share",
        "",
        |c, v| set(&mut c.serving.own_percent, value::percent(v)),
        |c| text(format!("{}%", c.serving.own_percent))
    ),
    setting!(
        "placement",
        "",
        |c, v| set(&mut c.placement.enabled, value::switch(v)),
        |c| switch(c.placement.enabled)
    ),
    setting!(
        "placement_models",
        "those on the disk and those of the catalog",
        |c, v| some(&mut c.placement.models, value::models(v)),
        |c| c.placement.models.as_ref().and_then(|models| all(models))
    ),
    setting!(
        "placement_never",
        "",
        |c, v| set(&mut c.placement.never, value::models(v)),
        |c| all(&c.placement.never)
    ),
    setting!(
        "placement_hours",
        "at any time; else hours of a day in UTC, such as 22:00-07:00",
        |c, v| some(&mut c.placement.hours, placement::hours(v)),
        |c| c.placement.hours.as_ref().and_then(text)
    ),
    setting!(
        "boards",
        "",
        |c, v| set(&mut c.board.follow, board::names(v)),
        |c| all(&c.board.follow)
    ),
    setting!(
        "board_keep",
        "",
        |c, v| set(&mut c.board.limits.age, board::age(v)),
        |c| duration(c.board.limits.age)
    ),
    setting!(
        "board_notes",
        "",
        |c, v| set(&mut c.board.limits.board_notes, board::notes(v)),
        |c| text(c.board.limits.board_notes)
    ),
    setting!(
        "board_bytes",
        "",
        |c, v| set(&mut c.board.limits.board_bytes, board::bytes(v)),
        |c| bytes(Some(c.board.limits.board_bytes))
    ),
    setting!(
        "boards_bytes",
        "",
        |c, v| set(&mut c.board.limits.total_bytes, board::bytes(v)),
        |c| bytes(Some(c.board.limits.total_bytes))
    ),
    setting!(
        "log_format",
        "human on a terminal, else json",
        log_format,
        |c| c.log_format.and_then(|format| text(format.as_str()))
    ),
    setting!(
        "drain_timeout",
        "",
        |c, v| set(&mut c.drain_timeout, value::duration(v)),
        |c| duration(c.drain_timeout)
    ),
];

fn log_format(config: &mut Config, value: &Value) -> Result<(), Reason> {
    config.log_format = Some(match value.as_str() {
        Some("human") => LogFormat::Human,
        Some("json") => LogFormat::Json,
        _ => return Err("must be \"human\" or \"json\"".into()),
    });
    Ok(())
}
