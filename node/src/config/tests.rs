//! Layers, unknown keys, and that what is shown can be read again.

#![expect(clippy::needless_pass_by_value, reason = "calls read better")]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use protocol::chain::Precision;
use toml::Value;

use super::*;

/// A world with these variables and one file.
#[derive(Default)]
struct Fake {
    variables: BTreeMap<String, String>,
    file: Option<(PathBuf, String)>,
    homeless: bool,
}

impl Fake {
    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    fn with_file(mut self, text: &str) -> Self {
        self.file = Some(("/home/u/.config/shoal/config.toml".into(), text.into()));
        self
    }

    fn read(&self, flags: Flags) -> Result<Effective, ConfigError> {
        Effective::read(self, None, &flags)
    }
}

impl Source for Fake {
    fn variables(&self) -> BTreeMap<String, String> {
        self.variables.clone()
    }

    fn file(&self, path: &Path) -> io::Result<Option<String>> {
        let file = self.file.as_ref().filter(|(there, _)| there == path);
        Ok(file.map(|(_, text)| text.clone()))
    }

    fn folders(&self) -> Option<Folders> {
        (!self.homeless).then(|| Folders {
            config: "/home/u/.config".into(),
            data: "/home/u/.local/share".into(),
        })
    }
}

fn flag(key: &'static str, value: &str) -> Flags {
    vec![(key, Value::String(value.into()))]
}

#[test]
fn nothing_set_gives_the_defaults() {
    let effective = Fake::default().read(Flags::new()).unwrap();
    assert_eq!(
        effective.config,
        Config::with_data_dir("/home/u/.local/share/shoal".into())
    );
    assert_eq!(effective.file, None);
    assert_eq!(effective.config.api.addr.to_string(), "127.0.0.1:9337");
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let fake = Fake::default()
        .with_file("ctx_size = 1000\nthreads = 1\nparallel = 1")
        .variable("SHOAL_CTX_SIZE", "2000")
        .variable("SHOAL_THREADS", "2");
    let effective = fake.read(flag("ctx_size", "3000")).unwrap();
    assert_eq!(
        effective.config.engine,
        EngineConfig {
            ctx_size: Some(3000),
            threads: Some(2),
            parallel: Some(1),
            ..EngineConfig::default()
        }
    );
    let shown = effective.to_toml();
    assert!(shown.contains("ctx_size = 3000 # flag\n"), "{shown}");
    assert!(shown.contains("threads = 2 # SHOAL_THREADS\n"), "{shown}");
    let file = "parallel = 1 # /home/u/.config/shoal/config.toml\n";
    assert!(shown.contains(file), "{shown}");
}

#[test]
fn unknown_names_are_errors_that_name_the_closest() {
    let error = Fake::default()
        .with_file("ctxsize = 1000")
        .read(Flags::new())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "/home/u/.config/shoal/config.toml: unknown setting `ctxsize` (did you mean `ctx_size`?)"
    );
    let error = Fake::default()
        .variable("SHOAL_TREADS", "2")
        .read(Flags::new())
        .unwrap_err();
    assert!(error.to_string().contains("SHOAL_THREADS"), "{error}");
    let error = Fake::default().variable("SHOAL_threads", "2");
    assert!(error.read(Flags::new()).is_err());
    assert!(
        Fake::default()
            .variable("SHOALX", "2")
            .read(Flags::new())
            .is_ok()
    );
}

#[test]
fn a_broken_file_is_named_with_the_line() {
    let error = Fake::default()
        .with_file("threads = 1\nparallel = = 2")
        .read(Flags::new())
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("config.toml: line 2: "), "{text}");
    assert!(!text.contains('\n'), "{text}");
}

#[test]
fn a_named_file_must_be_there() {
    let error = Effective::read(&Fake::default(), Some(Path::new("/nope")), &Flags::new());
    assert!(matches!(error, Err(ConfigError::Unreadable { .. })));
    let fake = Fake::default().variable("SHOAL_CONFIG", "/nope");
    assert!(matches!(
        fake.read(Flags::new()),
        Err(ConfigError::Unreadable { .. })
    ));
}

