//! Which files of a repository make up the model that a name means: one file, or all the parts
//! of a split one. It judges names only and trusts none of the sizes.

use std::collections::BTreeMap;

use super::listing::RepoFile;
use super::name::Selector;
use super::path::Part;

/// Quantizations from the most to the least wanted when the name asks for none: first the
/// four-bit ones that keep nearly all of the quality, then upward in size, then downward in
/// quality, the unquantized last. The order is also the list of known labels.
const PREFERENCE: [&str; 36] = [
    "Q4_K_M", "Q4_0", "Q4_K_S", "Q4_K_L", "Q4_1", "IQ4_NL", "IQ4_XS", "MXFP4", "Q4_K", "Q5_K_M",
    "Q5_K_S", "Q5_K_L", "Q5_0", "Q5_1", "Q5_K", "Q6_K", "Q6_K_L", "Q8_0", "Q3_K_L", "Q3_K_XL",
    "Q3_K_M", "IQ3_M", "Q3_K_S", "IQ3_S", "IQ3_XS", "IQ3_XXS", "Q2_K_L", "Q2_K", "IQ2_M", "IQ2_S",
    "IQ2_XS", "IQ2_XXS", "IQ1_M", "BF16", "F16", "F32",
];
/// Labels named in an error at most: the rest of a long list helps nobody.
const MAX_NAMED: usize = 24;
/// Beginnings of `.gguf` files that accompany a model and are none: vision projectors,
/// calibration data, adapters.
const COMPANIONS: [&str; 3] = ["mmproj", "imatrix", "lora-"];

/// The files of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSet {
    /// What is written after the colon of the model's full name: the quantization, or the
    /// file's path where the quantization does not say which.
    pub suffix: String,
    /// The file, or all parts in order.
    pub files: Vec<RepoFile>,
}

/// Why no files could be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChooseError {
    /// No `.gguf` file in the repository (or only companions or incomplete sets).
    #[error("the repository has no complete GGUF model")]
    NoModel,
    /// Nothing matches; names what there is.
    #[error("no `{wanted}` in the repository; it has: {}", has.join(", "))]
    NoMatch {
        /// What was asked for.
        wanted: String,
        /// What there is.
        has: Vec<String>,
    },
    /// Several match; names them.
    #[error("`{wanted}` means several models; write one of: {}", has.join(", "))]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// Those that match.
        has: Vec<String>,
    },
}

struct Candidate<'a> {
    label: Option<&'static str>,
    files: Vec<&'a RepoFile>,
}

impl Candidate<'_> {
    fn first(&self) -> &RepoFile {
        self.files[0]
    }

    /// The stem without the numbers of its parts.
    fn base(&self) -> String {
        Part::parse(self.first().path.file_name())
            .map_or_else(|| self.first().path.stem().to_owned(), |part| part.base)
    }

    fn rank(&self) -> usize {
        let known = |label| PREFERENCE.iter().position(|&known| known == label);
        self.label.and_then(known).unwrap_or(PREFERENCE.len())
    }
}

/// The quantization that a file's name ends in (`model.Q4_1.gguf`, `m-q8_0-00001-of-00002.gguf`),
/// else one that stands in it between separators; `None`: none is known.
#[must_use]
pub fn quant_label(file_name: &str) -> Option<&'static str> {
    let base = Part::parse(file_name)
        .map_or_else(|| super::path::stem(file_name).to_owned(), |part| part.base)
        .to_ascii_uppercase();
    let last = PREFERENCE
        .into_iter()
        .filter_map(|label| find_word(&base, label).map(|end| (end, label.len(), label)))
        .max()?;
    Some(last.2)
}

/// Where the last occurrence of `word` between separators (or borders) ends.
fn find_word(text: &str, word: &str) -> Option<usize> {
    let border = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_');
    let before = |c: Option<char>| border(c) || c == Some('_');
    text.rmatch_indices(word)
        .find(|&(at, _)| {
            before(text[..at].chars().next_back()) && border(text[at + word.len()..].chars().next())
        })
        .map(|(at, _)| at + word.len())
}

/// Chooses the files that `select` means; without one, the most wanted quantization.
///
/// # Errors
/// [`ChooseError`], naming what there is.
pub fn choose(files: &[RepoFile], select: Option<&Selector>) -> Result<FileSet, ChooseError> {
    let candidates = candidates(files);
    if candidates.is_empty() {
        return Err(ChooseError::NoModel);
    }
    let chosen = match select {
        None => default_choice(&candidates)?,
        Some(Selector::Quant(quant)) => by_quant(&candidates, quant)?,
        Some(Selector::File(path)) => by_file(&candidates, path.as_str())?,
    };
    Ok(FileSet {
        suffix: suffix(&candidates, chosen),
        files: chosen.files.iter().map(|&file| file.clone()).collect(),
    })
}

