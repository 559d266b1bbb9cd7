//! What is found and where, what is not, and that no text panics. Tokens are put together here,
//! so that none stands in this file.

use proptest::prelude::*;

use super::*;

const TAIL: &str = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V2w3X4y5Z6a7B8c9D0e1F2";

fn token(prefix: &str, length: usize) -> String {
    format!("{prefix}{}", &TAIL[..length])
}

/// The only finding: what, warning, line, column.
fn only(text: &str) -> (&'static str, bool, u32, u32) {
    let found = scrub(text);
    assert_eq!(found.len(), 1, "{text}: {found:?}");
    let Finding {
        what,
        is_warning,
        line,
        column,
    } = found[0];
    (what, is_warning, line, column)
}

fn refused(text: &str) -> &'static str {
    let (what, is_warning, ..) = only(text);
    assert!(!is_warning, "{text}");
    what
}

#[test]
fn tokens_of_known_shapes_are_refused_with_their_place() {
    let text = format!("first line\nüse `{}` here", token("ghp_", 36));
    assert_eq!(only(&text), ("a GitHub token", false, 2, 6));
    let cases = [
        token("github_pat_", 40),
        token("glpat-", 20),
        token("AIza", 35),
        token("xoxb-", 30),
        token("hf_", 34),
        token("npm_", 36),
        token("pypi-", 60),
        token("sk_live_", 24),
        token("sk-ant-", 40),
        token("sk-proj-", 40),
        token("sk-", 48),
        token("SG.", 60),
        token("dop_v1_", 60),
        token("shoal1_", 60),
        token("shoalpass1_", 60),
        format!("eyJ{TAIL}.{TAIL}.{TAIL}"),
        format!("AKIA{}", "A1B2C3D4E5F6G7H8"),
    ];
    for case in cases {
        refused(&format!("see ({case})."));
        refused(&format!("x={case}"));
    }
}

#[test]
fn private_keys_are_refused() {
    for kind in ["", "RSA ", "OPENSSH ", "EC ", "ENCRYPTED "] {
        let text = format!("a\n  -----BEGIN {kind}PRIVATE KEY-----\nMIIE\n");
        assert_eq!(only(&text), ("a private key", false, 2, 3));
    }
    assert!(scrub("-----BEGIN CERTIFICATE-----").is_empty());
    assert!(scrub("-----BEGIN PUBLIC KEY-----").is_empty());
}

#[test]
fn passwords_in_addresses_are_refused_and_examples_are_not() {
    let text = "db at postgres://app:hunter2@db.example/x";
    assert_eq!(only(text), ("a password in an address", false, 1, 22));
    for fine in [
        "https://example.org/a:b@c",
        "postgres://app:$PASSWORD@db/x",
        "postgres://app:<password>@db/x",
        "postgres://app:***@db/x",
        "postgres://user:password@db/x",
        "ssh://git@host/x",
        "http://localhost:9337/v1",
    ] {
        assert!(scrub(fine).iter().all(|found| found.is_warning), "{fine}");
    }
    let hook = format!("https://hooks.slack.com/services/{TAIL}");
    assert_eq!(refused(&hook), "a webhook's address");
}

#[test]
fn lines_of_env_files_are_refused() {
    for line in [
        "DB_PASSWORD=hunter2",
        "export SESSION_SECRET='abcd efgh'",
        "  API_KEY = \"q8w7e6r5\"",
        "password: \"hunter2hunter2\"",
        "\"api_key\": \"q1w2e3r4t5y6\",",
        "auth_token = q1w2e3r4t5y6u7",
    ] {
        assert_eq!(refused(line), "a secret setting", "{line}");
    }
    for fine in [
        "RUST_LOG=debug",
        "API_KEY=",
        "API_KEY=$OTHER",
        "API_KEY=<your key>",
        "API_KEY=your-key-here",
        "MAX_TOKENS=4096",
        "token: the next word that the model draws",
        "tokens/s: 35.2",
        "let token = next_token(&mut state)?;",
        "the secret: read the code",
        "password = read_password()",
    ] {
        assert!(scrub(fine).is_empty(), "{fine}: {:?}", scrub(fine));
    }
}

#[test]
fn bearer_tokens_are_refused() {
    let text = format!("curl -H 'Authorization: Bearer {}'", &TAIL[..32]);
    assert_eq!(refused(&text), "a bearer token");
    assert!(scrub("Authorization: Bearer $TOKEN").is_empty());
}

#[test]
fn names_of_people_are_warned_of() {
    assert_eq!(
        only("ask ann.b+x@mail.example.org."),
        ("an e-mail address", true, 1, 5)
    );
    let home = format!("in /{}/ann/src", "home");
    assert_eq!(only(&home), ("a path of a home folder", true, 1, 4));
    assert_eq!(only(r"C:\Users\ann\x").2, 1);
    for fine in ["@ann", "a@b", "serde@1.0", "2 @ 3.5x", "/home/"] {
        assert!(scrub(fine).is_empty(), "{fine}");
    }
}

#[test]
fn words_and_hashes_are_no_tokens() {
    for fine in [
        "sk-learn-contrib-is-a-branch-with-a-long-name-of-words",
        "task-1234567890abcdef1234567890abcdef12",
        "hf_transfer",
        "commit 0bd23fa7c4f2a1b09e8d7c6b5a49382716050403",
        "AKIAnotakeyatall0000",
        "npm_config_registry_is_set_to_a_mirror_of_words",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ] {
        assert!(scrub(fine).is_empty(), "{fine}: {:?}", scrub(fine));
    }
}

#[test]
fn refusals_outlast_many_warnings() {
    let many = "a@b.org ".repeat(100);
    let text = format!("{many}\n{}", token("ghp_", 36));
    let found = scrub(&text);
    assert_eq!(found.len(), MAX_FINDINGS);
    assert!(
        found
            .iter()
            .any(|found| !found.is_warning && found.line == 2)
    );
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,400}") {
        prop_assert!(scrub(&text).len() <= MAX_FINDINGS);
    }

    #[test]
    fn a_token_is_found_wherever_it_stands(
        before in "[a-z ü\n:/]{0,80}[ \n\"'(=]",
        after in "([ \n\"')][a-z ü\n:/]{0,80})?",
    ) {
        let text = format!("{before}{}{after}", token("ghp_", 36));
        let found = scrub(&text);
        let found = found.iter().find(|found| found.what == "a GitHub token");
        let found = found.expect("found");
        let line = before.matches('\n').count() + 1;
        prop_assert_eq!(usize::try_from(found.line).unwrap(), line);
        let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
        prop_assert_eq!(usize::try_from(found.column).unwrap(), column);
    }

    #[test]
    fn pieces_of_secrets_never_panic(
        pieces in proptest::collection::vec(
            prop::sample::select(vec![
                "ghp_", "://", "@", ":", "=", "\n", "-----BEGIN ", "PRIVATE KEY", "eyJ", ".",
                "Bearer ", "ü", "API_KEY", "/home/", "\\Users\\", "a1B2c3D4e5F6g7H8", "export ",
            ]),
            0..40,
        ),
    ) {
        prop_assert!(scrub(&pieces.concat()).len() <= MAX_FINDINGS);
    }
}
