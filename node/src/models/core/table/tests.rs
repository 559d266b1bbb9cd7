//! Names as people write them, and any name at all.

use proptest::prelude::*;

use super::*;
use crate::models::core::name::RepoId;
use crate::models::core::path::RepoPath;
use crate::models::core::record::StoredFile;

fn record(name: &str, source: Source) -> Record {
    let file = match &source {
        Source::Hub { file, .. } => file.file_name().to_owned(),
        Source::Url { .. } => "u.gguf".to_owned(),
        Source::File { path } => path.file_name().unwrap().to_str().unwrap().to_owned(),
    };
    let files = vec![StoredFile {
        name: file,
        size: 10,
        sha256: None,
    }];
    Record {
        name: name.into(),
        source,
        files,
        architecture: "llama".into(),
        quantization: "Q4_0".into(),
        context_length: 1,
        added: 1,
        last_used: 1,
    }
}

fn hub(repo: &str, quant: &str) -> Record {
    let file = RepoPath::new(&format!("m-{quant}.gguf")).unwrap();
    let source = Source::Hub {
        repo: RepoId::new(repo).unwrap(),
        file,
    };
    record(&format!("{repo}:{quant}"), source)
}

fn local(path: &str) -> Record {
    let name = crate::models::core::path::stem(path.rsplit('/').next().unwrap()).to_owned();
    record(&name, Source::File { path: path.into() })
}

fn found(table: &Table, name: &str) -> String {
    match table.find(name, Catalog::builtin()) {
        Found::One(record) => record.name.clone(),
        Found::Several(names) => format!("{} of them", names.len()),
        Found::None => "none".into(),
    }
}

#[test]
fn names_are_matched_leniently_but_never_guessed() {
    let table = Table::new([
        hub("Org/Alpha", "Q4_K_M"),
        hub("Org/Beta", "Q4_0"),
        hub("Org/Beta", "Q8_0"),
        hub("Two/Alpha", "Q8_0"),
        local("/x/gamma.gguf"),
    ]);
    for (name, meaning) in [
        ("Org/Alpha:Q4_K_M", "Org/Alpha:Q4_K_M"),
        ("org/alpha:q4_k_m", "Org/Alpha:Q4_K_M"),
        (" org/alpha ", "Org/Alpha:Q4_K_M"),
        ("ORG/beta:q8_0", "Org/Beta:Q8_0"),
        ("Org/Beta", "2 of them"),
        ("alpha", "2 of them"),
        ("alpha:q8_0", "Two/Alpha:Q8_0"),
        ("GAMMA", "gamma"),
        ("Org/Alpha:Q8_0", "none"),
        ("delta", "none"),
        ("", "none"),
    ] {
        assert_eq!(found(&table, name), meaning, "{name}");
    }
}

#[test]
fn catalog_names_find_the_repository_and_the_file_brought_by_hand() {
    let entry = Catalog::builtin().entry("smollm2:135m").unwrap();
    let repo = hub(entry.repo.as_str(), &entry.quant);
    assert_eq!(
        found(&Table::new([repo.clone()]), "smollm2:135m"),
        repo.name
    );
    let wheel = local("/cache/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert_eq!(
        found(&Table::new([wheel.clone()]), "SmolLM2:135M"),
        wheel.name
    );
    assert_eq!(
        found(&Table::new([hub("a/b", "Q4_1")]), "smollm2:135m"),
        "none"
    );
}

#[test]
fn a_taken_name_is_numbered() {
    let table = Table::new([local("/a/m.gguf")]);
    let again = Source::File {
        path: "/a/m.gguf".into(),
    };
    let other = Source::File {
        path: "/b/m.gguf".into(),
    };
    assert_eq!(table.free_name("m", &again), "m");
    assert_eq!(table.free_name("m", &other), "m-2");
}

#[test]
fn only_owned_models_count_and_can_go() {
    let table = Table::new([
        hub("a/b", "Q4_0"),
        hub("a/b", "Q8_0"),
        local("/x/gamma.gguf"),
    ]);
    assert_eq!(table.owned_bytes(), 20);
    let names: Vec<_> = table
        .removable(|name| name.ends_with("Q8_0"))
        .into_iter()
        .map(|r| r.name)
        .collect();
    assert_eq!(names, ["a/b:Q4_0"]);
}

proptest! {
    #[test]
    fn a_stored_name_means_itself_and_no_name_panics(name in ".{0,40}", quant in "Q[2-8]_0") {
        let table = Table::new([hub("a/b", &quant), hub("a/c", "Q4_0"), local("/x/y.gguf")]);
        let _ = table.find(&name, Catalog::builtin());
        for record in table.records() {
            prop_assert_eq!(table.find(&record.name, Catalog::builtin()), Found::One(record));
        }
    }

    #[test]
    fn every_name_that_is_given_is_one_that_requests_can_use(wanted in "[ -~]{0,80}|.{0,300}", taken in 0..3) {
        let mut table = Table::default();
        let source = |n: i32| Source::File { path: format!("/x/{n}.gguf").into() };
        for n in 0..=taken {
            let name = table.free_name(&wanted, &source(n));
            prop_assert_eq!(ModelName::check(&name), Ok(()), "{}", name);
            prop_assert!(table.record(&name).is_none());
            table.insert(record(&name, source(n)));
        }
    }
}

#[test]
fn a_name_that_was_changed_is_still_found_as_it_was_written() {
    let mut table = Table::default();
    let source = Source::File {
        path: "/x/mein Modell (1).gguf".into(),
    };
    let name = table.free_name("mein Modell (1)", &source);
    assert_eq!(name, "mein-Modell--1-");
    table.insert(record(&name, source));
    assert_eq!(found(&table, "Mein Modell (1)"), name);
    assert_eq!(found(&table, ""), "none");
}
