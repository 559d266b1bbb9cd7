//! The keeper over a real store: restarts, what was answered for, poison, whose notes are shown.

use std::path::Path;

use bytes::Bytes;
use dht::board::{Ledger, Verdict, Way};
use protocol::board::{Kind, Note, Saying};
use protocol::limits::{MAX_ENTRY_BYTES, NOTE_LIFETIME};
use web::Boards;
use web::boards::{BoardError, NewAttachment, NewNote, NoteQuery, Standing, StandingView};

use super::*;

mod room;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn node(seed: u8) -> NodeId {
    NodeId::from(&key(seed))
}

fn general() -> BoardName {
    "general".parse().unwrap()
}

fn swarm() -> SwarmName {
    "lab".parse().unwrap()
}

fn open(store: &Store, seed: u8, reach: Reach) -> Keeper {
    let setup = Setup {
        swarm: swarm(),
        reach,
        key: key(seed),
        config: BoardConfig::default(),
    };
    Keeper::open(setup, store).unwrap()
}

fn fresh(seed: u8, reach: Reach) -> (tempfile::TempDir, Keeper) {
    let dir = tempfile::tempdir().unwrap();
    let keeper = open(&Store::open(dir.path()).unwrap(), seed, reach);
    (dir, keeper)
}

fn new(body: &str) -> NewNote {
    NewNote {
        board: "general".into(),
        kind: "finding".into(),
        body: body.into(),
        ..NewNote::default()
    }
}

fn query(text: &str) -> NoteQuery {
    NoteQuery {
        text: Some(text.into()),
        ..NoteQuery::default()
    }
}

/// A note of another node, written so many seconds ago.
fn foreign(seed: u8, ago: u64, body: &str) -> Entry {
    let note = Note {
        board: general(),
        kind: Kind::Tip,
        parent: None,
        body: body.into(),
        agent: None,
        attachments: Vec::new(),
    };
    let written = UnixMillis(now().unix.0 - ago * 1000);
    let expires = written.saturating_add(NOTE_LIFETIME);
    Entry::sign(&key(seed), &swarm(), Saying::Note(note), written, expires).unwrap()
}

fn take(keeper: &Keeper, entry: &Entry, way: Way) -> Verdict {
    keeper.take(&general(), node(99), entry.bytes.clone(), way)
}

async fn bodies(keeper: &Keeper, text: &str) -> Vec<String> {
    let found = keeper.search(query(text)).await.unwrap();
    found.into_iter().map(|view| view.body).collect()
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_files(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Whatever was answered for is in the files at that moment, as after `kill -9`.
#[tokio::test]
async fn nothing_that_was_answered_for_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let store = Store::open(&live).unwrap();
    let keeper = open(&store, 1, Reach::Alone);
    let mut posted = Vec::new();
    for n in 0..200 {
        let view = keeper.post(new(&format!("note number {n}"))).await.unwrap();
        posted.push(view);
        if n % 40 == 7 {
            let withdrawn = posted.remove(posted.len() / 2);
            keeper.withdraw(&withdrawn.id).await.unwrap();
            let copy = dir.path().join(format!("copy{n}"));
            copy_files(&live, &copy);
            let again = open(&Store::open(&copy).unwrap(), 1, Reach::Alone);
            for view in &posted {
                assert_eq!(again.read(&view.id).await.as_ref(), Ok(view));
            }
            assert!(again.read(&withdrawn.id).await.unwrap().withdrawn);
            let found = again
                .search(NoteQuery {
                    limit: Some(500),
                    ..query("number")
                })
                .await;
            assert_eq!(found.unwrap().len(), posted.len());
        }
    }
    let ids: std::collections::BTreeSet<&str> =
        posted.iter().map(|view| view.id.as_str()).collect();
    assert_eq!(ids.len(), posted.len());
}

#[tokio::test]
async fn in_the_public_mesh_a_person_turns_posting_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let keeper = open(&store, 1, Reach::Public);
    assert_eq!(keeper.posting().await, Ok(false));
    assert_eq!(keeper.post(new("hello")).await, Err(BoardError::PostingOff));
    assert_eq!(bodies(&keeper, "hello").await, [] as [&str; 0]);
    assert_eq!(
        take(&keeper, &foreign(2, 5, "hello you"), Way::Gossip),
        Verdict::New
    );
    assert_eq!(bodies(&keeper, "hello").await, ["hello you"]);
    keeper.set_posting(true).await.unwrap();
    drop(keeper);
    let keeper = open(&store, 1, Reach::Public);
    let view = keeper.post(new("hello all\r\n")).await.unwrap();
    assert_eq!((view.standing, view.verified), (StandingView::Own, true));
    assert_eq!(bodies(&keeper, "hello").await, ["hello all", "hello you"]);
    keeper.set_posting(false).await.unwrap();
    assert_eq!(keeper.post(new("more")).await, Err(BoardError::PostingOff));
    let (_dir, member) = fresh(1, Reach::Members);
    assert_eq!(member.posting().await, Ok(true));
    assert!(member.post(new("hello")).await.is_ok());
}

