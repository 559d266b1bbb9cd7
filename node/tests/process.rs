//! The real binary, from outside: addresses, signals, one owner, `kill -9`, exit codes. A small
//! HTTP/1.0 client is enough; the API itself is tested elsewhere.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "process/node.rs"]
mod node;
#[cfg(feature = "llama")]
#[path = "process/serving.rs"]
mod serving;
#[path = "process/swarm.rs"]
mod swarm;

use std::io::Read;

use self::node::{Node, fixture, run, shoal, text};

#[test]
fn a_node_says_where_it_is_and_leaves_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path(), &[]);
    let written = std::fs::read_to_string(node.addr_file()).unwrap();
    assert_eq!(written, format!("{}\n", node.api));
    assert!(node.request("GET /healthz", "").starts_with("HTTP/1.0 200"));

    let status = run(dir.path(), &["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["api"], node.api.as_str());
    assert_eq!(status["mode"], "offline");

    node.signal("TERM");
    assert_eq!(node.exit_code(), Some(0));
    assert!(!node.addr_file().exists());
    let mut rest = String::new();
    node.stdout.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("OpenAI API: http://"), "{rest}");
}

#[test]
fn a_second_node_is_refused_and_names_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let second = run(dir.path(), &["up", "--offline", "--api", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(5));
    let told = text(&second.stderr);
    assert!(
        told.contains(&format!("process {}", node.child.id())),
        "{told}"
    );
    assert!(told.contains(&node.api), "{told}");
    assert!(node.addr_file().exists(), "the first one's address stays");
}

#[test]
fn identity_and_state_outlive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture();
    let mut ids = Vec::new();
    for round in 0..3 {
        let args = if round == 0 {
            vec!["--client", "--model", &model]
        } else {
            vec!["--client"]
        };
        let mut node = Node::start(dir.path(), &args);
        let status = run(dir.path(), &["status", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        ids.push(status["node_id"].as_str().unwrap().to_owned());
        assert_eq!(status["stored"], 1, "what was acknowledged is there");
        node.child.kill().unwrap();
        node.child.wait().unwrap();
    }
    assert!(ids.iter().all(|id| *id == ids[0]));
    // The dead node left its address; nobody answers there, and that is said.
    let asked = run(dir.path(), &["status"]);
    assert_eq!(asked.status.code(), Some(3));
    // The store is read without a node.
    let models = run(dir.path(), &["models", "--json"]);
    let models: serde_json::Value = serde_json::from_slice(&models.stdout).unwrap();
    assert_eq!(models[0]["name"], "tiny-moe-q8_0");
}

#[test]
fn without_a_node_commands_say_how_to_start_one() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &["ps"][..],
        &["status"],
        &["run", "m", "hi"],
        &["pull", "x"],
        &["rm", "x"],
    ] {
        let output = run(dir.path(), args);
        assert_eq!(output.status.code(), Some(3), "{args:?}");
        let told = text(&output.stderr);
        assert!(
            told.contains("shoal up") && told.lines().count() == 1,
            "{told}"
        );
    }
    let models = run(dir.path(), &["models"]);
    assert_eq!(models.status.code(), Some(0));
    assert!(!dir.path().join("data").exists(), "asking makes nothing");
}

#[test]
fn wrong_settings_are_named_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let unknown = shoal(dir.path())
        .env("SHOAL_TREADS", "2")
        .arg("up")
        .output()
        .unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        text(&unknown.stderr).contains("`SHOAL_THREADS`"),
        "{}",
        text(&unknown.stderr)
    );
    let file = dir.path().join("config.toml");
    std::fs::write(&file, "ctxsize = 1").unwrap();
    let unknown = run(dir.path(), &["up", "--config", file.to_str().unwrap()]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        text(&unknown.stderr).contains("`ctx_size`"),
        "{}",
        text(&unknown.stderr)
    );
    let open = run(dir.path(), &["up", "--api", "0.0.0.0:0"]);
    assert_eq!(open.status.code(), Some(2));
    assert!(
        text(&open.stderr).contains("no_api_key"),
        "{}",
        text(&open.stderr)
    );
    assert!(!dir.path().join("data").exists());
}

#[test]
fn missing_models_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let gone = run(
        dir.path(),
        &[
            "up",
            "--offline",
            "--api",
            "127.0.0.1:0",
            "--model",
            "./gone.gguf",
        ],
    );
    assert_eq!(gone.status.code(), Some(1));
    assert!(
        text(&gone.stderr).contains("./gone.gguf"),
        "{}",
        text(&gone.stderr)
    );
    let absent = run(
        dir.path(),
        &[
            "up",
            "--offline",
            "--api",
            "127.0.0.1:0",
            "--model",
            "no/such",
        ],
    );
    assert_eq!(absent.status.code(), Some(4), "{}", text(&absent.stderr));
    let node = Node::start(dir.path(), &[]);
    let absent = run(dir.path(), &["run", "no/such", "hi"]);
    assert_eq!(absent.status.code(), Some(4), "{}", text(&absent.stderr));
    drop(node);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    drop(Node::start(dir.path(), &[]));
    let key = dir.path().join("data/identity.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = run(dir.path(), &["up", "--offline", "--api", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("chmod 600"),
        "{}",
        text(&refused.stderr)
    );
}

#[test]
fn the_api_key_is_wanted_and_taken_from_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("config/shoal");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.toml"), "api_key = \"k3y\"\n").unwrap();
    let node = Node::start(dir.path(), &[]);
    assert!(
        node.request("GET /v1/models", "")
            .starts_with("HTTP/1.0 401")
    );
    assert_eq!(run(dir.path(), &["ps"]).status.code(), Some(0));
    assert_eq!(
        run(dir.path(), &["ps", "--api-key", "other"]).status.code(),
        Some(1)
    );
    let shown = text(&run(dir.path(), &["config", "show"]).stdout);
    assert!(shown.contains("api_key = \"(hidden)\""), "{shown}");
}

#[test]
fn a_client_node_says_why_it_serves_no_model() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture();
    let node = Node::start(dir.path(), &["--client", "--model", &model]);
    let body = r#"{"model":"tiny-moe-q8_0","messages":[{"role":"user","content":"hi"}]}"#;
    let answer = node.request("POST /v1/chat/completions", body);
    assert!(answer.starts_with("HTTP/1.0 503"), "{answer}");
    assert!(answer.contains("--client"), "{answer}");
    assert!(node.request("GET /readyz", "").starts_with("HTTP/1.0 503"));
}

#[test]
fn completions_and_help_need_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = run(dir.path(), &["completions", shell]);
        assert!(
            script.status.success() && text(&script.stdout).contains("ctx-size"),
            "{shell}"
        );
        assert!(
            !text(&script.stdout).contains("worker"),
            "hidden commands stay hidden"
        );
    }
    assert!(text(&run(dir.path(), &["--help"]).stdout).contains("Exit codes:"));
    assert_eq!(run(dir.path(), &["--nonsense"]).status.code(), Some(2));
}

#[test]
fn the_doctor_finds_a_fresh_machine_well_and_names_what_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let healthy = run(dir.path(), &["doctor"]);
    let told = text(&healthy.stdout);
    assert!(told.contains("ok    node: running at"), "{told}");
    drop(node);
    std::fs::write(dir.path().join("data/state/conf"), [0xff; 64]).unwrap();
    let ill = run(dir.path(), &["doctor"]);
    assert_eq!(ill.status.code(), Some(1));
    assert!(
        text(&ill.stdout).contains("fail  state"),
        "{}",
        text(&ill.stdout)
    );
}
