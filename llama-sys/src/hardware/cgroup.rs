//! Memory limits of Linux control groups, both versions. Elsewhere the files do not exist and
//! there is no limit. It reads a tree of small files under a root that tests can make.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// Bytes of one of these files that are read; `memory.stat` has some 2 KiB.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// What the tightest group over this process allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Memory of the group in all.
    pub(super) limit_bytes: u64,
    /// Memory that the group may still take; page cache that can be dropped counts as free.
    pub(super) available_bytes: u64,
}

/// File names of a version.
struct Version {
    mount: &'static str,
    limit: &'static str,
    usage: &'static str,
    droppable: &'static str,
}

const V1: Version = Version {
    mount: "sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    droppable: "total_inactive_file",
};

const V2: Version = Version {
    mount: "sys/fs/cgroup",
    limit: "memory.max",
    usage: "memory.current",
    droppable: "inactive_file",
};

/// The limits of this process's groups, with everything read below `root`.
pub(super) fn read(root: &Path) -> Option<Limits> {
    let list = text(&root.join("proc/self/cgroup"))?;
    list.lines()
        .filter_map(|line| read_line(root, line))
        .reduce(tighter)
}

/// One line `NUMBER:CONTROLLERS:PATH`; version 2 has the number 0 and no controllers.
fn read_line(root: &Path, line: &str) -> Option<Limits> {
    let (number, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    let version = match (number, controllers) {
        ("0", "") => V2,
        _ if controllers.split(',').any(|name| name == "memory") => V1,
        _ => return None,
    };
    let mount = root.join(version.mount);
    groups(&mount, path)
        .iter()
        .filter_map(|group| read_group(group, &version))
        .reduce(tighter)
}

/// The group's folder and all above it up to the mount: each may set a limit. In a container the
/// path is the host's and its folders are missing here, which leaves the mount itself.
fn groups(mount: &Path, path: &str) -> Vec<PathBuf> {
    let mut group = mount.to_owned();
    let mut all = vec![group.clone()];
    for part in Path::new(path).components() {
        if let Component::Normal(name) = part {
            group.push(name);
            all.push(group.clone());
        }
    }
    all
}

fn read_group(folder: &Path, version: &Version) -> Option<Limits> {
    // Not a number: `max`, which is no limit.
    let limit_bytes = number(&folder.join(version.limit))?;
    let used = number(&folder.join(version.usage)).unwrap_or(0);
    let statistics = text(&folder.join("memory.stat")).unwrap_or_default();
    let droppable = statistics
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == version.droppable)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0);
    let available_bytes = limit_bytes.saturating_sub(used.saturating_sub(droppable));
    Some(Limits {
        limit_bytes,
        available_bytes,
    })
}

fn tighter(a: Limits, b: Limits) -> Limits {
    Limits {
        limit_bytes: a.limit_bytes.min(b.limit_bytes),
        available_bytes: a.available_bytes.min(b.available_bytes),
    }
}

fn number(path: &Path) -> Option<u64> {
    text(path)?.trim().parse().ok()
}

fn text(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path)
        .ok()?
        .take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn tree(files: &[(&str, &str)]) -> Option<Limits> {
        let root = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        read(root.path())
    }

    #[test]
    fn version_2_takes_the_tightest_group() {
        let limits = tree(&[
            ("proc/self/cgroup", "0::/user.slice/app.service\n"),
            ("sys/fs/cgroup/user.slice/memory.max", "1000\n"),
            ("sys/fs/cgroup/user.slice/memory.current", "900\n"),
            (
                "sys/fs/cgroup/user.slice/memory.stat",
                "anon 5\ninactive_file 300\n",
            ),
            ("sys/fs/cgroup/user.slice/app.service/memory.max", "max\n"),
            (
                "sys/fs/cgroup/user.slice/app.service/memory.current",
                "100\n",
            ),
        ]);
        assert_eq!(
            limits,
            Some(Limits {
                limit_bytes: 1000,
                available_bytes: 400
            })
        );
    }

    #[test]
    fn version_1_beside_an_empty_version_2() {
        let limits = tree(&[
            ("proc/self/cgroup", "4:memory:/a\n3:cpu,cpuacct:/b\n0::/\n"),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "5000\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "800\n"),
            ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "700\n"),
            (
                "sys/fs/cgroup/memory/a/memory.stat",
                "inactive_file 1\ntotal_inactive_file 50\n",
            ),
        ]);
        assert_eq!(
            limits,
            Some(Limits {
                limit_bytes: 800,
                available_bytes: 150
            })
        );
    }

    #[test]
    fn a_container_sees_its_group_at_the_mount() {
        let limits = tree(&[
            ("proc/self/cgroup", "0::/../../host/path\n"),
            ("sys/fs/cgroup/memory.max", "500\n"),
            ("sys/fs/cgroup/memory.current", "600\n"),
        ]);
        assert_eq!(
            limits,
            Some(Limits {
                limit_bytes: 500,
                available_bytes: 0
            })
        );
    }

    #[test]
    fn no_group_is_no_limit() {
        assert_eq!(tree(&[]), None);
        assert_eq!(tree(&[("proc/self/cgroup", "0::/\nnonsense\n")]), None);
        let max = [
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "max\n"),
        ];
        assert_eq!(tree(&max), None);
    }
}
