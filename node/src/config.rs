//! The node's configuration: which settings there are, where each value came from.
//!
//! Layers, the later wins: defaults, the TOML file, the environment, flags. One key names a
//! setting everywhere: `ctx_size` in the file, `SHOAL_CTX_SIZE` in the environment,
//! `--ctx-size` on the command line. It knows no module's meaning of a setting: those own
//! their `Config`s, which are only composed here.

mod board;
mod closest;
mod placement;
mod secret;
mod settings;
mod slot;
mod source;
mod swarm;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use llama_sys::engine::Speculate;
use toml::Value;

pub use self::secret::Secret;
pub use self::settings::{SETTINGS, Setting};
pub use self::source::{Folders, Source, System};
pub use self::swarm::{DEFAULT_SWARM_PORT, ListenAddress, ListenConfig, SwarmConfig};
use crate::board::BoardConfig;
use crate::cli::args::Flags;
use crate::placement::PlacementConfig;
use crate::router::PrivacyPolicy;
use crate::serving::ServingConfig;

/// Bytes of a configuration file at most: a hundred times what every setting takes.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// Port of the API when nothing else is configured.
pub const DEFAULT_PORT: u16 = 9337;

/// A time such as `90s`, `12h` or `7d`, as settings write it.
///
/// # Errors
/// What it must be, as a clause: "must be …".
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    value::duration(&Value::String(text.into()))
}

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The API's address and who may use it.
    pub api: ApiConfig,
    /// Folder of the node's state.
    pub data_dir: PathBuf,
    /// Only an API client: no model is loaded here.
    pub client: bool,
    /// Keep off every network.
    pub offline: bool,
    /// Which swarm, and how it is joined.
    pub swarm: SwarmConfig,
    /// Who may see requests. Default: every peer of the swarm, since asking it is what a node is
    /// for; a model that is here runs here all the same.
    pub privacy: PrivacyPolicy,
    /// Models that are loaded at the start and kept.
    pub pinned: Vec<String>,
    /// How models are run.
    pub engine: EngineConfig,
    /// Which models stay loaded.
    pub residency: ResidencyConfig,
    /// How other peers are served.
    pub serving: ServingConfig,
    /// What is hosted for the swarm without being told.
    pub placement: PlacementConfig,
    /// Where models are kept and fetched from.
    pub models: ModelsConfig,
    /// Which boards are followed and how much of them is kept.
    pub board: BoardConfig,
    /// How logs are written; `None`: for people on a terminal, else JSON.
    pub log_format: Option<LogFormat>,
    /// How long running answers may take to finish when the node is told to stop.
    pub drain_timeout: Duration,
}

/// The API's address and who may use it.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiConfig {
    /// Where it listens; port 0 picks a free one.
    pub addr: SocketAddr,
    /// The key that requests must carry.
    pub key: Option<Secret>,
    /// Serve addresses other than loopback without a key.
    pub no_key: bool,
    /// Origins that browsers may call from; empty: none but the node's own pages.
    pub cors_origins: Vec<String>,
}

/// How models are run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EngineConfig {
    /// Context of each sequence, tokens; `None`: [`crate::core::sizing::DEFAULT_CONTEXT`] or the
    /// model's own, as far as memory allows.
    pub ctx_size: Option<u32>,
    /// Sequences at once; `None`: the engine's default.
    pub parallel: Option<u32>,
    /// Threads of a worker; `None`: the physical cores.
    pub threads: Option<u32>,
    /// Where drafts of answers come from.
    pub speculate: Speculate,
    /// The model that drafts: a name or a path.
    pub draft: Option<String>,
}

/// Which models stay loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResidencyConfig {
    /// How long a model that nobody asks for stays. Default: 5 min, as Ollama does.
    pub keep_alive: Duration,
    /// Memory of all loaded models together, bytes; `None`: a share of the machine's.
    pub memory_limit_bytes: Option<u64>,
    /// How long a request waits for its model at most. Default: 5 min, the load of tens of
    /// gigabytes from a slow disk.
    pub load_timeout: Duration,
}

impl Default for ResidencyConfig {
    fn default() -> Self {
        Self {
            keep_alive: Duration::from_secs(300),
            memory_limit_bytes: None,
            load_timeout: Duration::from_secs(300),
        }
    }
}

/// Where models are kept and fetched from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelsConfig {
    /// Folder of the store; `None`: `models` in the data directory.
    pub dir: Option<PathBuf>,
    /// Bytes of the store at most; `None`: the disk's free space.
    pub disk_budget_bytes: Option<u64>,
    /// Base address of the hub; `None`: the store's default. `HF_ENDPOINT` is honoured.
    pub hub_endpoint: Option<String>,
    /// Access token of the hub. `HF_TOKEN` is honoured.
    pub hub_token: Option<Secret>,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Its name in flags and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Json => "json",
        }
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// This configuration file.
    File(PathBuf),
    /// This environment variable.
    Environment(String),
    /// A flag.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A key that no setting has.
    #[error("{origin}: unknown setting `{key}`{}", suggestion(.closest))]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// What stands there.
        key: String,
        /// The known name that is most like it.
        closest: Option<String>,
    },
    /// A value that the setting cannot take.
    #[error("{origin}: `{key}` {reason}")]
    InvalidValue {
        /// Where it stands.
        origin: Origin,
        /// The setting.
        key: &'static str,
        /// What it should be.
        reason: String,
    },
    /// The file is no TOML.
    #[error("{}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's words, in one line.
        message: String,
    },
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// Neither a home folder nor `data_dir`.
    #[error("no home folder to keep state in: give --data-dir DIR or set SHOAL_DATA_DIR")]
    NoHome,
    /// Open to other machines, and no word about a key.
    #[error(
        "{0} can be reached from other machines: set `api_key` (--api-key KEY), or `no_api_key` \
         (--no-api-key) if everyone there may use it"
    )]
    OpenWithoutKey(SocketAddr),
}

