//! Ranges of published files, for whoever fetches a part of a model.

use futures::TryStreamExt;
use node::weights::{Giver, HubGiver};
use protocol::ManifestId;
use protocol::weights::{Layout, Span};

use crate::hub::{Deed, FakeHub};
use crate::store::{Place, model};

const ID: ManifestId = ManifestId::new([1; 32]);

#[tokio::test]
async fn a_range_of_a_published_file_comes_and_no_more() {
    let hub = FakeHub::start(&[("m-Q4_0.gguf", model(1))]).await;
    let place = Place::new(&hub);
    let models = place.open();
    let name = "org/repo:Q4_0".parse().unwrap();
    let (client, files) = models.published(&name).await.unwrap();
    let length = model(1).len() as u64;
    let giver = HubGiver::new(client, files);
    let layout = Layout::new(&[length]).unwrap();
    assert_eq!(
        giver.held(ID, &layout).await.unwrap().count(),
        layout.chunk_count()
    );
    let span = Span {
        file: 0,
        offset: 10,
        length: 100,
    };
    let incoming = giver.range(ID, span).await.unwrap();
    let pieces: Vec<_> = incoming.try_collect().await.unwrap();
    assert_eq!(pieces.concat(), model(1)[10..110]);
    let asked = hub.state().seen.last().and_then(|seen| seen.range.clone());
    assert_eq!(asked.as_deref(), Some("bytes=10-109"));
    hub.state().deeds.push_back(Deed::OtherRange);
    assert!(giver.range(ID, span).await.is_err());
    // Whoever names a path or an address gets nothing.
    for name in ["http://127.0.0.1/m.gguf", "/etc/passwd.gguf"] {
        if let Ok(name) = name.parse() {
            assert!(models.published(&name).await.is_err());
        }
    }
}
