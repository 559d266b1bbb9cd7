//! The hub as a giver: ranges over HTTP, beside a peer and when it misbehaves.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use protocol::weights::Layout;
use reqwest::Url;

use super::*;
use crate::models::core::transfer::{ContentRange, Head, Trouble};
use crate::models::fetch::{Answer, Ask, Fetch};

/// A hub with the model's files.
struct FakeHub {
    status: u16,
    wrong: bool,
}

#[async_trait::async_trait]
impl Fetch for FakeHub {
    async fn open(&self, ask: &Ask) -> Result<Answer, Trouble> {
        let index = usize::from(ask.url.path().ends_with("b.gguf"));
        let content = &content()[index];
        let from = usize::try_from(ask.from).unwrap();
        let until = usize::try_from(ask.until.unwrap()).unwrap();
        let mut bytes = content[from..until].to_vec();
        bytes[0] ^= u8::from(self.wrong);
        let head = Head {
            status: self.status,
            content_range: Some(ContentRange {
                start: ask.from,
                total: Some(content.len() as u64),
            }),
            ..Head::default()
        };
        let pieces: Vec<_> = bytes.chunks(10_000).map(Bytes::copy_from_slice).collect();
        let body = stream::iter(pieces.into_iter().map(Ok)).boxed();
        Ok(Answer { head, body })
    }

    fn stall(&self) -> Duration {
        Duration::from_secs(30)
    }
}

fn hub(status: u16, wrong: bool) -> Arc<dyn Giver> {
    let files = ["a.gguf", "b.gguf"].into_iter().zip(content());
    let files = files.map(|(name, bytes)| {
        let url = Url::parse(&format!("http://hub/{name}")).unwrap();
        (url, bytes.len() as u64)
    });
    Arc::new(HubGiver::new(FakeHub { status, wrong }, files.collect()))
}

async fn fetch(own: &Node, want: Want, givers: Vec<Arc<dyn Giver>>) -> Result<Fetched, FetchError> {
    let (_keep, givers) = watch::channel(givers);
    own.weights
        .fetch(want, givers, watch::Sender::default())
        .await
}

#[tokio::test]
async fn the_hub_gives_what_a_peers_manifest_names() {
    let one = Node::new(1).with_model().await;
    let own = Node::new(2);
    let want = want(one.id_of_model());
    // The peer knows the manifest and gives no bytes.
    let givers = vec![
        one.giver(Manner::StopsAfter(0)) as Arc<dyn Giver>,
        hub(206, false),
    ];
    let fetched = fetch(&own, want.clone(), givers).await.unwrap();
    check(&fetched, &want);
    assert!(fetched.came_bytes * 100 <= wanted_bytes(&want) * 102);
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_has_another_file_is_left_alone() {
    let one = Node::new(1).with_model().await;
    let want = want(one.id_of_model());
    for hub in [hub(206, true), hub(404, false), hub(200, false)] {
        let own = Node::new(2);
        let givers = vec![Arc::clone(&hub), one.giver(Manner::Slow) as Arc<dyn Giver>];
        let fetched = fetch(&own, want.clone(), givers).await.unwrap();
        check(&fetched, &want);
    }
    let layout = Layout::new(&[7]).unwrap();
    assert!(hub(206, false).held(want.id, &layout).await.is_err());
}
