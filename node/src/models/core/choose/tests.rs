//! Repositories as they are found on the hub, and any listing at all.

use proptest::prelude::*;

use super::*;
use crate::models::core::path::RepoPath;

fn files(names: &[&str]) -> Vec<RepoFile> {
    let file = |name: &&str| RepoFile {
        path: RepoPath::new(name).unwrap(),
        size: 1,
        sha256: None,
    };
    names.iter().map(file).collect()
}

fn chosen(names: &[&str], select: &str) -> Result<(String, Vec<String>), ChooseError> {
    let select = (!select.is_empty()).then(|| Selector::parse(select).unwrap());
    let set = choose(&files(names), select.as_ref())?;
    let paths = set.files.iter().map(|f| f.path.to_string()).collect();
    Ok((set.suffix, paths))
}

fn one(names: &[&str], select: &str) -> (String, String) {
    let (suffix, paths) = chosen(names, select).unwrap();
    assert_eq!(paths.len(), 1, "{paths:?}");
    (suffix, paths[0].clone())
}

const TYPICAL: [&str; 7] = [
    "README.md",
    "m-Q8_0.gguf",
    "m-Q4_K_M.gguf",
    "m-IQ4_XS.gguf",
    "m-Q4_0.gguf",
    "m-f16.gguf",
    "mmproj-m-f16.gguf",
];

#[test]
fn labels_are_read_from_the_usual_names() {
    for (name, label) in [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", Some("Q4_1")),
        ("qwen2.5-coder-7b-instruct-q4_k_m.gguf", Some("Q4_K_M")),
        ("Qwen3-235B-A22B-Q4_K_M-00001-of-00003.gguf", Some("Q4_K_M")),
        ("gpt-oss-20b-mxfp4.gguf", Some("MXFP4")),
        ("m-UD-Q4_K_M.gguf", Some("Q4_K_M")),
        ("m-Q6_K_L.gguf", Some("Q6_K_L")),
        ("m-bf16.gguf", Some("BF16")),
        ("m-iq4_nl.gguf", Some("IQ4_NL")),
        ("m_Q5_1.gguf", Some("Q5_1")),
        ("m-Q4_0_4_4.gguf", None),
        ("m-F16-Q4_0.gguf", Some("Q4_0")),
        ("m-Q4_K_M-imat.gguf", Some("Q4_K_M")),
        ("model.gguf", None),
    ] {
        assert_eq!(quant_label(name), label, "{name}");
    }
}

#[test]
fn the_default_is_the_most_wanted_there_is() {
    assert_eq!(one(&TYPICAL, ""), ("Q4_K_M".into(), "m-Q4_K_M.gguf".into()));
    let fewer = ["m-Q8_0.gguf", "m-Q4_0.gguf", "m-F16.gguf"];
    assert_eq!(one(&fewer, "").0, "Q4_0");
    assert_eq!(one(&["m-F16.gguf", "m-Q8_0.gguf"], "").0, "Q8_0");
    assert_eq!(one(&["only.gguf"], "").0, "only.gguf");
}

#[test]
fn a_quant_is_matched_in_any_case() {
    assert_eq!(one(&TYPICAL, "q4_k_m").1, "m-Q4_K_M.gguf");
    assert_eq!(one(&TYPICAL, "F16").1, "m-f16.gguf");
    let ud = ["m-Q4_K_M.gguf", "m-UD-Q4_K_M.gguf", "m-UD-Q2_K_XL.gguf"];
    assert_eq!(one(&ud, "q4_k_m").1, "m-Q4_K_M.gguf");
    assert_eq!(one(&ud, "ud-q4_k_m").1, "m-UD-Q4_K_M.gguf");
    assert_eq!(one(&ud, "q2_k_xl").1, "m-UD-Q2_K_XL.gguf");
    let two = ["a-Q8_0.gguf", "b-Q8_0.gguf"];
    assert!(matches!(
        chosen(&two, "Q8_0"),
        Err(ChooseError::Ambiguous { .. })
    ));
    assert!(matches!(
        chosen(&two, ""),
        Err(ChooseError::Ambiguous { .. })
    ));
    let Err(ChooseError::NoMatch { has, .. }) = chosen(&TYPICAL, "Q2_K") else {
        panic!("Q2_K is not there");
    };
    assert!(has.contains(&"Q8_0".to_owned()));
}

