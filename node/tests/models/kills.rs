//! Processes that are killed (SIGKILL) while they pull, at random moments, until one gets
//! through: what they leave is a whole model or something to resume, never a broken one.

use std::process::{Child, Command, Stdio};

use node::models::Models;
use node::models::registry::InMemory;

use crate::hub::{Deed, FakeHub};
use crate::store::{Place, bytes, config, parts, pull};

const FOLDER: &str = "SHOAL_TEST_KILLED_FOLDER";
const ENDPOINT: &str = "SHOAL_TEST_KILLED_ENDPOINT";

/// What the killed process does. Without its variables it is nobody's child and does nothing.
#[tokio::test]
async fn the_process_that_is_killed() {
    let (Ok(folder), Ok(endpoint)) = (std::env::var(FOLDER), std::env::var(ENDPOINT)) else {
        return;
    };
    let config = config(folder.as_ref(), reqwest::Url::parse(&endpoint).unwrap());
    let models = Models::open(config, Box::new(InMemory::default())).unwrap();
    pull(&models, "org/repo:Q8_0").await.unwrap();
}

fn spawn(place: &Place, hub: &FakeHub) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::the_process_that_is_killed"])
        .env(FOLDER, place.folder.path())
        .env(ENDPOINT, hub.endpoint().as_str())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_it_resumes() {
    let parts = parts(3);
    let files: Vec<_> = parts
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.clone()))
        .collect();
    let size: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    let hub = FakeHub::start(&files).await;
    let place = Place::new(&hub);
    // A connection brings a piece and hangs, so that there is something to kill, each time with
    // another piece; the last ones are killed somewhere between the first byte and the rename.
    for round in 0..8usize {
        hub.state().always = (round < 6).then_some(Deed::Stall(90_000 + round * 7_001));
        let sent = hub.state().sent;
        let mut child = spawn(&place, &hub);
        crate::store::until("bytes are sent or the child ended", || {
            hub.state().sent > sent || child.try_wait().unwrap().is_some()
        })
        .await;
        child.kill().unwrap();
        child.wait().unwrap();
        let models = place.open();
        for stored in models.list() {
            models.resolve(&stored.name).await.unwrap();
        }
    }
    hub.state().always = None;
    let models = place.open();
    pull(&models, "org/repo:Q8_0").await.unwrap();
    let whole: Vec<_> = parts.into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(bytes(&models, "repo").await, whole);
    assert!(
        hub.state().sent < 2 * size + 9 * 200_000,
        "it resumed rather than beginning anew"
    );
    assert_eq!(models.usage().await.partial_bytes, 0);
}
