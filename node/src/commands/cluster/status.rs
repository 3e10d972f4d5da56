//! `multibeam cluster status`: the cluster as one node knows it, for people or as JSON.

use super::super::Failure;
use super::super::admin_client::{AdminArgs, Question, ask};
use super::super::table::table;
use crate::cluster::{ClusterStatus, LinkStatus, MemberStatus, VoterStatus};
use clap::Args;
use std::fmt::Write as _;
use std::io::Write as _;

const EXAMPLES: &str = "Examples:
  multibeam cluster status
  multibeam cluster status --admin 127.0.0.1:7490
  multibeam cluster status --json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn status(args: &StatusArgs) -> Result<(), Failure> {
    let answer = ask(args.admin, &Question::Look("/cluster"))?;
    let text = if args.json {
        answer
    } else {
        let status = serde_json::from_str(&answer)
            .map_err(|error| format!("the node is of another version ({error}): ask with --json"))?;
        text(&status)
    };
    // Who closed our output does not want to read this.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

fn text(status: &ClusterStatus) -> String {
    let mut text = summary(status);
    if !status.members.is_empty() {
        text += &format!("\n{}", members(status));
    }
    if !status.voters.is_empty() {
        text += &format!("\n{}", voters(&status.voters));
    }
    if !status.links.is_empty() {
        text += &format!("\n{}", links(&status.links));
    }
    if !status.troubles.is_empty() {
        text += "\n";
    }
    for (address, trouble) in &status.troubles {
        // Writing to a string does not fail.
        let _ = writeln!(text, "trouble with {address}: {trouble}");
    }
    if !status.refused.is_empty() {
        let _ = writeln!(text, "\nthe last proposal was refused: {}", status.refused);
    }
    text
}

/// A word, or what stands for none.
fn or_none(word: &str) -> &str {
    if word.is_empty() { "-" } else { word }
}

fn summary(status: &ClusterStatus) -> String {
    let ClusterStatus { cluster, node, incarnation, epoch, view, lease_ms, role, term, leader, lag, .. } =
        status;
    let cluster = if cluster.is_empty() {
        "none yet: 'multibeam cluster bootstrap' begins one".to_owned()
    } else {
        cluster.clone()
    };
    let lease = match (status.isolated, lease_ms) {
        (true, _) => "none, and the node is isolated".to_owned(),
        (false, 0) => "none".to_owned(),
        (false, lease_ms) => format!("{lease_ms} ms left"),
    };
    let records = status.records;
    let rows = [
        ["cluster".to_owned(), cluster],
        ["view".to_owned(), format!("epoch {epoch}, digest {view}")],
        ["this node".to_owned(), format!("{node}, run {incarnation}, lease {lease}")],
        [
            "consensus".to_owned(),
            format!("leader {}, term {term}, this node is {role} and lacks {lag}", or_none(leader)),
        ],
        [
            "partitions".to_owned(),
            format!("{} recorded, {} led, {} offline", records.all, records.led, records.offline),
        ],
    ];
    table(&rows)
}

fn members(status: &ClusterStatus) -> String {
    let head = ["member", "links", "clients", "weight", "state", "contact", "leads", "in sync", "run"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(status.members.iter().map(|member| {
        let MemberStatus {
            node, address, clients, incarnation, weight, state, leads, in_sync, contact, ..
        } = member;
        let itself = *node == status.node;
        [
            node.clone(),
            address.clone(),
            or_none(clients).to_owned(),
            weight.to_string(),
            state.clone(),
            if itself { "itself".to_owned() } else { contact.clone() },
            leads.to_string(),
            in_sync.to_string(),
            incarnation.to_string(),
        ]
    }));
    table(&rows)
}

fn voters(voters: &[VoterStatus]) -> String {
    let mut rows = vec![["voter, by disk", "member", "lacks", ""].map(str::to_owned)];
    rows.extend(voters.iter().map(|VoterStatus { store, node, leaving, lag }| {
        let lag = lag.map_or("-".to_owned(), |lag| lag.to_string());
        let leaving = if *leaving { "leaving" } else { "" };
        [store.clone(), or_none(node).to_owned(), lag, leaving.to_owned()]
    }));
    table(&rows)
}

fn links(links: &[LinkStatus]) -> String {
    let head = ["peer", "links", "contact", "dialled", "accepted", "round trip", "heard", "epoch"];
    let mut rows = vec![head.map(str::to_owned)];
    let yes = |word: bool| if word { "yes" } else { "no" }.to_owned();
    rows.extend(links.iter().map(|link| {
        let LinkStatus {
            node, address, dialled, accepted, contact, silence_ms, round_trip_us, epoch, ..
        } = link;
        [
            node.clone(),
            or_none(address).to_owned(),
            contact.clone(),
            yes(*dialled),
            yes(*accepted),
            round_trip_us.map_or("-".to_owned(), |micros| format!("{micros} us")),
            format!("{silence_ms} ms ago"),
            epoch.to_string(),
        ]
    }));
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::RecordsStatus;

    fn status() -> ClusterStatus {
        let member = |node: &str, port: u16| MemberStatus {
            node: node.into(),
            address: format!("127.0.0.1:{}", port + 1),
            clients: format!("127.0.0.1:{port}"),
            incarnation: 9,
            store: format!("{node}-disk"),
            weight: 1,
            state: "up".into(),
            leads: 105,
            in_sync: 210,
            contact: "alive".into(),
        };
        ClusterStatus {
            cluster: "c1".into(),
            node: "n1".into(),
            store: "n1-disk".into(),
            incarnation: 9,
            epoch: 4,
            view: "d1".into(),
            lease_ms: 380,
            isolated: false,
            role: "leader".into(),
            term: 2,
            leader: "n1".into(),
            applied_term: 2,
            lag: 0,
            voters: vec![VoterStatus {
                store: "s3".into(),
                node: String::new(),
                leaving: true,
                lag: Some(3),
            }],
            members: vec![member("n1", 7400), member("n2", 7410)],
            records: RecordsStatus { all: 210, led: 209, offline: 1 },
            links: vec![LinkStatus {
                node: "n2".into(),
                store: "n2-disk".into(),
                address: "127.0.0.1:7411".into(),
                dialled: true,
                accepted: false,
                contact: "degraded".into(),
                silence_ms: 210,
                round_trip_us: Some(95),
                epoch: 3,
            }],
            troubles: vec![("127.0.0.1:7421".into(), "refused".into())],
            refused: String::new(),
        }
    }

    #[test]
    fn all_that_a_node_knows_is_told_to_people() {
        assert_eq!(
            text(&status()),
            "cluster     c1\n\
             view        epoch 4, digest d1\n\
             this node   n1, run 9, lease 380 ms left\n\
             consensus   leader n1, term 2, this node is leader and lacks 0\n\
             partitions  210 recorded, 209 led, 1 offline\n\
             \n\
             member  links           clients         weight  state  contact  leads  in sync  run\n\
             n1      127.0.0.1:7401  127.0.0.1:7400  1       up     itself   105    210      9\n\
             n2      127.0.0.1:7411  127.0.0.1:7410  1       up     alive    105    210      9\n\
             \n\
             voter, by disk  member  lacks\n\
             s3              -       3      leaving\n\
             \n\
             peer  links           contact   dialled  accepted  round trip  heard       epoch\n\
             n2    127.0.0.1:7411  degraded  yes      no        95 us       210 ms ago  3\n\
             \n\
             trouble with 127.0.0.1:7421: refused\n"
        );
        let alone =
            ClusterStatus { cluster: String::new(), isolated: true, leader: String::new(), ..status() };
        let text = text(&alone);
        assert!(
            text.contains("bootstrap") && text.contains("isolated") && text.contains("leader -"),
            "{text}"
        );
    }
}