#[tokio::test]
async fn the_rate_is_said_before_anything_is_signed_for_peers() {
    let (_dir, keeper) = fresh(1, Reach::Members);
    for n in 0..5 {
        keeper.post(new(&n.to_string())).await.unwrap();
    }
    let refused = keeper.post(new("six")).await.unwrap_err();
    let BoardError::RateLimited { retry_after } = refused else {
        panic!("{refused}");
    };
    assert!(retry_after <= Duration::from_secs(10) && retry_after > Duration::from_secs(5));
    assert_eq!(bodies(&keeper, "six").await, [] as [&str; 0]);
}

#[tokio::test]
async fn secrets_stay_here() {
    let (_dir, keeper) = fresh(1, Reach::Alone);
    let token = format!("gh{}_{}", "p", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8");
    let text = format!("mail ann@example.org\nuse {token}");
    let BoardError::Secret { findings } = keeper.post(new(&text)).await.unwrap_err() else {
        panic!("refused");
    };
    assert_eq!(
        findings[0].to_string(),
        "a GitHub token at line 2, column 5"
    );
    let attached = NewNote {
        attachments: vec![NewAttachment {
            name: None,
            bytes: text.clone().into_bytes(),
        }],
        ..new("see the log")
    };
    let refused = keeper.post(attached).await.unwrap_err().to_string();
    assert!(refused.contains("in attachment 1"), "{refused}");
    assert_eq!(keeper.list().await.unwrap()[0].notes, 0);
    let allowed = NewNote {
        allow_secrets: true,
        ..new(&text)
    };
    let view = keeper.post(allowed).await.unwrap();
    assert_eq!(view.warnings.len(), 2, "{:?}", view.warnings);
}

#[tokio::test]
async fn nonsense_is_refused_with_what_to_do() {
    let (_dir, keeper) = fresh(1, Reach::Alone);
    let mut cases = vec![new(" \n"), new("\u{1b}[2Jx"), new(&"x".repeat(4097))];
    let mut case = |change: fn(&mut NewNote)| {
        let mut note = new("x");
        change(&mut note);
        cases.push(note);
    };
    case(|note| note.board = "A b".into());
    case(|note| note.kind = "rant".into());
    case(|note| note.parent = Some("zz".into()));
    case(|note| note.agent = Some("a\nb".into()));
    case(|note| note.expires_in_seconds = Some(0));
    case(|note| note.expires_in_seconds = Some(40 * 24 * 3600));
    case(|note| note.expires_in_seconds = Some(u64::MAX));
    for case in cases {
        let refused = keeper.post(case.clone()).await.unwrap_err();
        assert!(
            matches!(refused, BoardError::Invalid(_)),
            "{case:?}: {refused}"
        );
    }
    let mut absent = new("x");
    absent.parent = Some("0123456789".into());
    let refused = keeper.post(absent).await;
    assert!(matches!(refused, Err(BoardError::NotFound(_))));
}

#[tokio::test]
async fn questions_without_sense_are_refused() {
    let (_dir, keeper) = fresh(1, Reach::Alone);
    assert!(matches!(
        keeper.read("abc").await,
        Err(BoardError::Invalid(_))
    ));
    assert!(matches!(
        keeper.read(&"0".repeat(64)).await,
        Err(BoardError::NotFound(_))
    ));
    let nobody = NoteQuery {
        author: Some("nobody".into()),
        ..query("x")
    };
    for bad in [query("?!"), nobody] {
        assert!(matches!(
            keeper.search(bad).await,
            Err(BoardError::Invalid(_))
        ));
    }
}

#[tokio::test]
async fn threads_and_prefixes() {
    let (_dir, keeper) = fresh(1, Reach::Alone);
    let question = NewNote {
        kind: "question".into(),
        ..new("why?")
    };
    let question = keeper.post(question).await.unwrap();
    let answer = NewNote {
        kind: "answer".into(),
        parent: Some(question.id[..10].into()),
        agent: Some("claude".into()),
        ..new("because")
    };
    let answer = keeper.post(answer).await.unwrap();
    assert_eq!(answer.parent, Some(question.id.clone()));
    assert_eq!(answer.agent.as_deref(), Some("claude"));
    let thread = NoteQuery {
        thread: Some(answer.id[..8].into()),
        ..NoteQuery::default()
    };
    assert_eq!(
        keeper.search(thread).await.unwrap(),
        [answer.clone(), question]
    );
    assert_eq!(
        keeper.read(&answer.id[..12].to_uppercase()).await,
        Ok(answer)
    );
}

#[tokio::test]
async fn poison_is_neither_kept_nor_shown() {
    let (_dir, keeper) = fresh(1, Reach::Public);
    let good = foreign(2, 60, "good");
    let mut forged = good.bytes.to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let note = good.saying.clone();
    let elsewhere = Entry::sign(
        &key(2),
        &SwarmName::public(),
        note.clone(),
        good.written,
        good.expires,
    );
    let ahead = now().unix.saturating_add(Duration::from_secs(600));
    let ahead = Entry::sign(
        &key(2),
        &swarm(),
        note.clone(),
        ahead,
        ahead.saturating_add(NOTE_LIFETIME),
    );
    let over = UnixMillis(now().unix.0 - 5000);
    let over = Entry::sign(&key(2), &swarm(), note, over, UnixMillis(over.0 + 1000));
    for way in [Way::Gossip, Way::Reconciled] {
        let taken = |bytes: Bytes| keeper.take(&general(), node(99), bytes, way);
        assert_eq!(taken(forged.clone().into()), Verdict::Invalid);
        assert_eq!(taken(vec![0; MAX_ENTRY_BYTES + 1].into()), Verdict::Invalid);
        assert_eq!(taken(Bytes::from_static(b"garbage")), Verdict::Invalid);
        assert_eq!(taken(Bytes::new()), Verdict::Invalid);
        assert_eq!(taken(elsewhere.clone().unwrap().bytes), Verdict::Invalid);
        assert_eq!(taken(ahead.clone().unwrap().bytes), Verdict::Ignored);
        assert_eq!(taken(over.clone().unwrap().bytes), Verdict::Ignored);
        let other = keeper.take(&"other".parse().unwrap(), node(99), good.bytes.clone(), way);
        assert_eq!(other, Verdict::Invalid, "said to be of another board");
    }
    assert_eq!(keeper.list().await.unwrap()[0].notes, 0);
    assert_eq!(take(&keeper, &good, Way::Gossip), Verdict::New);
    assert_eq!(take(&keeper, &good, Way::Gossip), Verdict::Known);
}

#[tokio::test]
async fn a_flood_is_ignored_and_blames_nobody() {
    let (_dir, keeper) = fresh(1, Reach::Public);
    let verdicts = (0..50).map(|n| take(&keeper, &foreign(2, 0, &n.to_string()), Way::Gossip));
    let new = verdicts.filter(|verdict| *verdict == Verdict::New).count();
    assert_eq!(new, 5);
    assert_eq!(
        take(&keeper, &foreign(3, 0, "honest"), Way::Gossip),
        Verdict::New
    );
}

#[tokio::test]
async fn withdrawn_notes_stay_away() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let keeper = open(&store, 1, Reach::Members);
    let view = keeper.post(new("too much said")).await.unwrap();
    let id = view.id.parse().unwrap();
    let entry = keeper.entries(&general(), &[id]).remove(0);
    keeper.withdraw(&view.id).await.unwrap();
    keeper.withdraw(&view.id).await.unwrap();
    let other = foreign(2, 9, "not yours");
    take(&keeper, &other, Way::Gossip);
    let refused = keeper.withdraw(&other.id.to_string()).await;
    assert_eq!(refused, Err(BoardError::NotYours));
    drop(keeper);
    let keeper = open(&store, 1, Reach::Members);
    assert_eq!(bodies(&keeper, "said").await, [] as [&str; 0]);
    let again = keeper.take(&general(), node(99), entry, Way::Reconciled);
    assert_eq!(again, Verdict::Known);
    let gone = keeper.read(&view.id).await.unwrap();
    assert!(gone.withdrawn && gone.body.is_empty());
    assert_eq!((gone.written, gone.kind), (view.written, view.kind));
    assert!(keeper.lacks(&general(), vec![id]).is_empty());
    assert!(keeper.entries(&general(), &[id]).is_empty());
}

