//! What users ask for, from node to node over gossip.

use super::*;

fn model(name: &str) -> ModelName {
    name.parse().unwrap()
}

/// Waits until a node knows that a model is asked for in vain.
async fn until_missed(node: &Node, name: &str) -> Demand {
    let model = model(name);
    let mut shown = node.network.demand.clone();
    let knows = |demand: &Arc<[Demand]>| {
        let mut models = demand.iter();
        models.any(|demand| demand.model == model && demand.unmet.per_second > 0.0)
    };
    let known = tokio::time::timeout(PATIENCE, shown.wait_for(knows)).await;
    known.expect("known in time").unwrap();
    let demand = node.network.demand().into_iter();
    let mut demand = demand.filter(|demand| demand.model == model);
    demand.next().unwrap()
}

/// Waits until another node knows what this one is asked for, again and again.
async fn until_told(asking: &Node, other: &Node, name: &str) -> Demand {
    let again = async {
        let mut next = tokio::time::interval(Duration::from_millis(200));
        loop {
            next.tick().await;
            asking.network.asked(model(name), Asked::Unmet);
        }
    };
    tokio::select! {
        demand = until_missed(other, name) => demand,
        () = again => unreachable!("it is asked for without an end"),
    }
}

#[tokio::test]
async fn what_is_asked_of_one_node_is_known_to_the_others() {
    let (_server, list) = server(1).await;
    let asking = start(config(2, &list));
    let other = start(config(3, &list));
    assert!(other.network.demand().is_empty());
    let there = until_told(&asking, &other, "org/model").await;
    assert_eq!((there.authors, there.unmet.error), (1, 0.0));
    assert_eq!(there.unmet, there.arrivals);
    let here = until_missed(&asking, "org/model").await;
    assert!(here.unmet.per_second >= there.unmet.per_second / 2.0);
    // Both are counted where both are known.
    until_told(&other, &asking, "org/second").await;
    other.network.asked(model("org/model"), Asked::Unmet);
    let mut shown = other.network.demand.clone();
    let both = |demand: &Arc<[Demand]>| {
        let mut models = demand.iter();
        models.any(|demand| demand.model == model("org/model") && demand.authors == 2)
    };
    let known = tokio::time::timeout(PATIENCE, shown.wait_for(both)).await;
    assert!(known.is_ok_and(|known| known.is_ok()));
}

#[tokio::test]
async fn a_node_alone_knows_its_own_demand() {
    let node = start(config(1, &[]));
    node.network.asked(model("org/model"), Asked::Unmet);
    let missed = until_missed(&node, "org/model").await;
    assert!(missed.unmet.per_second > 0.005 && missed.unmet.per_second < 0.006);
    let waited = Duration::from_secs(2);
    node.network
        .asked(model("org/served"), Asked::Served { waited });
    let mut shown = node.network.demand.clone();
    let served = |demand: &Arc<[Demand]>| demand.iter().any(|demand| demand.waiting == waited);
    let known = tokio::time::timeout(PATIENCE, shown.wait_for(served)).await;
    assert!(known.is_ok_and(|known| known.is_ok()));
}
