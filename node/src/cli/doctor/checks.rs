//! Checks of this machine and of the node's folders. They change nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use llama_sys::hardware::{Cpu, Hardware, Memory};
use rustix::fs::{Access, access, statvfs};

use super::{Finding, text};
use crate::config::{Config, Effective};
use crate::core::sizing::default_budget;
use crate::data_dir::Layout;
use crate::identity::Identity;

/// Below this, no model that is worth it can be fetched.
const LITTLE_DISK_BYTES: u64 = 2 << 30;

/// Below this, the node's own state is in danger.
const NO_DISK_BYTES: u64 = 64 << 20;

/// Below this, only the smallest models run.
const LITTLE_MEMORY_BYTES: u64 = 2 << 30;

pub(super) fn configuration(effective: &Effective) -> Finding {
    match (effective.config.check_exposure(), &effective.file) {
        (Err(error), _) => Finding::fail("configuration", error.to_string()),
        (Ok(()), Some(path)) => Finding::ok(format!("configuration: {}", path.display())),
        (Ok(()), None) => Finding::ok("configuration: no file, defaults and environment"),
    }
}

pub(super) fn machine(config: &Config) -> Vec<Finding> {
    let hardware = Hardware::detect();
    vec![processor(&hardware.cpu), memory(&hardware.memory, config)]
}

fn processor(cpu: &Cpu) -> Finding {
    let missing = cpu.missing_features();
    let what = format!(
        "processor: {} ({}), {} of {} cores usable, {}",
        cpu.name,
        cpu.architecture,
        cpu.usable_cores,
        cpu.logical_cores,
        cpu.features.join(" ")
    );
    match missing.is_empty() {
        true => Finding::ok(what),
        false => Finding::fail(
            what,
            format!(
                "it lacks {}: build shoal on this machine",
                missing.join(" ")
            ),
        ),
    }
}

fn memory(memory: &Memory, config: &Config) -> Finding {
    let limit = config.residency.memory_limit_bytes;
    let budget = limit.unwrap_or_else(|| default_budget(memory.total_bytes));
    let what = format!(
        "memory: {} of {} available, models may take {}",
        text::bytes(memory.available_bytes),
        text::bytes(memory.total_bytes),
        text::bytes(budget)
    );
    if limit.is_some_and(|limit| limit > memory.total_bytes) {
        return Finding::fail(what, "max_memory is more than there is: lower it");
    }
    match memory.available_bytes {
        LITTLE_MEMORY_BYTES.. => Finding::ok(what),
        _ => Finding::warn(what, "only the smallest models fit: end other programs"),
    }
}

/// The folders to look at.
pub(super) struct Place {
    layout: Layout,
    models: PathBuf,
}

impl Place {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            layout: Layout::new(&config.data_dir),
            models: config.models_dir(),
        }
    }
}

pub(super) fn folders(place: &Place) -> Vec<Finding> {
    let root = place.layout.root();
    let mut findings = vec![writable("data directory", root)];
    if root.is_dir() {
        findings.push(private(root));
        findings.push(identity(&place.layout.identity()));
    }
    findings.push(writable("model store", &place.models));
    findings.push(disk(&place.models));
    findings
}

/// The folder, or the nearest one above it that exists.
fn nearest(path: &Path) -> &Path {
    let mut folders = path.ancestors();
    let found = folders.find(|folder| folder.exists() && !folder.as_os_str().is_empty());
    found.unwrap_or(Path::new("."))
}

fn writable(what: &str, path: &Path) -> Finding {
    let there = nearest(path);
    let what = format!("{what}: {}", path.display());
    if !there.is_dir() {
        let advice = format!("{} is a file: move it away", there.display());
        return Finding::fail(what, advice);
    }
    match access(there, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) if there == path => Finding::ok(what),
        Ok(()) => Finding::ok(format!("{what} (made at the first start)")),
        Err(_) => Finding::fail(
            what,
            format!(
                "{} cannot be written by this user: change its owner, or give --data-dir DIR",
                there.display()
            ),
        ),
    }
}

fn private(root: &Path) -> Finding {
    let mode = fs::metadata(root).map_or(0, |meta| meta.mode() & 0o777);
    let what = format!("permissions of the data directory: {mode:o}");
    match mode & 0o022 {
        0 => Finding::ok(what),
        _ => Finding::warn(
            what,
            format!("others can write there: chmod 700 '{}'", root.display()),
        ),
    }
}

fn identity(path: &Path) -> Finding {
    match Identity::load(path) {
        Ok(Some(identity)) => Finding::ok(format!("identity: {}", identity.id())),
        Ok(None) => Finding::ok("identity: none yet (made at the first start)"),
        Err(error) => Finding::fail("identity", error.to_string()),
    }
}

fn disk(path: &Path) -> Finding {
    let free = match statvfs(nearest(path)) {
        Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
        Err(error) => {
            return Finding::warn("disk", format!("its free space is not known: {error}"));
        }
    };
    let what = format!("disk: {} free for models", text::bytes(free));
    match free {
        LITTLE_DISK_BYTES.. => Finding::ok(what),
        NO_DISK_BYTES.. => Finding::warn(what, "free some: `shoal rm MODEL`, or set models_dir"),
        _ => Finding::fail(what, "free some: `shoal rm MODEL`, or set models_dir"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::Level;
    use super::*;

    fn levels(findings: &[Finding]) -> Vec<Level> {
        findings.iter().map(|finding| finding.level).collect()
    }

    #[test]
    fn a_fresh_place_is_fine_and_stays_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("new/place");
        let place = Place::of(&Config::with_data_dir(root.clone()));
        assert!(!levels(&folders(&place)).contains(&Level::Fail));
        assert!(!root.exists());
    }

    #[test]
    fn what_is_wrong_is_named_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("place");
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(root.join("identity.key"), "nonsense").unwrap();
        fs::set_permissions(root.join("identity.key"), fs::Permissions::from_mode(0o644)).unwrap();
        let findings = folders(&Place::of(&Config::with_data_dir(root)));
        let lines: Vec<_> = findings.iter().map(Finding::line).collect();
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("warn") && line.contains("chmod 700"))
        );
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("fail") && line.contains("chmod 600"))
        );
    }

    #[test]
    fn a_file_in_the_way_is_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("file");
        fs::write(&root, "").unwrap();
        assert_eq!(writable("x", &root.join("below")).level, Level::Fail);
    }

    #[test]
    fn too_large_a_limit_is_a_failure() {
        let mut config = Config::with_data_dir("/x".into());
        config.residency.memory_limit_bytes = Some(u64::MAX);
        let found = memory(&Memory::detect(), &config);
        assert_eq!(found.level, Level::Fail);
    }
}
