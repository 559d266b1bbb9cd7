//! The download against a source without a network, in paused time: hours of waiting pass at
//! once, and each wait is the one that was due.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream;
use sha2::Digest as _;
use tokio::time::Instant;

use super::super::core::plan::{Plan, StagedFile};
use super::super::core::record::Source;
use super::super::core::transfer::{ContentRange, Head};
use super::*;

const STALL: Duration = Duration::from_secs(30);

fn content() -> Bytes {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend((0..3_000_000u32).map(|n| n.to_le_bytes()[0]));
    bytes.into()
}

#[derive(Clone)]
enum Play {
    /// So many bytes, then silence.
    Silence(usize),
    /// So many bytes, then the end.
    Cut(usize),
    /// A status and its `Retry-After`.
    Status(u16, Option<u64>),
    /// No connection.
    Refused,
}

#[derive(Default)]
struct FakeSource {
    plays: Mutex<VecDeque<Play>>,
    asked: Mutex<Vec<u64>>,
}

#[async_trait]
impl Fetch for FakeSource {
    async fn open(&self, ask: &Ask) -> Result<Answer, Trouble> {
        self.asked.lock().unwrap().push(ask.from);
        let play = self.plays.lock().unwrap().pop_front();
        let content = content();
        let total = Some(content.len() as u64);
        let body = content.slice(usize::try_from(ask.from).unwrap()..);
        let mut head = Head {
            status: if ask.from > 0 { 206 } else { 200 },
            content_range: Some(ContentRange {
                start: ask.from,
                total,
            }),
            ..Head::default()
        };
        let pieces = |end: usize| {
            let body = body.slice(..end.min(body.len()));
            let pieces: Vec<_> = body
                .chunks(100_000)
                .map(|c| Ok(Bytes::copy_from_slice(c)))
                .collect();
            stream::iter(pieces)
        };
        let body = match play {
            None => pieces(usize::MAX).boxed(),
            Some(Play::Cut(at)) => pieces(at).boxed(),
            Some(Play::Silence(at)) => pieces(at).chain(stream::pending()).boxed(),
            Some(Play::Refused) => return Err(Trouble::Connection("refused".into())),
            Some(Play::Status(status, wish)) => {
                head.status = status;
                head.retry_after = wish.map(Duration::from_secs);
                stream::empty().boxed()
            }
        };
        Ok(Answer { head, body })
    }

    fn stall(&self) -> Duration {
        STALL
    }
}

/// Plays the plays; what came of it, how long it took, and where each request began.
async fn play(plays: &[Play]) -> (Result<(), DownloadError>, Duration, Vec<u64>) {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::open(folder.path().to_owned()).unwrap();
    let source = Source::Url {
        url: "http://h/m.gguf".into(),
    };
    let stage = disk.stage(&source.folder()).unwrap().unwrap();
    let digest: [u8; 32] = sha2::Sha256::digest(content()).into();
    let file = StagedFile {
        name: "m.gguf".into(),
        size: content().len() as u64,
        sha256: Some(Sha256::new(digest)),
        etag: None,
    };
    let url = reqwest::Url::parse("http://h/m.gguf").unwrap();
    let files = vec![PlannedFile { url, file }];
    let plan = Plan {
        name: "m".into(),
        source,
        files,
    };
    let mut staged = plan.staged();
    stage.prepare(&staged).unwrap();
    let fetch = FakeSource::default();
    fetch.plays.lock().unwrap().extend(plays.iter().cloned());
    let download = Download {
        fetch: &fetch,
        disk: &disk,
        stage: &stage,
        patience: Patience::default(),
        reserve: 0,
    };
    let begun = Instant::now();
    let result = download.run(&plan.files, &mut staged, 0, &|_| {}).await;
    if result.is_ok() {
        assert_eq!(std::fs::read(stage.file("m.gguf")).unwrap(), content());
    }
    let asked = fetch.asked.lock().unwrap().clone();
    (result, begun.elapsed(), asked)
}

#[tokio::test(start_paused = true)]
async fn a_silence_is_waited_out_for_the_stall_time_and_resumed() {
    let (result, took, asked) = play(&[Play::Silence(1_500_000), Play::Silence(0)]).await;
    result.unwrap();
    assert_eq!(asked, [0, 1_500_000, 1_500_000]);
    assert!(
        took >= STALL * 2 && took < STALL * 2 + Duration::from_secs(3),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_servers_wish_to_wait_is_followed_up_to_a_limit() {
    let plays = [Play::Status(429, Some(60)), Play::Status(503, Some(86_400))];
    let (result, took, _) = play(&plays).await;
    result.unwrap();
    assert!(
        took >= Duration::from_secs(180) && took < Duration::from_secs(181),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_line_that_always_breaks_but_moves_gets_there() {
    let plays: Vec<_> = (0..20).map(|_| Play::Cut(140_000)).collect();
    let (result, _, asked) = play(&plays).await;
    result.unwrap();
    assert_eq!(asked.len(), 21);
    assert!(asked.is_sorted());
}

#[tokio::test(start_paused = true)]
async fn a_line_that_never_moves_is_given_up_in_minutes() {
    let (result, took, asked) = play(&[const { Play::Refused }; 20]).await;
    assert!(result.unwrap_err().to_string().contains("refused"));
    assert_eq!(asked.len(), 8);
    assert!(took < Duration::from_secs(120), "{took:?}");
    let (result, _, asked) = play(&vec![Play::Cut(1000); 20]).await;
    assert!(result.is_err());
    assert_eq!(asked.len(), 8, "a trickle is no progress");
}