#[test]
fn an_open_address_needs_a_key_or_the_word_that_none_is_wanted() {
    let open = || Fake::default().variable("SHOAL_API", "0.0.0.0:9337");
    let check = |fake: Fake, flags| fake.read(flags).unwrap().config.check_exposure();
    assert!(matches!(
        check(open(), Flags::new()),
        Err(ConfigError::OpenWithoutKey(_))
    ));
    assert!(check(open(), flag("api_key", "k")).is_ok());
    assert!(check(open(), flag("no_api_key", "true")).is_ok());
    assert!(check(Fake::default(), flag("api", "[::1]:0")).is_ok());
    let local = Fake::default().read(flag("api", "localhost:1")).unwrap();
    assert_eq!(local.config.api.addr.to_string(), "127.0.0.1:1");
}

#[test]
fn without_a_home_the_data_directory_must_be_given() {
    let fake = Fake {
        homeless: true,
        ..Fake::default()
    };
    assert!(matches!(fake.read(Flags::new()), Err(ConfigError::NoHome)));
    let effective = fake.read(flag("data_dir", "/d")).unwrap();
    assert_eq!(effective.config.models_dir(), PathBuf::from("/d/models"));
}

#[test]
fn the_hubs_own_variables_are_honoured_and_ours_win() {
    let fake = Fake::default()
        .variable("HF_ENDPOINT", "http://127.0.0.1:1/")
        .variable("HF_TOKEN", "t");
    let models = fake.read(Flags::new()).unwrap().config.models;
    assert_eq!(models.hub_endpoint.as_deref(), Some("http://127.0.0.1:1"));
    assert_eq!(models.hub_token, Some(Secret::new("t")));
    let fake = fake.variable("SHOAL_HF_ENDPOINT", "http://127.0.0.1:2");
    let models = fake.read(Flags::new()).unwrap().config.models;
    assert_eq!(models.hub_endpoint.as_deref(), Some("http://127.0.0.1:2"));
}

#[test]
fn secrets_show_nowhere() {
    let fake = Fake::default().with_file("hf_token = \"s3cret\"");
    let effective = fake.read(flag("api_key", "s3cret")).unwrap();
    assert!(!effective.to_toml().contains("s3cret"));
    assert!(!effective.to_line().contains("s3cret"));
    assert!(!format!("{effective:?}").contains("s3cret"));
    let effective = Fake::default().variable("SHOAL_JOIN", "s3cret");
    let effective = effective.read(Flags::new()).unwrap();
    assert!(!effective.to_toml().contains("s3cret"));
    let fake = Fake::default().with_file("api_key = 7\n");
    assert!(fake.read(Flags::new()).is_err());
}

#[test]
fn the_owners_limits_are_read_from_every_layer() {
    let fake = Fake::default()
        .with_file("serve_public = false\nown_share = \"50%\"\n")
        .variable("SHOAL_MAX_UPLOAD", "20Mbit/s")
        .variable("SHOAL_SERVE_MODELS", "org/a, b");
    let effective = fake.read(flag("max_memory", "4GiB")).unwrap();
    let serving = &effective.config.serving;
    assert!(!serving.public);
    assert_eq!(serving.own_percent, 50);
    assert_eq!(serving.upload_bytes_per_second, Some(2_500_000));
    let models = serving.models.as_ref().unwrap();
    assert_eq!(models.len(), 2);
    assert_eq!(models[0].as_str(), "org/a");
    let residency = &effective.config.residency;
    assert_eq!(residency.memory_limit_bytes, Some(4 << 30));
    let shown = effective.to_toml();
    assert!(
        shown.contains("max_upload = 2500000 # SHOAL_MAX_UPLOAD"),
        "{shown}"
    );
    assert!(shown.contains("own_share = \"50%\""), "{shown}");
}

#[test]
fn rates_are_sizes_or_bits_in_a_second() {
    let read = |text| {
        let effective = Fake::default().read(flag("max_upload", text)).unwrap();
        effective.config.serving.upload_bytes_per_second.unwrap()
    };
    let texts = ["1000", "2MB/s", "1 MiB/s", "8kbit", "1Gbit/s"];
    let rates = [1000, 2_000_000, 1 << 20, 1000, 125_000_000];
    assert_eq!(texts.map(read), rates);
}

