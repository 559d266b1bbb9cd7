//! Where settings are read from: the environment, the file, the user's folders. Behind
//! [`Source`], so that tests need neither. It knows no setting's meaning.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use toml::Value;

use super::{ConfigError, Layer, MAX_FILE_BYTES, Origin, Setting, closest};
use crate::cli::args::Flags;

/// Prefix of the environment's names.
const PREFIX: &str = "SHOAL_";

/// Names of the environment that are no setting but belong to us: where the file is.
const FILE_VARIABLE: &str = "SHOAL_CONFIG";

/// Variables of the hub's own tools, honoured where ours are not set.
const FOREIGN: [(&str, &str); 2] = [("HF_ENDPOINT", "hf_endpoint"), ("HF_TOKEN", "hf_token")];

/// The user's folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// For configuration.
    pub config: PathBuf,
    /// For state.
    pub data: PathBuf,
}

/// The world that settings come from.
pub trait Source {
    /// The environment, as far as it is valid UTF-8.
    fn variables(&self) -> BTreeMap<String, String>;

    /// A file's text; `None`: there is none.
    ///
    /// # Errors
    /// It is there and cannot be read, or is larger than [`MAX_FILE_BYTES`].
    fn file(&self, path: &Path) -> io::Result<Option<String>>;

    /// The user's folders; `None`: no home.
    fn folders(&self) -> Option<Folders>;
}

/// The process's own environment and files.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Source for System {
    fn variables(&self) -> BTreeMap<String, String> {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    fn file(&self, path: &Path) -> io::Result<Option<String>> {
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = String::new();
        file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(io::Error::other("larger than 1 MiB"));
        }
        Ok(Some(text))
    }

    fn folders(&self) -> Option<Folders> {
        let strategy = etcetera::base_strategy::choose_base_strategy().ok()?;
        Some(Folders {
            config: strategy.config_dir(),
            data: strategy.data_dir(),
        })
    }
}

/// What the environment says.
pub(super) struct Environment {
    /// Settings.
    pub(super) layer: Layer,
    /// `SHOAL_CONFIG`.
    pub(super) file: Option<PathBuf>,
}

/// The environment's settings; a `SHOAL_` name that no setting has is an error.
pub(super) fn environment(source: &dyn Source) -> Result<Environment, ConfigError> {
    let mut read = Environment {
        layer: Layer::new(),
        file: None,
    };
    let variables = source.variables();
    for (name, key) in FOREIGN {
        if let Some(text) = variables.get(name).filter(|text| !text.is_empty()) {
            let value = Value::String(text.clone());
            read.layer
                .insert(key, (value, Origin::Environment(name.into())));
        }
    }
    for (name, text) in variables {
        if name == FILE_VARIABLE {
            read.file = Some(text.into());
        } else if let Some(rest) = name.strip_prefix(PREFIX) {
            let setting =
                Setting::named(&rest.to_lowercase()).filter(|_| rest == rest.to_uppercase());
            let setting = setting.ok_or_else(|| unknown_variable(&name))?;
            let value = Value::String(text);
            read.layer
                .insert(setting.key, (value, Origin::Environment(name)));
        }
    }
    Ok(read)
}

fn unknown_variable(name: &str) -> ConfigError {
    let known = super::SETTINGS.iter().map(Setting::variable);
    ConfigError::UnknownKey {
        origin: Origin::Environment("environment".into()),
        key: name.into(),
        closest: closest::closest(name, known.chain([FILE_VARIABLE.into()])),
    }
}

/// Which file is read, and whether it must be there: `--config`, `SHOAL_CONFIG`, the user's.
pub(super) fn file_path(
    flag: Option<&Path>,
    variable: &Option<PathBuf>,
    folders: Option<&Folders>,
) -> Option<(PathBuf, bool)> {
    let named = flag.map(Path::to_path_buf).or_else(|| variable.clone());
    let named = named.map(|path| (path, true));
    named.or_else(|| Some((folders?.config.join("shoal").join("config.toml"), false)))
}

/// The file's settings; `None`: there is no file and none is required.
pub(super) fn file(
    source: &dyn Source,
    path: &Path,
    required: bool,
) -> Result<Option<Layer>, ConfigError> {
    let unreadable = |cause| ConfigError::Unreadable {
        path: path.to_path_buf(),
        cause,
    };
    match source.file(path).map_err(unreadable)? {
        Some(text) => parse(&text, path).map(Some),
        None if required => Err(unreadable(io::ErrorKind::NotFound.into())),
        None => Ok(None),
    }
}

fn parse(text: &str, path: &Path) -> Result<Layer, ConfigError> {
    let table: toml::Table = text.parse().map_err(|error| syntax(&error, text, path))?;
    let origin = Origin::File(path.to_path_buf());
    let mut layer = Layer::new();
    for (key, value) in table {
        let Some(setting) = Setting::named(&key) else {
            let known = super::SETTINGS.iter().map(|setting| setting.key.to_owned());
            let closest = closest::closest(&key, known);
            return Err(ConfigError::UnknownKey {
                origin,
                key,
                closest,
            });
        };
        layer.insert(setting.key, (value, origin.clone()));
    }
    Ok(layer)
}

fn syntax(error: &toml::de::Error, text: &str, path: &Path) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = text.as_bytes()[..at]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1;
    let words = error.message().split_whitespace().collect::<Vec<_>>();
    ConfigError::Syntax {
        path: path.to_path_buf(),
        message: format!("line {line}: {}", words.join(" ")),
    }
}

/// The flags' settings.
pub(super) fn flags(flags: &Flags) -> Layer {
    let values = flags.iter().cloned();
    values
        .map(|(key, value)| (key, (value, Origin::Flag)))
        .collect()
}
