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
    let members: Vec<_> = nodes.iter().map(|node| (*node, 1)).collect();
    let placement = Placement::among(&members).unwrap();
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

#[test]
fn balance_and_movement_are_as_the_document_says() {
    let own: u32 = built_in().iter().map(|class| u32::from(class.partitions)).sum();
    let rows: Vec<String> = [own, 4096]
        .into_iter()
        .flat_map(|count| [3, 5, 10, 30, 100].map(|nodes| row(nodes, count)))
        .collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CAPACITY.md");
    let document = std::fs::read_to_string(path).unwrap();
    let found: Vec<&str> = document
        .lines()
        .skip_while(|line| !line.starts_with("| partitions | nodes |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert!(found == rows, "the table should be\n{}", rows.join("\n"));
}