#[test]
fn each_setting_refuses_what_it_cannot_take() {
    for (key, bad) in [
        ("api", "somewhere"),
        ("ctx_size", "0"),
        ("ctx_size", "-1"),
        ("parallel", "257"),
        ("keep_alive", "5 parsecs"),
        ("keep_alive", "99999999999999999h"),
        ("max_memory", "1e3"),
        ("speculate", "sometimes"),
        ("serve_public", "perhaps"),
        ("serve_models", "no name"),
        ("max_upload", "999"),
        ("max_upload", "fast/s"),
        ("own_share", "91%"),
        ("own_share", "-1"),
        ("hf_endpoint", "ftp://x"),
        ("swarm", "Lab"),
        ("bootstrap", "example.org:4001"),
        ("rendezvous_servers", "/ip4/10.0.0.1/tcp/4001"),
        ("listen", "65536"),
        ("mdns", "on"),
        ("log_format", "xml"),
        ("offline", "maybe"),
    ] {
        let error = Fake::default().read(flag(key, bad)).unwrap_err();
        assert!(error.to_string().starts_with("flag: `"), "{error}");
    }
}

#[test]
fn privacy_is_a_level_and_trusted_peers_are_node_ids() {
    let node = protocol::NodeId::from(&ed25519_dalek::SigningKey::from_bytes(&[1; 32]));
    let file = format!("privacy = \"trusted\"\ntrusted_peers = [\"{node}\"]");
    let effective = Fake::default().with_file(&file).read(Flags::new()).unwrap();
    let privacy = &effective.config.privacy;
    assert_eq!(privacy.default, crate::core::ranking::Level::Trusted);
    assert!(privacy.trusted.contains(&node));
    assert_eq!(
        Config::with_data_dir("/x".into()).privacy.default,
        crate::core::ranking::Level::Swarm
    );
    for (key, bad) in [("privacy", "everybody"), ("trusted_peers", "nobody")] {
        let error = Fake::default().read(flag(key, bad)).unwrap_err();
        assert!(error.to_string().starts_with("flag: `"), "{error}");
    }
}

#[test]
fn hidden_states_travel_exactly_unless_another_format_is_asked_for() {
    let precision = |flags| {
        let effective = Fake::default().read(flags);
        effective.map(|effective| effective.config.swarm.stage_precision)
    };
    assert_eq!(precision(Flags::new()).unwrap(), Precision::F32);
    for (text, wanted) in [("bf16", Precision::Bf16), ("q8", Precision::Q8)] {
        assert_eq!(precision(flag("stage_precision", text)).unwrap(), wanted);
    }
    // Outliers of hidden states are beyond its range.
    assert!(precision(flag("stage_precision", "f16")).is_err());
}

#[test]
fn keys_are_sorted_out_and_unique() {
    let mut keys: Vec<_> = SETTINGS.iter().map(|setting| setting.key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), SETTINGS.len());
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::Integer),
        any::<bool>().prop_map(Value::Boolean),
        any::<String>().prop_map(Value::String),
        "[0-9]{1,25}(ms|s|m|h|GiB|KB)?".prop_map(Value::String),
        proptest::collection::vec("[a-z, ]{0,8}", 0..4)
            .prop_map(|texts| Value::Array(texts.into_iter().map(Value::String).collect())),
    ]
}

proptest! {
    /// Whatever a value is, it is taken or refused; what is taken shows, and what shows is
    /// read back to the same configuration.
    #[test]
    fn what_is_shown_is_read_back(
        values in proptest::collection::vec((0..SETTINGS.len(), any_value()), 0..8),
    ) {
        let flags: Flags = values
            .into_iter()
            .map(|(index, value)| (SETTINGS[index].key, value))
            .filter(|(_, value)| !value.as_str().is_some_and(|text| text.contains('\0')))
            .collect();
        if let Ok(effective) = Fake::default().read(flags) {
            let shown = effective.to_toml();
            let again = Fake::default().with_file(&shown).read(Flags::new());
            prop_assert_eq!(hide(again.expect("shown is valid").config), hide(effective.config));
        }
    }

    /// Any file is taken or refused without a panic.
    #[test]
    fn any_file_is_safe(text in ".{0,200}") {
        let _ = Fake::default().with_file(&text).read(Flags::new());
    }
}

fn hide(mut config: Config) -> Config {
    let hidden = || Secret::new("(hidden)");
    config.api.key = config.api.key.map(|_| hidden());
    config.models.hub_token = config.models.hub_token.map(|_| hidden());
    config.swarm.join = config.swarm.join.map(|_| hidden());
    config
}
