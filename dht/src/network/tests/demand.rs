//! What users ask for, from node to node over gossip.

use super::*;

const UNMET: Asked = Asked::Unmet;

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

#[tokio::test]
async fn what_is_asked_of_one_node_is_known_to_the_others() {
    let (_server, list) = server(1).await;
    let asking = start(config(2, &list));
    let other = start(config(3, &list));
    assert!(other.network.demand().is_empty());
    // Before anybody is there to hear it.
    asking.network.asked(model("org/model"), UNMET);
    let here = until_missed(&asking, "org/model").await;
    assert_eq!(here.unmet, here.arrivals);
    let there = until_missed(&other, "org/model").await;
    assert_eq!((there.authors, there.unmet.error), (1, 0.0));
    assert!(there.unmet.per_second > 0.005 && there.unmet.per_second < 0.006);
    // Another need is known as soon, and both are counted where both are.
    other.network.asked(model("org/model"), UNMET);
    asking.network.asked(model("org/second"), UNMET);
    until_missed(&other, "org/second").await;
    let both = other.network.demand();
    let both = both.iter().find(|demand| demand.model == model("org/model"));
    assert_eq!(both.unwrap().authors, 2);
}
