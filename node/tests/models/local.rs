//! Files of this machine, and what a start makes of the store's folder.

use std::fs;

use node::models::registry::{InMemory, Registry};
use node::models::{Models, ResolveError};
use node::store::Store;

use crate::hub::{Deed, FakeHub};
use crate::store::{Place, bytes, model, parts, pull};

#[tokio::test]
async fn a_file_is_used_in_place_and_never_deleted() {
    let hub = FakeHub::start(&[]).await;
    let place = Place::new(&hub);
    let models = place.open();
    let path = place.folder.path().join("My-Model.Q4_1.gguf");
    fs::write(&path, model(1)).unwrap();
    let added = models.add_file(&path).await.unwrap();
    assert_eq!(
        (added.name.as_str(), added.external),
        ("My-Model.Q4_1", true)
    );
    assert_eq!(added.facts.context_length, 512);
    assert_eq!(
        models.add_file(&path).await.unwrap().name,
        added.name,
        "once is enough"
    );
    let pulled = pull(&models, path.to_str().unwrap()).await.unwrap();
    assert_eq!(
        pulled.external_path.as_deref(),
        Some(path.canonicalize().unwrap().as_path())
    );
    assert_eq!(
        models.resolve("my-model.q4_1").await.unwrap().files,
        added.files
    );
    assert_eq!(models.usage().await.model_bytes, 0);
    assert_eq!(models.remove(&added.name).await.unwrap(), 0);
    assert_eq!(fs::read(&path).unwrap(), model(1));
}

#[tokio::test]
async fn two_files_of_one_name_get_two_names() {
    let hub = FakeHub::start(&[]).await;
    let place = Place::new(&hub);
    let models = place.open();
    let mut names = Vec::new();
    for folder in ["a", "b"] {
        let folder = place.folder.path().join(folder);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("m.gguf"), model(1)).unwrap();
        names.push(models.add_file(&folder.join("m.gguf")).await.unwrap().name);
    }
    assert_eq!(names, ["m", "m-2"]);
}

#[tokio::test]
async fn a_split_file_comes_with_its_parts_and_what_is_no_model_is_refused() {
    let hub = FakeHub::start(&[]).await;
    let place = Place::new(&hub);
    let models = place.open();
    let base = place.folder.path();
    for (name, bytes) in parts(2) {
        fs::write(base.join(name.trim_start_matches("Q8_0/")), bytes).unwrap();
    }
    let added = models
        .add_file(&base.join("m-Q8_0-00002-of-00002.gguf"))
        .await
        .unwrap();
    assert_eq!((added.name.as_str(), added.files.len()), ("m-Q8_0", 2));
    fs::write(base.join("x.gguf"), "GGUF and no more").unwrap();
    for bad in ["x.gguf", "nowhere.gguf", "models"] {
        let refused = models
            .add_file(&base.join(bad))
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains(bad), "{refused}");
    }
}

#[tokio::test]
async fn a_file_that_changes_or_goes_is_noticed() {
    let hub = FakeHub::start(&[]).await;
    let place = Place::new(&hub);
    let models = place.open();
    let path = place.folder.path().join("m.gguf");
    fs::write(&path, model(1)).unwrap();
    models.add_file(&path).await.unwrap();
    fs::write(&path, "no model any more").unwrap();
    let broken = models.resolve("m").await.unwrap_err();
    assert!(matches!(broken, ResolveError::Broken { .. }), "{broken}");
    fs::remove_file(&path).unwrap();
    assert!(matches!(
        models.resolve("m").await,
        Err(ResolveError::Broken { .. })
    ));
    fs::write(&path, model(2)).unwrap();
    models.resolve("m").await.unwrap();
}

#[tokio::test]
async fn a_start_brings_the_table_in_line_with_the_folders() {
    let hub = FakeHub::start(&[("m-Q4_0.gguf", model(1)), ("m-Q8_0.gguf", model(2))]).await;
    let place = Place::new(&hub);
    let database = Store::open(&place.folder.path().join("state")).unwrap();
    let open = || {
        let table = database.table().unwrap();
        Models::open(place.config.clone(), Box::new(table)).unwrap()
    };
    let models = open();
    pull(&models, "org/repo:Q4_0").await.unwrap();
    pull(&models, "org/repo:Q8_0").await.unwrap();
    let outside = place.folder.path().join("m.gguf");
    fs::write(&outside, model(3)).unwrap();
    models.add_file(&outside).await.unwrap();
    let before = models.list();
    assert_eq!(open().list(), before, "the database keeps it");
    // The folder of one is lost, and the record of the other, and rubbish lies about.
    let folder = models.resolve("org/repo:Q4_0").await.unwrap().files[0]
        .parent()
        .unwrap()
        .to_owned();
    fs::remove_dir_all(folder).unwrap();
    let table = database
        .table::<node::models::core::record::Record>()
        .unwrap();
    for record in Registry::all(&table).unwrap() {
        if record.name == "org/repo:Q8_0" {
            Registry::delete(&table, &record.source.folder()).unwrap();
        }
    }
    fs::create_dir_all(place.root().join(".trash/m-old.0")).unwrap();
    fs::write(place.root().join(".trash/m-old.0/m.gguf"), model(1)).unwrap();
    fs::create_dir_all(place.root().join(".partial/m-no-plan")).unwrap();
    fs::create_dir_all(place.root().join("somebody's folder")).unwrap();
    let models = open();
    let names: Vec<_> = models.list().into_iter().map(|m| m.name).collect();
    assert_eq!(names, ["m", "org/repo:Q8_0"]);
    assert_eq!(bytes(&models, "org/repo").await, [model(2)]);
    assert_eq!(
        fs::read_dir(place.root().join(".trash")).unwrap().count(),
        0
    );
    assert_eq!(
        fs::read_dir(place.root().join(".partial")).unwrap().count(),
        0
    );
    assert!(
        place.root().join("somebody's folder").is_dir(),
        "what is not ours stays"
    );
}

#[tokio::test]
async fn an_unfinished_download_can_be_removed_by_name() {
    let hub = FakeHub::start(&[("m-Q4_0.gguf", model(1))]).await;
    hub.state().always = Some(Deed::Cut(200_000));
    let mut place = Place::new(&hub);
    place.config.hub.patience.tries = 1;
    let models = place.open();
    pull(&models, "org/repo").await.unwrap_err();
    assert_eq!(
        models.usage().await.partial_bytes,
        200_000 + plan_bytes(&place)
    );
    let freed = models.remove("org/repo:q4_0").await.unwrap();
    assert!(freed >= 200_000);
    assert_eq!(models.usage().await.partial_bytes, 0);
    assert!(models.remove("org/repo:q4_0").await.is_err());
    let empty: Box<dyn Registry> = Box::new(InMemory::default());
    assert!(
        Models::open(place.config.clone(), empty)
            .unwrap()
            .list()
            .is_empty()
    );
}

fn plan_bytes(place: &Place) -> u64 {
    let folders = fs::read_dir(place.root().join(".partial"))
        .unwrap()
        .flatten();
    folders
        .map(|f| f.path().join("plan.json").metadata().unwrap().len())
        .sum()
}
