//! Pulls that go well in the end: names, sets, redirects, resumes, retries.

use web::manage::PullEvent;

use crate::hub::{COMMIT, Deed, FakeHub, ListingDeed};
use crate::store::{Place, bytes, events, model, parts, pull, until};

async fn hub_with_two() -> FakeHub {
    FakeHub::start(&[
        ("README.md", b"# hi".to_vec()),
        ("m-Q4_0.gguf", model(1)),
        ("m-Q8_0.gguf", model(2)),
    ])
    .await
}

#[tokio::test]
async fn a_pull_ends_with_the_same_bytes_and_the_token_stays_at_the_hub() {
    let hub = hub_with_two().await;
    let place = Place::new(&hub);
    let models = place.open();
    let all = events(models.pull("org/repo").unwrap()).await;
    let total_bytes = model(1).len() as u64;
    let name = "org/repo:Q4_0".to_owned();
    assert_eq!(
        all[0],
        PullEvent::Resolved {
            name: name.clone(),
            files: 1,
            total_bytes
        }
    );
    assert!(all.contains(&PullEvent::Progress {
        done_bytes: total_bytes,
        total_bytes
    }));
    assert!(all.contains(&PullEvent::Verifying));
    let Some(PullEvent::Done { model: stored }) = all.last() else {
        panic!("{all:?}")
    };
    assert_eq!(
        (stored.name.as_str(), stored.size_bytes),
        (name.as_str(), total_bytes)
    );
    assert_eq!(
        (stored.architecture.as_str(), stored.context_length),
        ("llama", 512)
    );
    assert_eq!(models.list().as_slice(), std::slice::from_ref(stored));
    assert_eq!(bytes(&models, "ORG/repo").await, [model(1)]);
    for seen in &hub.state().seen {
        assert_eq!(seen.token.is_some(), !seen.storage, "{seen:?}");
    }
    let resolved = format!("/org/repo/resolve/{COMMIT}/m-Q4_0.gguf");
    let paths: Vec<_> = hub
        .state()
        .seen
        .iter()
        .map(|seen| seen.path.clone())
        .collect();
    assert!(
        paths.contains(&resolved),
        "by the commit that was listed: {paths:?}"
    );
    let usage = models.usage().await;
    assert_eq!(
        (usage.models, usage.model_bytes, usage.partial_bytes),
        (1, total_bytes, 0)
    );
}

#[tokio::test]
async fn what_is_here_is_not_fetched_again_and_names_may_be_lenient() {
    let hub = hub_with_two().await;
    let place = Place::new(&hub);
    let models = place.open();
    pull(&models, "org/repo:q8_0").await.unwrap();
    pull(&models, "org/repo:m-Q8_0.gguf").await.unwrap();
    assert_eq!((hub.fetches().len(), models.list().len()), (1, 1));
    assert_eq!(models.full_name("repo").unwrap(), "org/repo:Q8_0");
    let again = place.open();
    assert_eq!(again.list(), models.list(), "the folders alone are enough");
    assert_eq!(
        models.remove("org/repo").await.unwrap(),
        model(2).len() as u64
    );
    assert!(models.list().is_empty() && place.files().is_empty());
    assert!(models.resolve("org/repo").await.is_err());
}

#[tokio::test]
async fn a_split_model_comes_whole() {
    let parts = parts(3);
    let files: Vec<_> = parts
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.clone()))
        .collect();
    let hub = FakeHub::start(&files).await;
    let place = Place::new(&hub);
    let models = place.open();
    let stored = pull(&models, "org/repo:Q8_0").await.unwrap();
    assert_eq!(
        stored.size_bytes,
        parts.iter().map(|(_, b)| b.len() as u64).sum::<u64>()
    );
    let all: Vec<_> = parts.into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(bytes(&models, "repo").await, all);
    let first = &models.resolve("repo").await.unwrap().files[0];
    assert!(first.ends_with("m-Q8_0-00001-of-00003.gguf"));
}

#[tokio::test]
async fn listings_come_as_mirrors_give_them() {
    for listing in [
        ListingDeed::Tree(1),
        ListingDeed::TreeOnly,
        ListingDeed::Status(503, 2),
    ] {
        let hub = hub_with_two().await;
        hub.state().listing = listing.clone();
        let models_place = Place::new(&hub);
        let stored = pull(&models_place.open(), "org/repo:Q8_0").await;
        assert_eq!(stored.unwrap().name, "org/repo:Q8_0", "{listing:?}");
    }
}

#[tokio::test]
async fn cuts_at_random_places_are_resumed() {
    let hub = hub_with_two().await;
    let size = model(1).len();
    // A small generator: the places differ and stay the same from run to run.
    let mut random = 0x9e37_79b9_u64;
    for _ in 0..40 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let at = usize::try_from(random >> 40).unwrap() % (200 << 10);
        hub.state().deeds.push_back(Deed::Cut(at));
    }
    let place = Place::new(&hub);
    let models = place.open();
    let mut ended = pull(&models, "org/repo:Q4_0").await;
    // Several small pieces in a row may use the tries up; the next pull goes on from there.
    for _ in 0..10 {
        if ended.is_err() {
            ended = pull(&models, "org/repo:Q4_0").await;
        }
    }
    ended.unwrap();
    assert_eq!(bytes(&models, "repo").await, [model(1)]);
    let fetches = hub.fetches();
    assert!(fetches.len() > 3 && fetches[1..].iter().all(|seen| seen.range.is_some()));
    assert_eq!(hub.state().sent, size, "no byte was sent twice");
}

