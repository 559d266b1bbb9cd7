//! Names that mean something, names that mean nothing, and any text at all.

use proptest::prelude::*;

use super::*;

fn hub(repo: &str, select: Option<Selector>) -> ModelRef {
    let repo = RepoId::new(repo).unwrap();
    ModelRef::Hub { repo, select }
}

#[test]
fn the_four_kinds_are_told_apart() {
    let quant = |q: &str| Some(Selector::Quant(q.into()));
    let file = |f: &str| Some(Selector::File(RepoPath::new(f).unwrap()));
    for (text, meaning) in [
        ("Qwen/Qwen3-4B-GGUF", hub("Qwen/Qwen3-4B-GGUF", None)),
        (
            "Qwen/Qwen3-4B-GGUF:q4_k_m",
            hub("Qwen/Qwen3-4B-GGUF", quant("q4_k_m")),
        ),
        ("a/b:UD-Q4_K_XL", hub("a/b", quant("UD-Q4_K_XL"))),
        ("a/b:x.gguf", hub("a/b", file("x.gguf"))),
        (
            "a/b:Q8_0/x-00001-of-00002.gguf",
            hub("a/b", file("Q8_0/x-00001-of-00002.gguf")),
        ),
        ("  smollm2:135m ", ModelRef::Short("smollm2:135m".into())),
        ("./x.gguf", ModelRef::Path("./x.gguf".into())),
        (
            "/models/a b.gguf",
            ModelRef::Path("/models/a b.gguf".into()),
        ),
        ("dir/x.GGUF", ModelRef::Path("dir/x.GGUF".into())),
        ("../x", ModelRef::Path("../x".into())),
    ] {
        assert_eq!(ModelRef::parse(text), Ok(meaning), "{text}");
    }
    let url = ModelRef::parse("https://example.org/a/b.gguf?download=true").unwrap();
    assert!(matches!(url, ModelRef::Url(_)));
}

#[test]
fn what_makes_no_sense_is_refused_by_its_cause() {
    use NameError as E;
    let long = "a".repeat(MAX_NAME + 1);
    for (text, check) in [
        ("", (|e| matches!(e, E::Empty)) as fn(&E) -> bool),
        ("  ", |e| matches!(e, E::Empty)),
        (long.as_str(), |e| matches!(e, E::TooLong)),
        ("a\0b", |e| matches!(e, E::Control)),
        ("a/b/c", |e| matches!(e, E::Repo(_))),
        ("a/..", |e| matches!(e, E::Repo(_))),
        ("a/b..c:Q8_0", |e| matches!(e, E::Repo(_))),
        (".a/b", |e| matches!(e, E::Repo(_))),
        ("a b/c", |e| matches!(e, E::Repo(_))),
        ("a/b:", |e| matches!(e, E::Selector(_))),
        ("a/b:../../x.gguf", |e| matches!(e, E::Selector(_))),
        ("a/b:/etc/x.gguf", |e| matches!(e, E::Selector(_))),
        ("a/b:Q4 K", |e| matches!(e, E::Selector(_))),
        ("ftp://h/x.gguf", |e| matches!(e, E::Scheme)),
        ("file:///x.gguf", |e| matches!(e, E::Scheme)),
        ("http://u:p@h/x.gguf", |e| matches!(e, E::Url)),
        ("http://", |e| matches!(e, E::Url)),
        ("http://h/x.bin", |e| matches!(e, E::UrlFile)),
        ("http://h/%2e%2e%2fx.gguf", |e| matches!(e, E::UrlFile)),
        ("http://h/", |e| matches!(e, E::UrlFile)),
        ("so what?", |e| matches!(e, E::Short(_))),
        ("a:b:c", |e| matches!(e, E::Short(_))),
        ("~", |e| matches!(e, E::Short(_))),
    ] {
        let refused = ModelRef::parse(text).unwrap_err();
        assert!(check(&refused), "{text}: {refused:?}");
    }
}

proptest! {
    #[test]
    fn no_text_panics_and_no_hub_name_climbs(text in "[ -~]{0,60}|.{0,60}") {
        if let Ok(ModelRef::Hub { repo, select }) = ModelRef::parse(&text) {
            prop_assert!(!repo.as_str().contains(".."));
            prop_assert_eq!(repo.as_str().matches('/').count(), 1);
            if let Some(Selector::File(path)) = select {
                prop_assert!(path.as_str().split('/').all(is_plain_file_name));
            }
        }
    }

    #[test]
    fn repositories_round_trip(org in "[A-Za-z0-9][A-Za-z0-9_-]{0,20}", repo in "[A-Za-z0-9][A-Za-z0-9_-]{0,20}") {
        let text = format!("{org}/{repo}");
        prop_assert_eq!(ModelRef::parse(&text), Ok(hub(&text, None)));
    }
}
