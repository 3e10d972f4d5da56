//! How evenly partitions are placed, and how many move, as docs/CAPACITY.md says.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use multibeam_proto::{ClassId, NodeId, PartitionId, Placement, built_in};
use std::collections::BTreeMap;

const COPIES: usize = 3;
/// Clusters of other node ids over which a row is the mean.
const CLUSTERS: u64 = 4;

/// splitmix64.
fn id(n: u64) -> NodeId {
    let z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    NodeId(z ^ (z >> 31))
}

fn partitions(count: u32) -> impl Iterator<Item = PartitionId> {
    (0..count).map(|n| PartitionId { class: ClassId((n >> 8) as u16), index: (n & 0xff) as u16 })
}

type Wishes = Vec<Vec<NodeId>>;

fn wishes(nodes: &[NodeId], count: u32) -> Wishes {
    weighed(&nodes.iter().map(|node| (*node, 1)).collect::<Vec<_>>(), count)
}

fn weighed(members: &[(NodeId, u8)], count: u32) -> Wishes {
    let placement = Placement::among(members).unwrap();
    partitions(count).map(|partition| placement.wish(partition).take(COPIES).collect()).collect()
}

/// Standard deviation and maximum of how many each node has, in units of the mean.
fn spread<'a>(nodes: &[NodeId], held: impl Iterator<Item = &'a NodeId>) -> (f64, f64) {
    let mut by_node: BTreeMap<NodeId, f64> = nodes.iter().map(|node| (*node, 0.0)).collect();
    for node in held {
        *by_node.get_mut(node).unwrap() += 1.0;
    }
    let mean = by_node.values().sum::<f64>() / nodes.len() as f64;
    let variance = by_node.values().map(|held| (held - mean).powi(2)).sum::<f64>() / nodes.len() as f64;
    (variance.sqrt() / mean, by_node.values().copied().fold(0.0, f64::max) / mean)
}

/// Copies that are in `after` and not in `before`, as a share of all.
fn moved(before: &Wishes, after: &Wishes) -> f64 {
    let new = before
        .iter()
        .zip(after)
        .map(|(before, after)| after.iter().filter(|node| !before.contains(node)).count());
    new.sum::<usize>() as f64 / after.iter().map(Vec::len).sum::<usize>() as f64
}

fn row(nodes: u64, count: u32) -> String {
    let mut sums = [0.0; 6];
    for cluster in 0..CLUSTERS {
        let all: Vec<NodeId> = (0..=nodes).map(|n| id(cluster * 1000 + n)).collect();
        let members = &all[..nodes as usize];
        let before = wishes(members, count);
        let leaders = spread(members, before.iter().map(|wish| &wish[0]));
        let copies = spread(members, before.iter().flatten());
        let joined = if nodes < 100 { moved(&before, &wishes(&all, count)) } else { f64::NAN };
        let left = if nodes > 3 { moved(&before, &wishes(&members[1..], count)) } else { f64::NAN };
        let values = [leaders.0, leaders.1, copies.0, copies.1, joined, left];
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value / CLUSTERS as f64);
    }
    let [dev, most, copies_dev, copies_most, joined, left] = sums;
    let percent =
        |share: f64| if share.is_nan() { "–".to_owned() } else { format!("{:.1} %", share * 100.0) };
    format!(
        "| {count} | {nodes} | {} | {most:.2} | {} | {copies_most:.2} | {} | {} |",
        percent(dev),
        percent(copies_dev),
        percent(joined),
        percent(left),
    )
}

/// Nodes of weight 1 and others; how much of what its weight says each has.
fn weighed_row(nodes: u64, heavy: u64, weight: u8, count: u32) -> String {
    let (mut shares, mut worst) = ([0.0; 2], [1.0_f64; 2]);
    for cluster in 0..CLUSTERS {
        let weight_of = |n: u64| if n < heavy { weight } else { 1 };
        let members: Vec<_> = (0..nodes).map(|n| (id(cluster * 1000 + n), weight_of(n))).collect();
        let units: f64 = members.iter().map(|(_, weight)| f64::from(*weight)).sum();
        let wishes = weighed(&members, count);
        for (at, (node, weight)) in members.iter().enumerate() {
            let leads = wishes.iter().filter(|wish| wish[0] == *node).count() as f64;
            let share = leads / (f64::from(count) * f64::from(*weight) / units);
            let kind = usize::from((at as u64) < heavy);
            let many = if kind == 1 { heavy } else { nodes - heavy };
            shares[kind] += share / (many * CLUSTERS) as f64;
            worst[kind] = worst[kind].max(share);
        }
    }
    let [light, heavies] = shares;
    format!(
        "| {count} | {nodes} | {heavy} of {weight} | {light:.2} | {:.2} | {heavies:.2} | {:.2} |",
        worst[0], worst[1]
    )
}

/// The rows of a table of docs/CAPACITY.md.
fn document(head: &str) -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CAPACITY.md");
    let document = std::fs::read_to_string(path).unwrap();
    let rows = document.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    rows.take_while(|line| line.starts_with('|')).map(str::to_owned).collect()
}

#[test]
fn balance_and_movement_are_as_the_document_says() {
    let own: u32 = built_in().iter().map(|class| u32::from(class.partitions)).sum();
    let rows: Vec<String> = [own, 4096]
        .into_iter()
        .flat_map(|count| [3, 5, 10, 30, 100].map(|nodes| row(nodes, count)))
        .collect();
    assert!(document("| partitions | nodes | leaders") == rows, "the table should be\n{}", rows.join("\n"));
}

#[test]
fn weights_are_as_the_document_says() {
    let rows = [(3, 1, 2), (5, 2, 4), (10, 3, 8), (30, 10, 2), (100, 10, 2), (100, 50, 8)]
        .map(|(nodes, heavy, weight)| weighed_row(nodes, heavy, weight, 4096));
    assert!(document("| partitions | nodes | heavy") == rows, "the table should be\n{}", rows.join("\n"));
}