#[test]
fn a_file_is_matched_by_path_then_by_name() {
    let names = ["x/m.gguf", "y/m.gguf", "y/n.gguf"];
    assert_eq!(
        one(&names, "y/m.gguf"),
        ("y/m.gguf".into(), "y/m.gguf".into())
    );
    assert_eq!(one(&names, "N.gguf").1, "y/n.gguf");
    assert!(matches!(
        chosen(&names, "m.gguf"),
        Err(ChooseError::Ambiguous { .. })
    ));
    assert!(matches!(
        chosen(&names, "z.gguf"),
        Err(ChooseError::NoMatch { .. })
    ));
}

#[test]
fn a_split_model_comes_whole_or_not_at_all() {
    let names = [
        "Q4_K_M/m-Q4_K_M-00002-of-00003.gguf",
        "Q4_K_M/m-Q4_K_M-00001-of-00003.gguf",
        "Q4_K_M/m-Q4_K_M-00003-of-00003.gguf",
        "Q8_0/m-Q8_0-00001-of-00002.gguf",
    ];
    let (suffix, paths) = chosen(&names, "Q4_K_M").unwrap();
    assert_eq!(suffix, "Q4_K_M");
    assert_eq!(paths, [names[1], names[0], names[2]]);
    assert_eq!(
        chosen(&names, names[2]).unwrap().1.len(),
        3,
        "any part means the set"
    );
    assert!(matches!(
        chosen(&names, "Q8_0"),
        Err(ChooseError::NoMatch { .. })
    ));
    assert_eq!(chosen(&names[3..], ""), Err(ChooseError::NoModel));
    assert_eq!(
        chosen(&["README.md", "mmproj-x.gguf"], ""),
        Err(ChooseError::NoModel)
    );
}

fn any_name() -> impl Strategy<Value = String> {
    let quant = proptest::sample::select(PREFERENCE.to_vec());
    let part = prop_oneof![
        Just(String::new()),
        (1u32..4, 1u32..4).prop_map(|(i, n)| format!("-{i:05}-of-{n:05}")),
    ];
    ("(d/)?[a-z]{1,2}[-.]", quant, part)
        .prop_map(|(base, quant, part)| format!("{base}{quant}{part}.gguf"))
}

proptest! {
    #[test]
    fn a_choice_is_whole_ordered_and_chosen_again_by_its_suffix(
        names in proptest::collection::btree_set(any_name(), 0..12),
        quant in proptest::sample::select(PREFERENCE.to_vec()),
        ask in any::<bool>(),
    ) {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let files = files(&names);
        let select = ask.then(|| Selector::Quant(quant.to_lowercase()));
        if let Ok(set) = choose(&files, select.as_ref()) {
            prop_assert!(!set.files.is_empty());
            prop_assert!(set.files.iter().all(|f| files.contains(f)));
            if let Some(part) = Part::parse(set.files[0].path.file_name()) {
                prop_assert_eq!(set.files.len(), part.count as usize);
            }
            let again = choose(&files, Some(&Selector::parse(&set.suffix).unwrap()));
            prop_assert_eq!(again, Ok(set));
        }
    }

    #[test]
    fn the_order_of_the_listing_does_not_matter(
        names in proptest::collection::vec(any_name(), 1..8).prop_shuffle(),
    ) {
        let mut sorted = files(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let shuffled = choose(&sorted, None);
        sorted.sort_by(|a, b| a.path.cmp(&b.path));
        prop_assert_eq!(shuffled, choose(&sorted, None));
    }

    #[test]
    fn no_name_panics(name in ".*") {
        let _ = quant_label(&name);
    }
}