/// What `dht` does when two peers meet, without the wire.
fn reconcile(from: &Keeper, to: &Keeper) {
    let board = general();
    let since = to.floor(&board);
    let ids = from
        .items(&board, since)
        .into_iter()
        .map(|item| item.id)
        .collect();
    for bytes in from.entries(&board, &to.lacks(&board, ids)) {
        to.take(&board, node(99), bytes, Way::Reconciled);
    }
}

#[tokio::test]
async fn two_keepers_come_to_have_the_same() {
    let ((_d1, one), (_d2, two)) = (fresh(1, Reach::Members), fresh(2, Reach::Members));
    for n in 0..4 {
        one.post(new(&format!("of one {n}"))).await.unwrap();
        two.post(new(&format!("of two {n}"))).await.unwrap();
    }
    let first = bodies(&one, "one").await.len();
    let id = one.search(query("one")).await.unwrap()[0].id.clone();
    reconcile(&one, &two);
    one.withdraw(&id).await.unwrap();
    reconcile(&two, &one);
    reconcile(&one, &two);
    let since = UnixMillis(0);
    assert_eq!(one.items(&general(), since), two.items(&general(), since));
    assert_eq!(bodies(&two, "one").await.len(), first - 1);
    assert_eq!(bodies(&one, "two").await.len(), 4);
    let ids: Vec<NoteId> = one
        .items(&general(), since)
        .iter()
        .map(|item| item.id)
        .collect();
    assert!(two.lacks(&general(), ids).is_empty());
}

