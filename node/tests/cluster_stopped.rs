//! A node whose process stands still (SIGSTOP) for longer than its lease: what it finds in its sockets when it goes
//! on, it answers only under a lease of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "support/command_line.rs"]
#[expect(dead_code, reason = "shared with other tests, each of which uses a part")]
mod command_line;
#[path = "support/ports.rs"]
#[expect(dead_code, reason = "shared with other tests, each of which uses a part")]
mod ports;
#[path = "support/processes.rs"]
mod processes;
#[path = "support/raw_client.rs"]
mod raw_client;
#[path = "support/sdk.rs"]
mod sdk;

use command_line::node_process::NodeProcess;
use command_line::wait_until;
use multibeam_client::State;
use multibeam_wire::FrameType;
use processes::{agree, all_ready, ready, three};
use raw_client::RawClient;
use rustix::process::Signal;
use sdk::User;
use std::time::Duration;

/// Longer than the lease (400 ms), than a node is waited for (350 ms), and than it takes to be isolated (2 s).
const STANDSTILL: Duration = Duration::from_secs(3);

/// What a node may say without a lease.
const FREE: [FrameType; 2] = [FrameType::Heartbeat, FrameType::GoAway];

/// Publishes of a stopped node wait as long as the test does, and its clients may leave it at once.
const LIMITS: &str = "[limits]\npublish_deadline_ms = 60000\ngoaway_spread_ms = 1";

/// From here on the process does nothing at all.
fn stand_still(node: &NodeProcess) {
    node.signal(Signal::STOP);
    wait_until("it stands still", || node.stands_still());
}

/// While the others stand still, nobody can give the node a lease: so whatever it says to its clients then, it says
/// without one.
#[test]
fn a_node_that_stood_still_says_nothing_under_the_lease_it_had() {
    let nodes = three(LIMITS);
    let (stopped, others) = nodes.split_first().unwrap();
    let mut raw = RawClient::start(stopped.clients(), "raw.news");
    raw.publish(1, "raw.news");
    raw.wait_for(FrameType::Data);
    let at_stopped = User::start(&stopped.clients().to_string(), "sdk.news");
    let elsewhere = User::start(&others[0].clients().to_string(), "sdk.news");
    at_stopped.publish("before");
    assert_eq!(at_stopped.message(), b"before");
    wait_until("all is acknowledged", || raw.hears_all());
    let lost = stopped.metric("multibeam_leases_lost_total", "");
    let stored = stopped.metric("multibeam_stored_total", "");

    stand_still(stopped);
    assert!(raw.hears_all());
    raw.publish(2, "raw.news");
    let mut during = at_stopped.begin_publish("during");
    agree(&others.iter().collect::<Vec<_>>(), 2);
    elsewhere.publish("elsewhere");
    std::thread::sleep(STANDSTILL);
    others.iter().for_each(stand_still);
    assert_eq!(raw.there(), [], "nobody was there to say anything");
    stopped.signal(Signal::CONT);

    wait_until("it has taken up both messages", || {
        stopped.metric("multibeam_stored_total", "") == stored + 2
    });
    wait_until("it knows where it is", || ready(stopped).1.starts_with("isolated: no lease for "));
    at_stopped.wait_for("the client is told", |status| status.state == State::Stale);
    // Whatever it said before it answered to the above is in the sockets.
    let said = raw.there();
    assert!(said.iter().all(|frame| FREE.contains(frame)) && !raw.is_acknowledged(), "{said:?}");
    assert!(at_stopped.is_pending(&mut during), "a publish has ended");
    assert!(at_stopped.has_no_news(), "something was delivered");
    assert_eq!(stopped.metric("multibeam_cluster_lease_ms", ""), 0);
    assert_eq!(stopped.metric("multibeam_leases_lost_total", ""), lost + 1, "its shard has noticed");

    others.iter().for_each(|other| other.signal(Signal::CONT));
    raw.wait_for(FrameType::Data);
    wait_until("all is acknowledged", || raw.hears_all());
    agree(&nodes.iter().collect::<Vec<_>>(), 3);
    all_ready(&nodes);
    // The client may have found another node first, which does not know the message; it is told in any case.
    let _ = at_stopped.end(during);
    at_stopped.publish("after");
    assert_eq!(at_stopped.state(), State::Connected);
}
