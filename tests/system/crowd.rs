//! Two hundred nodes in one process: they join, find what others serve, by what they heard and by
//! looking it up, and go on doing so when a third of them is gone.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use protocol::ModelName;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tests::{crowd::Crowd, seed};

const SERVERS: usize = 3;
const MEMBERS: usize = 200;

/// Models that somebody serves, each by this many members.
const MODELS: usize = 10;
const COPIES: usize = 4;

/// Members that go at once, and as many that come.
const CHURN: usize = 60;

/// Questions asked of the swarm, before the churn and after it.
const LOOKUPS: usize = 40;

/// Far beyond what anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

fn model(number: usize) -> ModelName {
    format!("org/model-{number}")
        .parse()
        .expect("a model's name")
}

/// What the member of this number serves: the first ones serve all there is.
fn served(member: usize) -> Vec<ModelName> {
    let number = member / COPIES;
    (number < MODELS)
        .then(|| model(number))
        .into_iter()
        .collect()
}

/// Asks random members for random models until each was found; a model is there when somebody
/// who serves it is known.
async fn all_is_found(crowd: &Crowd, rng: &mut StdRng) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    for _ in 0..LOOKUPS {
        let member = rng.random_range(0..crowd.members.len());
        let wanted = model(rng.random_range(0..MODELS));
        while !crowd.finds(member, &wanted).await? {
            let view = crowd.members[member].network.view();
            ensure!(Instant::now() < end, "{wanted} was not found: {view:#?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_nodes_join_find_and_bear_churn() -> Result<()> {
    let mut rng = StdRng::seed_from_u64(seed());
    let mut crowd = Crowd::start(SERVERS, PATIENCE).await?;
    let began = Instant::now();
    for member in 0..MEMBERS {
        crowd.join(&served(member))?;
    }
    let joined = crowd.until_joined(began, PATIENCE).await?;
    println!(
        "joined: half in {:?}, all in {:?}",
        joined[MEMBERS / 2],
        joined[MEMBERS - 1]
    );
    all_is_found(&crowd, &mut rng).await?;

    // One copy of each model stays, whoever else goes.
    let mut goes: Vec<usize> = (0..MEMBERS).filter(|member| member % COPIES != 0).collect();
    while goes.len() > CHURN {
        goes.swap_remove(rng.random_range(0..goes.len()));
    }
    goes.sort_unstable();
    for member in goes.into_iter().rev() {
        drop(crowd.members.remove(member));
    }
    let began = Instant::now();
    for _ in 0..CHURN {
        crowd.join(&[])?;
    }
    crowd.until_joined(began, PATIENCE).await?;
    all_is_found(&crowd, &mut rng).await?;
    crowd.is_whole(&model(0)).await
}