#[tokio::test]
async fn trusted_authors_have_names_and_muted_ones_no_notes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let keeper = open(&store, 1, Reach::Public);
    for seed in [2, 3] {
        take(
            &keeper,
            &foreign(seed, 30, &format!("from {seed}")),
            Way::Gossip,
        );
    }
    let trusted = Standing::Trusted {
        name: Some("ann".into()),
    };
    keeper
        .set_author(&node(2).to_string(), trusted.clone())
        .await
        .unwrap();
    keeper
        .set_author(&node(3).to_string(), Standing::Muted)
        .await
        .unwrap();
    let taken = keeper.set_author(&node(4).to_string(), trusted).await;
    assert!(matches!(taken, Err(BoardError::Invalid(_))));
    let own = keeper
        .set_author(&node(1).to_string(), Standing::Muted)
        .await;
    assert!(matches!(own, Err(BoardError::Invalid(_))));
    drop(keeper);
    let keeper = open(&store, 1, Reach::Public);
    let found = keeper.search(query("from")).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].author_name.as_deref(), Some("ann"));
    assert_eq!(found[0].standing, StandingView::Trusted);
    let by_name = NoteQuery {
        author: Some("ann".into()),
        ..NoteQuery::default()
    };
    assert_eq!(keeper.search(by_name).await.unwrap(), found);
    assert_eq!(
        take(&keeper, &foreign(3, 1, "again"), Way::Gossip),
        Verdict::Ignored
    );
    let authors = keeper.authors().await.unwrap();
    let standings: Vec<_> = authors
        .iter()
        .map(|author| (author.standing, author.notes))
        .collect();
    assert_eq!(standings.len(), 2);
    assert!(standings.contains(&(StandingView::Trusted, 1)));
    assert!(standings.contains(&(StandingView::Muted, 0)));
    keeper
        .set_author(&node(3).to_string(), Standing::Unknown)
        .await
        .unwrap();
    assert_eq!(
        take(&keeper, &foreign(3, 0, "heard again"), Way::Gossip),
        Verdict::New
    );
}

#[tokio::test]
async fn notes_are_told_as_they_come_and_who_sleeps_is_cut_off() {
    let (_dir, keeper) = fresh(1, Reach::Alone);
    let mut all = keeper.watch(None).await.unwrap();
    let mut other = keeper.watch(Some("other")).await.unwrap();
    let slow = keeper.watch(Some("general")).await.unwrap();
    let view = keeper.post(new("first")).await.unwrap();
    assert_eq!(all.recv().await, Some(view.clone()));
    keeper.withdraw(&view.id).await.unwrap();
    let told = all.recv().await.unwrap();
    assert!(told.withdrawn && told.id == view.id);
    for n in 0..WATCH_QUEUE {
        keeper.post(new(&n.to_string())).await.unwrap();
        all.recv().await.unwrap();
    }
    assert!(slow.is_closed() && !all.is_closed() && !other.is_closed());
    assert!(other.try_recv().is_err());
    drop((slow, other));
    let mut watchers = Vec::new();
    while let Ok(notes) = keeper.watch(None).await {
        watchers.push(notes);
    }
    assert_eq!(watchers.len(), MAX_WATCHERS - 1);
}

