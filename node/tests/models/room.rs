//! The budget: refusals that say what to remove, and removing when that is allowed.

use std::time::Duration;

use crate::hub::FakeHub;
use crate::store::{Place, model, pull};

async fn hub_with_three() -> FakeHub {
    let files = [
        ("m-Q4_0.gguf", model(1)),
        ("m-Q5_0.gguf", model(2)),
        ("m-Q8_0.gguf", model(3)),
    ];
    FakeHub::start(&files).await
}

#[tokio::test]
async fn without_room_a_pull_is_refused_and_says_what_would_make_it() {
    let hub = hub_with_three().await;
    let mut place = Place::new(&hub);
    place.config.budget_bytes = Some(model(1).len() as u64 * 5 / 2);
    let models = place.open();
    pull(&models, "org/repo:Q4_0").await.unwrap();
    pull(&models, "org/repo:Q5_0").await.unwrap();
    let message = pull(&models, "org/repo:Q8_0").await.unwrap_err();
    assert!(
        message.contains("budget") && message.contains("shoal rm org/repo:Q"),
        "{message}"
    );
    assert_eq!(
        (models.list().len(), hub.fetches().len()),
        (2, 2),
        "nothing was removed or fetched"
    );
    let _q4 = models.hold("org/repo:Q4_0");
    let _q5 = models.hold("org/repo:Q5_0");
    let message = pull(&models, "org/repo:Q8_0").await.unwrap_err();
    assert!(message.contains("raise the budget"), "{message}");
    assert!(
        models
            .remove("org/repo:Q4_0")
            .await
            .unwrap_err()
            .to_string()
            .contains("in use")
    );
}

#[tokio::test]
async fn what_nobody_holds_makes_room_when_that_is_allowed() {
    let hub = hub_with_three().await;
    let mut place = Place::new(&hub);
    place.config.budget_bytes = Some(model(1).len() as u64 * 5 / 2);
    place.config.evict_unused = true;
    let models = place.open();
    pull(&models, "org/repo:Q4_0").await.unwrap();
    pull(&models, "org/repo:Q5_0").await.unwrap();
    let held = models.hold("org/repo:Q4_0");
    pull(&models, "org/repo:Q8_0").await.unwrap();
    let names: Vec<_> = models.list().into_iter().map(|m| m.name).collect();
    assert_eq!(names, ["org/repo:Q4_0", "org/repo:Q8_0"]);
    drop(held);
    models.remove("org/repo:Q4_0").await.unwrap();
}

#[tokio::test]
async fn the_disks_reserve_holds() {
    let hub = hub_with_three().await;
    let mut place = Place::new(&hub);
    place.config.reserve_bytes = u64::MAX / 2;
    let message = pull(&place.open(), "org/repo:Q4_0").await.unwrap_err();
    assert!(message.contains("the disk"), "{message}");
    assert!(hub.fetches().is_empty());
}

#[tokio::test]
async fn a_second_process_is_told_that_the_first_one_pulls() {
    let hub = hub_with_three().await;
    hub.state().always = Some(crate::hub::Deed::Stall(100));
    let mut place = Place::new(&hub);
    place.config.hub.stall = Duration::from_secs(600);
    let (first, second) = (place.open(), place.open());
    let running = first.pull("org/repo:Q4_0").unwrap();
    crate::store::until("the first one fetches", || !hub.fetches().is_empty()).await;
    let message = pull(&second, "org/repo:Q4_0").await.unwrap_err();
    assert!(message.contains("another process"), "{message}");
    let busy = second
        .remove("org/repo:Q4_0")
        .await
        .unwrap_err()
        .to_string();
    assert!(busy.contains("being pulled"), "{busy}");
    drop(running);
}