/// Groups parts, drops companions and incomplete sets; sorted by path.
fn candidates(files: &[RepoFile]) -> Vec<Candidate<'_>> {
    let mut groups: BTreeMap<String, BTreeMap<u32, &RepoFile>> = BTreeMap::new();
    let models = files
        .iter()
        .filter(|file| file.path.is_gguf() && !is_companion(file));
    for file in models {
        let part = Part::parse(file.path.file_name());
        let index = part.as_ref().map_or(0, |part| part.index);
        let first = part
            .and_then(|part| file.path.sibling(&part.file_name(1)).ok())
            .unwrap_or_else(|| file.path.clone());
        groups.entry(first.into()).or_default().insert(index, file);
    }
    groups.values().filter_map(complete).collect()
}

fn complete<'a>(group: &BTreeMap<u32, &'a RepoFile>) -> Option<Candidate<'a>> {
    let files: Vec<_> = group.values().copied().collect();
    let name = files.first()?.path.file_name();
    let whole = Part::parse(name).is_none_or(|part| {
        let names = (1..=part.count).map(|index| part.file_name(index));
        files.len() == part.count as usize
            && names
                .zip(&files)
                .all(|(name, file)| name == file.path.file_name())
    });
    whole.then(|| Candidate {
        label: quant_label(name),
        files,
    })
}

fn is_companion(file: &RepoFile) -> bool {
    let name = file.path.file_name().to_ascii_lowercase();
    COMPANIONS.iter().any(|start| name.starts_with(start)) || name.contains("-mmproj")
}

fn default_choice<'a, 'b>(
    candidates: &'b [Candidate<'a>],
) -> Result<&'b Candidate<'a>, ChooseError> {
    let best = candidates.iter().map(Candidate::rank).min().unwrap_or(0);
    only(
        candidates.iter().filter(|c| c.rank() == best).collect(),
        "no quantization",
        candidates,
    )
}

fn by_quant<'a, 'b>(
    candidates: &'b [Candidate<'a>],
    quant: &str,
) -> Result<&'b Candidate<'a>, ChooseError> {
    let exact = |c: &&Candidate<'_>| {
        c.label
            .is_some_and(|label| label.eq_ignore_ascii_case(quant))
    };
    let ends = |c: &&Candidate<'_>| {
        let (base, quant) = (c.base().to_ascii_uppercase(), quant.to_ascii_uppercase());
        find_word(&base, &quant) == Some(base.len())
    };
    let ending: Vec<_> = candidates.iter().filter(ends).collect();
    let labelled: Vec<_> = candidates.iter().filter(exact).collect();
    // `Q4_K_M` also ends `UD-Q4_K_M`; the name without a prefix is the plainer meaning.
    let plain: Vec<_> = labelled
        .iter()
        .copied()
        .filter(|c| !is_variant(c))
        .collect();
    let matching = [plain, labelled, ending]
        .into_iter()
        .find(|found| !found.is_empty());
    only(matching.unwrap_or_default(), quant, candidates)
}

/// Whether the label has Unsloth's mark for its own recipe in front (`UD-Q4_K_M`).
fn is_variant(candidate: &Candidate<'_>) -> bool {
    candidate.label.is_some_and(|label| {
        candidate
            .base()
            .to_ascii_uppercase()
            .ends_with(&format!("UD-{label}"))
    })
}

fn by_file<'a, 'b>(
    candidates: &'b [Candidate<'a>],
    wanted: &str,
) -> Result<&'b Candidate<'a>, ChooseError> {
    let has =
        |c: &Candidate<'_>, matches: &dyn Fn(&RepoFile) -> bool| c.files.iter().any(|f| matches(f));
    let exact = |f: &RepoFile| f.path.as_str() == wanted;
    let by_name = |f: &RepoFile| f.path.file_name().eq_ignore_ascii_case(wanted);
    if let Some(found) = candidates.iter().find(|&c| has(c, &exact)) {
        return Ok(found);
    }
    only(
        candidates.iter().filter(|&c| has(c, &by_name)).collect(),
        wanted,
        candidates,
    )
}

fn only<'a, 'b>(
    found: Vec<&'b Candidate<'a>>,
    wanted: &str,
    all: &'b [Candidate<'a>],
) -> Result<&'b Candidate<'a>, ChooseError> {
    let wanted = wanted.to_owned();
    let names = |list: Vec<&Candidate<'a>>| -> Vec<String> {
        let mut names: Vec<_> = list.into_iter().map(|c| suffix(all, c)).collect();
        names.dedup();
        names.truncate(MAX_NAMED);
        names
    };
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(ChooseError::NoMatch {
            wanted,
            has: names(all.iter().collect()),
        }),
        _ => Err(ChooseError::Ambiguous {
            wanted,
            has: names(found),
        }),
    }
}

/// The label if only this one has it, else the path of the (first) file.
fn suffix(all: &[Candidate<'_>], chosen: &Candidate<'_>) -> String {
    match chosen.label {
        Some(label) if all.iter().filter(|c| c.label == Some(label)).count() == 1 => {
            label.to_owned()
        }
        _ => chosen.first().path.to_string(),
    }
}

#[cfg(test)]
mod tests;