#[tokio::test]
async fn servers_that_stumble_are_borne_with() {
    let good_in_the_end: [(&str, &[Deed]); 9] = [
        ("500", &[Deed::Status(500, ""), Deed::Status(502, "")]),
        ("429", &[Deed::Status(429, "Retry-After: 0")]),
        ("stalls", &[Deed::Stall(100_000), Deed::Stall(0)]),
        ("range ignored", &[Deed::Cut(70_000), Deed::IgnoreRange]),
        ("another range", &[Deed::Cut(70_000), Deed::OtherRange]),
        ("416", &[Deed::Cut(70_000), Deed::Status(416, "")]),
        ("one wrong byte", &[Deed::WrongByte]),
        ("a page once", &[Deed::Page]),
        ("a wrong length once", &[Deed::Length(10)]),
    ];
    for (what, deeds) in good_in_the_end {
        let hub = hub_with_two().await;
        hub.state().deeds.extend(deeds.iter().cloned());
        let place = Place::new(&hub);
        let models = place.open();
        pull(&models, "org/repo:Q4_0")
            .await
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(bytes(&models, "repo").await, [model(1)], "{what}");
        let last_is_good = matches!(deeds.last(), Some(Deed::IgnoreRange));
        let fetches = deeds.len() + usize::from(!last_is_good);
        assert_eq!(hub.fetches().len(), fetches, "{what}");
    }
}

#[tokio::test]
async fn who_asks_for_the_same_shares_one_download() {
    let hub = hub_with_two().await;
    hub.state().deeds.push_back(Deed::Stall(100_000));
    let place = Place::new(&hub);
    let models = place.open();
    let names = [
        "org/repo",
        "org/repo:q4_0",
        "org/repo:m-Q4_0.gguf",
        "org/repo",
    ];
    let pulls = names.map(|name| events(models.pull(name).unwrap()));
    for all in futures::future::join_all(pulls).await {
        assert!(
            matches!(all.last(), Some(PullEvent::Done { .. })),
            "{all:?}"
        );
    }
    assert_eq!(hub.fetches().len(), 2, "the stalled one and its resume");
}

#[tokio::test]
async fn the_last_to_leave_stops_the_download_and_the_next_resumes_it() {
    let hub = hub_with_two().await;
    hub.state().always = Some(Deed::Stall(300_000));
    let mut place = Place::new(&hub);
    place.config.hub.stall = std::time::Duration::from_secs(600);
    let models = place.open();
    let (mut one, two) = (
        models.pull("org/repo").unwrap(),
        models.pull("org/repo").unwrap(),
    );
    until("the first bytes are sent", || hub.state().sent == 300_000).await;
    drop(two);
    assert!(one.recv().await.is_some(), "the other one goes on");
    drop(one);
    hub.state().always = None;
    pull(&models, "org/repo").await.unwrap();
    assert_eq!(bytes(&models, "repo").await, [model(1)]);
    assert_eq!(hub.fetches().len(), 2);
}

#[tokio::test]
async fn an_address_is_fetched_and_resumed_by_its_tag() {
    let hub = hub_with_two().await;
    hub.state().etag = Some("\"one\"");
    hub.state().always = Some(Deed::Cut(100_000));
    let mut place = Place::new(&hub);
    place.config.hub.patience.tries = 1;
    let models = place.open();
    let url = format!("http://{}/m-Q4_0.gguf?key=secret", hub.storage);
    pull(&models, &url).await.unwrap_err();
    // The file changes between two attempts: what came before is no good.
    hub.state().files.insert("m-Q4_0.gguf".into(), model(7));
    hub.state().etag = Some("\"two\"");
    pull(&models, &url).await.unwrap_err();
    let seen = |hub: &FakeHub| hub.fetches().pop().unwrap();
    assert_eq!(seen(&hub).range, None, "begun anew");
    hub.state().always = None;
    let stored = pull(&models, &url).await.unwrap();
    assert_eq!(seen(&hub).range.as_deref(), Some("bytes=100000-"));
    assert_eq!(seen(&hub).if_range.as_deref(), Some("\"two\""));
    assert_eq!(
        (stored.name.as_str(), bytes(&models, "m-q4_0").await),
        ("m-Q4_0", vec![model(7)])
    );
    let manifest = std::fs::read_dir(place.root()).unwrap().flatten();
    let texts = manifest.filter_map(|e| std::fs::read_to_string(e.path().join("model.json")).ok());
    assert!(
        texts.into_iter().all(|text| !text.contains("secret")),
        "no signature is written down"
    );
}

#[tokio::test]
async fn the_hubs_own_page_of_a_file_is_its_address_too() {
    let hub = hub_with_two().await;
    let place = Place::new(&hub);
    let models = place.open();
    let page = format!("http://{}/org/repo/blob/main/m-Q8_0.gguf", hub.address);
    pull(&models, &page).await.unwrap();
    assert_eq!(bytes(&models, "m-Q8_0").await, [model(2)]);
}
