//! The hub's listings of a repository, read from JSON that may be hostile: unknown fields are
//! passed over, files with unsafe names are left out, counts are bounded.

use serde::Deserialize;

use super::digest::Sha256;
use super::path::RepoPath;

/// Files of one repository at most; the largest model repositories have a few hundred.
pub const MAX_FILES: usize = 20_000;
/// Largest file that we believe in, bytes (4 TiB): a listing that says more lies.
pub const MAX_FILE_BYTES: u64 = 1 << 42;

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoFile {
    /// Its path in the repository.
    pub path: RepoPath,
    /// Its size, bytes.
    pub size: u64,
    /// Its SHA-256, known for large files.
    pub sha256: Option<Sha256>,
}

/// What `api/models/{repo}/revision/{rev}?blobs=true` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The commit that the revision names now.
    pub commit: String,
    /// The files; empty if the hub left out their sizes.
    pub files: Vec<RepoFile>,
}

/// A listing that is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListingError {
    /// Not the JSON that the hub speaks.
    #[error("the hub's answer is not understood")]
    Json(#[source] serde_json::Error),
    /// More than [`MAX_FILES`] files.
    #[error("the repository has more than {MAX_FILES} files")]
    TooMany,
    /// The commit is not 40 (or 64) hexadecimal digits.
    #[error("the hub names no commit")]
    Commit,
}

#[derive(Deserialize)]
struct TreeEntry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    #[serde(alias = "oid")]
    sha256: Option<String>,
    size: Option<u64>,
}

#[derive(Deserialize)]
struct RevisionBody {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

/// Reads one page of `api/models/{repo}/tree/{rev}?recursive=true` onto `files`.
///
/// # Errors
/// [`ListingError`].
pub fn read_tree(body: &[u8], files: &mut Vec<RepoFile>) -> Result<(), ListingError> {
    let entries: Vec<TreeEntry> = serde_json::from_slice(body).map_err(ListingError::Json)?;
    let entries = entries.into_iter().filter(|entry| entry.kind == "file");
    for entry in entries {
        push(files, &entry.path, entry.size, entry.lfs)?;
    }
    Ok(())
}

/// Reads `api/models/{repo}/revision/{rev}?blobs=true`.
///
/// # Errors
/// [`ListingError`].
pub fn read_revision(body: &[u8]) -> Result<Revision, ListingError> {
    let body: RevisionBody = serde_json::from_slice(body).map_err(ListingError::Json)?;
    let commit = body.sha;
    if !matches!(commit.len(), 40 | 64) || !commit.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(ListingError::Commit);
    }
    let mut files = Vec::new();
    for sibling in body.siblings {
        push(&mut files, &sibling.rfilename, sibling.size, sibling.lfs)?;
    }
    Ok(Revision { commit, files })
}

fn push(
    files: &mut Vec<RepoFile>,
    path: &str,
    size: Option<u64>,
    lfs: Option<Lfs>,
) -> Result<(), ListingError> {
    if files.len() == MAX_FILES {
        return Err(ListingError::TooMany);
    }
    let size = lfs.as_ref().and_then(|lfs| lfs.size).or(size);
    let size = size.filter(|&size| size <= MAX_FILE_BYTES);
    if let (Ok(path), Some(size)) = (RepoPath::new(path), size) {
        let sha256 = lfs.and_then(|lfs| lfs.sha256?.parse().ok());
        files.push(RepoFile { path, size, sha256 });
    }
    Ok(())
}

/// The address of the next page out of a `Link` header (RFC 8288, `rel="next"`).
#[must_use]
pub fn next_page(link: &str) -> Option<&str> {
    link.split(',').find_map(|one| {
        let (address, parameters) = one.trim().strip_prefix('<')?.split_once('>')?;
        let next = parameters
            .split(';')
            .any(|p| matches!(p.trim(), "rel=\"next\"" | "rel=next"));
        next.then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_listings_are_read_and_unsafe_names_left_out() {
        let sha = "ab".repeat(32);
        let tree = format!(
            r#"[{{"type":"directory","path":"d","oid":"1"}},
                {{"type":"file","path":"README.md","size":12,"oid":"1"}},
                {{"type":"file","path":"d/m.gguf","size":130,"oid":"1","lfs":{{"oid":"{sha}","size":99,"pointerSize":130}}}},
                {{"type":"file","path":"../../etc/cron.d/x.gguf","size":1}},
                {{"type":"file","path":"huge.gguf","size":18446744073709551615}}]"#
        );
        let mut files = Vec::new();
        read_tree(tree.as_bytes(), &mut files).unwrap();
        let names: Vec<_> = files.iter().map(|f| (f.path.as_str(), f.size)).collect();
        assert_eq!(names, [("README.md", 12), ("d/m.gguf", 99)]);
        assert_eq!(files[1].sha256.unwrap().to_string(), sha);

        let commit = "0".repeat(40);
        let body = format!(
            r#"{{"sha":"{commit}","id":"a/b","siblings":[{{"rfilename":"m.gguf","size":5,"lfs":{{"sha256":"{sha}","size":5}}}},{{"rfilename":"x"}}]}}"#
        );
        let revision = read_revision(body.as_bytes()).unwrap();
        assert_eq!((revision.commit, revision.files.len()), (commit, 1));
        for bad in ["", "[]", "{}", r#"{"sha":"../x"}"#, "<html>"] {
            assert!(read_revision(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_next_page_is_found() {
        let link = r#"<http://h/a?cursor=x>; rel="prev", <http://h/b?cursor=y>; rel="next""#;
        assert_eq!(next_page(link), Some("http://h/b?cursor=y"));
        assert_eq!(next_page("<x>; rel=last"), None);
        assert_eq!(next_page("nonsense"), None);
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200), link in ".*") {
            let _ = (read_tree(&body, &mut Vec::new()), read_revision(&body), next_page(&link));
        }
    }
}