#[tokio::test]
async fn attachments_come_and_go_with_their_notes() {
    let (_dir, keeper) = fresh(1, Reach::Alone);
    let bytes = b"the whole log".to_vec();
    let post = NewNote {
        attachments: vec![NewAttachment {
            name: Some("build.log".into()),
            bytes: bytes.clone(),
        }],
        ..new("see the log")
    };
    let view = keeper.post(post).await.unwrap();
    assert!(view.attachments[0].here);
    assert_eq!(
        Boards::attachment(&keeper, &view.id, 0).await,
        Ok(bytes.clone())
    );
    assert!(matches!(
        Boards::attachment(&keeper, &view.id, 1).await,
        Err(BoardError::NotFound(_))
    ));
    let digest = *blake3::hash(&bytes).as_bytes();
    assert_eq!(
        Ledger::attachment(&keeper, &digest),
        Some(Bytes::from(bytes))
    );
    keeper.withdraw(&view.id).await.unwrap();
    assert_eq!(Ledger::attachment(&keeper, &digest), None);
    let nowhere = NewNote {
        attachments: vec![NewAttachment {
            name: None,
            bytes: vec![0; (256 << 10) + 1],
        }],
        ..new("too long")
    };
    assert!(matches!(
        keeper.post(nowhere).await,
        Err(BoardError::Invalid(_))
    ));
}

#[tokio::test]
async fn boards_are_followed_by_whoever_reads_them_and_left_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let keeper = open(&store, 1, Reach::Public);
    let names = |boards: Vec<web::boards::BoardSummary>| -> Vec<String> {
        let followed = boards.into_iter().filter(|board| board.followed);
        followed.map(|board| board.name).collect()
    };
    assert_eq!(names(keeper.list().await.unwrap()), ["general"]);
    let rust = NoteQuery {
        board: Some("rust".into()),
        ..NoteQuery::default()
    };
    assert_eq!(keeper.search(rust).await, Ok(Vec::new()));
    keeper.follow("general", false).await.unwrap();
    drop(keeper);
    let keeper = open(&store, 1, Reach::Public);
    assert_eq!(names(keeper.list().await.unwrap()), ["rust"]);
    assert_eq!(
        take(&keeper, &foreign(2, 1, "x"), Way::Gossip),
        Verdict::Ignored
    );
}

#[tokio::test]
async fn a_damaged_row_costs_itself_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let keeper = open(&store, 1, Reach::Alone);
    let kept = keeper.post(new("kept")).await.unwrap();
    let lost = keeper.post(new("lost")).await.unwrap();
    drop(keeper);
    let rows = store.rows("board_entries/lab").unwrap();
    let id = hex::decode(&lost.id).unwrap();
    let mut row = rows.read(&id).unwrap().unwrap();
    row.truncate(20);
    rows.put(&id, &row).unwrap();
    rows.put(b"no id", b"no entry").unwrap();
    let keeper = open(&store, 1, Reach::Alone);
    assert_eq!(keeper.read(&kept.id).await, Ok(kept));
    assert!(matches!(
        keeper.read(&lost.id).await,
        Err(BoardError::NotFound(_))
    ));
    assert_eq!(rows.iter().count(), 1);
}

#[tokio::test]
async fn a_clock_that_was_set_back_writes_no_notes_of_the_future() {
    let (_dir, keeper) = fresh(1, Reach::Alone);
    let mut state = keeper.state();
    let at = UnixMillis(1_800_000_000_000);
    let times = [0, 0, 5, 3].map(|ahead| state.next_time(UnixMillis(at.0 + ahead)).0 - at.0);
    assert_eq!(times, [0, 1, 5, 6]);
    let earlier = UnixMillis(at.0 - 3_600_000);
    assert_eq!(state.next_time(earlier), earlier);
}

#[tokio::test]
async fn peers_notes_are_flushed_within_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let keeper = open(&Store::open(&live).unwrap(), 1, Reach::Public);
    take(&keeper, &foreign(2, 1, "from a peer"), Way::Gossip);
    let stop = CancellationToken::new();
    stop.cancel();
    keeper.clone().run(stop).await;
    assert!(!keeper.state().is_unflushed);
    copy_files(&live, &dir.path().join("copy"));
    let copy = open(
        &Store::open(&dir.path().join("copy")).unwrap(),
        1,
        Reach::Public,
    );
    assert_eq!(bodies(&copy, "peer").await, ["from a peer"]);
}
