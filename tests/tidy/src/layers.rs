//! Which package may depend on which, ours and third parties', read from the `Cargo.toml`s.

use toml::{Table, Value};

use crate::{
    Violation,
    docs::PACKAGES,
    tree::{TextFile, Tree},
};

/// Our packages that a package may depend on. `tests` may use all, and nobody uses `tests`.
const LAYERS: [(&str, &[&str]); 6] = [
    ("protocol", &[]),
    ("llama-sys", &[]),
    ("dht", &["protocol"]),
    ("web", &["protocol"]),
    ("bootstrap", &["protocol", "dht"]),
    (
        "node",
        &["protocol", "dht", "bootstrap", "web", "llama-sys"],
    ),
];

/// Third parties behind a wall: the beginning of their names, and who may depend on them.
const WALLS: [(&str, &[&str]); 6] = [
    ("libp2p", &["dht", "bootstrap"]),
    ("llama-cpp", &["llama-sys"]),
    ("axum", &["web", "bootstrap"]),
    ("rmcp", &["web"]),
    ("sled", &["node"]),
    ("tracing-subscriber", &["node", "bootstrap"]),
];

/// Checks every package's manifest.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    PACKAGES
        .iter()
        .filter_map(|package| tree.file(&format!("{package}/Cargo.toml")))
        .flat_map(check_manifest)
        .collect()
}

fn check_manifest(file: &TextFile) -> Vec<Violation> {
    let package = file.path.split('/').next().unwrap_or_default();
    let Ok(manifest) = file.text.parse::<Table>() else {
        return vec![Violation::new(&file.path, 0, "is no TOML")];
    };
    let mut found: Vec<_> = dependencies(&manifest)
        .into_iter()
        .filter_map(|name| check_dependency(package, &name))
        .map(|message| Violation::new(&file.path, 0, message))
        .collect();
    if package != "llama-sys" && !has_workspace_lints(&manifest) {
        let message = "must have `[lints] workspace = true`";
        found.push(Violation::new(&file.path, 0, message));
    }
    found
}

/// What is wrong with the dependency, if anything is.
fn check_dependency(package: &str, name: &str) -> Option<String> {
    if package == "tests" {
        return None;
    }
    let (_, layer) = LAYERS.iter().find(|(layer, _)| *layer == package)?;
    if PACKAGES.contains(&name) && !layer.contains(&name) {
        return Some(format!(
            "`{package}` may not depend on `{name}` (it may on {layer:?})"
        ));
    }
    let (wall, allowed) = WALLS.iter().find(|(wall, _)| name.starts_with(wall))?;
    let message = format!("`{name}` is behind a wall: {wall} only in {allowed:?}");
    (!allowed.contains(&package)).then_some(message)
}

/// Names of every dependency: of each kind, and of each target platform.
fn dependencies(manifest: &Table) -> Vec<String> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let platforms = targets
        .into_iter()
        .flat_map(Table::values)
        .filter_map(Value::as_table);
    std::iter::once(manifest)
        .chain(platforms)
        .flat_map(|table| {
            ["dependencies", "dev-dependencies", "build-dependencies"].map(|kind| table.get(kind))
        })
        .flatten()
        .filter_map(Value::as_table)
        .flatten()
        .map(|(name, value)| package_name(name, value))
        .collect()
}

/// A dependency may be renamed; the wall stands before its real name.
fn package_name(name: &str, value: &Value) -> String {
    let renamed = value.get("package").and_then(Value::as_str);
    renamed.unwrap_or(name).to_owned()
}

fn has_workspace_lints(manifest: &Table) -> bool {
    let lints = manifest
        .get("lints")
        .and_then(|lints| lints.get("workspace"));
    lints.and_then(Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(package: &str, text: &str) -> Vec<String> {
        let text = format!("{text}\n[lints]\nworkspace = true\n");
        let path = format!("{package}/Cargo.toml");
        let violations = check_manifest(&TextFile { path, text });
        violations
            .into_iter()
            .map(|violation| violation.message)
            .collect()
    }

    #[test]
    fn layers_hold() {
        assert!(found("web", "[dependencies]\nprotocol.workspace = true").is_empty());
        assert!(
            found(
                "tests",
                "[dependencies]\nnode.workspace = true\nlibp2p = '1'"
            )
            .is_empty()
        );
        assert_eq!(
            found("web", "[dependencies]\nnode.workspace = true").len(),
            1
        );
        assert_eq!(
            found("protocol", "[dev-dependencies]\nweb.workspace = true").len(),
            1
        );
        assert_eq!(
            found(
                "llama-sys",
                "[build-dependencies]\nprotocol.workspace = true"
            )
            .len(),
            1
        );
        assert_eq!(
            found("node", "[dependencies]\ntests = { path = '../tests' }").len(),
            1
        );
        assert_eq!(
            found(
                "dht",
                "[target.'cfg(unix)'.dependencies]\nweb = { path = 'x' }"
            )
            .len(),
            1
        );
    }

    #[test]
    fn walls_hold() {
        assert!(found("web", "[dependencies]\naxum = '1'").is_empty());
        assert_eq!(found("node", "[dependencies]\naxum = '1'").len(), 1);
        assert_eq!(found("node", "[dependencies]\nlibp2p-kad = '1'").len(), 1);
        assert_eq!(found("web", "[dependencies]\nsled = '1'").len(), 1);
        assert_eq!(
            found("node", "[dependencies]\nx = { package = 'llama-cpp-2' }").len(),
            1
        );
    }

    #[test]
    fn lints_are_the_workspaces() {
        let manifest = |path: &str| TextFile {
            path: path.into(),
            text: "[dependencies]".into(),
        };
        assert_eq!(check_manifest(&manifest("web/Cargo.toml")).len(), 1);
        assert!(check_manifest(&manifest("llama-sys/Cargo.toml")).is_empty());
    }
}
