//! Lists of revocations between real nodes over loopback QUIC.

use crate::{
    admission::fixture::{TestNode, until},
    core::membership::fixture::{list, node},
};

fn knows(member: &TestNode, sequence: u64) -> bool {
    let roster = member.swarm.behaviour().admission.roster();
    roster
        .lists()
        .any(|(author, held, _)| author == node(1) && held.0 == sequence)
}

/// Connects a chain of nodes 5, 6, 7 …
async fn chain(count: u8) -> Vec<TestNode> {
    let mut nodes = Vec::new();
    for number in 5..5 + count {
        nodes.push(TestNode::member(number).await);
    }
    for at in 1..nodes.len() {
        let address = nodes[at].address.clone().unwrap();
        nodes[at - 1].dial(&address);
        let (left, right) = (u8::try_from(at + 4).unwrap(), u8::try_from(at + 5).unwrap());
        until(&mut nodes, |nodes| {
            let inside =
                |at: usize, number| nodes[at].admitted(number).iter().any(|(_, inside)| *inside);
            inside(at - 1, right) && inside(at, left)
        })
        .await;
    }
    nodes
}

#[tokio::test]
async fn a_revoked_member_is_cut_off_where_only_another_member_told() {
    // 5 hears of it; 8 is put out; 7, who is connected to it, knows 6 only.
    let mut nodes = chain(4).await;
    assert!(nodes[2].is_connected(8));
    nodes[0]
        .swarm
        .behaviour_mut()
        .admission
        .revoke(list(1, &[8]))
        .unwrap();
    until(&mut nodes, |nodes| {
        !nodes[2].is_connected(8) && !nodes[3].is_connected(7)
    })
    .await;
    assert!(nodes[..3].iter().all(|member| knows(member, 1)));
    assert!(
        nodes[0].is_connected(6) && nodes[1].is_connected(7),
        "the others stay"
    );
    assert!(nodes.iter().all(|member| member.abuses == 0));
}

#[tokio::test]
async fn who_was_away_gets_the_newest_list_when_it_comes() {
    let mut nodes = chain(2).await;
    nodes[0]
        .swarm
        .behaviour_mut()
        .admission
        .revoke(list(1, &[20]))
        .unwrap();
    until(&mut nodes, |nodes| knows(&nodes[1], 1)).await;
    nodes[0]
        .swarm
        .behaviour_mut()
        .admission
        .revoke(list(2, &[20, 21]))
        .unwrap();
    until(&mut nodes, |nodes| knows(&nodes[1], 2)).await;
    // A newcomer dials the second, and one that knows more comes to the first.
    let newcomer = TestNode::member(9).await;
    nodes.push(newcomer);
    let address = nodes[1].address.clone().unwrap();
    nodes[2].dial(&address);
    until(&mut nodes, |nodes| knows(&nodes[2], 2)).await;
    let mut ahead = TestNode::member(10).await;
    ahead
        .swarm
        .behaviour_mut()
        .admission
        .revoke(list(3, &[20]))
        .unwrap();
    nodes.push(ahead);
    let address = nodes[0].address.clone().unwrap();
    nodes[3].dial(&address);
    until(&mut nodes, |nodes| {
        nodes.iter().all(|member| knows(member, 3))
    })
    .await;
}
