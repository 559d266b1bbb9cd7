//! From a name to a plan: asks the hub or the server what there is and says what will be
//! fetched. It fetches nothing and writes nothing.

use std::path::PathBuf;

use reqwest::Url;

use super::core::catalog::{Catalog, Entry};
use super::core::choose::choose;
use super::core::listing::RepoFile;
use super::core::name::{ModelRef, NameError, RepoId, Selector, url_file_name};
use super::core::path::Part;
use super::core::plan::{Plan, PlannedFile, StagedFile};
use super::core::record::Source;
use super::error::PullError;
use super::hub::{Hub, Listing, Probe};

/// What a name wants done.
#[derive(Debug)]
pub(super) enum Wanted {
    /// Fetched from a repository.
    Repository {
        repo: RepoId,
        select: Option<Selector>,
        entry: Option<&'static Entry>,
    },
    /// Fetched from an address.
    Address(Url),
    /// A file of this machine.
    File(PathBuf),
}

impl Wanted {
    /// Reads a name; short ones are looked up in the catalog.
    pub(super) fn parse(name: &str) -> Result<Self, PullError> {
        match ModelRef::parse(name)? {
            ModelRef::Hub { repo, select } => Ok(Self::Repository {
                repo,
                select,
                entry: None,
            }),
            ModelRef::Url(url) => Ok(Self::Address(url)),
            ModelRef::Path(path) => Ok(Self::File(path)),
            ModelRef::Short(name) => {
                let entry = Catalog::builtin()
                    .entry(&name)
                    .ok_or(PullError::Unknown(name))?;
                let (repo, select) = (entry.repo.clone(), Some(entry.selector()));
                Ok(Self::Repository {
                    repo,
                    select,
                    entry: Some(entry),
                })
            }
        }
    }
}

/// The plan for files of a repository.
pub(super) async fn from_repository(
    hub: &Hub,
    repo: &RepoId,
    select: Option<&Selector>,
    entry: Option<&Entry>,
) -> Result<Plan, PullError> {
    let Listing { commit, files } = hub.files(repo).await?;
    let set = choose(&files, select)?;
    let name = entry.map_or_else(
        || format!("{repo}:{}", set.suffix),
        |entry| entry.name.clone(),
    );
    let planned = |file: &RepoFile| PlannedFile {
        url: hub.file_url(repo, &commit, &file.path),
        file: StagedFile {
            name: file.path.file_name().to_owned(),
            size: file.size,
            sha256: file.sha256,
            etag: None,
        },
    };
    let source = Source::Hub {
        repo: repo.clone(),
        file: set.files[0].path.clone(),
    };
    Ok(Plan {
        name,
        source,
        files: set.files.iter().map(planned).collect(),
    })
}

/// The addresses and sizes of the files that a name means at the hub.
pub(super) async fn published(hub: &Hub, name: &str) -> Result<Vec<(Url, u64)>, PullError> {
    let Wanted::Repository {
        repo,
        select,
        entry,
    } = Wanted::parse(name)?
    else {
        return Err(PullError::Unknown(name.to_owned()));
    };
    let plan = from_repository(hub, &repo, select.as_ref(), entry).await?;
    let files = plan.files.into_iter();
    Ok(files
        .map(|planned| (planned.url, planned.file.size))
        .collect())
}

/// The plan for the file (or, by its numbers, the files) at an address.
pub(super) async fn from_address(hub: &Hub, url: &Url) -> Result<Plan, PullError> {
    let file = url_file_name(url).ok_or(NameError::UrlFile)?;
    let part = Part::parse(file.file_name());
    let names: Vec<String> = match &part {
        Some(part) => (1..=part.count)
            .map(|index| part.file_name(index))
            .collect(),
        None => vec![file.file_name().to_owned()],
    };
    let mut files = Vec::new();
    for name in names {
        let url = with_file_name(url, &name);
        let Probe { size, sha256, etag } = hub.probe(&url).await?;
        let file = StagedFile {
            name,
            size,
            sha256,
            etag,
        };
        files.push(PlannedFile { url, file });
    }
    let name = part.map_or_else(|| file.stem().to_owned(), |part| part.base);
    let mut plain = files[0].url.clone();
    plain.set_query(None);
    plain.set_fragment(None);
    Ok(Plan {
        name,
        source: Source::Url { url: plain.into() },
        files,
    })
}

/// The address with another last component; one that is a hub's page of a file becomes the
/// address of the file itself.
fn with_file_name(url: &Url, name: &str) -> Url {
    let mut segments: Vec<&str> = url.path_segments().into_iter().flatten().collect();
    if segments.len() >= 5 && segments[2] == "blob" {
        segments[2] = "resolve";
    }
    if let Some(last) = segments.last_mut() {
        *last = name;
    }
    let mut other = url.clone();
    other.set_path(&segments.join("/"));
    other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_parts_and_pages_are_made() {
        let url = |text: &str| Url::parse(text).unwrap();
        let part = url("https://h/a/m-00001-of-00002.gguf?download=true");
        let other = with_file_name(&part, "m-00002-of-00002.gguf");
        assert_eq!(
            other.as_str(),
            "https://h/a/m-00002-of-00002.gguf?download=true"
        );
        let page = url("https://h/org/repo/blob/main/m.gguf");
        assert_eq!(
            with_file_name(&page, "m.gguf").path(),
            "/org/repo/resolve/main/m.gguf"
        );
        let odd = url("https://h/blob/a%20b/m.gguf");
        assert_eq!(with_file_name(&odd, "m.gguf").path(), "/blob/a%20b/m.gguf");
    }
}