fn suggestion(closest: &Option<String>) -> String {
    closest
        .as_ref()
        .map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"))
}

/// A configuration, and where each set value came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Effective {
    /// The values.
    pub config: Config,
    /// The file that was read, if there is one.
    pub file: Option<PathBuf>,
    origins: BTreeMap<&'static str, Origin>,
}

/// A layer's values by setting, each with its origin.
type Layer = BTreeMap<&'static str, (Value, Origin)>;

impl Effective {
    /// Reads every layer. `file` is the one that `--config` names.
    ///
    /// # Errors
    /// An unknown key, a value of the wrong kind, an unreadable file: see [`ConfigError`].
    pub fn read(
        source: &dyn Source,
        file: Option<&Path>,
        flags: &Flags,
    ) -> Result<Self, ConfigError> {
        let folders = source.folders();
        let environment = source::environment(source)?;
        let path = source::file_path(file, &environment.file, folders.as_ref());
        let read = match &path {
            Some((path, required)) => source::file(source, path, *required)?,
            None => None,
        };
        let file = path.map(|(path, _)| path).filter(|_| read.is_some());
        let mut layer = read.unwrap_or_default();
        layer.extend(environment.layer);
        layer.extend(source::flags(flags));
        Self::from_layer(layer, folders.as_ref(), file)
    }

    fn from_layer(
        layer: Layer,
        folders: Option<&Folders>,
        file: Option<PathBuf>,
    ) -> Result<Self, ConfigError> {
        let data_dir = folders.map(|folders| folders.data.join("shoal"));
        if data_dir.is_none() && !layer.contains_key("data_dir") {
            return Err(ConfigError::NoHome);
        }
        let mut config = Config::with_data_dir(data_dir.unwrap_or_default());
        let mut origins = BTreeMap::new();
        for (key, (value, origin)) in layer {
            let setting = Setting::named(key).expect("layers hold known keys only");
            (setting.apply)(&mut config, &value).map_err(|reason| ConfigError::InvalidValue {
                origin: origin.clone(),
                key,
                reason,
            })?;
            origins.insert(key, origin);
        }
        Ok(Self {
            config,
            file,
            origins,
        })
    }

    /// Where the setting's value came from.
    pub fn origin(&self, key: &str) -> &Origin {
        self.origins.get(key).unwrap_or(&Origin::Default)
    }

    /// The configuration as TOML, secrets hidden, each line with its origin.
    pub fn to_toml(&self) -> String {
        SETTINGS.iter().map(|setting| self.line(setting)).collect()
    }

    /// The set values in one line, secrets hidden, for the log.
    pub fn to_line(&self) -> String {
        let shown = SETTINGS.iter().filter_map(|setting| {
            let value = (setting.show)(&self.config)?;
            Some(format!("{} = {value}", setting.key))
        });
        shown.collect::<Vec<_>>().join("; ")
    }

    fn line(&self, setting: &Setting) -> String {
        let origin = self.origin(setting.key);
        match (setting.show)(&self.config) {
            Some(value) => format!("{} = {value} # {origin}\n", setting.key),
            None => format!("# {} is not set: {}\n", setting.key, setting.unset),
        }
    }
}

impl Config {
    /// The defaults, with the state in this folder.
    pub fn with_data_dir(data_dir: PathBuf) -> Self {
        Self {
            api: ApiConfig {
                addr: SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT)),
                key: None,
                no_key: false,
                cors_origins: Vec::new(),
            },
            data_dir,
            client: false,
            offline: false,
            swarm: SwarmConfig::default(),
            privacy: PrivacyPolicy::default(),
            pinned: Vec::new(),
            engine: EngineConfig::default(),
            residency: ResidencyConfig::default(),
            serving: ServingConfig::default(),
            placement: PlacementConfig::default(),
            models: ModelsConfig::default(),
            board: BoardConfig::default(),
            log_format: None,
            drain_timeout: Duration::from_secs(30),
        }
    }

    /// Folder of the model store.
    pub fn models_dir(&self) -> PathBuf {
        let dir = self.models.dir.clone();
        dir.unwrap_or_else(|| self.data_dir.join("models"))
    }

    /// Whether a node may serve at its address: an open one needs a key, or the word that none
    /// is wanted.
    ///
    /// # Errors
    /// [`ConfigError::OpenWithoutKey`].
    pub fn check_exposure(&self) -> Result<(), ConfigError> {
        let open = !self.api.addr.ip().is_loopback();
        if open && self.api.key.is_none() && !self.api.no_key {
            return Err(ConfigError::OpenWithoutKey(self.api.addr));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
