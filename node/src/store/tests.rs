//! Reopening, versions, broken files. That a killed process loses nothing acknowledged is
//! tested with real processes in `tests/process.rs`.

use serde::Deserialize;

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Note {
    text: String,
}

impl Record for Note {
    const TABLE: &'static str = "notes";
}

fn note(text: &str) -> Note {
    Note { text: text.into() }
}

#[test]
fn records_outlive_the_process_handle() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let notes = store.table::<Note>().unwrap();
    notes.put("b", &note("two")).unwrap();
    notes.put("a", &note("one")).unwrap();
    notes.put("b", &note("three")).unwrap();
    assert!(notes.remove("a").unwrap());
    assert!(!notes.remove("a").unwrap());
    drop((notes, store));
    let store = Store::open(dir.path()).unwrap();
    let notes = store.table::<Note>().unwrap();
    assert_eq!(notes.all().unwrap(), [("b".into(), note("three"))]);
    assert_eq!(notes.read("a").unwrap(), None);
}

/// What the files hold after `put` returned is all there is after a power cut: a copy of them,
/// taken without closing the database, opens with every record.
#[test]
fn what_was_acknowledged_is_in_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("live")).unwrap();
    let notes = store.table::<Note>().unwrap();
    for i in 0..50 {
        notes.put(&format!("{i:02}"), &note("kept")).unwrap();
        if i % 10 == 9 {
            let copy = dir.path().join(format!("copy{i}"));
            copy_files(&dir.path().join("live"), &copy);
            let reopened = Store::open(&copy).unwrap();
            let all = reopened.table::<Note>().unwrap().all().unwrap();
            assert_eq!(all.len(), i + 1);
        }
    }
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_files(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn no_change(_: &sled::Db) -> sled::Result<()> {
    Ok(())
}

fn rename_notes(db: &sled::Db) -> sled::Result<()> {
    for entry in &db.open_tree("old-notes")? {
        let (key, bytes) = entry?;
        db.open_tree(Note::TABLE)?.insert(key, bytes)?;
    }
    db.drop_tree("old-notes")?;
    Ok(())
}

#[test]
fn a_newer_schema_is_refused_and_an_older_one_migrated_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let old = store.db.open_tree("old-notes").unwrap();
    old.insert("a", br#"{"text":"moved"}"#).unwrap();
    drop((old, store));

    let store = Store::open_with(dir.path(), &[rename_notes, no_change]).unwrap();
    let moved = store.table::<Note>().unwrap().read("a").unwrap();
    assert_eq!(moved, Some(note("moved")));
    assert_eq!(store.schema(), Ok(3));
    drop(store);

    let store = Store::open_with(dir.path(), &[|_| panic!("again"), |_| panic!("again")]);
    drop(store.unwrap());
    let error = Store::open(dir.path()).err().unwrap();
    assert!(
        matches!(error, StoreError::Newer { found: 3, .. }),
        "{error}"
    );
}

#[test]
fn broken_files_are_an_error_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store
        .table::<Note>()
        .unwrap()
        .put("a", &note("one"))
        .unwrap();
    drop(store);
    std::fs::write(dir.path().join("conf"), [0xff; 64]).unwrap();
    let error = Store::open(dir.path()).err().unwrap();
    assert!(error.to_string().contains("begin anew"), "{error}");
}

#[test]
fn flushed_rows_are_in_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("live")).unwrap();
    let rows = store.rows("board").unwrap();
    rows.put(b"b", b"two").unwrap();
    rows.put(&[0, 0xff], b"\0").unwrap();
    rows.put(b"c", b"gone").unwrap();
    rows.remove(b"c").unwrap();
    rows.remove(b"d").unwrap();
    rows.flush().unwrap();
    copy_files(&dir.path().join("live"), &dir.path().join("copy"));
    let copy = Store::open(&dir.path().join("copy")).unwrap();
    let rows: Vec<_> = copy
        .rows("board")
        .unwrap()
        .iter()
        .collect::<Result<_, _>>()
        .unwrap();
    let expected = [(vec![0, 0xff], vec![0]), (b"b".to_vec(), b"two".to_vec())];
    assert_eq!(rows, expected);
    assert_eq!(copy.rows("other").unwrap().read(b"b").unwrap(), None);
    let large = vec![0; MAX_RECORD_BYTES + 1];
    let rows = store.rows("board").unwrap();
    assert!(matches!(
        rows.put(b"x", &large),
        Err(StoreError::TooLarge { .. })
    ));
}

#[test]
fn a_broken_record_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let notes = store.table::<Note>().unwrap();
    notes.tree.insert("a", b"{").unwrap();
    let error = notes.read("a").unwrap_err();
    assert!(
        error.to_string().starts_with("the record `a` of `notes`"),
        "{error}"
    );
    assert!(notes.all().is_err());
}

#[test]
fn keys_and_records_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let notes = store.table::<Note>().unwrap();
    let long = "x".repeat(MAX_KEY_BYTES + 1);
    assert!(matches!(
        notes.put(&long, &note("")),
        Err(StoreError::TooLarge { .. })
    ));
    assert!(matches!(
        notes.put("a", &note(&"x".repeat(MAX_RECORD_BYTES))),
        Err(StoreError::TooLarge { .. })
    ));
}
