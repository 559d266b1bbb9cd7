//! What a hub or a storage may do that must end in a clear refusal, with nothing left behind.

use crate::hub::{Deed, FakeHub, ListingDeed, digest};
use crate::store::{Place, bytes, model, parts, pull};

async fn refused_by(hub: &FakeHub, name: &str, words: &[&str]) -> Place {
    let place = Place::new(hub);
    let models = place.open();
    let message = pull(&models, name).await.unwrap_err();
    for word in words {
        assert!(message.contains(word), "`{word}` in `{message}`");
    }
    for secret in ["hf_secret", "signature"] {
        assert!(!message.contains(secret), "{message}");
    }
    assert!(models.list().is_empty());
    place
}

#[tokio::test]
async fn wrong_bytes_are_never_a_model() {
    let wrong: [(Deed, &str); 5] = [
        (Deed::WrongByte, "SHA-256"),
        (Deed::Page, "SHA-256"),
        (Deed::Length(10), "10 bytes"),
        (Deed::Length(50 << 20), "bytes where"),
        (Deed::Endless, "bytes where"),
    ];
    for (deed, word) in wrong {
        let hub = FakeHub::start(&[("m-Q4_0.gguf", model(1))]).await;
        hub.state().always = Some(deed.clone());
        let place = refused_by(&hub, "org/repo", &[word]).await;
        assert_eq!(hub.fetches().len(), 2, "{deed:?}: tried anew once");
        let left: u64 = place
            .files()
            .iter()
            .map(|f| f.metadata().unwrap().len())
            .sum();
        assert_eq!(left, 0, "{deed:?}: the wrong bytes are discarded");
    }
}

#[tokio::test]
async fn servers_that_do_not_recover_are_given_up() {
    for (deed, word) in [
        (Deed::Status(503, "Retry-After: 0"), "503"),
        (Deed::Status(404, ""), "404"),
        (Deed::Status(403, ""), "HF_TOKEN"),
        (Deed::Status(204, ""), "204"),
        (Deed::Cut(1), "broken off"),
        (Deed::Stall(0), "no data came"),
    ] {
        let hub = FakeHub::start(&[("m-Q4_0.gguf", model(1))]).await;
        hub.state().always = Some(deed);
        refused_by(&hub, "org/repo", &[word, "m-Q4_0.gguf"]).await;
        assert!(hub.fetches().len() <= 5);
    }
}

#[tokio::test]
async fn what_is_no_gguf_is_refused_even_with_the_right_digest() {
    let page = vec![b'<'; 3000];
    let broken = {
        let mut bytes = model(1);
        bytes.truncate(5000);
        bytes
    };
    for (bytes, word) in [(page, "no GGUF"), (broken, "no model that can be loaded")] {
        let hub = FakeHub::start(&[("m-Q4_0.gguf", bytes)]).await;
        let place = refused_by(&hub, "org/repo", &[word]).await;
        let left: u64 = place
            .files()
            .iter()
            .map(|f| f.metadata().unwrap().len())
            .sum();
        assert_eq!(left, 0);
    }
}

#[tokio::test]
async fn parts_that_do_not_belong_together_are_refused() {
    let mut parts = parts(2);
    parts[1].1 = parts[0].1.clone();
    let files: Vec<_> = parts
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.clone()))
        .collect();
    let hub = FakeHub::start(&files).await;
    let place = refused_by(&hub, "org/repo:Q8_0", &["no model that can be loaded"]).await;
    assert!(place.files().is_empty());
}

#[tokio::test]
async fn names_that_climb_are_not_seen() {
    let hub = FakeHub::start(&[
        ("../../escape-Q4_0.gguf", model(1)),
        ("/etc/escape-Q4_K_M.gguf", model(1)),
        ("..\\escape-Q5_0.gguf", model(1)),
        (".hidden-Q6_K.gguf", model(1)),
        ("good-Q8_0.gguf", model(2)),
    ])
    .await;
    let place = Place::new(&hub);
    let models = place.open();
    assert_eq!(
        pull(&models, "org/repo").await.unwrap().name,
        "org/repo:Q8_0"
    );
    assert_eq!(bytes(&models, "repo").await, [model(2)]);
    assert!(place.files().iter().all(|f| f.starts_with(place.root())));
    let only_bad = FakeHub::start(&[("../x.gguf", model(1))]).await;
    refused_by(&only_bad, "org/repo", &["no complete GGUF model"]).await;
}

#[tokio::test]
async fn listings_that_do_not_end_do() {
    for (listing, word) in [
        (ListingDeed::EndlessPages, "does not end"),
        (ListingDeed::EndlessBody, "does not end"),
        (ListingDeed::Body("<html>".into()), "not understood"),
        (
            ListingDeed::Body(r#"{"sha":"../../x","siblings":[]}"#.into()),
            "no commit",
        ),
        (ListingDeed::Status(500, 99), "500"),
        (ListingDeed::Status(418, 99), "418"),
    ] {
        let hub = FakeHub::start(&[("m-Q4_0.gguf", model(1))]).await;
        hub.state().listing = listing;
        refused_by(&hub, "org/repo", &[word]).await;
    }
    let hub = FakeHub::start(&[]).await;
    refused_by(
        &hub,
        "other/repo",
        &["no repository `other/repo`", "HF_TOKEN"],
    )
    .await;
    hub.state().listing = ListingDeed::Status(404, 99);
    refused_by(&hub, "org/repo", &["no repository"]).await;
}

#[tokio::test]
async fn sizes_and_digests_that_lie_do_no_harm() {
    let size = model(1).len() as u64;
    for (lie, word) in [
        ((size + 1, digest(&model(1))), "bytes where"),
        ((size, digest(b"other")), "SHA-256"),
        ((u64::MAX, digest(b"other")), "no complete GGUF model"),
        (((1 << 42) - 1, digest(b"other")), "no room"),
    ] {
        let hub = FakeHub::start(&[("m-Q4_0.gguf", model(1))]).await;
        hub.state().lies.insert("m-Q4_0.gguf".into(), lie);
        refused_by(&hub, "org/repo", &[word]).await;
    }
}

#[tokio::test]
async fn redirects_end() {
    let hub = FakeHub::start(&[("m-Q4_0.gguf", model(1))]).await;
    hub.state().redirects = true;
    refused_by(&hub, "org/repo", &["too many redirects"]).await;
    assert!(hub.state().seen.len() < 50);
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let hub = FakeHub::start(&[]).await;
    let mut place = Place::new(&hub);
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    place.config.hub.endpoint = reqwest::Url::parse(&format!("http://{address}")).unwrap();
    let message = pull(&place.open(), "org/repo").await.unwrap_err();
    assert!(message.contains("cannot connect"), "{message}");
    place.config.offline = true;
    let message = pull(&place.open(), "org/repo").await.unwrap_err();
    assert!(message.contains("offline"), "{message}");
    let message = pull(&place.open(), "nonsense:9b").await.unwrap_err();
    assert!(message.contains("catalog"), "{message}");
}
